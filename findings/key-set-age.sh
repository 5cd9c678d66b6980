#!/usr/bin/env bash
# A key set grows young again on its way: nginx and HAProxy count its max-age anew.
#
# nginx 1.22.1, HAProxy 2.6.12, Apache 2.4 (Debian 12). Guessed was: a shared cache that is given
# a response with "Cache-Control: max-age=12" and "Age: 10" keeps it for two seconds, since it is
# ten seconds old already (RFC 9111 section 4.2.3). Apache does. nginx keeps it as long as
# a new one, and passes on the Age that it was given, however long ago that was. HAProxy does so, too,
# though it adds up the age, and gives out what it says itself is older than max-age.
#
# So each such cache between an issuer and a verifier, as a proxy behind a CDN, adds the whole
# max-age of the key set (MaxAge of a Keyring) to how long a removed key lives on, and to how long
# before its use a new one has to be announced. A leaked key is revoked on the bus.
#
# It needs Node, takes some 40 s, ends with 1 if they behave otherwise, and printed:
#
#	with Age: 10:
#	  Apache 2.4: after 0 s anew, Age 10; after 4 s anew, Age 10; after 15 s anew, Age 10
#	  HAProxy 2.6.12: after 0 s anew, no Age; after 4 s from the cache, Age above 12; after 15 s anew, no Age
#	  nginx 1.22.1: after 0 s anew, Age 10; after 4 s from the cache, Age 10; after 15 s anew, Age 10
#	without Age:
#	  Apache 2.4: after 0 s anew; after 4 s from the cache; after 15 s anew
#	  HAProxy 2.6.12: after 0 s anew; after 4 s from the cache; after 15 s anew
#	  nginx 1.22.1: after 0 s anew; after 4 s from the cache; after 15 s anew
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
command -v node >/dev/null || { echo "node is needed."; exit 1; }
dir=$(mktemp -d)
trap 'for p in "$dir"/*.pid; do [ ! -e "$p" ] || kill "$(cat "$p")"; done; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in apache2-bin haproxy libapr1 libaprutil1 libaprutil1-ldap libbrotli1 libldap-2.5-0 liblua5.3-0 libnghttp2-14 libopentracing-c-wrapper0 libopentracing1 libsasl2-2 nginx; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
cat >main.mjs <<'JS'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'

const dir = process.cwd()
const lib = fs.readdirSync(`${dir}/root/usr/lib`).filter((n) => n.endsWith('-linux-gnu')).map((n) => `${dir}/root/usr/lib/${n}`)[0]
const free = () => new Promise((done) => { const s = net.createServer().listen(0, '127.0.0.1', () => { const p = s.address().port; s.close(() => done(p)) }) })

// A CDN, which has had the key set for ten seconds, or gets it anew each time.
let fetched = 0
const cdn = http.createServer((req, res) => {
  fetched++
  res.writeHead(200, { 'Content-Type': 'application/jwk-set+json', 'Cache-Control': 'public, max-age=12', ...req.url !== '/new' && { Age: '10' } })
  res.end('{"keys":[]}')
})
await new Promise((done) => cdn.listen(0, '127.0.0.1', done))
const origin = `127.0.0.1:${cdn.address().port}`

const caches = {
  'Apache': (port) => ({
    conf: [
      `ServerRoot ${dir}`, 'ServerName localhost', `PidFile ${dir}/apache.pid`, `ErrorLog ${dir}/apache.log`, `DefaultRuntimeDir ${dir}`, `Mutex file:${dir} default`, `Listen 127.0.0.1:${port}`,
      ...['mpm_event', 'authz_core', 'proxy', 'proxy_http', 'cache', 'cache_disk'].map((m) => `LoadModule ${m}_module root/usr/lib/apache2/modules/mod_${m}.so`),
      `CacheRoot ${dir}/apache`, 'CacheEnable disk /', `ProxyPass / http://${origin}/`,
    ],
    run: ['root/usr/sbin/apache2', '-f', `${dir}/conf`], version: ['root/usr/sbin/apache2', '-v'],
  }),
  'HAProxy': (port) => ({
    conf: ['defaults', 'mode http', 'timeout connect 5s', 'timeout client 5s', 'timeout server 5s', 'cache c', 'total-max-size 4', 'max-age 3600', 'frontend f', `bind 127.0.0.1:${port}`, 'http-request cache-use c', 'http-response cache-store c', 'default_backend b', 'backend b', `server s ${origin}`],
    run: ['root/usr/sbin/haproxy', '-f', 'conf', '-D', '-p', 'haproxy.pid'], version: ['root/usr/sbin/haproxy', '-v'],
  }),
  'nginx': (port) => ({
    conf: [
      `pid ${dir}/nginx.pid;`, `error_log ${dir}/nginx.log;`, 'events {}', 'http {', 'access_log off;', ...['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path ${dir}/nginx-${n};`),
      `proxy_cache_path ${dir}/nginx keys_zone=z:1m;`, `server { listen 127.0.0.1:${port}; location / { proxy_pass http://${origin}; proxy_cache z; } }`, '}',
    ],
    run: ['root/usr/sbin/nginx', '-c', `${dir}/conf`, '-p', dir], version: ['root/usr/sbin/nginx', '-v'],
  }),
}
const env = { PATH: process.env.PATH, LD_LIBRARY_PATH: lib }
fs.mkdirSync('apache')
fs.chmodSync('apache', 0o777)
const get = (port, path) => new Promise((done, failed) => http.get({ port, host: '127.0.0.1', path, agent: false }, (res) => { res.resume(); done(res) }).on('error', failed))
const running = []
for (const [name, make] of Object.entries(caches)) {
  const port = await free()
  const { conf, run, version } = make(port)
  fs.writeFileSync('conf', conf.join('\n') + '\n')
  execFileSync(run[0], run.slice(1), { env, stdio: 'ignore' })
  for (const end = Date.now() + 30_000; !await new Promise((done) => { const s = net.connect(port, '127.0.0.1', () => { s.end(); done(true) }).on('error', () => done(false)) });) {
    if (Date.now() > end) throw new Error(`${name} does not start`)
    await new Promise((done) => setTimeout(done, 50))
  }
  const said = execFileSync('sh', ['-c', '"$@" 2>&1', 'sh', ...version], { env }).toString()
  running.push({ title: `${name} ${said.match(name === 'Apache' ? /[0-9]+\.[0-9]+/ : /[0-9]+\.[0-9]+\.[0-9]+/)[0]}`, port })
}
for (const path of ['/of-ten-seconds', '/new']) {
  console.log(path === '/new' ? 'without Age:' : 'with Age: 10:')
  let begun = Date.now()
  const said = running.map(() => [])
  for (const at of [0, 4, 15]) {
    await new Promise((done) => setTimeout(done, begun + at * 1000 - Date.now()))
    for (const [i, { port }] of running.entries()) {
      const before = fetched
      const { headers: { age } } = await get(port, path)
      said[i].push(`after ${at} s ${fetched > before ? 'anew' : 'from the cache'}${path === '/new' ? '' : age === undefined ? ', no Age' : +age > 12 ? ', Age above 12' : `, Age ${age}`}`)
    }
    if (at === 0) begun = Date.now()
  }
  for (const [i, { title }] of running.entries()) console.log(`  ${title}: ${said[i].join('; ')}`)
}
process.exit(0)
JS
timeout 100 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
