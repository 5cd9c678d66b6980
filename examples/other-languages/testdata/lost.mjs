// A stream that has lost its disk, and takes one of the events that are brought back only later.
import { Publisher } from './publish.mjs'

let stored = [], refused = null
const config = {
  retention: 'limits', discard: 'new', max_age: 0, max_msgs: -1, max_msgs_per_subject: -1, max_bytes: 1 << 20, allow_msg_ttl: true, deny_delete: true, deny_purge: true,
  metadata: { 'hybridtoken.schema': '1', 'hybridtoken.token_lifetime_ms': '3600000', 'hybridtoken.session_lifetime_ms': '86400000' },
}
const nc = {
  isClosed: () => false,
  close: async () => {},
  request: async (subject, payload) => {
    const answer = (value) => ({ json: () => value })
    if (subject.startsWith('$JS.API.')) return answer({ config, state: { bytes: 0 } })
    const { value } = JSON.parse(payload)
    if (value === refused) return answer({ error: { err_code: 10077, description: 'maximum bytes exceeded' } })
    stored.push(value)
    return answer({ stream: 'REVOCATIONS', seq: stored.length })
  },
}
const publisher = new Publisher({ connect: async () => nc })
const publish = (value) => publisher.publish({ iss: 'https://auth.example.com', kind: 'session', value })
for (const value of ['a', 'b', 'c']) await publish(value)
stored = []
refused = 'b'
const failed = await publish('d').then(() => 0, () => 1)
refused = null
await publish('e')
await publisher.close()
console.log(JSON.stringify({ stored: [...new Set(stored)].sort().join(''), failed }))
