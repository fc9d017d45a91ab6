/** `docs/scenarios.md`. */
import * as os from "node:os"
import type { Cell } from "./Cell.ts"
import type { Group } from "./Scenario.ts"
import { type Subject, versionOf } from "./Subject.ts"

/** The cells by number and subject. */
export type Cells = ReadonlyMap<number, ReadonlyMap<string, Cell>>

export interface Run {
  readonly command: string
  /** Such as 2026-11-23. */
  readonly date: string
  readonly seconds: number
  readonly subjects: ReadonlyArray<Subject>
  readonly groups: ReadonlyArray<Group>
  readonly cells: Cells
}

const escape = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")

const render = (cell: Cell | undefined): string => {
  switch (cell?._tag) {
    case "Passed":
      return cell.remark === undefined ? "passed" : `passed (${escape(cell.remark)})`
    case "Failed":
      return `**failed**: ${escape(cell.how)}`
    case "NotApplicable":
      return `n/a: ${escape(cell.why)}`
    default:
      return ""
  }
}

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const counts = (cells: Cells, subject: Subject) => {
  const all = Array.from(cells.values(), (row) => row.get(subject.id)?._tag)
  const count = (tag: Cell["_tag"]) => `${all.filter((one) => one === tag).length}`
  return [count("Passed"), count("Failed"), count("NotApplicable")]
}

const versions = (subject: Subject): string => subject.packages.map((name) => `${name} ${versionOf(name)}`).join(", ")

export const table = ({ cells, groups, subjects }: Pick<Run, "cells" | "groups" | "subjects">): string =>
  groups.flatMap(({ scenarios, title }) => {
    const asked = scenarios.filter(({ number }) => cells.has(number))
    return asked.length === 0 ? [] : [
      `## ${title}`,
      "",
      row(["", "scenario", ...subjects.map((subject) => subject.title)]),
      row(["--:", "---", ...subjects.map(() => "---")]),
      ...asked.map(({ number, title }) =>
        row([`${number}`, escape(title), ...subjects.map(({ id }) => render(cells.get(number)!.get(id)))])
      ),
      ""
    ]
  }).join("\n")

export const document = (run: Run): string =>
  `# Scenarios

What a graceful stop must survive, asked of Lastcall and of others in the same way: each subject is a program of its own
that serves the same service, is loaded and attacked over real sockets, and gets a signal.

Written by \`${run.command}\` on ${run.date}, in ${
    Math.round(run.seconds / 60)
  } minutes, on Node ${process.versions.node}, ${os.type()}.

| subject | passed | failed | n/a | versions |
| --- | --: | --: | --: | --- |
${run.subjects.map((subject) => row([subject.title, ...counts(run.cells, subject), versions(subject)])).join("\n")}

- **Lastcall** is \`Lifecycle.launch\` around \`GrpcServer.layer\`s.
- **The others** stop by the usual recipe: on SIGTERM each server's graceful stop, raced against a timer, and then its hard
  one, server after server; then the database is released. For nice-grpc that is \`shutdown\` and \`forceShutdown\`, for NestJS
  \`close\` with \`gracefulShutdown\` (it has no hard one), for connect-node \`close\` of the HTTP/2 server and the destruction of its
  sessions. Handlers are async functions. None calls \`process.exit\`: whether something is left is what is asked, and a program
  that calls it gets rid of sockets and cuts whatever still runs.
- **failed** says what was seen first. **n/a**: the library has no such feature, or the scenario is about fibers and scopes,
  where Lastcall's cell is that of its named tests.
- Of Lastcall each is a test of \`npm test\` too, by its number, except where it takes more than a few seconds.

${table(run)}`
