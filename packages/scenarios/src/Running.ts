/** A subject that runs, as its tester sees it. */
import type { ProcessReport } from "@lastcall/core/StopReport"
import * as ServerProgram from "@lastcall/testing/ServerProgram"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as Ground from "./Ground.ts"
import type { Address, Command, Plan, Said, ServerPlan } from "./Plan.ts"
import { Failed, inTime, until } from "./Scenario.ts"
import type { Subject } from "./Subject.ts"

type Of<Tag extends Said["_tag"]> = Extract<Said, { readonly _tag: Tag }>

export interface Running {
  readonly plan: Plan
  readonly pid: number
  /** Where a server listens; the first one if no name is given. */
  readonly at: (name?: string) => Address
  /** What it has said so far. */
  readonly said: <Tag extends Said["_tag"]>(tag: Tag) => ReadonlyArray<Of<Tag>>
  /** Waits until it says this, or has said it. */
  readonly awaitSaid: <Tag extends Said["_tag"]>(
    tag: Tag,
    matches?: (said: Of<Tag>) => boolean
  ) => Effect.Effect<Of<Tag>, Failed>
  /** Waits until the handler with this id has come to a step. */
  readonly handler: (id: string, step: Of<"Handler">["step"]) => Effect.Effect<void, Failed>
  readonly command: (command: Command) => Effect.Effect<void>
  /** Lets a handler go on. */
  readonly open: (gate: string) => Effect.Effect<void>
  /** Asks for the stop, and begins to measure it. */
  readonly stop: (how?: NodeJS.Signals | "command") => Effect.Effect<void>
  /** Sends a second signal, late enough not to be the first once more, sent to a whole process group. */
  readonly stopAgain: (how?: NodeJS.Signals) => Effect.Effect<void>
  /** Waits until a server accepts no connection any more. */
  readonly refusing: (name?: string) => Effect.Effect<void, Failed>
  /** Waits for the end of the process, longer than its stop may take; fails if it stays. */
  readonly ended: Effect.Effect<Stopped, Failed>
}

export interface Stopped {
  /** From the request to stop to the end of the process. */
  readonly millis: number
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Of subjects that have one. */
  readonly report: ProcessReport | undefined
  /** How many handlers used the database when it was released; `undefined`: it never was. */
  readonly openAtRelease: number | undefined
  readonly usedAfterRelease: number
  /** What it wrote besides, to both outputs. */
  readonly output: string
}

/** What a process may take beyond its deadlines, on a machine that is busy. */
const patienceMillis = 8_000

export const defaults = { graceMillis: 20_000, forceMillis: 1_000, budgetMillis: 60_000, drainDelayMillis: 0 }

export type Options = Partial<Omit<Plan, "folder" | "servers">> & {
  /** Default: one, `api`, in plaintext at a free port. */
  readonly servers?: ReadonlyArray<ServerPlan> | undefined
}

export const api: ServerPlan = { name: "api", listen: { port: 0 } }
export const admin: ServerPlan = { name: "admin", listen: { port: 0 } }

