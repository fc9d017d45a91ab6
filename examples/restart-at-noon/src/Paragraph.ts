/** Text in lines of a width. */

/** A space that no line is broken at. */
export const fixedSpace = "\u00a0"

/** All lines but the first begin with the indent, which does not count to the width. */
export const wrap = (text: string, width: number, indent: string): string => {
  const lines: Array<string> = [""]
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1]!
    if (line === "") lines[lines.length - 1] = word
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines.join(`\n${indent}`).replaceAll(fixedSpace, " ")
}
