/** The defect of a handler that its drain policy cuts: the client gets `UNAVAILABLE`, and nothing is logged. */
export const shutDown: unique symbol = Symbol.for("@lastcall/grpc/shutDown")
