// Publishes revocations, as bus/WIRE.md has it. As a program it reads one JSON object a line,
// { iss, kind, value, keep, until, reason }, publishes it, and answers with a line.
//
//   NATS_URL=nats://127.0.0.1:4222 node publish.mjs
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { headers } from '@nats-io/transport-node'
import { cutoffs, day, kinds, subjectOf } from './event.mjs'
import { StreamError, dial, hazards, streamInfo, streamName } from './stream.mjs'

const hour = 3_600_000
const noRoom = new Set([10077, 10047, 10028, 10023])
const patience = 15_000 // an election of the stream's leader takes up to 9 s
const attempt = 2_000

// The form of a credential: a whole JWT, a refresh token, anything with a scheme or a blank.
const isCredential = (s) => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(s) && s.startsWith('ey') || /\s/.test(s)

// The event of a request, complete.
export function complete({ iss, kind, value, keep, until, reason }, { tokenLifetime, sessionLifetime, maxSkew }, now) {
  if (!kinds.includes(kind)) throw new TypeError(`no kind ${JSON.stringify(kind)}`)
  const texts = [iss, reason, ...(keep ?? []), ...(kind === 'issuer' ? [] : [value])]
  if (typeof iss !== 'string' || (kind !== 'issuer' && typeof value !== 'string')) throw new TypeError('iss and value are texts')
  if (keep && (kind !== 'subject' || keep.length > 64)) throw new TypeError('keep is for a subject, and has at most 64')
  if (texts.some((s) => s !== undefined && (s === '' || Buffer.byteLength(s) > 512 || !s.isWellFormed()))) throw new TypeError('a text is empty, too long or not UTF-8')
  if ([value, reason, ...(keep ?? [])].some((s) => s !== undefined && isCredential(s))) throw new TypeError('a text has the form of a credential')
  const event = { v: 1, id: randomBytes(16).toString('hex'), iss, kind }
  if (kind !== 'issuer') event.value = value
  if (cutoffs.has(kind)) event.before = now + 2 * maxSkew
  if (keep) event.keep = keep
  const longest = Math.max(now, event.before ?? 0) + Math.max(sessionLifetime, tokenLifetime)
  // Readers keep no event for longer than furthest, and what a server is to keep past 2262 it drops at once.
  const furthest = now + Math.max(sessionLifetime, tokenLifetime) + day
  event.until = kind === 'token' ? Math.min(until ?? now + tokenLifetime, furthest) : kind === 'key' ? now + 365 * day : longest
  if (reason) event.reason = reason
  event.at = now
  return event
}

// Nats-TTL, in whole seconds.
export function ttlOf(until, now) {
  let ms = until + 15 * 60_000 - now
  if (ms > 71 * hour) ms += 24 * hour - 60_000
  else if (ms > 3 * hour) ms += 59 * 60_000
  return Math.max(1, Math.ceil(ms / 1000))
}

export class Publisher {
  #servers; #name; #connect; #nc; #highest = 0; #live = []; #lost = new Set(); #again; #turn = Promise.resolve()

  // connect makes a connection, for tests.
  constructor({ servers, name = 'node', connect = dial }) {
    this.#servers = servers
    this.#name = name
    this.#connect = connect
  }

  // Resolves once the stream has the event. A rejection says that it must be presumed not to be
  // revoked: publishing again is harmless. One at a time.
  publish(request) {
    const done = this.#turn.then(() => this.#publish(request))
    this.#turn = done.catch(() => {})
    return done
  }

  async #publish(request) {
    const deadline = Date.now() + patience
    const stream = await this.#until(deadline, () => this.#stream())
    const event = complete(request, stream.retention, Date.now())
    // The last 10 % are for what revokes many, and the last 3 % for heartbeats.
    const filled = stream.state.bytes / stream.config.max_bytes
    if (filled > (cutoffs.has(event.kind) || event.kind === 'key' ? 0.97 : 0.9)) throw new Error('the stream is full')
    const ack = await this.#send(event, deadline)
    this.#live = this.#live.filter((e) => e.until > Date.now())
    if (ack.lost) for (const e of this.#live) this.#lost.add(e)
    this.#live.push(event)
    await this.#bringBack()
    return { seq: ack.seq, id: event.id }
  }

  // Publishes again what the stream has lost. What it does not take now is tried again with the next
  // event, or half a minute later: no other answer would tell of this loss once more.
  async #bringBack() {
    clearTimeout(this.#again)
    try {
      for (const e of [...this.#lost]) {
        if (e.until > Date.now() && (await this.#send(e, Date.now() + patience)).lost) for (const other of this.#live) this.#lost.add(other)
        this.#lost.delete(e)
      }
    } catch {
      // it stays in #lost
    }
    if (this.#lost.size > 0) this.#again = setTimeout(() => { this.#turn = this.#turn.then(() => this.#bringBack()) }, 30_000).unref()
  }

  // Tries under one id until the stream has it. Where the answer shows that the stream has lost
  // what it acknowledged, it is sent under a new one.
  async #send(event, deadline) {
    const subject = subjectOf(event.iss, event.kind), payload = JSON.stringify(event)
    if (Buffer.byteLength(payload) > 60 * 1024) throw new TypeError('the event is too large')
    let lost = false
    for (;;) {
      const before = this.#highest, msgID = randomBytes(16).toString('hex')
      let tries = 0
      const ack = await this.#until(deadline, async () => {
        const h = headers() // names as they are written here: the server compares bytes
        h.append('Nats-TTL', String(ttlOf(event.until, Date.now())))
        h.append('Nats-Msg-Id', msgID)
        h.append('Nats-Expected-Stream', streamName)
        const nc = await this.#connection()
        tries++
        const answer = (await nc.request(subject, payload, { headers: h, timeout: attempt })).json()
        if (answer.error) throw new StreamError(answer.error)
        if (answer.stream !== streamName || !(answer.seq > 0)) throw new Error('an acknowledgement of another stream')
        return answer
      })
      this.#highest = Math.max(this.#highest, ack.seq)
      const again = ack.duplicate === true && tries > 1
      if ((ack.duplicate !== true && ack.seq > before) || again) return { seq: ack.seq, lost }
      if (lost) throw new Error('the stream loses what it acknowledges')
      lost = true
      this.#highest = 0
    }
  }

  async #until(deadline, f) {
    for (let wait = 50; ; wait = Math.min(2 * wait, 1000)) {
      try {
        return await f()
      } catch (err) {
        if (noRoom.has(err.code) || err instanceof Forgetful || Date.now() + wait > deadline) throw err
        await sleep(wait * (0.5 + Math.random()))
      }
    }
  }

  async #stream() {
    const info = await streamInfo(await this.#connection())
    const wrong = hazards(info.config)
    if (wrong.length > 0) throw new Forgetful(`the stream would forget: ${wrong.join(', ')}`)
    return info
  }

  async #connection() {
    if (!this.#nc || this.#nc.isClosed()) this.#nc = await this.#connect(this.#servers, this.#name)
    return this.#nc
  }

  async close() {
    clearTimeout(this.#again)
    await this.#nc?.close()
  }
}

class Forgetful extends Error {}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const publisher = new Publisher({ servers: process.env.NATS_URL })
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify(await publisher.publish(JSON.parse(line))))
    } catch (err) {
      console.log(JSON.stringify({ error: err.message }))
    }
  }
  await publisher.close()
}
