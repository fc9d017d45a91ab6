/** The four ways from a client to a server, as both kinds of server and a channel need to know them. */
import * as grpc from "@grpc/grpc-js"
import * as GrpcChannel from "@lastcall/grpc/GrpcChannel"
import * as GrpcCredentials from "@lastcall/grpc/GrpcCredentials"
import * as GrpcListener from "@lastcall/grpc/GrpcListener"
import * as Certificates from "../Certificates.ts"

const authority = Certificates.authority("the authority")
const stranger = Certificates.authority("a stranger")
const server = authority.issue("server")
const client = authority.issue("client")
const ca = authority.cert

export interface Place {
  /** The path of a Unix socket. */
  readonly file: string
  /** The port of TCP, 0 for a free one. */
  readonly port: number
}

export interface Transport {
  readonly name: "TCP" | "TLS" | "mTLS" | "Unix"
  /** For a server of ours. */
  readonly listener: (place: Place) => GrpcListener.GrpcListener
  /** For bare grpc-js. */
  readonly credentials: () => grpc.ServerCredentials
  readonly client: GrpcChannel.Credentials
  /** With TLS: the same, that want the server's certificate to be for this name. */
  readonly named?: (serverName: string) => GrpcChannel.Credentials
  /** Whom the server takes the client for. */
  readonly commonName: string | undefined
  /** Clients that must not get through. */
  readonly strangers: ReadonlyArray<readonly [name: string, credentials: GrpcChannel.Credentials]>
}

const tcp = (credentials: GrpcCredentials.GrpcCredentials) => ({ port }: Place): GrpcListener.GrpcListener =>
  GrpcListener.tcp({ port, host: "127.0.0.1", credentials })

const pair = { private_key: Buffer.from(server.key), cert_chain: Buffer.from(server.cert) }

const deceived: Transport["strangers"] = [
  ["plaintext", GrpcChannel.insecure],
  ["another authority", GrpcChannel.tls({ ca: stranger.cert })],
  ["another name", GrpcChannel.tls({ ca }, { serverName: "elsewhere.example" })]
]

export const all: ReadonlyArray<Transport> = [
  {
    name: "TCP",
    listener: tcp(GrpcCredentials.insecure),
    credentials: () => grpc.ServerCredentials.createInsecure(),
    client: GrpcChannel.insecure,
    commonName: undefined,
    strangers: [["TLS", GrpcChannel.tls({ ca })]]
  },
  {
    name: "TLS",
    listener: tcp(GrpcCredentials.tls(server)),
    credentials: () => grpc.ServerCredentials.createSsl(null, [pair]),
    client: GrpcChannel.tls({ ca }),
    named: (serverName) => GrpcChannel.tls({ ca }, { serverName }),
    commonName: undefined,
    strangers: deceived
  },
  {
    name: "mTLS",
    listener: tcp(GrpcCredentials.mtls({ ...server, clientCa: ca })),
    credentials: () => grpc.ServerCredentials.createSsl(Buffer.from(ca), [pair], true),
    client: GrpcChannel.mtls({ ca, ...client }),
    named: (serverName) => GrpcChannel.mtls({ ca, ...client }, { serverName }),
    commonName: "client",
    strangers: [
      ...deceived,
      ["no certificate", GrpcChannel.tls({ ca })],
      ["a stranger's certificate", GrpcChannel.mtls({ ca, ...stranger.issue("client") })]
    ]
  },
  {
    name: "Unix",
    listener: ({ file }) => GrpcListener.unix(file),
    credentials: () => grpc.ServerCredentials.createInsecure(),
    client: GrpcChannel.insecure,
    commonName: undefined,
    strangers: [["TLS", GrpcChannel.tls({ ca })]]
  }
]
