/**
 * The options of a `Lifecycle` from the environment.
 *
 * A module of its own, so that a program that does not use it does not load Effect's `Config` and `Schema`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Lifecycle from "./Lifecycle.ts"
import type { ProcessReport } from "./StopReport.ts"

/**
 * The options from the environment: `LASTCALL_BUDGET`, `LASTCALL_RESERVE`, `LASTCALL_DRAIN_DELAY`,
 * `LASTCALL_QUIET_PERIOD`, `LASTCALL_GRACE`, `LASTCALL_FORCE_TIMEOUT`, each a duration such as "5 seconds". What is not set
 * keeps its default; what is no duration, or negative, fails with a `ConfigError` that names it.
 *
 * @category config
 * @since 0.1.0
 */
export const config: Config.Config<Lifecycle.Options> = Config.map(
  Config.nested(
    Config.all({
      budget: Config.option(finite("BUDGET")),
      reserve: Config.option(finite("RESERVE")),
      drainDelay: Config.option(finite("DRAIN_DELAY")),
      quietPeriod: Config.option(finite("QUIET_PERIOD")),
      grace: Config.option(notNegative("GRACE")),
      forceTimeout: Config.option(finite("FORCE_TIMEOUT"))
    }),
    "LASTCALL"
  ),
  Record.map(Option.getOrUndefined)
)

/**
 * Like `Lifecycle.launch`, with the options from a config; it fails with a `ConfigError` before anything is built.
 *
 * @category running
 * @since 0.1.0
 */
export const launch: {
  (
    options?: Config.Config<Lifecycle.LaunchOptions>
  ): <ROut, E, RIn>(layer: Layer.Layer<ROut, E, RIn>) => Effect.Effect<ProcessReport, E | Config.ConfigError, RIn>
  <ROut, E, RIn>(
    layer: Layer.Layer<ROut, E, RIn>,
    options?: Config.Config<Lifecycle.LaunchOptions>
  ): Effect.Effect<ProcessReport, E | Config.ConfigError, RIn>
} = dual(
  (args) => Layer.isLayer(args[0]),
  <ROut, E, RIn>(
    layer: Layer.Layer<ROut, E, RIn>,
    options: Config.Config<Lifecycle.LaunchOptions> = config
  ): Effect.Effect<ProcessReport, E | Config.ConfigError, RIn> =>
    Effect.flatMap(options, (options) => Lifecycle.launch(layer, options))
)

function finite(name: string): Config.Config<Duration.Duration> {
  return Config.schema(
    Schema.DurationFromString.check(
      Schema.makeFilter((duration) =>
        Duration.isFinite(duration) && !Duration.isNegative(duration) ? undefined : "must be finite and not negative"
      )
    ),
    name
  )
}

function notNegative(name: string): Config.Config<Duration.Duration> {
  return Config.schema(
    Schema.DurationFromString.check(
      Schema.makeFilter((duration) => Duration.isNegative(duration) ? "must not be negative" : undefined)
    ),
    name
  )
}
