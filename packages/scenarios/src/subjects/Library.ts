/** What a library that has servers and no process does for its program, `recipe.ts`. */
import type { Address, ServerPlan } from "../Plan.ts"
import type { Handlers } from "./Handlers.ts"

export interface Served {
  readonly at: Address | undefined
  /** Its graceful stop. */
  readonly stop: () => Promise<unknown>
  /** Its hard stop, as far as it has one. */
  readonly force: () => void
  /** Listens at one more port. */
  readonly listen: () => Promise<Address>
}

export type Serve = (
  plan: ServerPlan,
  handlers: Handlers,
  credentials: Credentials
) => Promise<Served>

export interface Credentials {
  readonly key: Buffer
  readonly cert: Buffer
  readonly ca: Buffer
}
