/** connect-node, which speaks gRPC on `node:http2`. It has no codec but protobuf-es. */
import { connectNodeAdapter } from "@connectrpc/connect-node"
import * as http2 from "node:http2"
import type { AddressInfo } from "node:net"
import { BenchService } from "../gen/lastcall/bench/v1/bench_pb.ts"
import type { Serve } from "../ServerSpec.ts"

export const serve: Serve = async () => {
  const server = http2.createServer(connectNodeAdapter({
    routes: (router) => void router.service(BenchService, { unary: (request) => request })
  }))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    at: { _tag: "Tcp", port: (server.address() as AddressInfo).port },
    stop: () => new Promise((resolve) => server.close(resolve))
  }
}
