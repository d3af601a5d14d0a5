// Replaces every text file of dist/assets by its .br, the one form in which the
// binary carries it. The format has no time stamp, so that the same input gives
// the same bytes.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants } from 'node:zlib'

const assets = join(import.meta.dirname, '..', 'dist', 'assets')
const text = /\.(js|css|svg|json|txt)$/
// Below this compression saves no packet.
const worthwhile = 1024

for (const name of readdirSync(assets).sort()) {
  const path = join(assets, name)
  const plain = readFileSync(path)
  if (!text.test(name) || plain.length < worthwhile) continue
  const packed = brotliCompressSync(plain, {
    params: {
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
    },
  })
  writeFileSync(path + '.br', packed)
  rmSync(path)
}
