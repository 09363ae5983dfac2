// A second reader of the format, written from spec/bundle-v1.md alone: Node's own crypto verifies signature, digests and
// tree, onnxruntime-node scores the golden rows.   node verify.mjs BUNDLE PUBLIC_KEY.pem   (- for an unsigned bundle)
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { checkCompiled, factorTest } from './factors.mjs'
import { isSound } from './keys.mjs'
import { demand, load, number, readTable, same as alike } from './shared.mjs'

const PAYLOAD_TYPE = 'application/vnd.alphaseal.manifest.v1+json'
const SEGMENT = /^[a-z0-9_][a-z0-9_-]*(\.[a-z0-9_-]+)*$/
const OWN_FILES = ['manifest.json', 'manifest.dsse.json', 'provenance.dsse.json']
const ROWS_AT_ONCE = 2048

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** Section 12.1: DSSE v1 over the exact bytes of the manifest; the key id is the hash of the raw key. */
function checkSignature(manifest, envelope, pem) {
  const key = createPublicKey(pem)
  demand(key.asymmetricKeyType === 'ed25519', 10, 'not an Ed25519 key')
  const raw = Buffer.from(key.export({ format: 'jwk' }).x, 'base64url')
  demand(isSound(raw), 10, 'a key that anybody can sign for')
  const keyid = sha256(raw)
  demand(envelope.payloadType === PAYLOAD_TYPE, 10, 'envelope of another kind')
  demand(Buffer.from(envelope.payload, 'base64').equals(manifest), 13, 'the envelope is over another manifest')
  const signed = envelope.signatures.find((entry) => entry.keyid === keyid)
  demand(signed, 14, 'no signature by this key')
  const head = Buffer.from(`DSSEv1 ${Buffer.byteLength(PAYLOAD_TYPE)} ${PAYLOAD_TYPE} ${manifest.length} `)
  const good = verifySignature(null, Buffer.concat([head, manifest]), key, Buffer.from(signed.sig, 'base64'))
  demand(good, 13, 'the signature does not verify')
}

/** Sections 5 and 6: plain files and directories only, in names of the format. */
function walk(root, prefix = '') {
  return readdirSync(join(root, prefix)).flatMap((name) => {
    const path = prefix + name
    demand(SEGMENT.test(name) && name.length <= 64 && path.length <= 120, 12, `name breaks the rule: ${path}`)
    const status = lstatSync(join(root, path))
    demand(status.isFile() || status.isDirectory(), 12, `not a plain file: ${path}`)
    return status.isDirectory() ? walk(root, `${path}/`) : [path]
  })
}

/** V5 and V6: exactly the files of the manifest, each with its size and digest. */
function checkTree(root, manifest) {
  const listed = manifest.files.map((file) => file.path)
  const found = walk(root)
  demand(found.every((path) => listed.includes(path) || OWN_FILES.includes(path)), 12, 'files that the manifest does not list')
  demand([...listed, 'manifest.json'].every((path) => found.includes(path)), 12, 'files of the manifest are missing')
  const contents = new Map()
  for (const file of manifest.files) {
    const bytes = readFileSync(join(root, file.path))
    demand(bytes.length === file.size && sha256(bytes) === file.sha256, 11, `size or digest differs: ${file.path}`)
    contents.set(file.path, bytes)
  }
  return contents
}

/** Section 9: the rows that a score is made of, oldest first; a date without a row takes the row before it, else the one after. */
function windows(rows, length) {
  if (length === 1) return rows.filter((row) => row.case !== 'context').map((row) => [row])
  const calendar = [...new Set(rows.map((row) => row.day))].sort()
  const byStock = groupBy(rows)
  return rows.filter((row) => row.case !== 'context').map((row) => {
    const last = calendar.indexOf(row.day)
    demand(last + 1 >= length, 17, 'the golden rows do not reach back far enough')
    const own = new Map(byStock.get(row.instrument).map((other) => [other.day, other]))
    const window = calendar.slice(last + 1 - length, last + 1).map((day) => own.get(day))
    for (let place = 1; place < length; place++) window[place] ??= window[place - 1]
    for (let place = length - 2; place >= 0; place--) window[place] ??= window[place + 1]
    return window
  })
}

function groupBy(rows) {
  const groups = new Map()
  for (const row of rows) groups.set(row.instrument, [...(groups.get(row.instrument) ?? []), row])
  return groups
}

