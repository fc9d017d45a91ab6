/** What both clients send, and what they expect of an answer: messages are their bytes. */

/** Calls at a time, all on one connection. */
export const lanes = 32

/** `text` of 14 characters. */
export const request = Buffer.from([0x12, 14, ...Buffer.from("a".repeat(14))])

/** Of the span that all calls belong to. */
export const trace = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" }

/** Throws unless the answer is as long as the request. */
export const expectEcho = (answer: Buffer): void => {
  if (answer.byteLength !== request.byteLength) throw new Error(`${answer.byteLength} bytes were answered`)
}

export const expectCount = (count: number, expected: number): void => {
  if (count !== expected) throw new Error(`${count} messages were answered instead of ${expected}`)
}
