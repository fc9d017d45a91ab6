/** What both server programs answer. */

/** The name of an identity. */
export const name = (subject: string, serial: number): string => `spiffe://noon.example/${subject}/${serial}`

/** How often a watch looks for a new trust bundle. */
export const watchMillis = 250
