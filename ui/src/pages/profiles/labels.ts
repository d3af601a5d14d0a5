// How functions and their values are written.

import { bytes, duration, si } from '../../state/units'

/** github.com/a/b/store.(*Part).open becomes store.(*Part).open; the path inside of type arguments goes too. */
export function shortName(name: string): string {
  return name.replace(/[^\s/[\](){},*]+\/(?=[^\s[\](){},*])/g, '').replace(/^\/+/, '') || name
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
