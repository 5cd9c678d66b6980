// Runs the vectors of bus/WIRE.md:  node vectors.mjs DIRECTORY
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { readEvent, trustedKey } from './event.mjs'
import { LogDigest } from './digest.mjs'

const read = (name) => JSON.parse(readFileSync(join(process.argv[2], name), 'utf8'))
const failed = []
const check = (name, got, want) => { if (!isDeepStrictEqual(got, want)) failed.push({ name, got, want }) }

const events = read('events.json')
const trust = events.trust.map(trustedKey)
const retention = {
  tokenLifetime: events.retention.token_lifetime_ms, sessionLifetime: events.retention.session_lifetime_ms, maxSkew: events.retention.max_skew_ms,
}
for (const v of events.vectors) {
  const payload = v.payload_base64 === undefined ? Buffer.from(v.payload, 'utf8') : Buffer.from(v.payload_base64, 'base64')
  const signatures = Object.entries(v.headers ?? {}).filter(([name]) => name === 'Hybridtoken-Signature').map(([, value]) => value)
  check(v.name, readEvent({ subject: v.subject, payload, timestamp: v.timestamp, signatures }, retention, v.trust ? trust : null), v.result)
}

const log = read('digest.json')
const digest = new LogDigest()
const wanted = new Map(log.digests.map((d) => [d.seq, d]))
for (const m of log.messages) {
  const message = { seq: m.seq, timestamp: BigInt(m.timestamp_ns), subject: m.subject, payload: Buffer.from(m.payload, 'utf8'), ttl: m.nats_ttl }
  digest.add(message)
  if (wanted.has(m.seq)) check(`digest at ${m.seq}`, digest.at(message), { alg: 1, ...wanted.get(m.seq) })
}
for (const f of failed) console.error(JSON.stringify(f))
console.log(JSON.stringify({ events: events.vectors.length, digests: wanted.size, failed: failed.length }))
process.exitCode = failed.length === 0 ? 0 : 1
