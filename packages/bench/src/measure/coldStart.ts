/** From the start of a process until its server listens. */
import { type Contender, type Flags, type Run, start } from "../Run.ts"

export interface ColdStart {
  readonly millis: number
  readonly cpuMillis: number
}

export const coldStart = async (run: Run, { flags }: Flags, contender: Contender): Promise<ColdStart> => {
  const server = await start(run, contender, flags)
  await server.kill()
  return { millis: server.coldStart.millis, cpuMillis: server.coldStart.cpuMicros / 1_000 }
}
