/** The modules under test: the real ones, or those of a mutant. */
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as InFlight from "@lastcall/core/InFlight"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import * as StopBudget from "@lastcall/core/StopBudget"

export interface Kernel {
  readonly GracefulStop: typeof GracefulStop
  readonly InFlight: typeof InFlight
  readonly Lifecycle: typeof Lifecycle
  readonly StopBudget: typeof StopBudget
}

export const real: Kernel = { GracefulStop, InFlight, Lifecycle, StopBudget }
