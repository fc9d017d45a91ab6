/** What reflection describes. */
import * as Context from "effect/Context"
import type { Implementation, Native } from "../GrpcService.ts"

export type Services = ReadonlyArray<Context.Key<unknown, Implementation> | Native>

/** The services of the server that runs a handler. Outside a server there are none. */
export const Served: Context.Reference<Services> = Context.Reference<Services>("@lastcall/grpc/Served", {
  defaultValue: () => []
})
