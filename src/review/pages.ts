/** All of a long list, a page at a time: each begins after the last one of the page before, and a short one is the last. */
export async function* pages<T>(
  size: number,
  ask: (after: T | undefined, size: number) => Promise<readonly T[]>,
): AsyncGenerator<readonly T[], void> {
  for (let after: T | undefined; ; ) {
    const page = await ask(after, size)
    yield page
    after = page.at(-1)
    if (page.length < size) return
  }
}
