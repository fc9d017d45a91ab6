/** What Lastcall says of its stops, among the lines of the demo. */
import * as StopEvent from "@lastcall/core/StopEvent"
import * as StopReport from "@lastcall/core/StopReport"
import * as Paragraph from "./Paragraph.ts"
import type { Result } from "./Way.ts"

/** All methods are of one package. */
const withoutPackage = (text: string): string => text.replaceAll("lastcall.demo.v1.", "")

/** "A1 public: 12 in flight, oldest IdentityService/Issue 800ms, 1s left" */
export const live = (instance: string, line: string): string => withoutPackage(`${instance} ${line}`)

/**
 * "A1 public: draining, 12 in flight", and what was cut if it was. Nothing of the other events: they are in the live line
 * and in the report.
 */
export const logged = (instance: string, event: StopEvent.StopEvent): string | undefined =>
  event._tag === "DrainCut" || (event._tag === "DrainStarted" && event.resource === "public")
    ? live(instance, StopEvent.render(event))
    : undefined

/** The report of the last stop that has one. */
export const lastReport = (results: ReadonlyArray<Result>): string | undefined => {
  const last = results.flatMap(({ stops }) => stops).findLast(({ report }) => report !== undefined)
  if (last?.report === undefined) return undefined
  const lines = withoutPackage(StopReport.renderProcess(last.report)).split("\n").map((line) => {
    const text = line.trimStart()
    const indent = " ".repeat(line.length - text.length + 2)
    return indent + Paragraph.wrap(text, width - indent.length - hanging.length, indent + hanging)
  })
  return [`What Lastcall itself says of the last restart, the stop of ${last.instance}:`, ...lines].join("\n")
}

const width = 108
const hanging = "  "
