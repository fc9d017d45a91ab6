/**
 * What was admitted and has not ended.
 *
 * Admission and tracking are one synchronous step: there is no moment at which a piece of work was let in and is not yet
 * counted, so a drain that finds nothing in flight has lost nothing. Entries form a linked list and their counts live on
 * their kind, so that admitting and ending touch no `Map` or `Set`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

/**
 * How a piece of work ended: by itself (`succeeded`, `failed`), because the stop interrupted it and it ended
 * (`interrupted`), because its transport was destroyed under it (`destroyed`), or not at all within the force timeout
 * (`abandoned`).
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = "succeeded" | "failed" | "interrupted" | "destroyed" | "abandoned"

/**
 * Numbers of pieces of work. `admitted` equals the sum of the outcomes plus what is in flight; `refused` is apart, since
 * what was refused was never admitted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  readonly admitted: number
  readonly succeeded: number
  readonly failed: number
  readonly interrupted: number
  readonly destroyed: number
  readonly abandoned: number
  readonly refused: number
}

/**
 * A piece of work that is in flight: its kind, and for how long it has been running, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Running {
  readonly kind: string
  readonly ageMillis: number
}

/**
 * One admitted piece of work.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** The kind under which it was admitted. */
  readonly kind: string
  /** When it was admitted, in milliseconds of the `Clock`. */
  readonly since: number
  /** Whether a stop has asked it to end. */
  readonly isInterrupted: boolean
  /**
   * What a stop calls to make it end. It is called at most once, and at once where the entry was interrupted before.
   */
  onInterrupt(interrupt: () => void): void
  /**
   * Says that it has ended. Only the first call counts; it returns whether it was the first.
   */
  end(outcome: Outcome): boolean
}

/**
 * A kind of work, for instance a gRPC method: what entries are counted by.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kind {
  readonly name: string
  /**
   * Admits a piece of work, or refuses it (`undefined`) when admission is closed. Both are counted.
   */
  admit(): Entry | undefined
}

/**
 * The set of what is in flight, and the gate before it.
 *
 * @category models
 * @since 0.1.0
 */
export interface InFlight {
  /**
   * The kind of this name; the same object for the same name. Work that is not `traffic`, such as health checks, does not
   * keep a drain delay from ending early. Default: traffic.
   */
  kind(name: string, options?: { readonly traffic?: boolean }): Kind
  /** Closes admission for good: from now on every `admit` refuses. */
  close(): void
  /** Whether work is still admitted. */
  isOpen(): boolean
  /** How many are in flight. */
  size(): number
  /** How many of those in flight are traffic. */
  traffic(): number
  /** Waits until nothing is in flight. Work that is admitted meanwhile is waited for too. */
  readonly awaitEmpty: Effect.Effect<void>
  /** What is in flight, oldest first. */
  running(): ReadonlyArray<Running>
  /** The entries in flight, oldest first. */
  entries(): ReadonlyArray<Entry>
  /** When traffic was admitted last, in milliseconds of the `Clock`; `undefined` if none ever was. */
  lastAdmittedAt(): number | undefined
  /** What took longest of all that ended after admission was closed, and how long it had run by then. */
  slowest(): Running | undefined
  /** Asks everything in flight to end, synchronously. Idempotent. Throws, in the end, what hooks have thrown. */
  interruptAll(): void
  /** The counts over all kinds. */
  counts(): Counts
  /** The counts of each kind. */
  countsByKind(): { readonly [kind: string]: Counts }
}

/**
 * The error of {@link run} when admission is closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends Data.TaggedError("Refused")<{ readonly kind: string }> {
  override get message(): string {
    return `${this.kind} was refused: admission is closed`
  }
}

type MutableCounts = { -readonly [K in keyof Counts]: Counts[K] }

const zero = (): MutableCounts => ({
  admitted: 0,
  succeeded: 0,
  failed: 0,
  interrupted: 0,
  destroyed: 0,
  abandoned: 0,
  refused: 0
})

/** The list's own interest in an entry: its neighbours and its state. */
class EntryImpl implements Entry {
  readonly owner: InFlightImpl
  readonly counts: MutableCounts
  readonly kind: string
  readonly traffic: boolean
  readonly since: number
  previous: EntryImpl | undefined
  next: EntryImpl | undefined
  isInterrupted = false
  ended = false
  hook: (() => void) | undefined

  constructor(owner: InFlightImpl, counts: MutableCounts, kind: string, traffic: boolean, since: number) {
    this.owner = owner
    this.counts = counts
    this.kind = kind
    this.traffic = traffic
    this.since = since
  }

  onInterrupt(interrupt: () => void): void {
    if (this.ended) return
    if (this.isInterrupted) return interrupt()
    this.hook = interrupt
  }

  interrupt(): void {
    if (this.isInterrupted) return
    this.isInterrupted = true
    const hook = this.hook
    this.hook = undefined
    hook?.()
  }

  end(outcome: Outcome): boolean {
    if (this.ended) return false
    this.ended = true
    this.hook = undefined
    this.counts[outcome]++
    this.owner.remove(this)
    return true
  }
}

class KindImpl implements Kind {
  readonly owner: InFlightImpl
  readonly name: string
  readonly traffic: boolean
  readonly counts = zero()

  constructor(owner: InFlightImpl, name: string, traffic: boolean) {
    this.owner = owner
    this.name = name
    this.traffic = traffic
  }

