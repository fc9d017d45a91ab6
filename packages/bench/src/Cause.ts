/** Where the time goes of what has missed its goal, by the id of the row: what the profiles below the table add up to. */
export const causes: { readonly [id: string]: string } = {
  "unary/sync":
    "Both sides run node:http2 and grpc-js, which have nine tenths of a call. Lastcall adds a fiber, an entry of what is in flight, and the code and the heap of Effect.",
  "unary-async/grpc-js": "A fiber makes an AsyncResource each time that it waits, which is Effect's.",
  "unary-middleware/both": "A span takes 1.6 µs and 2.3 KB, most of it the tracer's own object.",
  "unary-peers/protobuf-ts":
    "It needs 1.5 times the CPU of bare grpc-js: this goal is met where Lastcall needs no more than bare grpc-js.",
  "unary-es/sync": "As with the identity codec: protobuf-es costs both sides the same.",
  "server-stream/grpc-js":
    "What is left is Node's and grpc-js's for each message: a frame, a copy, an entry of writev.",
  "server-stream-es/grpc-js":
    "protobuf-es allocates a writer and a buffer for each message, on both sides: that alone is two fifths of Lastcall's time.",
  "client-stream/grpc-js":
    "grpc-js parses message by message, with a promise for each, on both sides. Lastcall's own functions have a fiftieth of the time.",
  "bidi/grpc-js": "The fiber waits for each message, and makes an AsyncResource each time, which is Effect's.",
  "cold-start/grpc-js":
    "255 files are loaded where bare grpc-js loads 66, at about a millisecond each: 84 of Effect, 66 of protobuf-es, 39 of Lastcall. A bundle is the remedy."
}
