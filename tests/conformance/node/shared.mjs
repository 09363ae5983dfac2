// What the parts of the reader share: refusals with an exit status, tables, sessions.
import { parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import ort from 'onnxruntime-node'

const OPTIONS = { intraOpNumThreads: 1, interOpNumThreads: 1, graphOptimizationLevel: 'disabled', executionMode: 'sequential' }

class Refusal extends Error {
  constructor(exit, message) {
    super(message)
    this.exit = exit
  }
}

export function demand(truth, exit, message) {
  if (!truth) throw new Refusal(exit, message)
}

export const number = (value) => (value == null ? NaN : Number(value))
export const same = (one, other) => one === other || (Number.isNaN(one) && Number.isNaN(other))
export const load = (bytes) => ort.InferenceSession.create(bytes, OPTIONS)

export async function readTable(bytes) {
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
  const rows = await parquetReadObjects({ file, compressors })
  for (const row of rows) row.day = row.datetime == null ? null : new Date(row.datetime).toISOString().slice(0, 10)
  return rows
}
