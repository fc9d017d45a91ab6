/** What a program logs, for tests to wait for. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as EchoServer from "./EchoServer.ts"

export interface Logs {
  readonly lines: ReadonlyArray<string>
  /** In the place of the default logger. */
  readonly layer: Layer.Layer<never>
  /** Waits for a line that holds the text. */
  readonly awaitLine: (text: string) => Effect.Effect<void>
}

export const make = (): Logs => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    const parts = Array.isArray(message) ? message : [message]
    lines.push(`${logLevel.toUpperCase()} ${parts.map(String).join(" ")}`)
  })
  return {
    lines,
    layer: Logger.layer([logger]),
    awaitLine: (text) => EchoServer.until(`"${text}" is logged`, () => lines.some((line) => line.includes(text)))
  }
}
