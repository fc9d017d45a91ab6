/** What every handler of a server, or of an in-process channel, can ask: of its stop, and of the services beside its own. */
import type { GracefulStop } from "@lastcall/core/GracefulStop"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import { GrpcDrain } from "../GrpcDrain.ts"
import { Served, type Services } from "./reflectionServed.ts"

/** `stop` is asked for later: it is made of what has the handlers. `told` is opened when they are told of the drain. */
export const make = (
  stop: () => GracefulStop,
  told: Latch.Latch,
  services: Services
): Context.Context<never> =>
  Context.make(GrpcDrain, {
    isAnnounced: () => stop().phase() !== "Serving",
    awaitAnnounced: Effect.suspend(() => stop().awaitAnnounced),
    isDraining: () => told.isOpen(),
    awaitDraining: told.await
  }).pipe(Context.add(Served, services))
