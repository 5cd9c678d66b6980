// Keeps a Replica in step with the stream, and proves it, as bus/WIRE.md has it.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createInbox, headers } from '@nats-io/transport-node'
import { heartbeatSubject, issuerHash, prefix, readEvent } from './event.mjs'
import { LogDigest } from './digest.mjs'
import { parseObject } from './json.mjs'
import { now, since } from './replica.mjs'
import { api, dial, streamInfo, streamName } from './stream.mjs'

const interval = 1000
const batch = 256
const silence = 5 * interval // no word for so long: the connection, or the server, is not what it seems
const firstWord = 2000
const wholeWithin = 60_000

class Ended extends Error {} // a subscription

export class Follower {
  // issuers are those whose tokens are verified here; tokenLifetime is the longest that one may live.
  // connect makes a connection, for tests.
  constructor({ replica, servers, issuers, tokenLifetime, maxSkew = 2000, trust = null, name = 'node', log = () => {}, connect = dial }) {
    Object.assign(this, { replica, servers, tokenLifetime, maxSkew, trust, name, log, connect })
    this.hashes = new Set(issuers.map(issuerHash))
    this.retention = { tokenLifetime: 0, sessionLifetime: 0, maxSkew: 0 }
    this.anchor = null // the message applied last
    this.readFrom = -Infinity // when the log was last begun to be read from 1
    this.digest = new LogDigest()
    this.held = new Map() // own digests at recent heartbeats
    this.applied = 0
    this.unfit = 'not yet subscribed' // why the replica may not be called fresh, whatever is proven
    this.closed = new AbortController()
    this.failedAnchors = 0
    this.disputed = -Infinity
  }

  isFresh(maxStaleness = 15_000) { return this.unfit === null && this.replica.isFresh(maxStaleness) }

  async run() {
    let wait = 100
    while (!this.closed.signal.aborted) {
      const began = performance.now()
      try {
        await this.#subscription()
      } catch (err) {
        if (this.closed.signal.aborted) return
        this.log(`follow: ${err.message}`)
      }
      if (performance.now() - began > 10_000) wait = 100
      await sleep(wait * (0.5 + Math.random()), undefined, { signal: this.closed.signal }).catch(() => {})
      wait = Math.min(2 * wait, 2000)
    }
  }

  close() { this.closed.abort() }

