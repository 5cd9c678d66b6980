#!/usr/bin/env bash
# The nats command exits with 0 when nobody answers a request, and when a stream refuses the message.
#
# natscli 0.5.1, nats-server 2.15.3. Guessed was: a request that nobody answers exits with 1, as
# curl does when it cannot connect. It says "No responders are available", on stderr, and exits
# with 0; so does a request after its timeout. A message that a stream refuses is answered, with
# the error in the answer, and exits with 0 as well.
# The other surprise: the body is a template of Go unless --no-templates is given, JSON too. A
# text in double braces is replaced where it is a template ("{{.Count}}"), and where it is none,
# that is said on stderr and the message is sent as it stands.
#
# So a script that publishes revocations reads the answer, and goes by a "seq" above zero: the
# shell commands of docs/revoke.md.
#
# It takes two minutes to build server and command, ends with 1 if they behave otherwise, and printed:
#
#	no such stream: exit code 0, on stdout nothing
#	nobody answers in time: exit code 0, on stdout nothing
#	refused: exit code 0, expected stream does not match, seq 0
#	stored: exit code 0, seq 1
#	body {"reason":"{{.Count}}"}: stored as {"reason":"1"}
#	body {"reason":"{{.Count}}"}, --no-templates: stored as {"reason":"{{.Count}}"}
#	body {"reason":"{{x}}"}: stored as {"reason":"{{x}}"}
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || :; rm -rf "$dir"' EXIT
cd "$dir"
build() {
	mkdir "$1"
	(
		cd "$1"
		export GOWORK=off GOFLAGS=-mod=mod
		printf 'module finding\n\ngo 1.26\n' >go.mod
		{ go get "$2@$3" && go build -o ../bin-"$1" "$2$4"; } >log 2>&1 || { cat log; exit 1; }
	)
}
build server github.com/nats-io/nats-server/v2 v2.15.3 ''
build command github.com/nats-io/natscli v0.5.1 /nats
printf 'listen: "127.0.0.1:-1"\nports_file_dir: "%s"\njetstream { store_dir: "%s" }\n' "$dir" "$dir/js" >conf
./bin-server -c conf >log 2>&1 &
echo $! >server.pid
for _ in $(seq 600); do ls -- *.ports >/dev/null 2>&1 && break; sleep 0.1; done
NATS_URL=$(grep -o 'nats://[0-9.:]*' -- *.ports | head -n 1)
export NATS_URL HOME=$dir
nats() { "$dir/bin-command" "$@"; }
for _ in $(seq 600); do nats stream add T --subjects 't.>' --defaults >/dev/null 2>&1 && break; sleep 0.1; done
nats reply silent --command 'sleep 60' >/dev/null 2>&1 &
echo $! >reply.pid
for _ in $(seq 600); do [ "$(nats request silent x --raw --timeout 1s 2>&1 >/dev/null | grep -c 'No responders')" = 0 ] && break; done

request() { code=0; out=$(nats request "$@" --raw 2>err) || code=$?; }
seq_of() { grep -o '"seq":[0-9]*' <<<"$out" | cut -d : -f 2; }
{
	request no.such.stream x
	grep -q 'No responders' err
	echo "no such stream: exit code $code, on stdout ${out:-nothing}"
	request silent x --timeout 1s
	echo "nobody answers in time: exit code $code, on stdout ${out:-nothing}"
	request t.a x --header 'Nats-Expected-Stream:OTHER'
	echo "refused: exit code $code, $(grep -o 'expected stream does not match' <<<"$out"), seq $(seq_of)"
	request t.a x --header 'Nats-Expected-Stream:T'
	echo "stored: exit code $code, seq $(seq_of)"
	stored() { nats stream get T "$(seq_of)" | grep reason; }
	for options in '' --no-templates; do
		request t.a '{"reason":"{{.Count}}"}' $options
		echo "body {\"reason\":\"{{.Count}}\"}${options:+, $options}: stored as $(stored)"
	done
	request t.a '{"reason":"{{x}}"}'
	echo "body {\"reason\":\"{{x}}\"}: stored as $(stored)"
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
