/** Where the time goes of what has missed its goal, by the id of the row: what the profiles below the table add up to. */
export const causes: { readonly [id: string]: string } = {
  "unary/sync":
    "Lastcall's own functions have 1 µs of a call, and Effect's 1.5 to 2. Node, grpc-js and the collector have the rest, on both sides, and differ by more than that from one process to the next.",
  "unary-async/grpc-js": "A fiber makes an AsyncResource each time that it waits, which is Effect's.",
  "unary-middleware/both": "A span takes 1.6 µs and 2.3 KB, most of it the tracer's own object.",
  "unary-peers/nestjs": "This goal is met where Lastcall needs no more CPU than bare grpc-js.",
  "unary-peers/protobuf-ts":
    "It needs 1.5 times the CPU of bare grpc-js: this goal is met where Lastcall needs no more than bare grpc-js.",
  "unary-es/sync": "As with the identity codec: protobuf-es costs both sides the same.",
  "server-stream/grpc-js":
    "What is left is Node's and grpc-js's for each message: a frame, a copy, an entry of writev.",
  "server-stream-es/grpc-js":
    "protobuf-es allocates a writer and a buffer for each message, on both sides: that alone is two fifths of Lastcall's time.",
  "client-stream/grpc-js":
    "Lastcall's and Effect's own functions have a thirtieth of the time. The rest is the same code on both sides: grpc-js parses message by message, with a promise for each. With V8's defaults most of Lastcall's processes fall into a slow state, 3.5 instead of 2.6 µs: a program that loads more has its first full collection under the first load, and what Node and grpc-js make for each message, all of it found alive by a collection that marks while it runs, is allocated as long-lived from then on. Of all that is allocated 45 % then outlive a young collection, instead of nothing. Without pretenuring no process did.",
  "bidi/grpc-js":
    "The fiber waits for each message, and makes an AsyncResource each time, which is Effect's. Effect's and Lastcall's functions have 2 µs of a message; property loads of theirs that V8 does not inline, another 0.6, count as native.",
  "latency/p50":
    "At half load a call takes some 0.1 ms on both sides, so that a hundredth of a millisecond is a tenth.",
  "cold-start/grpc-js":
    "Some 255 files are loaded where bare grpc-js loads 66, at about a millisecond each: 84 of Effect, 66 of protobuf-es, 40 of Lastcall. A bundle is the remedy."
}
