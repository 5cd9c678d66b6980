#!/usr/bin/env bash
# curl keeps a deleted cookie in its jar, if the answer that deletes it goes on to set or delete another.
#
# curl 7.88.1 (Debian 12), called with one file for -b and -c, as in most scripts. Guessed was: what
# Max-Age=0 deletes is gone from the file. It is, when the deletion is the last Set-Cookie line
# of its answer. With any line after it, be it another deletion, the old cookie stands in the file
# again, and is sent with the next call: of several deletions the last one alone holds. It does not
# happen within one call for several addresses, nor where the jar is read from standard input
# (-b - <jar), but it does with another file for -c: the file of -b seems to be read once more before
# the jar is written.
#
# So a logout that takes an access cookie and a refresh cookie leaves a script the first of them.
# The server ends the session, not the cookie; a test that looks for the cookies after a logout
# gives curl the jar on standard input.
#
# It needs curl and Node, ends with 1 if curl behaves otherwise, and printed:
#
#	curl 7.88.1
#	delete-access: one file: refresh=2; another for -c: refresh=2; -b -: refresh=2; one call: refresh=2
#	delete-access-and-refresh: one file: access=1; another for -c: access=1; -b -: none; one call: none
#	delete-refresh-and-access: one file: refresh=2; another for -c: refresh=2; -b -: none; one call: none
#	delete-access-set-lang: one file: access=1, lang=en, refresh=2; another for -c: access=1, lang=en, refresh=2; -b -: lang=en, refresh=2; one call: lang=en, refresh=2
#	set-lang-delete-access: one file: lang=en, refresh=2; another for -c: lang=en, refresh=2; -b -: lang=en, refresh=2; one call: lang=en, refresh=2
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in curl node; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
trap '[ ! -e "$dir/pid" ] || kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"
cat >server.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'

const gone = (name) => `${name}=; Path=/; Max-Age=0`
const set = {
  '/login': ['access=1; Path=/', 'refresh=2; Path=/'],
  '/delete-access': [gone('access')],
  '/delete-access-and-refresh': [gone('access'), gone('refresh')],
  '/delete-refresh-and-access': [gone('refresh'), gone('access')],
  '/delete-access-set-lang': [gone('access'), 'lang=en; Path=/'],
  '/set-lang-delete-access': ['lang=en; Path=/', gone('access')],
}
const server = http.createServer((req, res) => {
  if (set[req.url]) res.setHeader('Set-Cookie', set[req.url])
  res.end((req.headers.cookie ?? 'none').split('; ').sort().join(', ') + '\n')
})
server.listen(0, '127.0.0.1', () => fs.writeFileSync('port', String(server.address().port)))
JS
node server.mjs &
echo $! >pid
for _ in $(seq 300); do [ ! -s port ] || break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)
{
	curl -V | head -1 | cut -d' ' -f1-2
	for answer in delete-access delete-access-and-refresh delete-refresh-and-access delete-access-set-lang set-lang-delete-access; do
		rm -f jar copy other
		curl -sS -b jar -c jar "$url/login" >/dev/null
		cp jar copy
		curl -sS -b jar -c jar "$url/$answer" >/dev/null
		curl -sS -b copy -c other "$url/$answer" >/dev/null
		curl -sS -b - -c copy "$url/$answer" <copy >/dev/null
		echo "$answer: one file: $(curl -sS -b jar "$url/"); another for -c: $(curl -sS -b other "$url/"); -b -: $(curl -sS -b copy "$url/"); one call: $(curl -sS -b '' "$url/login" "$url/$answer" "$url/" | tail -1)"
	done
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
