/** @since 0.1.0 */
export * as Consumer from "./Consumer.ts"

/** @since 0.1.0 */
export * as GracefulStop from "./GracefulStop.ts"

/** @since 0.1.0 */
export * as InFlight from "./InFlight.ts"

/** @since 0.1.0 */
export * as Lifecycle from "./Lifecycle.ts"

/** @since 0.1.0 */
export * as LifecycleConfig from "./LifecycleConfig.ts"

/** @since 0.1.0 */
export * as LiveLine from "./LiveLine.ts"

/** @since 0.1.0 */
export * as ResourcePool from "./ResourcePool.ts"

/** @since 0.1.0 */
export * as StopBudget from "./StopBudget.ts"

/** @since 0.1.0 */
export * as StopEvent from "./StopEvent.ts"

/** @since 0.1.0 */
export * as StopMetrics from "./StopMetrics.ts"

/** @since 0.1.0 */
export * as StopPolicy from "./StopPolicy.ts"

/** @since 0.1.0 */
export * as StopRegistry from "./StopRegistry.ts"

/** @since 0.1.0 */
export * as StopReport from "./StopReport.ts"

/** @since 0.1.0 */
export * as StopSchema from "./StopSchema.ts"
