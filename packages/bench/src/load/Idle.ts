/** Connections that have said hello in HTTP/2 and nothing since. They end when the server ends them. */
import * as net from "node:net"

export interface Idle {
  readonly close: () => void
}

/** Connections that are being opened at the same time: no more than a listener's queue holds. */
const abreast = 100

const hello = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
  Buffer.from([0, 0, 0, 4, 1, 0, 0, 0, 0])
])

export const idle = async (port: number, count: number): Promise<Idle> => {
  const sockets: Array<net.Socket> = []
  const close = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  try {
    while (sockets.length < count) {
      await Promise.all(
        Array.from(
          { length: Math.min(abreast, count - sockets.length) },
          () => greeted(port).then((s) => sockets.push(s))
        )
      )
    }
    return { close }
  } catch (cause) {
    close()
    throw cause
  }
}

/** A connection whose server has answered with its own hello. */
const greeted = (port: number): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: "127.0.0.1", port })
    socket.once("error", reject)
    socket.once("data", () => {
      socket.off("error", reject)
      socket.on("error", () => {})
      socket.resume()
      resolve(socket)
    })
    socket.write(hello)
  })
