// Reads JSON as bus/WIRE.md has it read, which JSON.parse does not: members that are there
// twice are told, an invalid UTF-8 byte or a lone surrogate spoils the text that it is in
// and nothing else, and nesting has an end.

export const unusable = Symbol('text that is not UTF-8')

// A Map from each name to all its values, in order; throws for what is no object.
export function parseObject(bytes) {
  const r = new Reader(bytes)
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) r.at = 3
  r.space()
  if (r.peek() !== '{') throw new SyntaxError('not an object')
  const members = r.object(1)
  r.space()
  if (r.at !== bytes.length) throw new SyntaxError('data after the object')
  return members
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const numbers = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const escapes = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }
const maxDepth = 1000

class Reader {
  constructor(bytes) {
    this.bytes = bytes
    this.text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1') // one character a byte
    this.at = 0
  }

  peek() { return this.text[this.at] }

  take(s) {
    if (!this.text.startsWith(s, this.at)) throw new SyntaxError(`expected ${s} at byte ${this.at}`)
    this.at += s.length
  }

  space() { while (' \t\r\n'.includes(this.peek() ?? 'x')) this.at++ }

  value(depth) {
    if (depth > maxDepth) throw new SyntaxError('nested too deep')
    this.space()
    const c = this.peek()
    switch (c) {
      case '{': return this.object(depth)
      case '[': return this.array(depth)
      case '"': return this.string()
      case 't': this.take('true'); return true
      case 'f': this.take('false'); return false
      case 'n': this.take('null'); return null
    }
    numbers.lastIndex = this.at
    const m = numbers.exec(this.text)
    if (!m) throw new SyntaxError(`no value at byte ${this.at}`)
    this.at += m[0].length
    return Number(m[0])
  }

  object(depth) {
    const members = new Map()
    this.take('{')
    this.space()
    if (this.peek() === '}') { this.at++; return members }
    for (;;) {
      this.space()
      if (this.peek() !== '"') throw new SyntaxError(`no name at byte ${this.at}`)
      const name = this.string()
      this.space()
      this.take(':')
      const value = this.value(depth + 1)
      if (members.has(name)) members.get(name).push(value)
      else members.set(name, [value])
      this.space()
      if (this.peek() === '}') { this.at++; return members }
      this.take(',')
    }
  }

  array(depth) {
    const values = []
    this.take('[')
    this.space()
    if (this.peek() === ']') { this.at++; return values }
    for (;;) {
      values.push(this.value(depth + 1))
      this.space()
      if (this.peek() === ']') { this.at++; return values }
      this.take(',')
    }
  }

  string() {
    let out = '', ok = true, from = ++this.at
    const plain = () => {
      try { out += utf8.decode(this.bytes.subarray(from, this.at)) } catch { ok = false }
    }
    for (;;) {
      const c = this.peek()
      if (c === undefined || c < ' ') throw new SyntaxError(`a text ends at byte ${this.at}`)
      if (c === '"') {
        plain()
        this.at++
        return ok && out.isWellFormed() ? out : unusable
      }
      if (c !== '\\') { this.at++; continue }
      plain()
      const e = this.text[this.at + 1]
      if (e === 'u') {
        const digits = this.text.slice(this.at + 2, this.at + 6)
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new SyntaxError(`no escape at byte ${this.at}`)
        out += String.fromCharCode(parseInt(digits, 16))
        this.at += 6
      } else {
        if (!(e in escapes)) throw new SyntaxError(`no escape at byte ${this.at}`)
        out += escapes[e]
        this.at += 2
      }
      from = this.at
    }
  }
}
