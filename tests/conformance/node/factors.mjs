// Compiled factors: the rules of section 8.2, and their values by section 9.10 on the golden bars.
import ort from 'onnxruntime-node'
import { FUNCTIONS, acrossStocks, isSeries } from './across.mjs'
import { demand, load, number, readTable, same } from './shared.mjs'

const ROWS_AT_ONCE = 256
const PARTS = ['year', 'month', 'day', 'weekday', 'dayofyear', 'quarter', 'ordinal']
const NOTHING = { int64: 0, bool: 0, text: -1 }

const rule = (truth, text) => demand(truth, 10, text)
const differ = (texts) => new Set(texts).size === texts.length
const alike = (one, other) => [one, other].every((texts) => texts.every((text) => one.includes(text) && other.includes(text)))

/** Section 8.2: programs, features, alphas and files fit together. */
export function checkCompiled(manifest) {
  const { compiled = null, alphas, features, files } = manifest
  const programs = compiled === null ? [] : compiled.programs
  const names = programs.flatMap((program) => Object.keys(program.factors))
  const said = features.filter((feature) => feature.compilation?.outcome === 'compiled').map((feature) => feature.name)
  rule(differ(names) && alike(names, said), 'features that programs compute are not those that say so, each once')
  if (compiled === null) return
  rule(alike(names, Object.keys(compiled.tolerances)), 'every compiled factor has a tolerance')
  rule(alphas !== null && compiled.fields.every((field) => alphas.fields.includes(field)), 'fields that alphas do not have')
  rule(!names.some((name) => alphas.features.includes(name)), 'a feature of alphas and of a program')
  const graphs = programs.flatMap((program) => program.graphs.map((graph) => graph.file))
  rule(differ(graphs), 'a graph of two programs')
  rule(differ(compiled.fields) && differ(compiled.static.map((column) => column.name)), 'a field or a column twice')
  for (const program of programs) checkProgram(program, compiled)
  const listed = (role) => files.filter((file) => file.role === role).map((file) => file.path)
  rule(alike([...graphs, alphas.file], listed('alphas')), 'graphs of bars are not those that are listed')
  rule(alike([compiled.golden, alphas.golden], listed('golden_bars')), 'golden bars are not those that are listed')
}

function checkProgram(program, compiled) {
  rule(program.fields.every((field) => compiled.fields.includes(field)), 'a field that is not listed')
  const side = new Map(compiled.static.map((column) => [column.name, column.dtype]))
  for (const { table, column, dtype } of program.columns) {
    if (table === 'day') rule(PARTS.includes(column) && dtype === 'int64', 'no part of a date')
    else if (column === null) rule(dtype === 'bool' && (table === 'bars' || side.size > 0), 'no rows of a table')
    else rule(table === 'static' && side.get(column) === dtype, 'no column of the side table')
  }
  rule(program.stages.length === program.graphs.length - 1, 'stages are not between graphs')
  const inside = (one, given, days) => one.days === days && one.first + days <= given && (one.since === null || one.since < given)
  let taken = 0
  program.graphs.forEach((graph, place) => {
    rule(graph.taken === taken, 'a graph takes other columns than the stages give')
    for (const stage of program.stages[place] ?? []) {
      const { first, days, since } = stage.gives
      rule(first === taken && days <= program.window && since === null, 'a stage does not give the next columns')
      taken += days
      checkStage(stage)
      rule(stage.inputs.filter(isSeries).every((one) => inside(one, graph.given, days)), 'columns that the graph does not give')
    }
  })
  const factors = Object.values(program.factors)
  rule(factors.length && factors.every((one) => inside(one, program.graphs.at(-1).given, 1)), 'no column of the last graph')
}

function checkStage(stage) {
  rule(FUNCTIONS[stage.operator].includes(stage.function), 'a function of another operator')
  rule((stage.ddof !== null) === ['std', 'var', 'cov'].includes(stage.function), 'ddof')
  rule((stage.q !== null) === (stage.function === 'quantile'), 'q')
  for (const name of ['method', 'ascending', 'percent']) rule((stage[name] !== null) === (stage.operator === 'day_rank'), name)
  const mask = stage.inputs[stage.operator === 'day_pair' ? 2 : 1]
  rule(mask === true || mask === false || mask?.dtype === 'bool', 'no mask')
}

/** Bars on the days of a file; the stocks are those with a row on its last day. */
class Market {
  constructor(rows) {
    this.days = [...new Set(rows.map((row) => row.day))].sort()
    this.rows = new Map(rows.map((row) => [`${row.instrument} ${row.day}`, row]))
    this.stocks = rows.filter((row) => row.day === this.days.at(-1)).map((row) => row.instrument).sort()
    this.first = this.stocks.map((stock) => this.days.findIndex((day) => this.rows.has(`${stock} ${day}`)))
  }

  /** The row of a stock on a day of the window, oldest 0; undefined where there is none. */
  row(stock, place, window) {
    return this.rows.get(`${this.stocks[stock]} ${this.day(place, window)}`)
  }

  day(place, window) {
    return this.days[this.days.length - window + place]
  }