/** V9: every golden row scored, and compared with the judge's score within the manifest's bound. */
async function selfTest(manifest, contents) {
  const [last, before] = [manifest.stages.at(-1), manifest.stages.slice(0, -1)]
  demand(before.every((stage) => stage.stage === 'window') && before.length < 2, 2, 'this script knows windows and one graph only')
  const [length, names] = [manifest.model.step_length, manifest.features.map((feature) => feature.name)]
  const inputs = windows(await readTable(contents.get(manifest.golden.file)), length)
  const session = await load(contents.get(last.file))
  const counts = { rows: inputs.length, bit_identical: 0 }
  for (let start = 0; start < inputs.length; start += ROWS_AT_ONCE) {
    const part = inputs.slice(start, start + ROWS_AT_ONCE)
    const values = Float64Array.from(part.flatMap((window) => window.flatMap((row) => names.map((name) => number(row[name])))))
    const shape = length === 1 ? [part.length, names.length] : [part.length, length, names.length]
    const answer = await session.run({ [session.inputNames[0]]: new ort.Tensor('float64', values, shape) })
    const scores = answer[session.outputNames[0]].data
    part.forEach((window, place) => {
      const expected = number(window.at(-1).score)
      const same = alike(scores[place], expected)
      demand(same || isNear(scores[place], expected, manifest.parity.bound), 19, `row ${start + place} scores ${scores[place]}, not ${expected}`)
      counts.bit_identical += same ? 1 : 0
    })
  }
  return counts
}

function isNear(score, expected, bound) {
  if (!Number.isFinite(expected)) return false
  const difference = Math.abs(score - expected)
  const apart = onALine(score) - onALine(expected)
  const near = bound.relative != null && difference <= bound.relative * Math.abs(expected)
  const byUnits = (apart < 0n ? -apart : apart) <= BigInt(bound.ulp ?? 0)
  return near || byUnits || (bound.absolute != null && difference <= bound.absolute)
}

/** Sign and magnitude to a line on which neighbouring doubles differ by one. */
function onALine(value) {
  const bits = new BigInt64Array(new Float64Array([value]).buffer)[0]
  return bits < 0n ? -(2n ** 63n) - bits : bits
}

/** The alpha features of the golden bars: float32 [rows, window, fields] in, compared with golden.parquet's columns. */
async function alphaTest(manifest, contents) {
  const alphas = manifest.alphas
  const bars = await readTable(contents.get(alphas.golden))
  const golden = (await readTable(contents.get(manifest.golden.file))).filter((row) => row.day === alphas.date)
  const calendar = [...new Set(bars.map((row) => row.day))].sort()
  demand(calendar.at(-1) === alphas.date, 17, 'the golden bars end on another date')
  const stocks = bars.filter((row) => row.day === alphas.date).map((row) => row.instrument)
  const values = new Float32Array(stocks.length * alphas.window * alphas.fields.length).fill(NaN)
  const lengths = stocks.map((stock, index) => {
    const own = bars.filter((row) => row.instrument === stock)
    const places = own.map((row) => calendar.indexOf(row.day) - calendar.length + alphas.window)
    own.forEach((row, at) => alphas.fields.forEach((field, column) => {
      if (places[at] >= 0) values[(index * alphas.window + places[at]) * alphas.fields.length + column] = number(row[field])
    }))
    return BigInt(Math.min(alphas.window, alphas.window - Math.min(...places)))
  })
  const session = await load(contents.get(alphas.file))
  const answer = await session.run({
    bars: new ort.Tensor('float32', values, [stocks.length, alphas.window, alphas.fields.length]),
    length: new ort.Tensor('int64', BigInt64Array.from(lengths), [stocks.length])
  })
  const counts = { stocks: stocks.length, features: alphas.features.length, bit_identical: 0 }
  stocks.forEach((stock, row) => {
    const known = golden.find((other) => other.instrument === stock)
    demand(known, 17, `no golden row of ${stock}`)
    alphas.features.forEach((name, column) => {
      const [found, expected] = [answer.alphas.data[row * alphas.features.length + column], number(known[name])]
      const same = alike(found, expected)
      demand(same || Math.abs(found - expected) <= alphas.tolerances[column], 19, `${name} of ${stock} is ${found}, not ${expected}`)
      counts.bit_identical += same ? 1 : 0
    })
  })
  return counts
}

async function main([root, pem]) {
  demand(root && pem, 2, 'usage: node verify.mjs BUNDLE PUBLIC_KEY.pem|-')
  const bytes = readFileSync(join(root, 'manifest.json'))
  if (pem !== '-') checkSignature(bytes, JSON.parse(readFileSync(join(root, 'manifest.dsse.json'))), readFileSync(pem))
  const manifest = JSON.parse(bytes)
  checkCompiled(manifest)
  const contents = checkTree(root, manifest)
  const result = { name: manifest.name, digest: sha256(bytes), signed: pem !== '-', golden: await selfTest(manifest, contents) }
  if (manifest.alphas !== null) result.alphas = await alphaTest(manifest, contents)
  if (manifest.compiled) result.factors = await factorTest(manifest, contents)
  console.log(JSON.stringify(result))
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`error: ${error.message}`)
  process.exit(error.exit ?? (error.code === 'ENOENT' ? 3 : 1))
})
