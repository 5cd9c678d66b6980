// Events, as bus/WIRE.md has them written and read.
import { createHash, createPublicKey, verify } from 'node:crypto'
import { parseObject, unusable } from './json.mjs'

export const prefix = 'revocations.v1.'
export const heartbeatSubject = prefix + 'heartbeat'
export const kinds = ['token', 'session', 'subject', 'client', 'tenant', 'key', 'issuer']
export const cutoffs = new Set(['subject', 'client', 'tenant', 'issuer'])
export const day = 86_400_000

export const issuerHash = (iss) => createHash('sha256').update(iss, 'utf8').digest('hex').slice(0, 32)
export const subjectOf = (iss, kind) => `${prefix}${issuerHash(iss)}.${kind}`
const utf8Length = (s) => Buffer.byteLength(s, 'utf8')

const isText = (v, most) => typeof v === 'string' && v !== '' && utf8Length(v) <= most
const isTime = (v) => Number.isSafeInteger(v) && v >= 100_000_000_000

// A trusted key, from its 32 bytes in base64url.
export function trustedKey(base64url) {
  const id = createHash('sha256').update(Buffer.from(base64url, 'base64url')).digest().subarray(0, 12).toString('base64url')
  return { id, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url }, format: 'jwk' }) }
}

function isSigned(trust, subject, payload, signatures) {
  if (signatures.length !== 1) return false
  const m = /^([\w-]{16})\.([\w-]{86})$/.exec(signatures[0])
  const signed = Buffer.concat([Buffer.from(`hybridtoken revocation 1\0${subject}\0`), payload])
  const signature = m && Buffer.from(m[2], 'base64url')
  if (!m || signature.toString('base64url') !== m[2]) return false
  return trust.some((t) => t.id === m[1] && verify(null, signed, t.key, signature))
}

// What a message says: { applied: true, iss, kind, value, before, keep, until, unusable } or
// { applied: false, fault, member }. timestamp is the stream's, in milliseconds, rounded up;
// retention is the stream's { tokenLifetime, sessionLifetime, maxSkew }; trust is null
// where there is none, else trusted keys.
export function readEvent({ subject, payload, timestamp, signatures = [] }, retention, trust = null) {
  const fault = (fault, member) => ({ applied: false, fault, ...(member && { member }) })
  let members
  try {
    members = parseObject(payload)
  } catch {
    return fault('malformed')
  }
  const one = (name) => members.get(name)?.length === 1 ? members.get(name)[0] : undefined
  const signed = () => trust === null || isSigned(trust, subject, payload, signatures)
  const toCome = (what, member) => fault(one('critical') === true && signed() ? 'unsupported critical event' : what, member)

  const v = one('v')
  if (!Number.isInteger(v) || v < 1) return fault('malformed', 'v')
  if (v > 1) return toCome('unknown version', 'v')
  const iss = one('iss')
  if (!isText(iss, 512)) return fault('malformed', 'iss')
  const kind = one('kind')
  if (!isText(kind, 512)) return fault('malformed', 'kind')
  if (subject !== subjectOf(iss, kind)) return fault('not of its subject')
  if (!kinds.includes(kind)) return toCome('unknown kind', 'kind')

  const bad = new Set()
  const isThere = (name) => members.has(name)
  let value = one('value')
  if (kind === 'issuer') {
    if (isThere('value') && value !== '') {
      if (value !== null) return fault('malformed', 'value')
      bad.add('value')
    }
    value = ''
  } else if (!isText(value, 512) || (kind === 'key' && !/^[\w-]{43}$/.test(value))) {
    return fault('malformed', 'value')
  }

  const optional = (name, good) => {
    if (!isThere(name)) return undefined
    const v = one(name)
    if (v !== undefined && good(v)) return v
    bad.add(name)
    return undefined
  }
  const before = optional('before', (v) => cutoffs.has(kind) && isTime(v))
  const keep = optional('keep', (v) => kind === 'subject' && Array.isArray(v) && v.length <= 64 && v.every((s) => isText(s, 512))) ?? []
  let until = optional('until', isTime)
  let at = optional('at', isTime)
  optional('critical', (v) => typeof v === 'boolean')
  for (const name of ['id', 'reason', 'actor']) optional(name, (v) => typeof v === 'string' && v !== unusable && utf8Length(v) <= 256)

  if (trust !== null && kind !== 'token' && kind !== 'session') {
    if (cutoffs.has(kind) && before === undefined) return fault('unsigned', 'before')
    if (until === undefined) return fault('unsigned', 'until')
    if (!signed()) return fault('unsigned')
  }

  const { tokenLifetime: TL, sessionLifetime: SL, maxSkew: M } = retention
  const slack = 2 * M, ts = timestamp, longest = Math.max(TL, SL)
  if (at === undefined) at = bad.has('at') && before !== undefined ? before - slack : ts
  const base = Math.max(ts, Math.min(at, ts + day))
  const event = { applied: true, iss, kind, value, unusable: [...bad].sort() }
  if (cutoffs.has(kind)) event.before = Math.min(before ?? Infinity, base + slack)
  if (keep.length > 0) event.keep = keep

  if (until === undefined) {
    if (bad.has('until')) until = kind === 'key' ? ts + 3653 * day : base + (kind === 'token' ? TL : longest)
    else until = kind === 'key' ? ts + 365 * day : ts + longest
  }
  until = Math.min(until, kind === 'key' ? ts + 3653 * day : ts + longest + day)
  if (kind !== 'token' && kind !== 'key') until = Math.max(until, event.before < ts ? event.before + TL : ts + TL)
  event.until = until
  return event
}