  async #subscription() {
    const nc = await this.connect(this.servers, this.name)
    const end = () => nc.close()
    this.closed.signal.addEventListener('abort', end)
    try {
      await this.#read(nc)
    } finally {
      this.closed.signal.removeEventListener('abort', end)
      await nc.close()
    }
  }

  #judge({ config, retention }) {
    for (const k of Object.keys(retention)) this.retention[k] = Math.max(this.retention[k], retention[k])
    if (config.mirror || config.sources?.length) this.unfit = 'a mirror: this program does not prove those'
    else if (retention.tokenLifetime < this.tokenLifetime) this.unfit = "the stream remembers for less than this program's tokens live"
    else if (retention.maxSkew !== this.maxSkew) this.unfit = "the stream's max_skew_ms is another"
    else this.unfit = null
    if (this.unfit) this.log(`not fresh: ${this.unfit}`)
  }

  async #read(nc) {
    const began = performance.now()
    const info = await streamInfo(nc)
    this.#judge(info)
    const fromStart = this.anchor === null || this.failedAnchors >= 2 || info.state.last_seq < this.anchor.seq
    if (fromStart) { // keeping all that is known
      this.readFrom = began
      this.digest = new LogDigest()
      this.held.clear()
      this.anchor = null
      this.failedAnchors = 0
    }
    const s = { nc, lastSeq: info.state.last_seq, consumer: 'node-' + randomBytes(12).toString('hex'), next: 1, wanted: 0, anchored: fromStart, heard: performance.now() }
    s.inbox = createInbox()
    const messages = nc.subscribe(s.inbox)
    await api(nc, `CONSUMER.CREATE.${streamName}.${s.consumer}`, {
      stream_name: streamName, action: 'create',
      config: {
        name: s.consumer, ack_policy: 'none', mem_storage: true, num_replicas: 1, replay_policy: 'instant', inactive_threshold: 30e9,
        ...(fromStart ? { deliver_policy: 'all' } : { deliver_policy: 'by_start_sequence', opt_start_seq: this.anchor.seq }),
      },
    })
    let fault = null
    const stop = (err) => { fault ??= err; messages.unsubscribe() }
    const anchorTimer = setTimeout(() => { if (!s.anchored) { this.failedAnchors++; stop(new Ended('the message applied last does not come')) } }, firstWord)
    const watch = setInterval(() => {
      this.replica.forget()
      if (performance.now() - s.heard > silence) stop(new Ended('the server brings nothing'))
    }, interval)
    const beats = this.#beats(s)
    try {
      this.#pull(s)
      for await (const m of messages) {
        s.heard = performance.now()
        this.#message(s, m)
      }
      throw fault ?? new Ended('the connection has ended')
    } finally {
      clearTimeout(anchorTimer)
      clearInterval(watch)
      beats.stop()
      if (!nc.isClosed()) nc.publish(`$JS.API.CONSUMER.DELETE.${streamName}.${s.consumer}`)
    }
  }

  #pull(s) {
    s.nc.publish(`$JS.API.CONSUMER.MSG.NEXT.${streamName}.${s.consumer}`, JSON.stringify({ batch, expires: 30e9, idle_heartbeat: 1e9 }), { reply: s.inbox })
    s.wanted = batch
  }

  #message(s, m) {
    const position = positionOf(m.reply)
    if (position === null) return this.#word(s, m)
    if (position.stream !== streamName || position.consumer !== s.consumer) throw new Ended('a delivery of another consumer')
    if (position.delivery !== s.next++) throw new Ended('a gap')
    const message = {
      seq: position.seq, timestamp: position.timestamp, subject: m.subject, payload: Buffer.from(m.data), ttl: m.headers?.get('Nats-TTL'),
      signatures: m.headers?.values('Hybridtoken-Signature') ?? [],
    }
    if (--s.wanted <= 0) this.#pull(s)
    if (!s.anchored) {
      const a = this.anchor
      if (message.seq !== a.seq || message.timestamp !== a.timestamp || message.subject !== a.subject || !message.payload.equals(a.payload)) {
        this.failedAnchors = 2
        throw new Ended('another message stands where the last one applied was')
      }
      s.anchored = true
      this.failedAnchors = 0
      return // it has been applied
    }
    if (this.anchor !== null && message.seq <= this.anchor.seq) throw new Ended('sequences do not rise')
    this.digest.add(message)
    this.replica.streamTime(Number(message.timestamp / 1_000_000n))
    if (message.subject === heartbeatSubject) this.#heartbeat(s, message)
    else this.#event(message)
    this.anchor = message
    this.applied++
  }

  // What the server says itself, which has no position. 408 and 409 end a pull.
  #word(s, m) {
    const code = m.headers?.code ?? 0
    if (code === 100) return
    if (code === 408 || (code === 409 && m.headers.description === 'Batch Completed')) return this.#pull(s)
    throw new Ended(`the server says ${code} ${m.headers?.description ?? ''}`)
  }

  #event(message) {
    const timestamp = Number((message.timestamp + 999_999n) / 1_000_000n)
    const event = readEvent({ ...message, timestamp }, this.retention, this.trust)
    if (event.applied) {
      if (event.unusable.length > 0) this.log(`event ${message.seq}: unusable ${event.unusable.join(', ')}`)
      return this.replica.apply(event)
    }
    this.log(`event ${message.seq}: ${event.fault} ${event.member ?? ''}`)
    if (event.fault === 'unsupported critical event' && this.hashes.has(message.subject.slice(prefix.length).split('.')[0])) {
      this.replica.block(timestamp + this.retention.tokenLifetime)
    }
  }

  #heartbeat(s, message) {
    const receipt = now()
    const own = this.digest.at(message)
    // Once a minute has passed, some of what counted may have expired before it was delivered here.
    if (receipt.wall - Number(message.timestamp / 1_000_000n) < wholeWithin) {
      this.held.set(own.seq, own)
      for (const seq of this.held.keys()) { if (this.held.size > 300) this.held.delete(seq); else break }
    }
    const beat = readHeartbeat(message.payload)
    if (beat === null) return
    if (beat.digest && this.trust === null && this.#disagrees(s, beat.digest)) return
    const sent = s.sent?.get(beat.nonce)
    if (sent) {
      s.sent.delete(beat.nonce)
      return this.replica.prove(sent)
    }
    if (beat.ts - receipt.wall > this.maxSkew) return
    const late = Math.max(0, receipt.wall - beat.ts)
    if (late <= this.maxSkew + interval) s.seen = performance.now()
    if (message.seq <= s.lastSeq) return // it was there before
    const proven = { wall: receipt.wall - late - this.maxSkew, mono: receipt.mono - late - this.maxSkew }
    if (proven.mono >= this.readFrom) this.replica.prove(proven) // what was sent before knows nothing of what this log has lost
  }

  // A digest of a sender who holds something else proves nothing. The log is read anew, once a minute.
  #disagrees(s, d) {
    const mine = this.held.get(d.seq)
    if (!mine || (mine.count === d.count && mine.sum === d.sum)) return false
    this.log(`a heartbeat's digest at ${d.seq} disagrees`)
    if (performance.now() - this.disputed > 60_000) {
      this.disputed = performance.now()
      this.failedAnchors = 2
      throw new Ended('the log is read anew')
    }
    return true
  }

  // Beats at once, and whenever no heartbeat was seen for an interval and a random part of another.
  #beats(s) {
    s.sent = new Map()
    s.seen = -Infinity
    let timer
    const next = () => { timer = setTimeout(due, interval + Math.random() * interval) }
    const due = () => {
      if (performance.now() - s.seen >= interval) this.#beat(s)
      next()
    }
    this.#beat(s)
    next()
    return { stop: () => clearTimeout(timer) }
  }

  #beat(s) {
    if (s.nc.isClosed()) return
    for (const [nonce, t] of s.sent) { if (since(t) > 60_000) s.sent.delete(nonce) }
    const nonce = randomBytes(16).toString('hex'), h = headers()
    h.append('Nats-TTL', '15m')
    const digest = [...this.held.values()].at(-1) ?? { alg: 1 }
    const t = now()
    s.sent.set(nonce, t)
    s.nc.publish(heartbeatSubject, JSON.stringify({ v: 1, nonce, ts: t.wall, name: this.name, digest }), { headers: h })
  }
}

