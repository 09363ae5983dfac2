// Operations across the stocks of a day between the graphs of compiled factors, by section 9.10 alone.
export const FUNCTIONS = {
  day: ['mean', 'sum', 'std', 'var', 'median', 'min', 'max', 'count', 'quantile', 'skew', 'any'],
  day_rank: [null],
  day_pair: ['corr', 'cov']
}
export const isSeries = (one) => typeof one === 'object'

/** What a stage gives, [stocks][days], of the columns of the graph before it, [stocks][columns]; `listed`: the series has the day. */
export function acrossStocks(stage, values, listed) {
  const days = stage.gives.days
  const given = stage.inputs.map((one) => values.map((row) => (isSeries(one) ? row.slice(one.first, one.first + days) : Array(days).fill(Number(one)))))
  const pair = Number(stage.operator === 'day_pair')
  const nothing = stage.gives.dtype.startsWith('float') ? NaN : 0
  const found = values.map(() => Array(days).fill(nothing))
  for (let day = 0; day < days; day++) {
    const at = (input, stock) => given[input][stock][day]
    const isIn = (stock) => at(1 + pair, stock) !== 0 && (!isSeries(stage.inputs[1 + pair]) || listed[stock][day])
    const groups = new Map()
    values.forEach((_, stock) => {
      const keys = given.slice(2 + pair).map((key) => key[stock][day] + 0)
      if (!keys.some(Number.isNaN)) groups.set(keys.join(), [...(groups.get(keys.join()) ?? []), stock])
    })
    for (const group of groups.values()) {
      const members = group.filter(isIn)
      if (stage.operator === 'day_rank') {
        const there = members.filter((stock) => !Number.isNaN(at(0, stock)))
        ranks(there.map((stock) => at(0, stock)), stage).forEach((rank, place) => (found[there[place]][day] = rank))
      } else if (members.length || given.length === 2 + pair) {
        const columns = [0, pair].map((input) => members.map((stock) => at(input, stock)))
        const value = pair ? ofPairs(...columns, stage) : statistic(columns[0], stage)
        for (const stock of group) found[stock][day] = value
      }
    }
  }
  return stage.gives.dtype === 'float32' ? found.map((row) => row.map(Math.fround)) : found
}

function ranks(values, { method, ascending, percent }) {
  const order = values.map((_, place) => place).sort((a, b) => (ascending ? 1 : -1) * (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0) || a - b)
  const distinct = [...new Set(order.map((place) => values[place] + 0))]
  const found = values.map((value) => {
    const first = order.findIndex((place) => values[place] === value) + 1
    const last = first + values.filter((other) => other === value).length - 1
    return { average: (first + last) / 2, min: first, max: last, dense: distinct.indexOf(value + 0) + 1 }[method]
  })
  if (method === 'first') order.forEach((place, rank) => (found[place] = rank + 1))
  const count = method === 'dense' ? distinct.length : values.length
  return percent ? found.map((rank) => rank / count) : found
}

/** Section 9.10: eight running sums, and halves of more than 128 numbers. */
function sum(values) {
  const count = values.length
  if (count < 8) return values.reduce((total, value) => total + value, 0)
  if (count > 128) {
    const half = Math.floor(count / 16) * 8
    return sum(values.slice(0, half)) + sum(values.slice(half))
  }
  const whole = count - (count % 8)
  const s = values.slice(0, 8)
  for (let place = 8; place < whole; place++) s[place % 8] += values[place]
  const total = s[0] + s[1] + (s[2] + s[3]) + (s[4] + s[5] + (s[6] + s[7]))
  return values.slice(whole).reduce((before, value) => before + value, total)
}

const mean = (values) => sum(values) / values.length

function quantile(values, share) {
  const ordered = [...values].sort((a, b) => a - b)
  const place = share * (ordered.length - 1)
  const below = Math.floor(place)
  const part = place - below
  return part > 0 ? ordered[below] + (ordered[below + 1] - ordered[below]) * part : ordered[below]
}

function statistic(values, stage) {
  if (stage.function === 'any') return Number(values.some((value) => value !== 0))
  const there = values.filter((value) => !Number.isNaN(value))
  if (stage.function === 'count') return there.length
  if (stage.function === 'sum') return sum(there)
  const n = there.length
  if (n <= (stage.ddof ?? 0)) return NaN
  const power = (exponent, m = mean(there)) => sum(there.map((value) => (value - m) ** exponent))
  const variance = () => power(2) / (n - stage.ddof)
  const skewness = (a = power(2)) => (a === 0 ? 0 : (((n * Math.sqrt(n - 1)) / (n - 2)) * power(3)) / a ** 1.5)
  const functions = {
    mean: () => mean(there),
    min: () => Math.min(...there),
    max: () => Math.max(...there),
    median: () => quantile(there, 0.5),
    quantile: () => quantile(there, stage.q),
    var: variance,
    std: () => Math.sqrt(variance()),
    skew: () => (n < 3 ? NaN : skewness())
  }
  return functions[stage.function]()
}

function ofPairs(left, right, stage) {
  const both = left.map((_, place) => place).filter((place) => !Number.isNaN(left[place]) && !Number.isNaN(right[place]))
  if (both.length < 2) return NaN
  const [x, y] = [left, right].map((values) => both.map((place) => values[place]))
  const [mx, my] = [mean(x), mean(y)]
  const products = (a, ma, b, mb) => sum(a.map((value, place) => (value - ma) * (b[place] - mb)))
  if (stage.function === 'corr') return products(x, mx, y, my) / Math.sqrt(products(x, mx, x, mx) * products(y, my, y, my))
  return both.length > stage.ddof ? products(x, mx, y, my) / (both.length - stage.ddof) : NaN
}
