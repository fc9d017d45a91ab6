/** The process of one server, of the library that it is told. */
import type { Serve } from "../ServerSpec.ts"
import { run, spec } from "./run.ts"

// Not in the server's own module: a bundle of that would hold it too.
if (spec.loadsLastcall) await import("./lastcall.ts")
const { serve } = await import(`./${spec.library}.ts`) as { readonly serve: Serve }
await run(serve)