// The position that a delivery's reply subject tells, or null if it is none. There are two forms:
// the newer one has a domain and a hash of the account in front, and may have more behind.
export function positionOf(reply) {
  let t = reply?.startsWith('$JS.ACK.') ? reply.split('.').slice(2) : []
  if (t.length >= 9) t = t.slice(2)
  else if (t.length !== 7) return null
  const [stream, consumer, , seq, delivery, timestamp] = t
  if (![seq, delivery, timestamp].every((n) => /^\d{1,19}$/.test(n))) return null
  return { stream, consumer, seq: Number(seq), delivery: Number(delivery), timestamp: BigInt(timestamp) } // nanoseconds: no double holds them
}

export function readHeartbeat(payload) {
  let members
  try {
    if (payload.length > 2048) return null
    members = parseObject(payload)
  } catch {
    return null
  }
  const one = (m, name) => m.get(name)?.length === 1 ? m.get(name)[0] : undefined
  const [v, nonce, ts, digest] = ['v', 'nonce', 'ts', 'digest'].map((name) => one(members, name))
  if (v !== 1 || typeof nonce !== 'string' || !/^[0-9a-f]{32}$/.test(nonce) || !Number.isSafeInteger(ts) || ts <= 0) return null
  const beat = { nonce, ts }
  if (digest instanceof Map && one(digest, 'alg') === 1) {
    const [seq, count, sum] = ['seq', 'count', 'sum'].map((name) => one(digest, name))
    if (Number.isSafeInteger(seq) && Number.isSafeInteger(count) && typeof sum === 'string' && /^[0-9a-fA-F]{64}$/.test(sum)) beat.digest = { seq, count, sum: sum.toLowerCase() }
  }
  return beat
}
