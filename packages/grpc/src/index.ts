/** @since 0.1.0 */
export * as GrpcCall from "./GrpcCall.ts"

/** @since 0.1.0 */
export * as GrpcChannel from "./GrpcChannel.ts"

/** @since 0.1.0 */
export * as GrpcClient from "./GrpcClient.ts"

/** @since 0.1.0 */
export * as GrpcClientHealth from "./GrpcClientHealth.ts"

/** @since 0.1.0 */
export * as GrpcClientMiddleware from "./GrpcClientMiddleware.ts"

/** @since 0.1.0 */
export * as GrpcCredentials from "./GrpcCredentials.ts"

/** @since 0.1.0 */
export * as GrpcDescriptor from "./GrpcDescriptor.ts"

/** @since 0.1.0 */
export * as GrpcDrain from "./GrpcDrain.ts"

/** @since 0.1.0 */
export * as GrpcError from "./GrpcError.ts"

/** @since 0.1.0 */
export * as GrpcErrorDetails from "./GrpcErrorDetails.ts"

/** @since 0.1.0 */
export * as GrpcHealth from "./GrpcHealth.ts"

/** @since 0.1.0 */
export * as GrpcInProcess from "./GrpcInProcess.ts"

/** @since 0.1.0 */
export * as GrpcLimits from "./GrpcLimits.ts"

/** @since 0.1.0 */
export * as GrpcListener from "./GrpcListener.ts"

/** @since 0.1.0 */
export * as GrpcMetadata from "./GrpcMetadata.ts"

/** @since 0.1.0 */
export * as GrpcMiddleware from "./GrpcMiddleware.ts"

/** @since 0.1.0 */
export * as GrpcPeer from "./GrpcPeer.ts"

/** @since 0.1.0 */
export * as GrpcReflection from "./GrpcReflection.ts"

/** @since 0.1.0 */
export * as GrpcServer from "./GrpcServer.ts"

/** @since 0.1.0 */
export * as GrpcService from "./GrpcService.ts"
