// What a follower knows: which tokens are revoked, and up to when it is complete.
import { cutoffs } from './event.mjs'

const keptAfter = 12 * 60_000
const mostEvents = 256 // of one user, client, tenant or issuer

// Two clocks: the wall's, which may be set, and one that only goes on, but stands still in suspend.
export const now = () => ({ wall: Date.now(), mono: performance.now() })
export const since = (t) => Math.max(Date.now() - t.wall, performance.now() - t.mono)

export class Replica {
  #entries = new Map() // from kind, iss and value to live events
  #proven = null
  #stream = null // its newest timestamp, and when that was heard of
  #blockedUntil = null

  apply(event) {
    const key = JSON.stringify([event.kind, event.iss, event.value])
    const spares = new Set(event.keep ?? [])
    const mine = { before: event.before ?? Infinity, until: event.until, spares }
    // An event that another one covers adds nothing.
    const covers = (a, b) => a.before >= b.before && a.until >= b.until && [...a.spares].every((s) => b.spares.has(s))
    let all = this.#entries.get(key) ?? []
    if (all.some((e) => covers(e, mine))) return
    all = [...all.filter((e) => !covers(mine, e)), mine]
    if (all.length > mostEvents) all = [{ before: Math.max(...all.map((e) => e.before)), until: Math.max(...all.map((e) => e.until)), spares: new Set() }] // refuses more, never less
    this.#entries.set(key, all)
  }

  // t names what a verified token has: { iss, jti, sid, sub, client, tenant, key, iat }; iat in milliseconds.
  isRevoked(t) {
    const iat = t.iat ?? 0
    for (const [kind, value] of [['token', t.jti], ['session', t.sid], ['subject', t.sub], ['client', t.client], ['tenant', t.tenant], ['key', t.key], ['issuer', '']]) {
      if (value === undefined) continue
      for (const e of this.#entries.get(JSON.stringify([kind, t.iss, value])) ?? []) {
        if (cutoffs.has(kind) ? iat <= e.before && !(kind === 'subject' && e.spares.has(t.sid)) : true) return true
      }
    }
    return false
  }

  // Forgets what is over by both clocks, ours and the stream's.
  forget() {
    const streamNow = this.#stream === null ? -Infinity : this.#stream.timestamp + performance.now() - this.#stream.mono
    const over = Math.min(Date.now(), streamNow) - keptAfter
    for (const [key, all] of this.#entries) {
      const live = all.filter((e) => e.until > over)
      if (live.length === 0) this.#entries.delete(key)
      else if (live.length < all.length) this.#entries.set(key, live)
    }
  }

  streamTime(timestamp) {
    if (this.#stream === null || timestamp > this.#stream.timestamp) this.#stream = { timestamp, mono: performance.now() }
  }

  // Complete up to t, which is of both clocks. It only moves forward.
  prove(t) { if (this.#proven === null || t.mono > this.#proven.mono) this.#proven = t }

  // An event that this program does not understand, and must not go on as before.
  block(until) { this.#blockedUntil = Math.max(this.#blockedUntil ?? 0, until) }

  isFresh(maxStaleness) {
    if (this.#blockedUntil !== null && Date.now() < this.#blockedUntil) return false
    return this.#proven !== null && since(this.#proven) <= maxStaleness
  }

  get size() { return this.#entries.size }
}
