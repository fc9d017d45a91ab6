import type { Clock } from "effect/Clock"

/** The monotonic clock in milliseconds: deadlines must not move when the wall clock is set. */
export const monotonicMillis = (clock: Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
