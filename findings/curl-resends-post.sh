#!/usr/bin/env bash
# curl sends a POST a second time by itself, when a kept connection ends without an answer.
#
# curl and libcurl 7.88.1 (Debian 12). Guessed was: RFC 9110 section 9.2.2 lets a client repeat
# by itself only what is idempotent, so a POST whose answer is lost is an error, as it is for
# Python, Ruby, Perl and Node (requests 2.28.1, Net::HTTP of Ruby 3.1.2, LWP 6.68 and fetch of Node 20
# were asked, and send it once). libcurl, on which PHP, R and many clients in C stand, takes the
# connection for one that was closed while it was idle, opens another and sends the request
# again, with its body, also when the server has read the first one whole. On a connection
# of its own it reports the error. Java's HttpURLConnection is known to do the same, on any
# connection.
#
# So one refresh of a session can arrive twice within a millisecond, with the same refresh
# token, though the application has asked once. Package refresh answers both alike within
# Lifetimes.Grace; without a window the second one ends the session.
#
# It ends with 1 if curl behaves otherwise, and printed:
#
#	curl 7.88.1 libcurl/7.88.1
#	on a connection that was used before: arrived 2 times, curl's exit code 52
#	on a new connection: arrived 1 times, curl's exit code 52
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in curl libcurl4; do # of Debian 12: security updates keep 7.88.1, which the output is compared with
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
# Answers GET. Reads a POST whole, and closes its connection without an answer. The body of
# GET /count is how many POSTs there were.
cat >server.py <<'PY'
import http.server
import threading

posts = 0
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global posts
        body = b""
        if self.path == "/count":
            with lock:
                body, posts = b"%d" % posts, 0
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        global posts
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            posts += 1
        self.close_connection = True

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
mkfifo port
env PATH="$(getconf PATH)" python3 server.py >port &
server=$!
read -r port <port
url=http://127.0.0.1:$port
curl() { LD_LIBRARY_PATH=$(echo "$dir"/root/usr/lib/*-linux-gnu) "$dir/root/usr/bin/curl" -q --noproxy '*' --max-time 20 -s "$@"; }
said() { # WHERE EXIT-CODE
	echo "$1: arrived $(curl "$url/count") times, curl's exit code $2"
}
{
	curl --version | grep -oE '^curl [0-9.]+|libcurl/[0-9.]+' | paste -sd ' '
	code=0
	curl "$url/jwks.json" --next -s --max-time 20 -d grant_type=refresh_token "$url/token" || code=$?
	said "on a connection that was used before" "$code"
	code=0
	curl -d grant_type=refresh_token "$url/token" || code=$?
	said "on a new connection" "$code"
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
