/**
 * The subject alternative names of a certificate, from Node's text of them.
 *
 * Node writes `DNS:a.example, URI:"a value with \u002c or quotes, as JSON"`. To split that at its commas would let whoever
 * chooses one name add others (CVE-2021-44532).
 */

export interface AlternativeName {
  /** As Node names it: `DNS`, `URI`, `IP Address`, `email`, `DirName`, `othername`, `Registered ID`. */
  readonly type: string
  readonly value: string
}

const entry = /([A-Za-z ]+):("(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"|[^",]*)(?:, |$)/uy

/** None where the text is not understood to its last character. */
export const alternativeNames = (text: string): ReadonlyArray<AlternativeName> => {
  const names: Array<AlternativeName> = []
  entry.lastIndex = 0
  for (let at = 0; at < text.length; at = entry.lastIndex) {
    const found = entry.exec(text)
    if (found === null) return []
    const [, type, value] = found
    names.push({ type: type!, value: value!.startsWith("\"") ? JSON.parse(value!) as string : value! })
  }
  return names
}
