// Writes a .br and a .gz beside every text file of dist. Both formats carry no
// time stamp, so that the same input gives the same bytes.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const dist = join(import.meta.dirname, '..', 'dist')
const text = /\.(html|js|css|svg|json|txt)$/
// Below this a packet is saved by neither form.
const worthwhile = 1024

for (const name of readdirSync(dist, { recursive: true }).sort()) {
  const path = join(dist, name)
  if (!statSync(path).isFile() || !text.test(name)) continue
  const plain = readFileSync(path)
  if (plain.length < worthwhile) continue
  const brotli = brotliCompressSync(plain, {
    params: {
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
    },
  })
  writeFileSync(path + '.br', brotli)
  writeFileSync(path + '.gz', gzipSync(plain, { level: 9 }))
}
