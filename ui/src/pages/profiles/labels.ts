// How functions and their values are written.

import { bytes, duration, si } from '../../state/units'

/** Type arguments longer than this say less than they hide. */
const mostArguments = 32

/**
 * github.com/a/b/store.(*Part).open becomes store.(*Part).open, but xxhash/v2.Sum64 keeps what v2 is of. The paths inside
 * of type arguments go too, and long ones as a whole.
 */
export function shortName(name: string): string {
  const short = name.replace(/[^\s/[\](){},*]+\/(?!v\d+\.)(?=[^\s[\](){},*])/g, '').replace(/^\/+/, '') || name
  const [open, close] = [short.indexOf('['), short.lastIndexOf(']')]
  return open > 0 && close - open > mostArguments ? `${short.slice(0, open)}[…]${short.slice(close + 1)}` : short
}

/** The end of a path, which says most: runtime/malloc.go:1358. */
export function shortFile(file: string): string {
  return file.split('/').slice(-2).join('/')
}

/** The package, or for other names the file they are from. */
export function packageOf(name: string): string {
  const slash = name.split(/[[(]/, 1)[0]!.lastIndexOf('/')
  const dot = name.indexOf('.', slash + 1)
  return dot < 0 ? name : name.slice(0, dot)
}

const nanoseconds: Record<string, number> = { nanoseconds: 1, ns: 1, microseconds: 1e3, us: 1e3, milliseconds: 1e6, ms: 1e6, seconds: 1e9, s: 1e9 }
const sizes: Record<string, number> = { bytes: 1, b: 1, kilobytes: 1024, megabytes: 1024 ** 2 }

/** Writes values of a pprof unit. */
export function valueFormat(unit: string): (value: number) => string {
  const ns = nanoseconds[unit.toLowerCase()]
  if (ns !== undefined) return (v) => duration(v * ns)
  const size = sizes[unit.toLowerCase()]
  if (size !== undefined) return (v) => bytes(v * size)
  return si
}
