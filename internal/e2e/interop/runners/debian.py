"""Python libraries from Debian's packages, told the algorithm, the issuer and the audience."""

import importlib.metadata
import json
import os
import urllib.request

URL, ISSUER, AUDIENCE = (os.environ["INTEROP_" + n] for n in ("URL", "ISSUER", "AUDIENCE"))


def get(path):
    return urllib.request.urlopen(URL + path).read().decode()


def pyjwt(alg, token, keys):
    import jwt

    key = jwt.PyJWKClient(URL + keys).get_signing_key_from_jwt(token).key
    jwt.decode(token, key, algorithms=[alg], issuer=ISSUER, audience=AUDIENCE)


def authlib(alg, token, keys):
    from authlib.jose import JsonWebKey, JsonWebToken

    keys = JsonWebKey.import_key_set(json.loads(get(keys)))
    claims = JsonWebToken([alg]).decode(token, keys, claims_options={"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}})
    claims.validate()


def python_jose(alg, token, keys):
    from jose import jwt

    jwt.decode(token, json.loads(get(keys)), algorithms=[alg], issuer=ISSUER, audience=AUDIENCE)


def jwcrypto(alg, token, keys):
    from jwcrypto import jwk, jwt

    keys = jwk.JWKSet.from_json(get(keys))
    jwt.JWT(jwt=token, key=keys, algs=[alg], check_claims={"iss": ISSUER, "aud": AUDIENCE, "exp": None})


for name, verify in {"PyJWT": pyjwt, "Authlib": authlib, "python-jose": python_jose, "jwcrypto": jwcrypto}.items():
    for what in [*os.environ["INTEROP_ALGS"].split(), "mixed", "forged"]:
        alg, keys = ("ES256", "/jwks.json") if what == "mixed" else (what, "/jwks.json?alg=" + what)
        if what == "forged":
            alg, keys = "ES256", "/jwks.json?alg=ES256"
        token = get("/token?alg=" + alg + ("&forged=1" if what == "forged" else ""))
        said = "ok"
        try:
            verify(alg, token, keys)
        except Exception as e:
            said = (type(e).__name__ + ": " + str(e)).split("\n")[0].replace(token, "(token)").replace("\t", " ")
        print(name, importlib.metadata.version(name), what, said, sep="\t")
