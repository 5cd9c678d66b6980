// The digest of a log, as bus/WIRE.md has it.
import { createHash } from 'node:crypto'

const second = 1_000_000_000n
const forever = Symbol('never expires')
const maxLife = BigInt(4026 * 86_400) * second
const units = { h: 3600n * second, m: 60n * second, s: second, ms: 1_000_000n, us: 1000n, µs: 1000n, μs: 1000n, ns: 1n }

// How long the server keeps a message with that Nats-TTL, in nanoseconds; null: for ever.
export function lifeOf(header) {
  if (!header) return null
  if (/^\d+$/.test(header)) return BigInt(header) * second || null
  const parts = /^(?:\d+(?:\.\d*)?(?:h|ms|m|s|us|µs|μs|ns))+$/.test(header) ? header.matchAll(/(\d+)(?:\.(\d*))?(h|ms|m|s|us|µs|μs|ns)/g) : []
  let all = 0n
  for (const [, whole, fraction = '', unit] of parts) {
    all += BigInt(whole + fraction) * units[unit] / 10n ** BigInt(fraction.length)
  }
  return all || null
}

// The second at which the group of a message begins.
function groupOf(timestamp, life) {
  if (life === null || life > maxLife) return forever
  const grain = life <= 3n * 3600n * second ? 60n : life <= 72n * 3600n * second ? 3600n : 86_400n
  const end = (timestamp + life / second * second) / second
  return end - end % grain
}

export class LogDigest {
  #groups = new Map()

  // Takes the messages in order, heartbeats included. timestamp is in nanoseconds, a BigInt.
  add({ seq, timestamp, subject, payload, ttl }) {
    const at = groupOf(timestamp, lifeOf(ttl))
    const name = Buffer.from(subject, 'utf8'), head = Buffer.alloc(20)
    head.writeBigUInt64BE(BigInt(seq), 0)
    head.writeBigUInt64BE(timestamp, 8)
    head.writeUInt32BE(name.length, 16)
    const hash = createHash('sha256').update(head).update(name).update(payload).digest()
    const g = this.#groups.get(at) ?? { count: 0, sum: 0n }
    g.count++
    g.sum = BigInt.asUintN(256, g.sum + BigInt('0x' + Buffer.from(hash).reverse().toString('hex')))
    this.#groups.set(at, g)
  }

  // The digest at a heartbeat, which is the message added last.
  at({ seq, timestamp }) {
    let count = 0, sum = 0n
    for (const [begins, g] of this.#groups) {
      if (begins === forever || begins * second > timestamp + 120n * second) {
        count += g.count
        sum = BigInt.asUintN(256, sum + g.sum)
      } else if (begins * second < timestamp - 86_400n * second) {
        this.#groups.delete(begins)
      }
    }
    return { alg: 1, seq, count, sum: Buffer.from(sum.toString(16).padStart(64, '0'), 'hex').reverse().toString('hex') }
  }
}
