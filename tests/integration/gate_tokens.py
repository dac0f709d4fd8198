# SPDX-License-Identifier: MIT
"""An identity provider for tests of the gate: good tokens from python3-jwt, bad ones by hand."""
import base64
import hashlib
import hmac
import json
import os
import time

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import servers
import tokens

ISSUER, AUDIENCE = "https://idp.example/realm", "mqtt"


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def text(obj):
    return obj if isinstance(obj, bytes) else json.dumps(obj, separators=(",", ":")).encode()


def join(header, payload, sign):
    """A compact JWS of any bytes; sign(signed bytes) -> signature bytes."""
    signed = b64(text(header)) + "." + b64(text(payload))
    return signed + "." + b64(sign(signed.encode()))


def hs(secret, digest=hashlib.sha256):
    return lambda signed: hmac.new(secret, signed, digest).digest()


def rs(key, digest=hashes.SHA256, pss=False):
    pad = padding.PSS(padding.MGF1(digest()), digest.digest_size) if pss else padding.PKCS1v15()
    return lambda signed: key.sign(signed, pad, digest())


def es(key, digest=hashes.SHA256, size=32, der=False):
    def sign(signed):
        raw = key.sign(signed, ec.ECDSA(digest()))
        r, s = decode_dss_signature(raw)
        return raw if der else r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return sign


def jwk_rsa(key, kid, alg=None, **more):
    pub = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(pub.n), "e": number(pub.e),
            **({"alg": alg} if alg else {}), **more}


def jwk_ec(key, kid, crv, size, **more):
    pub = key.public_key().public_numbers()
    return {"kty": "EC", "crv": crv, "kid": kid, "x": number(pub.x, size),
            "y": number(pub.y, size), **more}


def jwk_ed(key, kid, **more):
    raw = key.public_key().public_bytes(serialization.Encoding.Raw,
                                        serialization.PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(raw), **more}


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM,
                                         serialization.PublicFormat.SubjectPublicKeyInfo)


class Idp:
    """Keys of every type, the JWKS that tells of them, and tokens."""

    def __init__(self):
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ps = rsa.generate_private_key(65537, 2048)
        self.p256 = ec.generate_private_key(ec.SECP256R1())
        self.p384 = ec.generate_private_key(ec.SECP384R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.attacker = rsa.generate_private_key(65537, 2048)
        self.secret = os.urandom(64)
        self.keys = {"RS256": (self.rsa, "r1"), "PS256": (self.ps, "p1"),
                     "ES256": (self.p256, "e1"), "ES384": (self.p384, "e2"),
                     "EdDSA": (self.ed, "d1")}

    def jwks(self, *kids):
        """All public keys, or those with these kids."""
        every = [jwk_rsa(self.rsa, "r1", "RS256", use="sig"), jwk_rsa(self.ps, "p1", "PS256"),
                 jwk_ec(self.p256, "e1", "P-256", 32, alg="ES256"),
                 jwk_ec(self.p384, "e2", "P-384", 48), jwk_ed(self.ed, "d1", alg="EdDSA"),
                 jwk_rsa(self.attacker, "enc1", "RSA-OAEP", use="enc"),
                 {"kty": "EC", "crv": "secp256k1", "kid": "k1", "x": b64(b"1" * 32),
                  "y": b64(b"2" * 32)}]
        return {"keys": [k for k in every if not kids or k["kid"] in kids]}

    def claims(self, **more):
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "kind": "user", "iat": now,
                  "exp": now + 600, **more}
        return {key: value for key, value in claims.items() if value is not None}

    def mint(self, alg="RS256", header=None, **more):
        """A good token, by python3-jwt."""
        key, kid = self.keys[alg]
        return jwt.encode(self.claims(**more), key, alg, {"kid": kid, **(header or {})})

    def sign(self, header=None, payload=None, key=None):
        """RS256 by hand: any header fields, any payload bytes."""
        head = {"alg": "RS256", "kid": "r1", "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        return join(head, self.claims() if payload is None else payload, rs(key or self.rsa))


def options(directory, idp, **more):
    """Plugin options for a broker that accepts its own HS256 tokens and the provider's."""
    os.makedirs(directory, exist_ok=True)
    jwks = servers.write_file(os.path.join(directory, "idp.jwks"), json.dumps(idp.jwks()))
    return {"idp.issuer": ISSUER, "idp.audience": AUDIENCE, "idp.jwks_file": jwks,
            "idp.kind_claim": "kind", **more}


def local(broker, header=None, secret=None, sign=None, **claims):
    """An HS256 token of the broker's own issuer with any claims; None leaves one out."""
    now = int(time.time())
    body = {"iss": tokens.ISSUER, "aud": tokens.AUDIENCE, "sub": "alice", "kind": "user",
            "iat": now, "exp": now + 600, **claims}
    body = {key: value for key, value in body.items() if value is not None}
    secret = secret or tokens.read_secret(broker.secret_file)
    return join({"alg": "HS256", "typ": "JWT", **(header or {})}, body, sign or hs(secret))
