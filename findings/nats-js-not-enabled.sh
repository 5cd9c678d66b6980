#!/usr/bin/env bash
# nats.js says "jetstream is not enabled", at once and finally, while a stream elects a leader.
#
# @nats-io/jetstream and transport-node 3.4.0, Node 20, nats-server 2.15.3. Guessed was: a publish
# that nobody answers is tried again for a while, as by nats.go (twice, 250 ms apart), and
# then fails with an error that says "no responders" or "no stream". nats.js makes one try
# ("retries" counts the first one, too), and reports JetStreamNotEnabled whatever the cause, with
# the real one in its cause. Who takes that for a mistake in the configuration gives up in the
# seconds of an election, when trying again is all that is needed.
# (libnats 3.4.1, the client in C, makes one try as well, and gives the code 10076, which means
# the same.)
# The other surprise is a good one: what is published while the connection is away fails with
# TimeoutError, and is not sent after the reconnect, as nats.go does unless ReconnectBufSize is
# -1. So nothing is stored that its publisher has given up.
#
# A publisher of revocations that stands on nats.js treats both errors as "nothing is known",
# and tries again under the same Nats-Msg-Id for 15 s: bus/WIRE.md, Publishing.
#
# It takes some 30 s, ends with 1 if client or server behave otherwise, and printed:
#
#	no such stream: JetStreamNotEnabled: jetstream is not enabled; cause NoResponders
#	no such stream, retries 1: JetStreamNotEnabled: jetstream is not enabled; cause NoResponders; the same number of tries: true
#	no leader: JetStreamNotEnabled: jetstream is not enabled; cause NoResponders
#	a leader again: acknowledged
#	disconnected: TimeoutError: timeout
#	connected again: what was published meanwhile is stored: false
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir server
(
	cd server
	export GOWORK=off GOFLAGS=-mod=mod
	printf 'module finding\n\ngo 1.26\n' >go.mod
	{ go get github.com/nats-io/nats-server/v2@v2.15.3 && go build -o ../nats-server github.com/nats-io/nats-server/v2; } >log 2>&1 || { cat log; exit 1; }
)
npm init -y >/dev/null
npm install --silent @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 >/dev/null
cat >main.mjs <<'JS'
import { connect } from '@nats-io/transport-node'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'

const until = async (what, f) => {
  for (const end = Date.now() + 60_000; ;) {
    try { return await f() } catch (e) { if (Date.now() > end) throw new Error(what, { cause: e }) }
    await new Promise((done) => setTimeout(done, 100))
  }
}
const listeners = await Promise.all([...Array(6)].map(() => new Promise((done) => { const s = net.createServer().listen(0, '127.0.0.1', () => done(s)) })))
const ports = listeners.map((s) => s.address().port)
await Promise.all(listeners.map((s) => new Promise((done) => s.close(done))))
const servers = []
process.on('exit', () => servers.forEach((s) => s.kill('SIGKILL')))
const start = (i) => {
  fs.writeFileSync(`${i}.conf`, `server_name: n${i}
listen: 127.0.0.1:${ports[i]}
jetstream { store_dir: "${process.cwd()}/s${i}" }
cluster { name: c, listen: 127.0.0.1:${ports[3 + i]}, routes: [${ports.slice(3).map((p) => `nats://127.0.0.1:${p}`)}] }
`)
  servers[i] = spawn('./nats-server', ['-c', `${i}.conf`], { stdio: 'ignore' })
}
const stop = (i) => new Promise((done) => { servers[i].once('exit', done); servers[i].kill('SIGKILL') })
const join = (i, waitMs) => until(`server ${i}`, () => connect({ servers: `127.0.0.1:${ports[i]}`, maxReconnectAttempts: -1, reconnectTimeWait: waitMs, ignoreClusterUpdates: true }))
const said = async (js, subject, opts) => {
  try { await js.publish(subject, 'x', opts); return 'acknowledged' } catch (e) { return `${e.name}: ${e.message}${e.cause ? `; cause ${e.cause.cause?.name ?? e.cause.name}` : ''}` }
}

for (const i of [0, 1, 2]) start(i)
const first = await join(0, 100)
const info = await until('the stream', async () => {
  const jsm = await jetstreamManager(first)
  await jsm.streams.add({ name: 'S', subjects: ['a'], num_replicas: 3 })
  return (await jsm.streams.info('S')).cluster
})
const leader = Number(info.leader[1])
const stays = (leader + 1) % 3, other = (leader + 2) % 3
const nc = await join(stays, 100), js = jetstream(nc)
await until('acknowledged', () => js.publish('a', 'before'))

const tries = async (opts) => { const before = nc.stats().outMsgs; const s = await said(js, 'nobody', opts); return [s, nc.stats().outMsgs - before] }
const [s0, n0] = await tries(undefined), [s1, n1] = await tries({ retries: 1 })
console.log(`no such stream: ${s0}`)
console.log(`no such stream, retries 1: ${s1}; the same number of tries: ${n0 === n1}`)

await first.close()
await Promise.all([stop(leader), stop(other)])
console.log('no leader:', await until('another answer than a time-out', async () => {
  const s = await said(js, 'a', { timeout: 2000 })
  if (s.startsWith('TimeoutError')) throw new Error(s)
  return s
}))
start(leader); start(other)
await until('a leader', () => js.publish('a', 'after', { timeout: 2000 }))
console.log('a leader again: acknowledged')

const stored = async () => (await (await jetstreamManager(nc)).streams.info('S')).state.messages
const before = await until('the stream', stored)
await stop(stays)
await until('disconnected', async () => { if (await nc.rtt().then(() => true, () => false)) throw new Error('connected') })
const away = said(js, 'a', { timeout: 1000 })
console.log('disconnected:', await away)
start(stays)
await until('acknowledged', () => js.publish('a', 'the last', { timeout: 2000 }))
console.log('connected again: what was published meanwhile is stored:', await until('the stream', stored) !== before + 1)
await nc.close()
process.exit(0)
JS
timeout 150 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
