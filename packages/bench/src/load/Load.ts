/** What is asked of a server in one window of a measurement, by the kind of method. Each load checks every answer's size. */
import { type Connection, framed } from "./Connection.ts"

/** Runs for about so long; says how many calls, or messages, were served. */
export type Load = (connections: ReadonlyArray<Connection>, millis: number) => Promise<number>

export interface Workload {
  readonly method: "Unary" | "ServerStream" | "ClientStream" | "Bidi"
  readonly connections: number
  readonly load: Load
}

const frameSize = 5

/** A message as both codecs have it on the wire: `text` of that many characters, below 128 or above 16,383. */
const message = (length: number): Buffer =>
  Buffer.concat([Buffer.from([0x12, ...varint(length)]), Buffer.alloc(length, "a")])

const varint = (value: number): ReadonlyArray<number> =>
  value < 128 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)]

/** The first field of `Message`, a fixed32. */
const countMessage = (count: number): Buffer => {
  const bytes = Buffer.from([0x0d, 0, 0, 0, 0])
  bytes.writeUInt32LE(count, 1)
  return bytes
}

/** One stream from its opening to its end; says how many bytes came. */
const call = (connection: Connection, body: Buffer, perFrame?: number): Promise<number> =>
  new Promise((resolve) => {
    let bytes = 0
    connection.open({ onData: (length) => void (bytes += length), onEnd: () => resolve(bytes) }, body, perFrame)
  })

const expect = (what: string, actual: number, expected: number): void => {
  if (actual !== expected) throw new Error(`${what}: ${actual} bytes were answered instead of ${expected}`)
}

/** Calls one after the other on each of `width` lanes of a connection. */
const lanes = (
  connections: ReadonlyArray<Connection>,
  width: number,
  millis: number,
  body: Buffer
): Promise<number> =>
  new Promise((resolve, reject) => {
    const until = performance.now() + millis
    let open = connections.length * width
    let calls = 0
    for (const connection of connections) {
      for (let i = 0; i < width; i++) {
        let bytes = 0
        const listener = {
          onData: (length: number): void => void (bytes += length),
          onEnd: (): void => {
            if (bytes !== body.byteLength) {
              return reject(new Error(`${bytes} bytes were answered instead of ${body.byteLength}`))
            }
            bytes = 0
            calls++
            if (performance.now() < until) connection.open(listener, body)
            else if (--open === 0) resolve(calls)
          }
        }
        connection.open(listener, body)
      }
    }
  })

/** Sixteen at a time on each of four connections, each a message of 16 bytes that comes back. */
export const unary: Workload = {
  method: "Unary",
  connections: 4,
  load: (connections, millis) => lanes(connections, 16, millis, framed(message(14)))
}

/** Two at a time on each of two connections, each a message of 1 MiB that comes back. */
export const large: Workload = {
  method: "Unary",
  connections: 2,
  load: (connections, millis) => lanes(connections, 2, millis, framed(message(1_048_576)))
}

/** One stream of so many messages after the other, until the time is over. */
const streams = async (millis: number, size: number, once: () => Promise<void>): Promise<number> => {
  const until = performance.now() + millis
  let messages = 0
  do {
    await once()
    messages += size
  } while (performance.now() < until)
  return messages
}

/** One response stream of that many messages of 13 bytes after the other. */
export const serverStream = (size: number): Workload => ({
  method: "ServerStream",
  connections: 1,
  load: ([connection], millis) =>
    streams(
      millis,
      size,
      async () => expect("server stream", await call(connection!, framed(countMessage(size))), size * (frameSize + 13))
    )
})

/** One request stream of that many messages of 16 bytes after the other, each message in a DATA frame of its own. */
export const clientStream = (size: number): Workload => {
  const one = framed(message(14))
  const body = Buffer.concat(Array<Buffer>(size).fill(one))
  return {
    method: "ClientStream",
    connections: 1,
    load: ([connection], millis) =>
      streams(
        millis,
        size,
        async () =>
          expect(
            "client stream",
            await call(connection!, body, one.byteLength),
            frameSize + countMessage(size).byteLength
          )
      )
  }
}

/** Sixteen streams on each of four connections, each a message that comes back and goes out again. */
export const bidi: Workload = {
  method: "Bidi",
  connections: 4,
  load: (connections, millis) =>
    new Promise((resolve, reject) => {
      const ball = framed(message(14))
      const until = performance.now() + millis
      let open = connections.length * 16
      let messages = 0
      for (const connection of connections) {
        for (let i = 0; i < 16; i++) {
          let isOver = false
          let bytes = 0
          const id = connection.open({
            onData: (length) => {
              bytes += length
              if (isOver || bytes < ball.byteLength) return
              if (bytes > ball.byteLength) return reject(new Error("bidi: more was answered than sent"))
              bytes = 0
              messages++
              if (performance.now() < until) return connection.send(id, ball)
              isOver = true
              connection.end(id)
            },
            onEnd: () => {
              if (!isOver) return reject(new Error("bidi: the server ended a stream"))
              if (--open === 0) resolve(messages)
            }
          })
          connection.send(id, ball)
        }
      }
    })
}

/** Calls at a fixed rate, whatever the answers do; the latencies, counted from when each call was due, in milliseconds. */
export const paced = (
  connections: ReadonlyArray<Connection>,
  millis: number,
  perSecond: number
): Promise<Float64Array> =>
  new Promise((resolve, reject) => {
    const body = framed(message(14))
    const total = Math.max(1, Math.floor((millis * perSecond) / 1_000))
    const latencies = new Float64Array(total)
    const start = performance.now()
    let sent = 0
    let answered = 0
    const send = (due: number, connection: Connection): void => {
      let bytes = 0
      connection.open({
        onData: (length) => void (bytes += length),
        onEnd: () => {
          if (bytes !== body.byteLength) return reject(new Error("paced: an answer of a wrong size"))
          latencies[answered++] = performance.now() - due
          if (answered === total) resolve(latencies.toSorted())
        }
      }, body)
    }
    // The load has a core of its own: it looks at the clock in every turn of the event loop.
    const turn = (): void => {
      for (
        let due = start + (sent * 1_000) / perSecond;
        sent < total && due <= performance.now();
        due = start + (sent * 1_000) / perSecond
      ) {
        send(due, connections[sent % connections.length]!)
        sent++
      }
      if (sent < total) setImmediate(turn)
    }
    turn()
  })
