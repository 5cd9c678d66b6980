// A heartbeat that was sent before the log was begun to be read from its start, and one sent after.
import { Follower } from './follow.mjs'
import { Replica } from './replica.mjs'
import { heartbeatSubject } from './event.mjs'

const metadata = { 'hybridtoken.schema': '1', 'hybridtoken.token_lifetime_ms': '3600000', 'hybridtoken.session_lifetime_ms': '86400000' }
let consumer, seq = 0, own, wake, closed = false
const queue = []
const deliver = (payload) => {
  seq++
  queue.push({ reply: `$JS.ACK.REVOCATIONS.${consumer}.1.${seq}.${seq}.${BigInt(Date.now()) * 1_000_000n}.0`, subject: heartbeatSubject, data: Buffer.from(payload) })
  wake?.()
}
const nc = {
  isClosed: () => closed,
  close: async () => { closed = true; wake?.() },
  subscribe: () => ({
    unsubscribe: () => nc.close(),
    async * [Symbol.asyncIterator]() {
      while (!closed) {
        if (queue.length > 0) yield queue.shift()
        else await new Promise((resolve) => { wake = resolve })
      }
    },
  }),
  request: async (subject) => {
    if (subject.includes('CONSUMER.CREATE')) consumer = subject.split('.').at(-1)
    return { json: () => ({ config: { metadata }, state: { last_seq: 0 } }) }
  },
  publish: (subject, payload) => { if (subject === heartbeatSubject) own ??= payload },
}
const until = async (done) => { while (!done()) await new Promise((resolve) => setTimeout(resolve, 5)) }

const follower = new Follower({ replica: new Replica(), issuers: [], tokenLifetime: 3_600_000, connect: async () => nc })
const ended = follower.run()
await until(() => own)
deliver(JSON.stringify({ v: 1, nonce: '0'.repeat(32), ts: Date.now() - 5000, name: 'another' }))
await until(() => follower.applied === 1)
const before = follower.isFresh()
deliver(own)
await until(() => follower.applied === 2)
console.log(JSON.stringify({ before, after: follower.isFresh() }))
follower.close()
await ended
