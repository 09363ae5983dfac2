// Section 12.1 of spec/bundle-v1.md: which public keys of Ed25519 are refused, whatever library verifies with them.
const P = 2n ** 255n - 19n
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n
const modulo = (number) => ((number % P) + P) % P

function power(base, exponent) {
  let result = 1n
  for (const bit of exponent.toString(2)) result = bit === '1' ? modulo(result * result * base) : modulo(result * result)
  return result
}

const inverse = (number) => power(number, P - 2n)
const D = modulo(-121665n * inverse(121666n))

/** The sum of two points (x, y); the formulas of the curve hold for equal ones too. */
function add([x1, y1], [x2, y2]) {
  const product = modulo(D * x1 * x2 * y1 * y2)
  return [modulo((x1 * y2 + x2 * y1) * inverse(1n + product)), modulo((y1 * y2 + x1 * x2) * inverse(1n - product))]
}

/** Whether 32 raw bytes are a point of the base point's order, in its one form. */
export function isSound(raw) {
  const number = BigInt(`0x${Buffer.from(raw).reverse().toString('hex')}`)
  const y = number % 2n ** 255n
  const square = modulo((y * y - 1n) * inverse(D * y * y + 1n))
  let x = power(square, (P + 3n) / 8n)
  if (modulo(x * x) !== square) x = modulo(x * power(2n, (P - 1n) / 4n))
  // A point whose x is 0 has an order of at most 2.
  if (y >= P || modulo(x * x) !== square || x === 0n) return false
  const point = [x % 2n === number >> 255n ? x : P - x, y]
  let multiple = [0n, 1n]
  for (const bit of ORDER.toString(2)) {
    multiple = add(multiple, multiple)
    if (bit === '1') multiple = add(multiple, point)
  }
  return multiple[0] === 0n && multiple[1] === 1n
}
