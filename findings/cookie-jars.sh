#!/usr/bin/env bash
# Three cookie jars of programs do not end a cookie when its Max-Age says so.
#
# Debian 12, Node 20; the versions are printed. Guessed was: since RFC 6265 all do as its section 5.3
# says: Max-Age outranks Expires, Max-Age=0 deletes, and a cookie is known by its name, domain and
# path. HTTP::Cookies, the jar of Perl's LWP, takes nothing from Max-Age but that the cookie outlives
# the program: it keeps one with Max-Age=900 for ever, and after Max-Age=0 goes on sending it, with
# the value that came with the deletion. Wget lets Expires outrank Max-Age. aiohttp takes one cookie of
# a name from each response: of two with different paths the first is lost, and where the first
# deletes, the second is deleted instead of it, whatever it says. curl, http.cookiejar of Python and
# tough-cookie of Node do as guessed. The Secure cookies of http://localhost, which browsers send
# back, are sent back by curl and tough-cookie alone.
#
# So a cookie is deleted with an empty value, as here, and its session is ended by the server: what such
# a program sends after a logout proves nothing. Tests of a login that use Perl, Python or Wget
# are given https.
#
# It needs Node and curl, ends with 1 if they behave otherwise, and printed:
#
#	set, then Max-Age=0
#	  HTTP::Cookies 6.10: a=
#	  Wget 1.21.3: –
#	  aiohttp 3.8.4: –
#	  curl 7.88.1: –
#	  http.cookiejar 3.11: –
#	  tough-cookie 6.1.0: –
#	set, then Expires=Thu, 01 Jan 1970 00:00:01 GMT
#	  HTTP::Cookies 6.10: –
#	  Wget 1.21.3: –
#	  aiohttp 3.8.4: –
#	  curl 7.88.1: –
#	  http.cookiejar 3.11: –
#	  tough-cookie 6.1.0: –
#	Max-Age=900; Expires=Thu, 01 Jan 1970 00:00:01 GMT
#	  HTTP::Cookies 6.10: –
#	  Wget 1.21.3: –
#	  aiohttp 3.8.4: a=1
#	  curl 7.88.1: a=1
#	  http.cookiejar 3.11: a=1
#	  tough-cookie 6.1.0: a=1
#	set, then Max-Age=0; Expires=Fri, 01 Jan 2100 00:00:00 GMT
#	  HTTP::Cookies 6.10: a=2
#	  Wget 1.21.3: –
#	  aiohttp 3.8.4: –
#	  curl 7.88.1: –
#	  http.cookiejar 3.11: –
#	  tough-cookie 6.1.0: –
#	two of one name, Path=/ and Path=/c
#	  HTTP::Cookies 6.10: a=1; a=2
#	  Wget 1.21.3: a=1; a=2
#	  aiohttp 3.8.4: a=2
#	  curl 7.88.1: a=1; a=2
#	  http.cookiejar 3.11: a=1; a=2
#	  tough-cookie 6.1.0: a=1; a=2
#	set with Path=/; then Max-Age=0 with it and another of Path=/c
#	  HTTP::Cookies 6.10: a=; a=3
#	  Wget 1.21.3: a=3
#	  aiohttp 3.8.4: a=1
#	  curl 7.88.1: a=3
#	  http.cookiejar 3.11: a=3
#	  tough-cookie 6.1.0: a=3
#	__Host-a, Secure
#	  HTTP::Cookies 6.10: –
#	  Wget 1.21.3: –
#	  aiohttp 3.8.4: –
#	  curl 7.88.1: __Host-a=1
#	  http.cookiejar 3.11: –
#	  tough-cookie 6.1.0: __Host-a=1
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in curl node; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
trap '[ ! -e "$dir/pid" ] || kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
npm init -y >/dev/null
npm install --silent tough-cookie@6.1.0 fetch-cookie@3.2.0 >/dev/null
for p in wget libhttp-cookies-perl libhttp-message-perl libhttp-date-perl libtimedate-perl liburi-perl libencode-locale-perl libio-html-perl liblwp-mediatypes-perl libclone-perl \
	python3-aiohttp python3-aiosignal python3-async-timeout python3-attr python3-charset-normalizer python3-frozenlist python3-idna python3-multidict python3-yarl; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done

# Each case is what two responses set; the third request shows what the jar has.
cat >server.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'

