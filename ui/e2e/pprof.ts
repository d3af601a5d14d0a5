// Profiles for servers that have none: written as pprof by hand, so that what
// they hold is known.

import { gzipSync } from 'node:zlib'
import { type APIRequestContext, expect } from '@playwright/test'
import { ask, real, type Schemas } from './base'

/** Folded stacks with nanoseconds: outermost first. */
type Stacks = Record<string, number>

const common: Stacks = {
  'main.main;net/http.(*conn).serve;github.com/example/shop/order.(*Handler).ServeHTTP;database/sql.(*DB).QueryContext;runtime.cgocall;sqlite3_step': 300e6,
  'main.main;net/http.(*conn).serve;github.com/example/shop/order.(*Handler).ServeHTTP;sort.Slice;runtime.mallocgc': 80e6,
  'main.main;net/http.(*conn).serve;github.com/example/shop/order.(*Handler).ServeHTTP;runtime.mallocgc': 60e6,
  'runtime.gcBgMarkWorker;runtime.gcDrain;runtime.scanobject': 150e6,
}
const handler = 'main.main;net/http.(*conn).serve;github.com/example/shop/order.(*Handler).ServeHTTP'
const versions: Record<string, Stacks> = {
  '1.4.2': { ...common, [`${handler};encoding/json.Marshal;encoding/json.(*encodeState).reflectValue`]: 200e6, [`${handler};compress/gzip.(*Reader).Read`]: 90e6 },
  '1.5.0': { ...common, [`${handler};encoding/json.Marshal;encoding/json.(*encodeState).reflectValue`]: 500e6 },
}

/** Makes sure that a service has CPU profiles of two versions. */
export async function someProfiles(request: APIRequestContext, service = 'order'): Promise<void> {
  if (!real) return
  const path = `/api/v1/profiles?from=now-30m&filter=${encodeURIComponent(`service.name = ${service} and service.version =~ "^1.(4.2|5.0)$"`)}`
  const two = (l: Schemas['ProfileList']) => l.series.some((s) => s.type === 'cpu' && s.versions.length === 2)
  const found = await request.get(path)
  if (found.ok() && two((await found.json()) as Schemas['ProfileList'])) return
  for (const [version, stacks] of Object.entries(versions)) {
    const response = await request.post(`/api/v1/profiles?type=cpu&service.name=${service}&service.version=${version}`, { data: pprof(stacks), headers: { 'Content-Type': 'application/octet-stream' } })
    expect(response.ok(), await response.text()).toBe(true)
  }
  await ask<Schemas['ProfileList']>(request, path, two)
}

/** Sends a profile that was taken while a trace ran. */
export async function profileOf(request: APIRequestContext, traceId: string, service: string): Promise<void> {
  if (!real) return
  const response = await request.post(`/api/v1/profiles?type=cpu&service.name=${service}`, { data: pprof(common, traceId), headers: { 'Content-Type': 'application/octet-stream' } })
  expect(response.ok(), await response.text()).toBe(true)
}

/** Sends a profile of n frames. */
export async function hugeProfile(request: APIRequestContext, n: number): Promise<string> {
  const service = 'batch'
  if (!real) return service
  const stacks: Stacks = {}
  const paths: string[] = ['batch.Run']
  for (let i = 0; paths.length < n; i++) for (let c = 0; c < 4 && paths.length < n; c++) paths.push(`${paths[i]};batch/step${(i * 7 + c) % 900}.(*Worker).run${c}`)
  paths.forEach((p, i) => (stacks[p] = 1e9 / (i + 10)))
  const response = await request.post(`/api/v1/profiles?type=cpu&service.name=${service}`, { data: pprof(stacks), headers: { 'Content-Type': 'application/octet-stream' } })
  expect(response.ok(), await response.text()).toBe(true)
  const filter = encodeURIComponent(`service.name = ${service}`)
  await ask<Schemas['Flame']>(request, `/api/v1/profiles/flame?type=cpu&from=now-30m&filter=${filter}`, (f) => f.nodes.name.length > n / 2)
  return service
}

// The wire format of profile.proto, as far as it is needed here.

function varint(out: number[], value: number): void {
  while (value >= 0x80) {
    out.push((value % 0x80) | 0x80)
    value = Math.floor(value / 0x80)
  }
  out.push(value)
}

class Message {
  readonly bytes: number[] = []
  int(field: number, value: number): this {
    varint(this.bytes, field << 3)
    varint(this.bytes, Math.round(value))
    return this
  }
  data(field: number, data: ArrayLike<number>): this {
    varint(this.bytes, (field << 3) | 2)
    varint(this.bytes, data.length)
    for (let i = 0; i < data.length; i++) this.bytes.push(data[i]!)
    return this
  }
}

/** With a trace id every sample carries it. */
function pprof(stacks: Stacks, traceId?: string): Buffer {
  const strings = new Map<string, number>([['', 0]])
  const text = (s: string) => {
    if (!strings.has(s)) strings.set(s, strings.size)
    return strings.get(s)!
  }
  const functions = new Map<string, number>()
  const out = new Message()
  out.data(1, new Message().int(1, text('cpu')).int(2, text('nanoseconds')).bytes)
  for (const [stack, value] of Object.entries(stacks)) {
    const ids: number[] = []
    for (const name of stack.split(';').reverse()) {
      if (!functions.has(name)) functions.set(name, functions.size + 1)
      varint(ids, functions.get(name)!)
    }
    const values: number[] = []
    varint(values, Math.round(value))
    const sample = new Message().data(1, ids).data(2, values)
    if (traceId) sample.data(3, new Message().int(1, text('trace_id')).int(2, text(traceId)).bytes)
    out.data(2, sample.bytes)
  }
  for (const [name, id] of functions) {
    out.data(4, new Message().int(1, id).data(4, new Message().int(1, id).int(2, 10 + id).bytes).bytes)
    out.data(5, new Message().int(1, id).int(2, text(name)).int(3, text(name)).int(4, text(`${name.split('.')[0]}.go`)).bytes)
  }
  out.int(9, (Date.now() - 15_000) * 1e6).int(10, 10e9)
  out.data(11, new Message().int(1, text('cpu')).int(2, text('nanoseconds')).bytes).int(12, 10e6)
  for (const s of strings.keys()) out.data(6, Buffer.from(s))
  return gzipSync(Uint8Array.from(out.bytes))
}
