/** @since 0.1.0 */
export * as GrpcCall from "./GrpcCall.ts"

/** @since 0.1.0 */
export * as GrpcCredentials from "./GrpcCredentials.ts"

/** @since 0.1.0 */
export * as GrpcDrain from "./GrpcDrain.ts"

/** @since 0.1.0 */
export * as GrpcError from "./GrpcError.ts"

/** @since 0.1.0 */
export * as GrpcListener from "./GrpcListener.ts"

/** @since 0.1.0 */
export * as GrpcServer from "./GrpcServer.ts"

/** @since 0.1.0 */
export * as GrpcService from "./GrpcService.ts"
