import { assert, it } from "@effect/vitest"
import * as GracefulStop from "@lastcall/core/GracefulStop"
import * as Lifecycle from "@lastcall/core/Lifecycle"
import type { ProcessReport } from "@lastcall/core/StopReport"
import { drive } from "@lastcall/testing/VirtualTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as Program from "./program.ts"

/** A tracer whose exporter sends what has ended until it is released. */
const exporting = (lines: Array<string>, say: (what: string) => Effect.Effect<unknown>) => {
  let open = 0
  const tracer = Tracer.make({
    span(options) {
      open++
      const span = new Tracer.NativeSpan(options)
      const end = span.end.bind(span)
      span.end = (endTime, exit) => {
        end(endTime, exit)
        open--
        const parent = Option.match(span.parent, {
          onNone: () => "",
          onSome: (parent) => ` of ${(parent as Tracer.Span).name}`
        })
        lines.push(`${Number(endTime) / 1e6} span ${span.name}${parent} ${exit._tag}`)
      }
      return span
    }
  })
  return Layer.effect(
    Tracer.Tracer,
    Effect.acquireRelease(
      Effect.succeed(tracer),
      () => Effect.suspend(() => say(`exporter released, ${open} spans open`))
    )
  )
}

const spansOf = (lines: ReadonlyArray<string>) => lines.filter((line) => / span | exporter /.test(line))

it.effect("68: one root span for the whole stop, one of each resource in it, all ended before the exporter is released", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const app = Lifecycle.sequence([
      resource("a", { drain: Effect.sleep("1 second") }),
      resource("b", { drain: Effect.sleep("2 seconds") })
    ])
    const { interrupt } = yield* launch(Layer.provide(app, exporting(lines, say)))
    yield* interrupt
    assert.deepStrictEqual(spansOf(lines), [
      "1000 span stop a of stop Success",
      "3000 span stop b of stop Success",
      "3000 span stop Success",
      "3000 exporter released, 0 spans open"
    ])
  }))

it.effect("68: a stop while the process starts is one span too", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const app = Lifecycle.sequence([resource("never built", { build: Effect.never }), resource("a"), resource("b")])
    const { interrupt } = yield* launch(Layer.provide(app, exporting(lines, say)))
    yield* interrupt
    assert.deepStrictEqual(spansOf(lines), [
      "0 span stop a of stop Success",
      "0 span stop b of stop Success",
      "0 span stop Success",
      "0 exporter released, 0 spans open"
    ])
  }))

it.effect("what stops on its own while the process is ready has a span of its own", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const alone = Layer.effectDiscard(Effect.forkScoped(
      Effect.andThen(Effect.sleep("1 second"), Effect.scoped(GracefulStop.make({ name: "alone" })))
    ))
    const app = Lifecycle.sequence([resource("a"), alone])
    const { interrupt } = yield* launch(Layer.provide(app, exporting(lines, say)))
    yield* TestClock.adjust("2 seconds")
    yield* interrupt
    assert.deepStrictEqual(spansOf(lines), [
      "1000 span stop alone Success",
      "2000 span stop a of stop Success",
      "2000 span stop Success",
      "2000 exporter released, 0 spans open"
    ])
  }))

it.effect("the span of the stop ends though something that was made never stops", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const never = Layer.effectDiscard(GracefulStop.makeUnscoped({ name: "never stopped" }))
    const app = Lifecycle.sequence([resource("a"), never])
    const { interrupt } = yield* launch(Layer.provide(app, exporting(lines, say)))
    yield* interrupt
    assert.include(spansOf(lines), "0 span stop Success")
  }))

it.effect("what stops on its own while the process starts has a span of its own", () =>
  Effect.gen(function*() {
    const { launch, lines, resource, say } = yield* Program.make
    const migration = Layer.effectDiscard(
      Effect.andThen(Effect.sleep("1 second"), Effect.scoped(GracefulStop.make({ name: "migration" })))
    )
    const app = Lifecycle.sequence([migration, resource("a")])
    const { interrupt } = yield* launch(Layer.provide(app, exporting(lines, say)))
    yield* TestClock.adjust("2 seconds")
    yield* interrupt
    assert.deepStrictEqual(spansOf(lines), [
      "1000 span stop migration Success",
      "2000 span stop a of stop Success",
      "2000 span stop Success",
      "2000 exporter released, 0 spans open"
    ])
  }))

it.effect("the span of the stop is no part of a span in which a resource was made", () =>
  Effect.gen(function*() {
    const { launch, lines, say } = yield* Program.make
    const app = Layer.effectDiscard(Effect.withSpan(GracefulStop.make({ name: "a" }), "start"))
    const { interrupt } = yield* launch(Layer.provide(app, exporting(lines, say)))
    yield* interrupt
    assert.deepStrictEqual(spansOf(lines), [
      "0 span stop a of stop Success",
      "0 span stop Success",
      "0 exporter released, 0 spans open"
    ])
  }))

it.effect.each(["is made", "ends"])(
  "a tracer that throws when a span %s does not hold the stop of the process",
  (when) =>
    Effect.gen(function*() {
      const broken = (): never => {
        throw new Error("the exporter is broken")
      }
      const tracer = Tracer.make({
        span(options) {
          if (when === "is made") return broken()
          const span = new Tracer.NativeSpan(options)
          span.end = broken
          return span
        }
      })
      const logs: Array<string> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
        if (logLevel === "Error") logs.push(String(message))
      })
      const { resource } = yield* Program.make
      let report: ProcessReport | undefined
      const app = Lifecycle.sequence([resource("a"), resource("b")])
      const fiber = yield* Lifecycle.launch(Layer.provide(app, Layer.succeed(Tracer.Tracer, tracer)), {
        onReport: (made) => Effect.sync(() => void (report = made))
      }).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.forkChild
      )
      yield* TestClock.adjust(0)
      fiber.interruptUnsafe()
      yield* Effect.exit(drive(fiber))
      assert.deepStrictEqual(report?.resources.map(({ name, outcome }) => `${name} ${outcome}`), [
        "a graceful",
        "b graceful"
      ])
      assert.deepStrictEqual(
        logs.filter((line) => line.startsWith("the span")),
        when === "ends" ? ["the span of the stop could not be ended"] : []
      )
    })
)
