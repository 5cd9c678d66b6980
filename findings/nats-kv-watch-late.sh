#!/usr/bin/env bash
# A watcher of @nats-io/kv is silent for 90 s when its consumer is gone, where that of its forerunner is for 15.
#
# @nats-io/kv 3.4.0 and transport-node 3.4.0, nats 2.29.3, its forerunner on npm, Node 20,
# nats-server 2.15.3. Guessed was: a watcher stands on an ordered consumer with heartbeats of 5 s, as
# its code asks for, and makes a new one when some are missing, after 10 to 15 s. So does that of nats.
# The consumer of @nats-io/kv has heartbeats of 30 s instead, and notices after three of them,
# when somebody has deleted its consumer as when the bucket was made anew. Until then there is no
# error, and what is written meanwhile comes late. (Of a bucket that was made anew neither ever gets
# the revisions that the old one had reached.)
#
# So what a Node program watches in a bucket, a key set or a list of who is blocked, may be a minute and a half
# old without a sign; a watcher is no proof of freshness: docs/other-languages.md.
#
# It takes some 95 s beside building the server, ends with 1 if they behave otherwise, and printed:
#
#	nats-server 2.15.3, @nats-io/kv 3.4.0, nats 2.29.3
#	heartbeats: of nats every 5 s, of @nats-io/kv every 30 s
#	its consumer is deleted: nats goes on within 30 s; @nats-io/kv goes on after more than 45 s
#	the bucket is made anew: nats goes on within 30 s; @nats-io/kv goes on after more than 45 s
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
npm install --silent @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/kv@3.4.0 nats@2.29.3 >/dev/null
cat >main.mjs <<'JS'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import * as older from 'nats'
import { connect } from '@nats-io/transport-node'
import { jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const until = async (what, f) => {
  for (const end = Date.now() + 60_000; ;) {
    const v = await f().catch(() => null)
    if (v) return v
    if (Date.now() > end) throw new Error(`never: ${what}`)
    await sleep(100)
  }
}
const listener = net.createServer()
const port = await new Promise((done) => listener.listen(0, '127.0.0.1', () => done(listener.address().port)))
await new Promise((done) => listener.close(done))
const server = spawn('./nats-server', ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', 'store'], { stdio: 'ignore' })
process.on('exit', () => server.kill())
const servers = `127.0.0.1:${port}`
const nc = await until('connected', () => connect({ servers }))
const olderNC = await older.connect({ servers })
const of = (name) => `${name} ${JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version}`
console.log(`nats-server ${nc.info.version}, ${of('@nats-io/kv')}, ${of('nats')}`)
const jsm = await jetstreamManager(nc)
const kvm = new Kvm(nc)

// The number of entries that a watcher has given; -1 once it has ended or failed.
const follow = async (kv) => {
  const seen = { count: 0 }
  const watch = await kv.watch()
  ;(async () => { for await (const e of watch) if (e) seen.count++ })().then(() => { seen.count = -1 }, () => { seen.count = -1 })
  return seen
}
let heartbeats
const trial = async (what, bucket, trouble) => {
  let kv = await kvm.create(bucket)
  const beats = []
  const beat = async () => { for await (const c of jsm.consumers.list(`KV_${bucket}`)) beats.push(c.config.idle_heartbeat / 1e9) }
  const two = await follow(await olderNC.jetstream().views.kv(bucket))
  await beat()
  const one = await follow(kv)
  await beat()
  beats.splice(beats.indexOf(beats[0], 1), 1) // that of nats is listed again
  heartbeats = `heartbeats: of nats every ${beats[0]} s, of @nats-io/kv every ${beats.slice(1).join()} s`
  await kv.put('before', 'x')
  await until('both see what is written', async () => one.count === 1 && two.count === 1)
  await trouble(`KV_${bucket}`)
  kv = await kvm.create(bucket)
  let n = 0
  const write = async () => { await kv.put(`after.${n++}`, 'x') }
  const began = Date.now(), after = (seen) => seen.count < 0 ? 'ends' : seen.count === 1 ? 'is silent for 150 s' : seen.at < 30 ? 'goes on within 30 s' : 'goes on after more than 45 s'
  for (let s = 0; s < 150 && (one.count === 1 || two.count === 1); s++) {
    await write()
    await sleep(1000)
    for (const seen of [one, two]) if (seen.count !== 1) seen.at ??= (Date.now() - began) / 1000
  }
  return `${what}: nats ${after(two)}; @nats-io/kv ${after(one)}`
}
const lines = await Promise.all([
  trial('its consumer is deleted', 'one', async (stream) => {
    for await (const c of jsm.consumers.list(stream)) await jsm.consumers.delete(stream, c.name)
  }),
  trial('the bucket is made anew', 'two', (stream) => jsm.streams.delete(stream)),
])
console.log([heartbeats, ...lines].join('\n'))
process.exit(0)
JS
node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