/** Starts it, without waiting. */
export const launch = (subject: Subject, options: Options = {}): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const plan: Plan = {
      ...defaults,
      ...options,
      servers: options.servers ?? [api],
      folder: Ground.certificates()
    }
    const [file, ...args] = subject.command
    const program = yield* ServerProgram.start(file, {
      args: [...args, JSON.stringify(plan)],
      flags: ["--disable-warning=ExperimentalWarning"],
      node: subject.node
    })
    let began: number | undefined

    const parse = (line: string): Said | undefined => {
      if (!line.startsWith("{\"_tag\"")) return undefined
      return JSON.parse(line) as Said
    }
    const said = <Tag extends Said["_tag"]>(tag: Tag) =>
      program.lines().map(parse).filter((said): said is Of<Tag> => said?._tag === tag)

    const awaitSaid: Running["awaitSaid"] = (tag, matches = () => true) =>
      inTime(
        program.awaitLine((line) => {
          const said = parse(line)
          return said?._tag === tag && matches(said as never)
            ? said as Extract<Said, { readonly _tag: typeof tag }>
            : undefined
        }),
        `waited in vain until it said ${tag}`,
        60_000
      ).pipe(
        Effect.catchTag("ServerProgramEnded", ({ ended }) =>
          Effect.fail(
            new Failed({ how: `the process ${ended.code === 0 ? "ended" : "died"}${why(ended)} before it said ${tag}` })
          ))
      )

    const at = (name = plan.servers[0]!.name): Address => said("Listening")[0]!.at[name]!

    const bound = plan.drainDelayMillis + plan.forceMillis + patienceMillis +
      plan.servers.reduce((sum, { graceMillis }) => {
        const grace = graceMillis ?? plan.graceMillis
        return sum + (grace === "forever" ? defaults.graceMillis : grace)
      }, 0)

    return {
      plan,
      pid: program.pid,
      at,
      said,
      awaitSaid,
      handler: (id, step) => Effect.asVoid(awaitSaid("Handler", (said) => said.id === id && said.step === step)),
      command: (command) => program.say(JSON.stringify(command)),
      open: (gate) => program.say(JSON.stringify({ _tag: "Open", gate } satisfies Command)),
      stop: (how = "SIGTERM") =>
        Effect.suspend(() => {
          began ??= performance.now()
          return how === "command"
            ? program.say(JSON.stringify({ _tag: "StopAll" } satisfies Command))
            : program.signal(how)
        }),
      stopAgain: (how = "SIGTERM") => Effect.delay(program.signal(how), "600 millis"),
      refusing: (name) =>
        until(Effect.map(accepts(at(name)), (does) => !does), "it accepts connections after its stop"),
      ended: Effect.gen(function*() {
        const since = () => performance.now() - (began ?? performance.now())
        const released = yield* program.awaitLine((line) => parse(line)?._tag === "Released" ? since() : undefined)
          .pipe(
            Effect.timeoutOption(bound),
            Effect.orElseSucceed(Option.none)
          )
        const { code, killed, lines, signal, stderr } = yield* program.endedWithin(patienceMillis)
        const millis = since()
        if (killed) {
          return yield* new Failed({
            how: Option.match(released, {
              onNone: () => "the stop never ended",
              onSome: (millis) =>
                millis < Number(plan.graceMillis)
                  ? "it stopped in time, but what was left kept the process alive"
                  : "the stop took the whole timeout, and what was left kept the process alive"
            })
          })
        }
        return {
          millis,
          code,
          signal,
          report: said("Report")[0]?.report,
          openAtRelease: said("Released")[0]?.openSessions,
          usedAfterRelease: said("UsedAfterRelease")[0]?.times ?? 0,
          output: `${lines.filter((line) => parse(line) === undefined).join("\n")}\n${stderr}`
        }
      })
    }
  })

/** Starts it, and waits until it listens. */
export const start = (subject: Subject, options?: Options): Effect.Effect<Running, Failed, Scope.Scope> =>
  Effect.tap(launch(subject, options), (running) => running.awaitSaid("Listening"))

const why = ({ code, signal, stderr }: ServerProgram.Ended): string => {
  const error = /^(?:\w*Error|Error \[\w+\]): .*$/m.exec(stderr)?.[0]
  return ` (${signal ?? `exit code ${code}`}${error === undefined ? "" : `, ${error.slice(0, 100)}`})`
}

/** Whether somebody accepts connections there. */
export const accepts = (address: Address): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = net.connect("path" in address ? address : { ...address, host: "127.0.0.1" })
    const end = (does: boolean) => {
      socket.destroy()
      resume(Effect.succeed(does))
    }
    socket.once("connect", () => end(true))
    socket.once("error", () => end(false))
  })
