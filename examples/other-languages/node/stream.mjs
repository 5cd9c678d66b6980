// Connections, and what the stream says of itself.
import { connect } from '@nats-io/transport-node'

export const streamName = 'REVOCATIONS'

// A connection that ends when it breaks: one that reconnects by itself buffers what is published
// meanwhile, and sends it later.
export const dial = (servers, name) => connect({
  servers, name, reconnect: false, timeout: 2000, pingInterval: 2000, maxPingOut: 2,
})

export class StreamError extends Error {
  constructor(error) {
    super(`${error.description} (${error.err_code})`)
    this.code = error.err_code
  }
}

// Asks the JetStream API, and throws what it answers as an error.
export async function api(nc, verb, request = {}) {
  const answer = (await nc.request(`$JS.API.${verb}`, JSON.stringify(request), { timeout: 2000 })).json()
  if (answer.error) throw new StreamError(answer.error)
  return answer
}

export async function streamInfo(nc) {
  const { config, state } = await api(nc, `STREAM.INFO.${streamName}`)
  const metadata = config.metadata ?? {}
  const number = (name, otherwise) => {
    const v = Number(metadata[`hybridtoken.${name}`] ?? otherwise)
    if (!Number.isSafeInteger(v) || v <= 0) throw new Error(`the stream's metadata has no usable hybridtoken.${name}`)
    return v
  }
  if (metadata['hybridtoken.schema'] !== '1') throw new Error("the stream's metadata has another hybridtoken.schema than 1")
  return {
    config, state,
    retention: { tokenLifetime: number('token_lifetime_ms'), sessionLifetime: number('session_lifetime_ms'), maxSkew: number('max_skew_ms', 2000) },
  }
}

// What a stream would do to revocations, if it is not as it has to be.
export function hazards(c) {
  const wrong = (name, is) => is ? [] : [name]
  return [
    ...wrong('retention', c.retention === 'limits'), ...wrong('discard', c.discard === 'new'), ...wrong('max_age', !c.max_age),
    ...wrong('max_msgs', c.max_msgs <= 0), ...wrong('max_msgs_per_subject', c.max_msgs_per_subject <= 0), ...wrong('max_bytes', c.max_bytes > 0),
    ...wrong('allow_msg_ttl', c.allow_msg_ttl === true), ...wrong('deny_delete', c.deny_delete === true), ...wrong('deny_purge', c.deny_purge === true),
    ...wrong('allow_rollup_hdrs', !c.allow_rollup_hdrs),
  ]
}
