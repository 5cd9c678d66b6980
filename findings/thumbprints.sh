#!/usr/bin/env bash
# Two libraries compute wrong thumbprints of good keys: one EC key in 128, and each of Ed25519.
#
# Authlib 1.2.0, José 11 (Debian 12). Guessed was: RFC 7638 leaves no room, so all libraries agree.
# Authlib drops the zeros in front of a coordinate when it makes a JWK of a PEM, though RFC 7518
# section 6.2.1.2 demands the full length: one key of P-256 in 128 has such a coordinate, and its JWK
# and its thumbprint are then another key's. José's command prints for Ed25519, which it does not
# know, another text at each call, and says that all went well. jwcrypto 1.1, jose 6 for
# JavaScript, json-jwt, ruby-jwt, CryptX, Rhonabwy and the jose of Erlang agree on both, as far as
# they know the type.
#
# Who revokes a signing key from another language writes its thumbprint into the event (kind key
# in bus/WIRE.md), and with a wrong one nothing is revoked. Where the kid of the key set has 43
# characters and was made by package token, it is the thumbprint: copy that.
#
# It ends with 1 if they behave otherwise, and printed:
#
#	P-256, the x of which begins with a zero: zQw1YhjQdz9NR3uLYWKe9TLxZv27PG6gyBlgUpDxn9s
#	jwcrypto 1.1, from PEM: zQw1YhjQdz9NR3uLYWKe9TLxZv27PG6gyBlgUpDxn9s
#	Authlib 1.2.0, from JWK: zQw1YhjQdz9NR3uLYWKe9TLxZv27PG6gyBlgUpDxn9s
#	Authlib 1.2.0, from PEM: AiVgU2CVoxtdPTvZa3s6XcYj4KZ0LA4AHJcF89OQcBY, x of 42 characters
#	José 11: zQw1YhjQdz9NR3uLYWKe9TLxZv27PG6gyBlgUpDxn9s
#	Ed25519 of RFC 8037 appendix A.3: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
#	jwcrypto 1.1: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
#	Authlib 1.2.0: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
#	José 11: another, exit code 0
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in python3-authlib python3-jwcrypto python3-deprecated python3-wrapt python3-cryptography python3-cffi-backend jose libjose0 libjansson4; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
cat >run.py <<'PY'
import base64
import hashlib
import importlib.metadata
import json

from authlib.jose import JsonWebKey
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwcrypto import jwk

EC = {"kty": "EC", "crv": "P-256", "x": "AKM8snd9Go8bQhl6oQJFO1eAxDQKwldRI9pwyBssV5Q", "y": "8SEojk0vVAF_7IgyYSL06W65W1b8BPTLrUS6KpUUiKM"}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def by_hand(key):
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


public = ec.EllipticCurvePublicNumbers(number(EC["x"]), number(EC["y"]), ec.SECP256R1()).public_key()
pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
authlib, jwcrypto = ("%s %s" % (name, importlib.metadata.version(name)) for name in ("Authlib", "jwcrypto"))
with open("ec", "w") as f:
    print("P-256, the x of which begins with a zero:", by_hand(EC), file=f)
    print(f"{jwcrypto}, from PEM:", jwk.JWK.from_pem(pem).thumbprint(), file=f)
    print(f"{authlib}, from JWK:", JsonWebKey.import_key(EC).thumbprint(), file=f)
    key = JsonWebKey.import_key(pem, {"kty": "EC"})
    print(f"{authlib}, from PEM: {key.thumbprint()}, x of {len(key.as_dict()['x'])} characters", file=f)
with open("okp", "w") as f:
    print("Ed25519 of RFC 8037 appendix A.3:", by_hand(OKP), file=f)
    print(f"{jwcrypto}:", jwk.JWK(**OKP).thumbprint(), file=f)
    print(f"{authlib}:", JsonWebKey.import_key(OKP).thumbprint(), file=f)
for name, key in (("ec.json", EC), ("okp.json", OKP)):
    with open(name, "w") as f:
        json.dump(key, f)
PY
PYTHONPATH=$dir/root/usr/lib/python3/dist-packages env PATH="$(getconf PATH)" python3 run.py
jose() { LD_LIBRARY_PATH=$(echo "$dir"/root/usr/lib/*-linux-gnu) "$dir/root/usr/bin/jose" "$@"; }
version=$(dpkg-deb -f jose_*.deb Version | sed 's/-.*//')
{
	cat ec
	echo "José $version: $(jose jwk thp -i ec.json -a S256)"
	cat okp
	code=0
	said=$(jose jwk thp -i okp.json -a S256) || code=$?
	[ "$said" = kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k ] || said=another
	echo "José $version: $said, exit code $code"
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
