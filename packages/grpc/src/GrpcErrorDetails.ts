/**
 * The schemas of the standard details of an error, from `google/rpc/error_details.proto`.
 *
 * @since 0.1.0
 */
export {
  BadRequestSchema,
  DebugInfoSchema,
  ErrorInfoSchema,
  HelpSchema,
  LocalizedMessageSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema
} from "./gen/google/rpc/error_details_pb.ts"
