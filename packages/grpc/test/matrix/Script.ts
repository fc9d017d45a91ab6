/**
 * What a server of the matrix does is written in the metadata of the request, for all four kinds alike, and what it answers
 * with is written here: by hand and in bytes, so that neither side's code is its own judge.
 */

/** Says what to do; see {@link Act}. */
export const actKey = "x-act"
/** Names the RPC to the server's {@link Witness.Witness}. */
export const idKey = "x-id"
/** Keys that begin so come back as headers. */
export const headerPrefix = "x-head"
/** Keys that begin so come back as trailers. */
export const trailerPrefix = "x-trail"

/**
 * - `answer`: `say` and `chat` give the text back (`chat` with a `!`), `count` counts, `sum` sums.
 * - `hang`: never ends; streams of responses begin with one message.
 * - `early`: answers before a request is read.
 * - `fail`: {@link failure}, before any message.
 * - `fail late`: {@link failure}; streams of responses begin with two messages.
 * - `status`: the status of the code that {@link codeKey} says, without anything else.
 * - `flaky`: UNAVAILABLE as often as {@link timesKey} says, and then as `answer`.
 * - `stall`: nothing at all as often as {@link timesKey} says, and then as `answer`.
 */
export type Act = "answer" | "hang" | "early" | "fail" | "fail late" | "status" | "flaky" | "stall"

export const codeKey = "x-code"
export const timesKey = "x-times"

export const statusMessage = "50% größer\n☺"

/** What `early` answers with. */
export const early = { total: 7, text: "enough" }

/** One field of protobuf's wire format, of a type that has a length. */
const field = (number: number, body: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(body)
  if (bytes.length > 127) throw new Error("too long for one byte of length")
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes])
}

const errorInfo = Buffer.concat([field(1, "EMPTY"), field(2, "matrix.test")])

export const failure = {
  code: 3,
  name: "INVALID_ARGUMENT",
  message: "the näme is empty",
  reason: "EMPTY",
  domain: "matrix.test",
  detail: { typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: errorInfo },
  trailers: { "x-hint": ["say a name", "any name"], "x-hint-bin": [Buffer.from([0, 1, 255]), Buffer.from([2])] }
}

/** The `google.rpc.Status` of {@link failure}, as it is on the wire. */
export const failureStatus: Buffer = Buffer.concat([
  Buffer.from([1 << 3, failure.code]),
  field(2, failure.message),
  field(3, Buffer.concat([field(1, failure.detail.typeUrl), field(2, errorInfo)]))
])

/** The codes of gRPC, from its specification. */
export const codes: ReadonlyArray<readonly [code: number, name: string]> = [
  [1, "CANCELLED"],
  [2, "UNKNOWN"],
  [3, "INVALID_ARGUMENT"],
  [4, "DEADLINE_EXCEEDED"],
  [5, "NOT_FOUND"],
  [6, "ALREADY_EXISTS"],
  [7, "PERMISSION_DENIED"],
  [8, "RESOURCE_EXHAUSTED"],
  [9, "FAILED_PRECONDITION"],
  [10, "ABORTED"],
  [11, "OUT_OF_RANGE"],
  [12, "UNIMPLEMENTED"],
  [13, "INTERNAL"],
  [14, "UNAVAILABLE"],
  [15, "DATA_LOSS"],
  [16, "UNAUTHENTICATED"]
]
