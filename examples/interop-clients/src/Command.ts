/** A command that runs to its end. */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"

/** It is not there, or it did not end with 0; `message` is the end of what it said. */
export class CommandError extends Data.TaggedError("CommandError")<{ readonly message: string }> {}

export const run = (
  file: string,
  args: ReadonlyArray<string>,
  options: { readonly timeout: Duration.Input; readonly env?: Record<string, string> }
): Effect.Effect<void, CommandError> =>
  Effect.callback<void, CommandError>((resume) => {
    const child = execFile(
      file,
      args,
      { env: { ...process.env, ...options.env }, maxBuffer: 16 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error === null) return resume(Effect.void)
        const said = `${stdout}\n${stderr}`.trim().split("\n").slice(-5).join("\n")
        const missing = error.code === "ENOENT"
        resume(Effect.fail(new CommandError({ message: missing ? `${file} is not installed` : said || error.message })))
      }
    )
    return Effect.sync(() => void child.kill("SIGKILL"))
  }).pipe(Effect.timeoutOrElse({
    duration: options.timeout,
    orElse: () =>
      Effect.fail(
        new CommandError({
          message: `no end after ${Duration.format(Duration.fromInputUnsafe(options.timeout))}`
        })
      )
  }))
