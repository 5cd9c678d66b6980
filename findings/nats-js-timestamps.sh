#!/usr/bin/env bash
# nats.js has two timestampNanos of one message, and one of them is wrong by up to 128 ns.
#
# Node 20, @nats-io/jetstream 3.3.1, nats-server 2.15.2. Guessed was: the timestampNanos of a
# JsMsg is the one of its info, a double both. That of the message is a BigInt and exact; that of
# the info, which documents and types give as "the timestamp for the message in nanoseconds", is
# the same text read as a double, which in our time are 256 ns apart: the last digits are lost.
# The stored message of streams.getMessage has all nine digits, as a text. Sequences are exact.
#
# So a follower that hashes timestamps (the digest of bus/WIRE.md), or compares them with what
# another client has seen, takes the BigInt, or reads the reply subject itself.
#
# It takes some 15 s beside building the server, ends with 1 if the client behaves otherwise,
# and printed:
#
#	@nats-io/jetstream 3.3.1
#	1000 messages
#	timestampNanos, a bigint: exact in all
#	info.timestampNanos, a number: exact in less than one in 50, off by at most 128 ns in all
#	getMessage has the digits of the reply subject: all
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'kill $(cat "$dir/pid" 2>/dev/null) 2>/dev/null || :; rm -rf "$dir"' EXIT
cd "$dir"
GOBIN=$dir go install github.com/nats-io/nats-server/v2@v2.15.2 2>log || { cat log; exit 1; }
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.3.1 @nats-io/jetstream@3.3.1 >/dev/null
./nats-server -js -sd "$dir/store" -a 127.0.0.1 -p -1 --ports_file_dir "$dir" >server.log 2>&1 &
echo $! >pid
cat >main.mjs <<'JS'
import fs from 'node:fs'
import { connect } from '@nats-io/transport-node'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'

let ports
for (const end = Date.now() + 30_000; !ports && Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
  const file = fs.readdirSync('.').find((name) => name.endsWith('.ports'))
  try { ports = JSON.parse(fs.readFileSync(file, 'utf8')) } catch { /* not yet written */ }
}
const nc = await connect({ servers: ports.nats[0] })
const jsm = await jetstreamManager(nc), js = jetstream(nc)
await jsm.streams.add({ name: 'S', subjects: ['s'] })
for (let i = 0; i < 1000; i++) await js.publish('s', String(i))
const consumer = await js.consumers.get('S', { deliver_policy: 'all' })
const count = { all: 0, own: 0, exact: 0, near: 0, stored: 0 }
let types
const far = (a, b) => (a > b ? a - b : b - a)
for await (const m of await consumer.fetch({ max_messages: 1000 })) {
  const truth = BigInt(m.reply.split('.').at(-2)) // $JS.ACK. … .<timestamp>.<pending>
  types = [typeof m.timestampNanos, typeof m.info.timestampNanos]
  count.all++
  if (m.timestampNanos === truth) count.own++
  if (BigInt(m.info.timestampNanos) === truth) count.exact++
  if (far(BigInt(m.info.timestampNanos), truth) <= 128n) count.near++
  const { timestamp } = await jsm.streams.getMessage('S', { seq: m.seq })
  const [, seconds, fraction] = /^(.*?)(?:\.(\d+))?Z$/.exec(timestamp)
  const stored = BigInt(Date.parse(seconds + 'Z')) * 1_000_000n + BigInt((fraction ?? '').padEnd(9, '0'))
  if (stored === truth) count.stored++
}
const all = (n) => n === count.all ? 'all' : `${n} of ${count.all}`
console.log('@nats-io/jetstream', JSON.parse(fs.readFileSync('node_modules/@nats-io/jetstream/package.json')).version)
console.log(`${count.all} messages`)
console.log(`timestampNanos, a ${types[0]}: exact in ${all(count.own)}`)
console.log(`info.timestampNanos, a ${types[1]}: exact in ${count.exact * 50 < count.all ? 'less than one in 50' : count.exact}, off by at most 128 ns in ${all(count.near)}`)
console.log(`getMessage has the digits of the reply subject: ${all(count.stored)}`)
await nc.close()
JS
timeout 100 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
