import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import * as net from "node:net"
import * as SilentPeer from "../src/SilentPeer.ts"

describe("SilentPeer", () => {
  it("does not hang up when the server does, and comes back when there is a server again", async () => {
    const first = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1")
    await once(first, "listening")
    const { port } = first.address() as net.AddressInfo
    const peer = SilentPeer.connect(port)
    const [socket] = await once(first, "connection") as [net.Socket]
    let hungUp = false
    socket.resume().on("end", () => {
      hungUp = true
    })
    first.close()
    socket.end()
    // long enough for attempts that are refused
    await new Promise((resolve) => setTimeout(resolve, 800))
    assert.isFalse(hungUp)
    const second = net.createServer().listen(port, "127.0.0.1")
    const [again] = await once(second, "connection") as [net.Socket]
    await once(socket, "close")
    peer.close()
    await once(again.resume(), "close")
    second.close()
  })
})
