/** A process: a tree of resources, how each of them behaves, and who stops it when. */
import { int, millisOrForever, oneOf } from "@lastcall/testing/Work"
import * as Arbitrary from "effect/Arbitrary"

export type Tree =
  | { readonly _tag: "Resource"; readonly resource: Resource }
  /** The first stops first. */
  | { readonly _tag: "Sequence"; readonly gap: number; readonly children: ReadonlyArray<Tree> }
  | { readonly _tag: "Parallel"; readonly children: ReadonlyArray<Tree> }
  | { readonly _tag: "Provide"; readonly dependent: Tree; readonly dependency: Tree }

/** What a step does after some time. */
export interface Step {
  readonly does: "ends" | "fails" | "dies" | "hangs" | "is deaf for ever"
  readonly after: number
}

export interface Resource {
  readonly policy: { readonly drainDelay: number; readonly grace?: number; readonly forceTimeout?: number }
  /** How long it takes to make it. */
  readonly building: number
  /** How long after the process it begins to stop on its own, if it does; negative: how long before. */
  readonly alone: number | undefined
  readonly announce: Step
  readonly drain: Step
  readonly interrupt: Step
  readonly destroy: "works" | "throws"
  readonly release: "works" | "dies"
}

export interface Scenario {
  readonly options: {
    readonly budget: number
    readonly reserve: number
    readonly drainDelay: number
    readonly grace: number
    readonly forceTimeout: number
  }
  readonly tree: Tree
  readonly closing: { readonly at: number; readonly by: "interruption" | "request" | "failure" }
  readonly escalation: number | undefined
  readonly warmUp: number
}

const rarely = <A>(arbitrary: Arbitrary.Arbitrary<A>, oneIn: number): Arbitrary.Arbitrary<A | undefined> =>
  Arbitrary.flatMap(
    int(0, oneIn - 1),
    (n): Arbitrary.Arbitrary<A | undefined> => n < oneIn - 1 ? Arbitrary.Constant(undefined) : arbitrary
  )

const step = (...does: ReadonlyArray<Step["does"]>): Arbitrary.Arbitrary<Step> =>
  Arbitrary.all({ does: oneOf("ends", "ends", "ends", ...does), after: oneOf(0, 0, 3, 7, 15, 30) })

const resource: Arbitrary.Arbitrary<Resource> = Arbitrary.map(
  Arbitrary.all({
    drainDelay: oneOf(0, 5),
    grace: rarely(oneOf(0, 0, 5, 40, Number.POSITIVE_INFINITY), 2),
    forceTimeout: rarely(int(0, 12), 2),
    building: oneOf(0, 0, 0, 4),
    alone: rarely(oneOf(0, 0, 0, -1, -2, -20, 5, 20), 4),
    announce: step("ends", "ends", "dies", "hangs", "is deaf for ever"),
    drain: step("fails", "dies", "hangs", "hangs", "is deaf for ever"),
    interrupt: step("dies", "hangs", "is deaf for ever"),
    destroy: oneOf("works", "works", "works", "throws"),
    release: oneOf("works", "works", "works", "works", "dies")
  }),
  ({ drainDelay, forceTimeout, grace, ...rest }) => ({
    ...rest,
    policy: {
      drainDelay,
      ...(grace === undefined ? {} : { grace }),
      ...(forceTimeout === undefined ? {} : { forceTimeout })
    }
  })
)

const leaf: Arbitrary.Arbitrary<Tree> = Arbitrary.map(resource, (resource) => ({ _tag: "Resource", resource }))

const treeOf = (depth: number): Arbitrary.Arbitrary<Tree> => {
  if (depth === 0) return leaf
  const children = Arbitrary.array(treeOf(depth - 1), { minLength: 1, maxLength: 3 })
  const kinds: ReadonlyArray<Arbitrary.Arbitrary<Tree>> = [
    leaf,
    Arbitrary.map(
      Arbitrary.all({ gap: oneOf(0, 0, 4, 20), children }),
      ({ children, gap }): Tree => ({ _tag: "Sequence", gap, children })
    ),
    Arbitrary.map(children, (children): Tree => ({ _tag: "Parallel", children })),
    Arbitrary.map(
      Arbitrary.all({ dependent: treeOf(depth - 1), dependency: treeOf(depth - 1) }),
      ({ dependency, dependent }): Tree => ({ _tag: "Provide", dependent, dependency })
    )
  ]
  return Arbitrary.flatMap(int(0, kinds.length - 1), (kind) => kinds[kind]!)
}

export const arbitrary: Arbitrary.Arbitrary<Scenario> = Arbitrary.all({
  options: Arbitrary.all({
    budget: Arbitrary.flatMap(int(0, 2), (n) => n === 0 ? int(0, 12) : int(0, 120)),
    reserve: oneOf(0, 0, 10),
    drainDelay: oneOf(0, 0, 5, 20),
    grace: millisOrForever(40),
    forceTimeout: int(0, 12)
  }),
  tree: treeOf(2),
  closing: Arbitrary.all({ at: oneOf(1, 3, 10, 30), by: oneOf("interruption", "request", "failure") }),
  escalation: rarely(oneOf(0, 2, 4, 6, 12, 20, 33, 40, 50, 80), 3),
  warmUp: oneOf(0, 0, 0, 4, 40)
})

/** The resources of a tree, each with its name: its place in the tree. */
export const resources = (
  tree: Tree,
  path = "r"
): ReadonlyArray<{ readonly name: string; readonly resource: Resource }> =>
  tree._tag === "Resource"
    ? [{ name: path, resource: tree.resource }]
    : branches(tree, path).flatMap(({ name, tree }) => resources(tree, name))

/** The branches of a tree; those of a sequence and of a dependent with its dependency in the order of stopping. */
export const branches = (tree: Tree, path: string): ReadonlyArray<{ readonly name: string; readonly tree: Tree }> => {
  if (tree._tag === "Resource") return []
  const trees = tree._tag === "Provide" ? [tree.dependent, tree.dependency] : tree.children
  return trees.map((tree, index) => ({ name: `${path}.${index}`, tree }))
}

/** All neighbours of which the first stops before the second, with the gap between them. */
export const ordered = (
  tree: Tree,
  path = "r"
): ReadonlyArray<
  { readonly first: ReadonlyArray<string>; readonly second: ReadonlyArray<string>; readonly gap: number }
> => {
  const names = branches(tree, path).map(({ name, tree }) => resources(tree, name).map(({ name }) => name))
  const here = tree._tag === "Sequence" || tree._tag === "Provide"
    ? names.slice(1).map((second, index) => ({
      first: names[index]!,
      second,
      gap: tree._tag === "Sequence" ? tree.gap : 0
    }))
    : []
  return [...here, ...branches(tree, path).flatMap(({ name, tree }) => ordered(tree, name))]
}
