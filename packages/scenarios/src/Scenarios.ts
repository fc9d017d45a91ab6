/** All scenarios, in their groups. */
import type { Group } from "./Scenario.ts"
import { force } from "./scenarios/force.ts"
import { health } from "./scenarios/health.ts"
import { inFlight } from "./scenarios/inFlight.ts"
import { lifecycle } from "./scenarios/lifecycle.ts"
import { processes } from "./scenarios/process.ts"
import { report } from "./scenarios/report.ts"
import { severalServers } from "./scenarios/severalServers.ts"
import { transport } from "./scenarios/transport.ts"

export const groups: ReadonlyArray<Group> = [
  transport,
  inFlight,
  force,
  lifecycle,
  severalServers,
  health,
  processes,
  report
]
