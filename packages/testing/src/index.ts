/** @since 0.1.0 */
export * as HostilePeer from "./HostilePeer.ts"

/** @since 0.1.0 */
export * as Http2Frame from "./Http2Frame.ts"

/** @since 0.1.0 */
export * as InMemoryGrpc from "./InMemoryGrpc.ts"

/** @since 0.1.0 */
export * as MemorySocket from "./MemorySocket.ts"

/** @since 0.1.0 */
export * as Misbehaviour from "./Misbehaviour.ts"

/** @since 0.1.0 */
export * as OpenLoop from "./OpenLoop.ts"

/** @since 0.1.0 */
export * as ServerProgram from "./ServerProgram.ts"

/** @since 0.1.0 */
export * as SocketAddress from "./SocketAddress.ts"

/** @since 0.1.0 */
export * as StopLaws from "./StopLaws.ts"

/** @since 0.1.0 */
export * as StopScenario from "./StopScenario.ts"

/** @since 0.1.0 */
export * as TcpProxy from "./TcpProxy.ts"

/** @since 0.1.0 */
export * as TestOption from "./TestOption.ts"

/** @since 0.1.0 */
export * as TrackedResource from "./TrackedResource.ts"

/** @since 0.1.0 */
export * as VirtualTime from "./VirtualTime.ts"

/** @since 0.1.0 */
export * as Work from "./Work.ts"
