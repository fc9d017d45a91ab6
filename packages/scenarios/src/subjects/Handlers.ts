/** The service as async functions, for the libraries whose handlers are that. `Handlers` of Lastcall are in its own file. */
import { setTimeout as sleep } from "node:timers/promises"
import { gate, tell } from "./Control.ts"
import type { Database, Session } from "./Database.ts"

export interface Request {
  readonly id: string
  readonly behaviour: string
  readonly count: number
  readonly size: number
}

export interface Response {
  readonly text?: string
  readonly count?: number
  readonly padding?: Uint8Array
}

export interface Handlers {
  unary(request: Request, signal: AbortSignal): Promise<Response>
  serverStream(request: Request, signal: AbortSignal): AsyncGenerator<Response, void>
  clientStream(requests: AsyncIterable<Request>, signal: AbortSignal): Promise<Response>
  bidi(requests: AsyncIterable<Request>, signal: AbortSignal): AsyncGenerator<Response, void>
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    const onAbort = () => reject(new DOMException("the RPC is over", "AbortError"))
    if (signal.aborted) onAbort()
    else signal.addEventListener("abort", onAbort, { once: true })
  })

const unlessAborted = <A>(promise: Promise<A>, signal: AbortSignal): Promise<A> =>
  Promise.race([promise, aborted(signal)])

/** Ignores that its RPC is over, and goes on to use the database. It does not keep the process alive. */
const deaf = (session: Session): Promise<never> =>
  new Promise(() => {
    setInterval(session.use, 20).unref()
  })

export const make = (database: Database): Handlers => {
  /** A handler: a session from its beginning to its end. */
  async function* tracked<A>(id: string, signal: AbortSignal, run: (session: Session) => AsyncGenerator<A, void>) {
    const session = database.open()
    let step: "ended" | "interrupted" | "failed" = "interrupted"
    tell({ _tag: "Handler", id, step: "started" })
    try {
      yield* run(session)
      step = "ended"
    } catch (error) {
      step = signal.aborted ? "interrupted" : "failed"
      throw error
    } finally {
      session.close()
      tell({ _tag: "Handler", id, step })
    }
  }

  const once = async <A>(
    id: string,
    signal: AbortSignal,
    run: (session: Session) => Promise<A>
  ): Promise<A> => {
    let result: { readonly value: A } | undefined
    // oxlint-disable-next-line require-yield
    const running = tracked(id, signal, async function*(session): AsyncGenerator<never, void> {
      result = { value: await run(session) }
    })
    for await (const _ of running);
    return result!.value
  }

  return {
    unary: ({ behaviour, count, id, size }, signal) =>
      once(id, signal, async (session) => {
        switch (behaviour) {
          case "gate":
            await unlessAborted(gate(id), signal)
            break
          case "sleep":
            await sleep(count, undefined, { signal })
            break
          case "never":
            await aborted(signal)
            break
          case "cleans up":
            try {
              await aborted(signal)
            } finally {
              await sleep(count)
              session.use()
            }
            break
          case "deaf":
            await deaf(session)
            break
          case "dies":
            await unlessAborted(gate(id), signal)
            throw new Error("a handler died")
        }
        return { text: id, padding: new Uint8Array(size) }
      }),
    serverStream: ({ behaviour, count, id, size }, signal) =>
      tracked(id, signal, async function*(session) {
        const padding = new Uint8Array(size)
        switch (behaviour) {
          case "gate":
            yield { count: 1, padding }
            await unlessAborted(gate(id), signal)
            for (let n = 2; n <= count; n++) yield { count: n, padding }
            return
          case "flood":
            for (let n = 1;; n++) {
              signal.throwIfAborted()
              yield { count: n, padding }
              if (n % 100 === 0) await unlessAborted(new Promise(setImmediate), signal)
            }
          case "watch":
            yield { count: 1 }
            await aborted(signal)
            return
          case "deaf":
            yield { count: 1 }
            await deaf(session)
        }
      }),
    async clientStream(requests, signal) {
      const all = requests[Symbol.asyncIterator]()
      const first = await all.next()
      if (first.done === true) return { count: 0 }
      const { behaviour, id } = first.value
      return once(id, signal, async () => {
        let count = 1
        if (behaviour !== "early") { while ((await unlessAborted(all.next(), signal)).done !== true) count++ }
        return { count }
      })
    },
    async *bidi(requests, signal) {
      const all = requests[Symbol.asyncIterator]()
      const first = await all.next()
      if (first.done === true) return
      yield* tracked(first.value.id, signal, async function*() {
        for (let next = first as IteratorResult<Request>; next.done !== true;) {
          yield { text: next.value.id }
          next = await unlessAborted(all.next(), signal)
        }
      })
    }
  }
}
