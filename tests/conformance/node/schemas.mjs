// The published schemas with ajv, strict and of the 2020 dialect.   node schemas.mjs SCHEMA DOCUMENT [SCHEMA DOCUMENT …]
import { readFileSync } from 'node:fs'
import Ajv2020 from 'ajv/dist/2020.js'

const read = (path) => JSON.parse(readFileSync(path, 'utf8'))
const paths = process.argv.slice(2)
const replies = []
for (let place = 0; place < paths.length; place += 2) {
  // A pattern such as $ means the end of the text here, so the schemas must do without Python's own notation.
  const validate = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true }).compile(read(paths[place]))
  replies.push({ document: paths[place + 1], valid: validate(read(paths[place + 1])), errors: validate.errors ?? [] })
}
console.log(JSON.stringify(replies))
