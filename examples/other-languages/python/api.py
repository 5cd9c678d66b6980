"""An API that verifies access tokens with PyJWT.

It does not follow the log itself: it asks a program of this machine that does (FOLLOWER, the
API in node/) about each token whose signature is good. No answer means 503, never 200.

    ISSUER=... AUDIENCE=... FOLLOWER=http://127.0.0.1:... python3 api.py
"""
import base64
import hashlib
import http.client
import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

import jwt
from jwt.algorithms import OKPAlgorithm

ISSUER, AUDIENCE, FOLLOWER = os.environ["ISSUER"], os.environ["AUDIENCE"], os.environ["FOLLOWER"]
LIFETIME, MAX_SKEW, LEEWAY = 3600, 2, 30
keys = jwt.PyJWKClient(ISSUER + "/.well-known/jwks.json")


class Refused(Exception):
    pass


class Unknown(Exception):
    pass


def thumbprint(key):
    """The RFC 7638 thumbprint of an Ed25519 key."""
    jwk = json.loads(OKPAlgorithm.to_jwk(key))
    members = {name: jwk[name] for name in ("crv", "kty", "x")}
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def verified(raw):
    """What revocations compare, of a token whose signature is good."""
    try:
        key = keys.get_signing_key_from_jwt(raw)
    except jwt.exceptions.DecodeError as err:  # no JWT
        raise Refused from err
    except (jwt.exceptions.PyJWTError, OSError, ValueError, http.client.HTTPException) as err:
        # One class says that the set lacks the kid, and that it cannot be had; others of no common kind say the latter.
        if type(err) is jwt.exceptions.PyJWKClientError and not isinstance(err.__context__, OSError):
            raise Refused from err
        raise Unknown from err
    try:
        whole = jwt.api_jwt.decode_complete(
            raw, key.key, algorithms=["EdDSA"], issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY,
            options={"require": ["exp", "iat", "jti", "sub", "client_id", "iss", "aud"]},
        )
    except jwt.exceptions.InvalidTokenError as err:
        raise Refused from err
    claims = whole["payload"]
    if whole["header"].get("typ", "").lower().removeprefix("application/") != "at+jwt":
        raise Refused
    for name in ("jti", "sub", "client_id", "sid", "tenant"):
        v = claims.get(name)
        if name in claims and not (isinstance(v, str) and 0 < len(v.encode()) <= 512):
            raise Refused
    # Beyond these, a token would outlive its revocation, or outrun a cutoff.
    now, iat = time.time() * 1000, int(claims["iat"] * 1000)
    at = claims.get("hyt_at", iat)
    if claims["exp"] * 1000 - iat > LIFETIME * 1000 or iat > now + MAX_SKEW * 1000:
        raise Refused
    if type(at) is not int or at < iat or at > now + 4 * MAX_SKEW * 1000:
        raise Refused
    t = {"iss": claims["iss"], "jti": claims["jti"], "sid": claims.get("sid"), "sub": claims["sub"], "client": claims["client_id"],
         "tenant": claims.get("tenant"), "key": thumbprint(key.key), "iat": at}
    return {name: v for name, v in t.items() if v is not None}


def judge(t):
    """Asks the follower."""
    at = urllib.parse.urlsplit(FOLLOWER)
    conn = http.client.HTTPConnection(at.hostname, at.port, timeout=2)
    try:
        conn.request("POST", "/check", json.dumps(t))
        status = conn.getresponse().status
    except (OSError, http.client.HTTPException) as err:
        raise Unknown from err
    finally:
        conn.close()
    if status == 401:
        raise Refused
    if status != 200:
        raise Unknown


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        scheme, _, raw = self.headers.get("Authorization", "").partition(" ")
        try:
            if self.path != "/orders" or scheme.lower() != "bearer":
                raise Refused
            t = verified(raw)
            judge(t)
            self.answer(200, "hello " + t["sub"])
        except Refused:
            self.answer(401, "refused", ("WWW-Authenticate", "Bearer"))
        except Unknown:
            self.answer(503, "cannot know", ("Retry-After", "1"))

    def answer(self, status, text, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text) + 1))
        self.end_headers()
        self.wfile.write(text.encode() + b"\n")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdin.read()  # until the program that started it has gone
