#!/usr/bin/env bash
# A key in a NATS bucket expires later than it was told to, and some clients take it for written.
#
# nats-server 2.15.3, @nats-io/kv 3.4.0, and nats 2.29.3, its forerunner on npm. A bucket with markerTTL
# writes a marker when a key's own TTL runs out, so that watchers learn of it. Guessed was: a key
# that is created with "2s" is gone after two seconds, and a client that does not know markers takes
# them for deletions. In a bucket that keeps more than one value of a key the server raises each
# TTL to that of the markers, in silence, and rewrites it in the message: what should live for two
# seconds lives for thirty here, and would for a day with markers of a day. With one value it keeps to
# it. Then nats gives its watcher the marker as PUT with an empty value, and so does its get;
# and keys of both clients lists the key that has expired.
#
# So a bucket of codes, sessions or revocations with a TTL of their own has a history of one or no
# markers, and who reads a value looks whether it is one, and at an expiry inside it.
#
# It takes some 10 s once the server is built, ends with 1 if they behave otherwise, and printed:
#
#	nats-server 2.15.3, @nats-io/kv 3.4.0, nats 2.29.3
#	history 1, markers of 30 s, a key of 2s: stored with Nats-TTL 2s; after 6 s: expired
#	history 2, markers of 30 s, a key of 2s: stored with Nats-TTL 30; after 6 s: there
#	history 1, no markers, a message of 2s: stored with Nats-TTL 2s; after 6 s: gone
#	@nats-io/kv sees: PUT "session", PURGE ""; get: PURGE; keys: key
#	nats sees: PUT "session", PUT ""; get: PUT; keys: key
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
mkdir server
cat >server/main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: os.Args[1], NoSigs: true, NoLog: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		panic("not ready")
	}
	fmt.Println(server.VERSION, s.ClientURL())
	time.Sleep(2 * time.Minute) // it is ended before
}
GO
(cd server && go mod init finding && go get github.com/nats-io/nats-server/v2@v2.15.3 && go build -o ../nats-server .) >log 2>&1 || { cat log; exit 1; }
npm init -y >/dev/null
npm install --silent @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/kv@3.4.0 nats@2.29.3 >/dev/null
mkfifo up
./nats-server "$dir/store" >up &
server=$!
read -r version url <up
cat >main.mjs <<'JS'
import fs from 'node:fs'
import * as older from 'nats'
import { connect } from '@nats-io/transport-node'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'

const [, , version, servers] = process.argv
const of = (name) => `${name} ${JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version}`
console.log(`nats-server ${version}, ${of('@nats-io/kv')}, ${of('nats')}`)
const nc = await connect({ servers })
const olderNC = await older.connect({ servers })
const streams = (await jetstreamManager(nc)).streams
const kvm = new Kvm(nc)
const one = await kvm.create('one', { history: 1, markerTTL: 30_000 })
const two = await kvm.create('two', { history: 2, markerTTL: 30_000 })
await streams.add({ name: 'KV_none', subjects: ['$KV.none.>'], max_msgs_per_subject: 1, allow_msg_ttl: true })
const olderOne = await olderNC.jetstream().views.kv('one')

const follow = async (kv) => {
  const seen = []
  const watch = await kv.watch()
  ;(async () => { for await (const e of watch) seen.push(`${e.operation} "${e.string()}"`) })()
  return seen
}
const watched = [await follow(one), await follow(olderOne)]
await one.create('key', 'session', '2s')
await two.create('key', 'session', '2s')
await jetstream(nc).publish('$KV.none.key', 'session', { ttl: '2s' })
const last = (bucket) => streams.getMessage(`KV_${bucket}`, { last_by_subj: `$KV.${bucket}.key` }).catch(() => null)
const stored = {}
for (const bucket of ['one', 'two', 'none']) stored[bucket] = (await last(bucket)).header.get('Nats-TTL')
await new Promise((done) => setTimeout(done, 6000))
for (const [what, bucket] of [['history 1, markers of 30 s, a key of 2s', 'one'], ['history 2, markers of 30 s, a key of 2s', 'two'], ['history 1, no markers, a message of 2s', 'none']]) {
  const m = await last(bucket)
  console.log(`${what}: stored with Nats-TTL ${stored[bucket]}; after 6 s: ${!m ? 'gone' : m.header.get('Nats-Marker-Reason') === 'MaxAge' ? 'expired' : 'there'}`)
}
for (const [i, [name, kv]] of [['@nats-io/kv', one], ['nats', olderOne]].entries()) {
  const keys = []
  for await (const key of await kv.keys()) keys.push(key)
  console.log(`${name} sees: ${watched[i].join(', ')}; get: ${(await kv.get('key'))?.operation}; keys: ${keys.join() || 'none'}`)
}
process.exit(0)
JS
timeout 60 node main.mjs "$version" "$url" | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
