#!/usr/bin/env bash
# python-jose fails at the first key of a set that is of another type, whatever kid says.
#
# python-jose 3.3.0 (Debian 12). jwt.decode takes a whole key set, so one would think that it
# picks the key that the token's kid names, or at least passes over those that cannot fit the
# one algorithm it is told. It builds each key in the order of the set for the token's
# algorithm, and the first of another type ends it. So an issuer that moves from RSA to
# elliptic curves stops these verifiers when the second key is published, or not, depending
# on the order of the set.
#
# It ends with 1 if the library behaves otherwise, and printed:
#
#	python-jose 3.3.0
#	the key of the token alone: accepted
#	the key of the token first: accepted
#	the key of the token second: JWKError: Incorrect key type. Expected: 'EC', Received: RSA
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in python3-jose=3.3.0+dfsg-4 python3-ecdsa python3-rsa python3-pyasn1 python3-six python3-cryptography python3-cffi-backend; do
	apt-get download -q "$p" >/dev/null 2>&1
done
for p in *.deb; do dpkg-deb -x "$p" root; done
cat >run.py <<'PY'
import importlib.metadata
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk, jwt

pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
private = {"ES256": ec.generate_private_key(ec.SECP256R1()), "RS256": rsa.generate_private_key(65537, 2048)}
public = {}
for alg, key in private.items():
    spki = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public[alg] = jwk.construct(spki.decode(), alg).to_dict() | {"kid": "key-" + alg, "use": "sig"}
token = jwt.encode({"sub": "user-1"}, private["ES256"].private_bytes(*pem).decode(), algorithm="ES256", headers={"kid": "key-ES256"})


def ask(*keys):
    try:
        jwt.decode(token, {"keys": list(keys)}, algorithms=["ES256"])
        return "accepted"
    except Exception as e:
        return type(e).__name__ + ": " + str(e)


said = {
    "alone": ask(public["ES256"]),
    "first": ask(public["ES256"], public["RS256"]),
    "second": ask(public["RS256"], public["ES256"]),
}
print("python-jose", importlib.metadata.version("python-jose"))
for where, what in said.items():
    print(f"the key of the token {where}: {what}")
sys.exit(said != {"alone": "accepted", "first": "accepted", "second": "JWKError: Incorrect key type. Expected: 'EC', Received: RSA"})
PY
PYTHONPATH=$dir/root/usr/lib/python3/dist-packages env PATH="$(getconf PATH)" python3 run.py
