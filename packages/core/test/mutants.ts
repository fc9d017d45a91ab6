/** The mutants, and the promise that each of them breaks. */
import type { Mutant } from "./mutant.ts"

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "no force: the interrupt step is skipped",
    module: "GracefulStop",
    from: "        yield* interrupt()\n",
    to: "",
    breaks: "4. what is interrupted runs its finalizers, and is waited for until the force timeout",
    mode: "in order"
  },
  {
    name: "the interrupt step does not wait for finalizers",
    module: "GracefulStop",
    from:
      "        return inFlight?.awaitEmpty ?? Effect.void\n      }))\n      yield* Effect.raceAllFirst([settled(\"interrupt\"",
    to: "        return Effect.void\n      }))\n      yield* Effect.raceAllFirst([settled(\"interrupt\"",
    breaks: "4. what is interrupted runs its finalizers, and is waited for until the force timeout",
    mode: "in order"
  },
  {
    name: "destroy runs before the interrupted work has ended",
    module: "GracefulStop",
    from: "        yield* interrupt()\n        enter(\"Destroying\")\n        yield* destroy\n",
    to: "        yield* destroy\n        yield* interrupt()\n        enter(\"Destroying\")\n",
    breaks: "5. each step runs once, in its phase",
    mode: "in order"
  },
  {
    name: "destroy is skipped",
    module: "GracefulStop",
    from: "        yield* destroy\n",
    to: "",
    breaks: "5. each step runs once, in its phase",
    mode: "in order"
  },
  {
    name: "admission is not atomic: the entry is added later than the gate is checked",
    module: "InFlight",
    from: "    Effect.suspend((): Effect.Effect<A, E | Refused, R> => {\n      const entry = self.kind(kind).admit()\n",
    to:
      `    Effect.flatMap(Effect.tap(Effect.sync(() => self.isOpen()), () => Effect.suspend(() => Effect.void)), (open): Effect.Effect<A, E | Refused, R> => {
      const gate = self as unknown as { open: boolean }
      const now = gate.open
      gate.open = open
      const entry = self.kind(kind).admit()
      gate.open = now
`,
    breaks: "3. what arrives in the moment of the stop is either admitted and waited for, or refused (every resource)",
    mode: "shuffled"
  },
  {
    name: "a drain does not close admission",
    module: "InFlight",
    from: "    this.open = false\n",
    to: "",
    breaks: "3. work is admitted until the drain and refused from then on",
    mode: "in order"
  },
  {
    name: "a refusal is not counted",
    module: "InFlight",
    from: "      this.counts.refused++\n",
    to: "",
    breaks: "3. nothing is lost: what arrived was admitted or refused, and counted",
    mode: "in order"
  },
  {
    name: "admission opens again when nothing is in flight",
    module: "InFlight",
    from: "    if (--this.length === 0 && this.waiters.length > 0) {\n",
    to: "    if (this.length === 1) this.open = true\n    if (--this.length === 0 && this.waiters.length > 0) {\n",
    breaks: "3. once admission is closed nothing is admitted, and it stays closed",
    mode: "in order"
  },
  {
    name: "the report says that the stop began when the drain did",
    module: "GracefulStop",
    from: "        startedAt,\n",
    to: "        startedAt: startedAt + drainStart - start,\n",
    breaks: "1. it starts with the first call",
    mode: "in order"
  },
  {
    name: "what was in flight when the force began is reported as abandoned",
    module: "GracefulStop",
    from: "        abandoned = yield* abandon\n",
    to: "        yield* abandon\n        abandoned = blockers\n",
    breaks: "4. what was abandoned is what had not ended",
    mode: "in order"
  },
  {
    name: "the drain closes admission in the fiber of its step only",
    module: "GracefulStop",
    from: "      if (stoppable.drain === undefined) inFlight?.close()\n",
    to: "",
    breaks: "3. work is admitted until the drain and refused from then on",
    mode: "shuffled"
  },
  {
    name: "the budget is ignored while draining",
    module: "StopBudget",
    from: "return Math.max(own - reservedForWaiting(), ",
    to: "return Math.max(Number.POSITIVE_INFINITY, ",
    breaks: "7. together they end within the budget, to the millisecond",
    mode: "in order"
  },
  {
    name: "the drain reserves no time for its own force",
    module: "StopBudget",
    from: "            const own = until() - forceMillis\n",
    to: "            const own = until()\n",
    breaks: "7. those that wait keep their force timeout, whatever the others take",
    mode: "in order"
  },
  {
    name: "the drain reserves no time for those that wait",
    module: "StopBudget",
    from: "return Math.max(own - reservedForWaiting(), ",
    to: "return Math.max(own, ",
    breaks: "7. those that wait keep their force timeout, whatever the others take",
    mode: "in order"
  },
  {
    name: "those that wait leave no time to drain",
    module: "StopBudget",
    from: "return Math.max(own - reservedForWaiting(), ((begunAt ?? now()) + own) / 2)",
    to: "return own - reservedForWaiting()",
    breaks: "7. half of the time without its own force is there to drain, however many wait",
    mode: "in order"
  },
  {
    name: "those that stop already are reserved for as if they waited",
    module: "StopBudget",
    from: "            self.stage = \"stopping\"\n",
    to: "",
    breaks: "7. one that hangs does not keep the others from draining",
    mode: "in order"
  },
  {
    name: "the force takes its whole timeout whatever is left of the budget",
    module: "StopBudget",
    from: "return wanted <= left ? forceMillis : left * (forceMillis / wanted)",
    to: "return wanted <= left ? forceMillis : forceMillis",
    breaks: "7. together they end within the budget, to the millisecond",
    mode: "in order"
  },
  {
    name: "the force takes all that is left and nothing remains for those that wait",
    module: "StopBudget",
    from: "return wanted <= left ? forceMillis : left * (forceMillis / wanted)",
    to: "return wanted <= left ? forceMillis : Math.min(forceMillis, Math.max(0, left - 1))",
    breaks: "7. where the force timeouts do not fit, each takes no more than its part of what is left",
    mode: "in order"
  },
  {
    name: "the time of the budget begins when it is made",
    module: "StopBudget",
    from: "let begunAt: number | undefined\n",
    to: "let begunAt: number | undefined = monotonicMillis(clock)\n",
    breaks: "7. one that hangs does not keep the others from draining",
    mode: "in order"
  },
  {
    name: "every call of stop runs the steps again",
    module: "GracefulStop",
    from: "      if (started) return Effect.void\n",
    to: "      phase = \"Serving\"\n",
    breaks: "5. each step runs once, in its phase",
    mode: "in order"
  },
  {
    name: "the stop is interrupted with its caller",
    module: "GracefulStop",
    from: "      return Effect.forkDetach(\n        Effect.onExit(",
    to: "      return Effect.forkChild(\n        Effect.onExit(",
    breaks: "5. stopping many times is one stop with one report",
    mode: "in order"
  },
  {
    name: "the grace period is measured from the announcement",
    module: "GracefulStop",
    from: "const until = drainDelayOver + policy.graceMillis",
    to: "const until = start + policy.graceMillis",
    breaks: "1. it is forced neither early nor late",
    mode: "in order"
  },
  {
    name: "the grace period begins again after a long announcement",
    module: "GracefulStop",
    from: "      const forcedBy = yield* drain(until)\n",
    to: "      const forcedBy = yield* drain(drainStart + policy.graceMillis)\n",
    breaks: "1. it ends within drain delay, grace period and force timeout",
    mode: "in order"
  },
  {
    name: "the drain delay is cut short by a quick announcement",
    module: "GracefulStop",
    from: "Effect.andThen(settled(\"announce\", fiber), sleepUntil(drainDelayOver)),",
    to: "settled(\"announce\", fiber),",
    breaks: "1. the announcement lasts for the drain delay, or longer if the step takes longer",
    mode: "in order"
  },
  {
    name: "an escalation does not end the drain",
    module: "GracefulStop",
    from: "Effect.as(escalated.await, \"escalation\" as const)",
    to: "Effect.never",
    breaks: "1. it ends within drain delay, grace period and force timeout",
    mode: "in order"
  },
  {
    name: "an escalation does not end the drain delay",
    module: "GracefulStop",
    from: "        graceOver(until),\n        escalated.await\n",
    to: "        graceOver(until)\n",
    breaks: "1. the announcement lasts for the drain delay, or longer if the step takes longer",
    mode: "in order"
  },
  {
    name: "a hanging announcement holds the stop",
    module: "GracefulStop",
    from: "        graceOver(until),\n        escalated.await\n",
    to: "        escalated.await\n",
    breaks: "1. it ends within drain delay, grace period and force timeout",
    mode: "in order"
  },
  {
    name: "the force timeout is ignored",
    module: "GracefulStop",
    from: "Effect.raceAllFirst([settled(\"interrupt\", fiber), forceOver(until)])",
    to: "settled(\"interrupt\", fiber)",
    breaks: "1. it ends within drain delay, grace period and force timeout",
    mode: "in order"
  },
  {
    name: "awaitEmpty returns at once",
    module: "InFlight",
    from: "this.length === 0 ? Effect.void : Effect.flatMap(this.nextEmpty, () => this.awaitEmpty)",
    to: "Effect.void",
    breaks: "4. no work takes a step after the stop, except what was abandoned",
    mode: "in order"
  },
  {
    name: "awaitEmpty looks, and begins to listen later",
    module: "InFlight",
    from: "    if (this.length === 0) return resume(Effect.void)\n",
    to: "",
    breaks: "3. what arrives in the moment of the stop is either admitted and waited for, or refused (every resource)",
    mode: "shuffled"
  },
  {
    name: "an end counts twice",
    module: "InFlight",
    from: "    if (this.ended) return false\n",
    to: "    if (this.ended) {\n      this.counts[outcome]++\n      return false\n    }\n",
    breaks: "6. at every moment, admitted = what ended + what is in flight",
    mode: "in order"
  },
  {
    name: "what is abandoned stays in flight",
    module: "GracefulStop",
    from: "      for (const entry of inFlight?.entries() ?? []) entry.end(\"abandoned\")\n",
    to: "",
    breaks: "8. nothing is left: no step, and nothing in flight",
    mode: "in order"
  },
  {
    name: "work is abandoned without having been asked to end",
    module: "GracefulStop",
    from: "      yield* interruptRest\n    })",
    to: "    })",
    breaks: "4. nothing is abandoned that was not interrupted, whatever the interrupt step does",
    mode: "in order"
  },
  {
    name: "every interruption counts as a failure",
    module: "InFlight",
    from: "return isInterrupted && Cause.hasInterruptsOnly(exit.cause) ? \"interrupted\" : \"failed\"",
    to: "return \"failed\"",
    breaks: "4. what is interrupted runs its finalizers, and is waited for until the force timeout",
    mode: "in order"
  },
  {
    name: "work that fits is interrupted when the drain begins",
    module: "GracefulStop",
    from: "      draining.openUnsafe()\n",
    to: "      draining.openUnsafe()\n      inFlight?.interruptAll()\n",
    breaks: "2. work that fits ends as if nothing had happened",
    mode: "in order"
  },
  {
    name: "the caller of work that is interrupted does not wait for its finalizers",
    module: "InFlight",
    from: "Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))",
    to: "Effect.onInterrupt(restore(Fiber.join(fiber)), () => Effect.sync(() => fiber.interruptUnsafe()))",
    breaks: "2. work whose caller goes away is interrupted and counts as failed, and the caller waits for it",
    mode: "in order"
  },
  {
    name: "work whose caller is interrupted runs on",
    module: "InFlight",
    from: "Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))",
    to: "restore(Fiber.join(fiber))",
    breaks: "2. work whose caller goes away is interrupted and counts as failed, and the caller waits for it",
    mode: "in order"
  },
  {
    name: "a step that fails ends the protocol",
    module: "GracefulStop",
    from: ": Effect.as(failed(step, exit.cause), \"failed\" as const)",
    to: ": Effect.die(exit.cause)",
    breaks: "5. a step that fails is reported and does not hide the steps after it",
    mode: "in order"
  },
  {
    name: "a step that fails is not reported",
    module: "GracefulStop",
    from: "        failures.push(`${step}: ${pretty}`)\n",
    to: "",
    breaks: "5. a step that fails is reported and does not hide the steps after it",
    mode: "in order"
  },
  {
    name: "a destroy that throws ends the protocol",
    module: "GracefulStop",
    from: "        return failed(\"destroy\", Cause.die(defect))",
    to: "        throw defect",
    breaks: "5. a step that fails is reported and does not hide the steps after it",
    mode: "in order"
  },
  {
    name: "a drain that fails counts as done",
    module: "GracefulStop",
    from: "result === \"done\" ? undefined : \"failure\"",
    to: "result === \"done\" ? undefined : undefined",
    breaks: "2. work that fits ends as if nothing had happened",
    mode: "in order"
  },
  {
    name: "a step runs on the stop's own fiber, which cannot leave it behind",
    module: "GracefulStop",
    from: "        Effect.forkDetach(step, { startImmediately: true }),\n        (fiber)",
    to:
      "        Effect.flatMap(Effect.exit(step), (exit) => Effect.forkDetach(exit, { startImmediately: true })),\n        (fiber)",
    breaks: "1. it ends within drain delay, grace period and force timeout",
    mode: "in order"
  },
  {
    name: "steps whose time is over are not told to end",
    module: "GracefulStop",
    from: "      for (const fiber of left) fiber.interruptUnsafe()\n",
    to: "",
    breaks: "8. nothing is left: no step, and nothing in flight",
    mode: "in order"
  },
  {
    name: "closing the scope does not stop",
    module: "GracefulStop",
    from: "(self) => Effect.addFinalizer(() => self.stop))",
    to: "(self) => Effect.addFinalizer(() => Effect.forkDetach(self.stop)))",
    breaks: "4. a dependency is released once, after the stop",
    mode: "in order"
  },
  {
    name: "two that announce may both find that nobody has",
    module: "GracefulStop",
    from: `      if (phase !== "Serving") return Effect.undefined
      enter("Announced")
      announced.openUnsafe()
`,
    to: `      if (phase !== "Serving") return Effect.undefined
      return Effect.andThen(Effect.sync(() => {}), announceNow)
    })
    const announceNow = Effect.suspend(() => {
      enter("Announced")
      announced.openUnsafe()
`,
    breaks: "9. it ends as it was asked to, with what died meanwhile",
    mode: "shuffled"
  },
  {
    name: "a drain does not notice that the budget begins",
    module: "GracefulStop",
    from: "Effect.andThen(sleepUnlessBudgetBegins(deadline), graceOver(until))",
    to: "Effect.andThen(sleepUntil(deadline), graceOver(until))",
    breaks: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    mode: "in order"
  },
  {
    name: "a force does not notice that the budget begins",
    module: "GracefulStop",
    from: "Effect.raceFirst(sleepUntil(deadline), Effect.andThen(share.awaitBegin, forceOver(until)))",
    to: "sleepUntil(deadline)",
    breaks: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    mode: "in order"
  },
  {
    name: "the drain delay is ignored",
    module: "Lifecycle",
    from: "announce(wasReady ? drainDelayMillis : 0)",
    to: "announce(0)",
    breaks:
      "9. the drain delay passes once, if the process was ready, and no longer than the budget or until someone hurries",
    mode: "in order"
  },
  {
    name: "a process that was never ready waits for the drain delay",
    module: "Lifecycle",
    from: "announce(wasReady ? drainDelayMillis : 0)",
    to: "announce(drainDelayMillis)",
    breaks:
      "9. the drain delay passes once, if the process was ready, and no longer than the budget or until someone hurries",
    mode: "in order"
  },
  {
    name: "the drain delay passes the budget",
    module: "Lifecycle",
    from: "escalated.await, spent(budget, clock)])",
    to: "escalated.await])",
    breaks: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    mode: "in order"
  },
  {
    name: "an escalation does not end the drain delay of a process",
    module: "Lifecycle",
    from: "escalated.await, spent(budget, clock)])",
    to: "spent(budget, clock)])",
    breaks:
      "9. the drain delay passes once, if the process was ready, and no longer than the budget or until someone hurries",
    mode: "in order"
  },
  {
    name: "nothing is announced ahead",
    module: "Lifecycle",
    from: "      Array.from(members),\n",
    to: "      Array.from(members).slice(0, 0),\n",
    breaks: "9. all are told before any drains",
    mode: "in order"
  },
  {
    name: "the budget is not shared",
    module: "Lifecycle",
    from: "        Effect.provideService(StopBudget.StopBudget, budget),\n",
    to: "",
    breaks: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    mode: "in order"
  },
  {
    name: "the reserve is not kept back",
    module: "Lifecycle",
    from: "Math.max(0, budgetMillis - reserveMillis)",
    to: "budgetMillis",
    breaks: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    mode: "in order"
  },
  {
    name: "an escalation is not forwarded",
    module: "Lifecycle",
    from: "      return Effect.forEach(members, ({ stop }) => stop.escalate, { discard: true })\n",
    to: "      return Effect.void\n",
    breaks: "9. when someone hurries no drain, no drain delay and no gap goes on",
    mode: "in order"
  },
  {
    name: "an escalation does not end a gap",
    module: "Lifecycle",
    from: "Effect.sleep(Duration.millis(left)), escalated, budgetSpent]",
    to: "Effect.sleep(Duration.millis(left)), budgetSpent]",
    breaks: "9. when someone hurries no drain, no drain delay and no gap goes on",
    mode: "in order"
  },
  {
    name: "gaps pass the budget",
    module: "Lifecycle",
    from: "Effect.sleep(Duration.millis(left)), escalated, budgetSpent]",
    to: "Effect.sleep(Duration.millis(left)), escalated]",
    breaks: "9. a process ends within its budget, less what is kept back, whatever its resources do",
    mode: "in order"
  },
  {
    name: "gaps are ignored",
    module: "Lifecycle",
    from: "return gapMillis === 0 ? ",
    to: "return gapMillis >= 0 ? ",
    breaks: "9. what stops later begins no earlier than the gap after what stops before began",
    mode: "in order"
  },
  {
    name: "a sequence stops in the reverse order",
    module: "Lifecycle",
    from: "layers.reduceRight<",
    to: "layers.toReversed().reduceRight<",
    breaks: "9. what stops later begins when what stops before has been released",
    mode: "in order"
  },
  {
    name: "a sequence stops together",
    module: "Lifecycle",
    from: "Layer.provide(layer, later) : withGap",
    to: "Layer.merge(layer, later) : withGap",
    breaks: "9. what stops later begins when what stops before has been released",
    mode: "in order"
  },
  {
    name: "the scope is not closed when the process failed",
    module: "Lifecycle",
    from: "yield* Effect.exit(Scope.close(scope, exit))",
    to: "exit._tag === \"Failure\" ? Exit.void : yield* Effect.exit(Scope.close(scope, exit))",
    breaks: "9. no step of any stop is skipped, and none runs twice",
    mode: "in order"
  },
  {
    name: "the building of layers is not waited for",
    module: "Lifecycle",
    from: "if (serving.pollUnsafe() === undefined) yield* unbuild(serving, start, until)",
    to: "serving.interruptUnsafe()",
    breaks: "9. what stops later begins when what stops before has been released",
    mode: "in order"
  },
  {
    name: "a finalizer that dies does not show in how the process ends",
    module: "Lifecycle",
    from: "Exit.isFailure(closed) ? Cause.combine(failed, closed.cause) : failed",
    to: "failed",
    breaks: "9. it ends as it was asked to, with what died meanwhile",
    mode: "in order"
  },
  {
    name: "what stops on its own while the process is ready starts the time of the budget",
    module: "Lifecycle",
    from: "    reports.length = 0\n    budget.hold()\n",
    to: "    reports.length = 0\n",
    breaks: "9. what stops on its own while the process is ready is no part of the stop",
    mode: "in order"
  },
  {
    name: "the report has all that ever stopped",
    module: "Lifecycle",
    from: "if (report !== undefined && current() !== \"Ready\") reports.push(report)",
    to: "if (report !== undefined) reports.push(report)",
    breaks: "9. what stops on its own while the process is ready is no part of the stop",
    mode: "in order"
  },
  {
    name: "a report is noted later than its resource has stopped",
    module: "Lifecycle",
    from: "if (report !== undefined && current() !== \"Ready\") reports.push(report)",
    to: "if (report !== undefined && current() !== \"Ready\") run(Effect.sync(() => reports.push(report)))",
    breaks: "9. each has one report, in the order of stopping, and the outcome is that of the worst",
    mode: "shuffled"
  },
  {
    name: "a process that stops can become ready",
    module: "Lifecycle",
    from: "    if (phase !== \"Starting\") return Option.none()\n",
    to: "",
    breaks: "9. the phases come in order, each once",
    mode: "shuffled"
  }
]