  admit(): Entry | undefined {
    if (!this.owner.open) {
      this.counts.refused++
      return undefined
    }
    this.counts.admitted++
    return this.owner.append(this.counts, this.name, this.traffic)
  }
}

class InFlightImpl implements InFlight {
  readonly clock: Clock.Clock
  readonly kinds = new Map<string, KindImpl>()
  open = true
  private first: EntryImpl | undefined
  private last: EntryImpl | undefined
  private length = 0
  private trafficLength = 0
  private admittedAt: number | undefined
  private longest: Running | undefined
  private waiters: Array<() => void> = []

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  kind(name: string, options?: { readonly traffic?: boolean }): Kind {
    let kind = this.kinds.get(name)
    if (kind === undefined) {
      kind = new KindImpl(this, name, options?.traffic ?? true)
      this.kinds.set(name, kind)
    }
    return kind
  }

  append(counts: MutableCounts, kind: string, traffic: boolean): EntryImpl {
    const entry = new EntryImpl(this, counts, kind, traffic, this.clock.currentTimeMillisUnsafe())
    if (traffic) {
      this.admittedAt = entry.since
      this.trafficLength++
    }
    entry.previous = this.last
    if (this.last === undefined) this.first = entry
    else this.last.next = entry
    this.last = entry
    this.length++
    return entry
  }

  remove(entry: EntryImpl): void {
    if (entry.traffic) this.trafficLength--
    if (!this.open) {
      const ageMillis = Math.max(0, this.clock.currentTimeMillisUnsafe() - entry.since)
      if (this.longest === undefined || this.longest.ageMillis < ageMillis) {
        this.longest = { kind: entry.kind, ageMillis }
      }
    }
    if (entry.previous === undefined) this.first = entry.next
    else entry.previous.next = entry.next
    if (entry.next === undefined) this.last = entry.previous
    else entry.next.previous = entry.previous
    if (--this.length === 0 && this.waiters.length > 0) {
      const waiters = this.waiters
      this.waiters = []
      for (const wake of waiters) wake()
    }
  }

  close(): void {
    this.open = false
  }

  isOpen(): boolean {
    return this.open
  }

  size(): number {
    return this.length
  }

  traffic(): number {
    return this.trafficLength
  }

  readonly awaitEmpty: Effect.Effect<void> = Effect.suspend(() =>
    this.length === 0 ? Effect.void : Effect.flatMap(this.nextEmpty, () => this.awaitEmpty)
  )

  private readonly nextEmpty = Effect.callback<void>((resume) => {
    // the fiber may have been preempted since `awaitEmpty` looked
    if (this.length === 0) return resume(Effect.void)
    const wake = () => resume(Effect.void)
    this.waiters.push(wake)
    return Effect.sync(() => {
      this.waiters = this.waiters.filter((waiter) => waiter !== wake)
    })
  })

  entries(): ReadonlyArray<EntryImpl> {
    const entries: Array<EntryImpl> = []
    for (let entry = this.first; entry !== undefined; entry = entry.next) entries.push(entry)
    return entries
  }

  running(): ReadonlyArray<Running> {
    const now = this.clock.currentTimeMillisUnsafe()
    return this.entries().map(({ kind, since }) => ({ kind, ageMillis: Math.max(0, now - since) }))
  }

  lastAdmittedAt(): number | undefined {
    return this.admittedAt
  }

  slowest(): Running | undefined {
    return this.longest
  }

  interruptAll(): void {
    const failures: Array<unknown> = []
    for (const entry of this.entries()) {
      try {
        entry.interrupt()
      } catch (cause) {
        failures.push(cause)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "what is in flight could not be interrupted")
  }

  counts(): Counts {
    const total = zero()
    for (const { counts } of this.kinds.values()) {
      for (const key of Object.keys(total) as Array<keyof Counts>) total[key] += counts[key]
    }
    return total
  }

  countsByKind(): { readonly [kind: string]: Counts } {
    return Object.fromEntries(Array.from(this.kinds.values(), ({ counts, name }) => [name, { ...counts }]))
  }
}

/**
 * Makes an empty `InFlight` that admits.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<InFlight> = Effect.map(Clock.Clock, (clock) => new InFlightImpl(clock))

/**
 * Runs an effect as a piece of work of a kind, in a fiber of its own: admitted and tracked in one step, counted by how it
 * ended, and interrupted when a stop interrupts what is in flight.
 *
 * **Details**
 *
 * Its finalizers run before it counts as ended. Interrupting the caller interrupts the work and waits for it.
 *
 * Fails with {@link Refused} when admission is closed.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E, R>(
  self: InFlight,
  kind: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | Refused, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend((): Effect.Effect<A, E | Refused, R> => {
      const entry = self.kind(kind).admit()
      if (entry === undefined) return Effect.fail(new Refused({ kind }))
      return Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) => {
        fiber.addObserver((exit) => entry.end(outcomeOf(exit, entry.isInterrupted)))
        entry.onInterrupt(() => fiber.interruptUnsafe())
        return Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))
      })
    })
  )

/**
 * The outcome of an exit: an interruption counts as `interrupted` where a stop asked for it, otherwise as `failed`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const outcomeOf = (exit: Exit.Exit<unknown, unknown>, isInterrupted: boolean): Outcome => {
  if (Exit.isSuccess(exit)) return "succeeded"
  return isInterrupted && Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"
}