  /** Days of the series up to the last one, at most the window. */
  lengths(window) {
    const missing = Math.max(0, window - this.days.length)
    return this.first.map((first) => {
      const begun = first > 0 ? first - (this.days.length - window) : missing
      return Math.min(window, Math.max(1, window - begun))
    })
  }
}

function partOf(day, part) {
  const date = new Date(`${day}T00:00:00Z`)
  const ordinal = date.getTime() / 86400000
  const month = date.getUTCMonth()
  const began = Date.UTC(date.getUTCFullYear(), 0, 1) / 86400000
  const values = [date.getUTCFullYear(), month + 1, date.getUTCDate(), (date.getUTCDay() + 6) % 7, ordinal - began + 1, Math.floor(month / 3) + 1, ordinal]
  return values[PARTS.indexOf(part)]
}

function cell(column, row, day) {
  if (column.table === 'day') return day === undefined ? 0 : partOf(day, column.column)
  if (column.column === null) return Number(column.table === 'bars' ? row !== undefined : row?.['static:'] === 1)
  if (day === undefined) return NaN
  const value = row?.['static:'] === 1 ? number(row[`static:${column.column}`]) : NaN
  return Number.isNaN(value) ? NOTHING[column.dtype] ?? NaN : value
}

/** Graph, stages, graph, …: the columns of the last graph, [stocks][columns]. */
async function compute(program, market, contents) {
  const { window, fields, columns } = program
  const places = [...Array(window).keys()]
  const grid = (width, value) => market.stocks.map((_, stock) => places.flatMap((place) => Array.from({ length: width }, (_, at) => value(stock, place, at))))
  const bars = grid(fields.length, (stock, place, at) => number(market.row(stock, place, window)?.[fields[at]]))
  const tables = grid(columns.length, (stock, place, at) => cell(columns[at], market.row(stock, place, window), market.day(place, window)))
  const listed = market.first.map((first) => places.map((place) => place >= first - (market.days.length - window)))
  const lengths = market.lengths(window)
  const staged = market.stocks.map(() => [])
  let values = []
  for (const [number_, graph] of program.graphs.entries()) {
    const session = await load(contents.get(graph.file))
    values = []
    for (let start = 0; start < market.stocks.length; start += ROWS_AT_ONCE) {
      const part = [start, start + ROWS_AT_ONCE]
      const rows = Math.min(ROWS_AT_ONCE, market.stocks.length - start)
      const inputs = {
        bars: () => new ort.Tensor('float32', Float32Array.from(bars.slice(...part).flat()), [rows, window, fields.length]),
        length: () => new ort.Tensor('int64', BigInt64Array.from(lengths.slice(...part).map(BigInt)), [rows]),
        tables: () => new ort.Tensor('float64', Float64Array.from(tables.slice(...part).flat()), [rows, window, columns.length]),
        stages: () => new ort.Tensor('float64', Float64Array.from(staged.slice(...part).flat()), [rows, graph.taken])
      }
      const answer = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, inputs[name]()])))
      for (let row = 0; row < rows; row++) values.push([...answer.values.data.slice(row * graph.given, (row + 1) * graph.given)])
    }
    for (const stage of program.stages[number_] ?? []) {
      const found = acrossStocks(stage, values, listed.map((days) => days.slice(-stage.gives.days)))
      found.forEach((row, stock) => staged[stock].push(...row))
    }
  }
  return values
}

/** V8 and V9: the columns of section 5, and every factor of the last day within its tolerance. */
export async function factorTest(manifest, contents) {
  const { compiled } = manifest
  const rows = await readTable(contents.get(compiled.golden))
  const names = compiled.programs.flatMap((program) => Object.keys(program.factors))
  const side = compiled.static.length ? ['static:', ...compiled.static.map((column) => `static:${column.name}`)] : []
  const wanted = ['datetime', 'instrument', ...compiled.fields, ...side, ...names.map((name) => `factor:${name}`)]
  const found = Object.keys(rows[0] ?? {}).filter((name) => name !== 'day')
  demand(rows.length === compiled.golden_rows && found.join() === wanted.join(), 17, 'golden factors of another schema')
  demand(differ(rows.map((row) => `${row.instrument} ${row.day}`)), 17, 'a row of the golden factors twice')
  const market = new Market(rows)
  demand(market.days.at(-1) === compiled.date, 17, 'the golden factors end on another date')
  const counts = { stocks: market.stocks.length, factors: names.length, bit_identical: 0 }
  for (const program of compiled.programs) {
    const values = await compute(program, market, contents)
    for (const [name, series] of Object.entries(program.factors)) {
      market.stocks.forEach((stock, place) => {
        const [got, expected] = [values[place][series.first], number(market.row(place, 0, 1)[`factor:${name}`])]
        const near = Math.abs(got - expected) <= compiled.tolerances[name]
        demand(same(got, expected) || near, 19, `${name} of ${stock} is ${got}, not ${expected}`)
        counts.bit_identical += Number(same(got, expected))
      })
    }
  }
  return counts
}