const past = 'Expires=Thu, 01 Jan 1970 00:00:01 GMT', far = 'Expires=Fri, 01 Jan 2100 00:00:00 GMT'
const cases = [
  { name: 'set, then Max-Age=0', set: [['a=1; Path=/'], ['a=; Path=/; Max-Age=0']] },
  { name: `set, then ${past}`, set: [['a=1; Path=/'], [`a=; Path=/; ${past}`]] },
  { name: `Max-Age=900; ${past}`, set: [[`a=1; Path=/; Max-Age=900; ${past}`], []] },
  { name: `set, then Max-Age=0; ${far}`, set: [['a=1; Path=/'], [`a=2; Path=/; Max-Age=0; ${far}`]] },
  { name: 'two of one name, Path=/ and Path=/c', set: [['a=1; Path=/', 'a=2; Path=/c'], []] },
  { name: 'set with Path=/; then Max-Age=0 with it and another of Path=/c', set: [['a=1; Path=/'], ['a=; Path=/; Max-Age=0', 'a=3; Path=/c']] },
  { name: '__Host-a, Secure', set: [['__Host-a=1; Path=/; Secure; HttpOnly'], []] },
]
if (process.argv[2]) {
  const [, , file] = process.argv
  const lines = fs.readFileSync(file, 'utf8').trim().split('\n').map((l) => l.split('|'))
  for (const [i, c] of cases.entries()) {
    console.log(c.name)
    for (const [program, n, sent] of lines) if (+n === i) console.log(`  ${program}: ${sent.split('; ').sort().join('; ') || '–'}`)
  }
  process.exit(0)
}
const server = http.createServer((req, res) => {
  const [, , i, step] = req.url.split('/')
  const set = cases[i].set[step] ?? []
  if (set.length) res.setHeader('Set-Cookie', set)
  res.end(req.headers.cookie ?? '')
})
server.listen(0, '127.0.0.1', () => {
  fs.writeFileSync('cases', String(cases.length))
  fs.writeFileSync('port', String(server.address().port))
})
JS
node server.mjs &
echo $! >pid
for _ in $(seq 300); do [ ! -s port ] || break; sleep 0.1; done
url=http://localhost:$(cat port)/c
last=$(($(cat cases) - 1))

cat >tough.mjs <<'JS'
import fs from 'node:fs'
import makeFetch from 'fetch-cookie'
import { CookieJar } from 'tough-cookie'

const [, , url, last] = process.argv
for (let i = 0; i <= +last; i++) {
  const get = makeFetch(fetch, new CookieJar())
  let sent
  for (const step of [0, 1, 2]) sent = await (await get(`${url}/${i}/${step}`)).text()
  console.log(`tough-cookie ${JSON.parse(fs.readFileSync('node_modules/tough-cookie/package.json')).version}|${i}|${sent}`)
}
JS
cat >jar.pl <<'PL'
use strict;
use HTTP::Cookies;
use HTTP::Request;
use HTTP::Response;
use HTTP::Tiny;

my ($url, $last) = @ARGV;
for my $i (0 .. $last) {
	my $jar = HTTP::Cookies->new;
	my $sent;
	for my $step (0 .. 2) {
		my $request = HTTP::Request->new(GET => "$url/$i/$step");
		$jar->add_cookie_header($request);
		my $cookie = $request->header("Cookie");
		my $got = HTTP::Tiny->new->get($request->uri->as_string, { headers => defined $cookie ? { Cookie => $cookie } : {} });
		$got->{success} or die "$got->{status} $got->{content}";
		my $set = $got->{headers}{"set-cookie"};
		my $response = HTTP::Response->new($got->{status}, "", [ map { ("Set-Cookie" => $_) } ref $set ? @$set : defined $set ? ($set) : () ]);
		$response->request($request);
		$jar->extract_cookies($response);
		$sent = $got->{content};
	}
	print "HTTP::Cookies $HTTP::Cookies::VERSION|$i|$sent\n";
}
PL
cat >jar.py <<'PY'
import asyncio
import http.cookiejar
import sys
import urllib.request

import aiohttp

url, last = sys.argv[1], int(sys.argv[2])


async def main():
    for i in range(last + 1):
        async with aiohttp.ClientSession() as session:
            for step in range(3):
                async with session.get(f"{url}/{i}/{step}") as response:
                    sent = await response.text()
        print(f"aiohttp {aiohttp.__version__}|{i}|{sent}")
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        for step in range(3):
            sent = opener.open(f"{url}/{i}/{step}").read().decode()
        print(f"http.cookiejar {sys.version_info.major}.{sys.version_info.minor}|{i}|{sent}")


asyncio.run(main())
PY
lib=$(echo "$dir"/root/usr/lib/*-linux-gnu)
{
	PYTHONPATH=$dir/root/usr/lib/python3/dist-packages env PATH="$(getconf PATH)" python3 jar.py "$url" "$last"
	PERL5LIB=$dir/root/usr/share/perl5:$(echo "$lib"/perl5/*) env PATH="$(getconf PATH)" perl jar.pl "$url" "$last"
	node tough.mjs "$url" "$last"
	curl=$(curl -V | head -1 | cut -d' ' -f1-2) wget=$(root/usr/bin/wget -V | head -1 | cut -d' ' -f2-3)
	for i in $(seq 0 "$last"); do
		sent=$(curl -sS -b '' "$url/$i/0" "$url/$i/1" -o /dev/null -o /dev/null "$url/$i/2") # one call: see curl-deleted-cookie.sh
		echo "$curl|$i|$sent"
		rm -f jar && touch jar
		for step in 0 1 2; do sent=$(HOME=$dir root/usr/bin/wget -q -O- --load-cookies jar --save-cookies jar --keep-session-cookies "$url/$i/$step"); done
		echo "$wget|$i|$sent"
	done
} >said
LC_ALL=C sort -s -t'|' -k1,1 said >lines
node server.mjs lines | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
