/** The process of one server, of the library that it is told. */
import type { Serve } from "../ServerSpec.ts"
import { run, spec } from "./run.ts"

const { serve } = await import(`./${spec.library}.ts`) as { readonly serve: Serve }
await run(serve)
