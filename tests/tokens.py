# SPDX-License-Identifier: MIT
"""Tokens of a private stack: HS256 JWTs by the standard library alone.

Not a JWT library: it only makes tokens, for tests and for `./run token`.
"""
import base64
import hashlib
import hmac
import json
import secrets
import time

ISSUER = "tocsin"
AUDIENCE = "tocsin-mqtt"
KINDS = ("user", "service", "admin", "bridge")
UNESCAPED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~@|-")


def encode_id(subject):
    """The one topic level that stands for a token's `sub`."""
    return "".join(chr(b) if b in UNESCAPED else "%%%02X" % b
                   for b in subject.encode("utf-8"))


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def read_secret(path):
    with open(path, "rb") as file:
        return file.read().rstrip(b"\n")


def seconds(text):
    """`90`, `90s`, `5m`, `2h`, `7d` as seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    text = str(text).strip()
    if text and text[-1] in units:
        return int(text[:-1]) * units[text[-1]]
    return int(text)


def mint(secret, kind, subject, roles=(), ttl=3600, **extra):
    """A signed token.  `extra` claims replace the usual ones; None removes one."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "kind": kind,
              "roles": list(roles), "iat": now, "exp": now + ttl, "jti": secrets.token_hex(8)}
    claims.update(extra)
    claims = {key: value for key, value in claims.items() if value is not None}
    head = b64(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
    body = b64(json.dumps(claims, separators=(",", ":")).encode())
    signed = ("%s.%s" % (head, body)).encode("ascii")
    return "%s.%s" % (signed.decode("ascii"), b64(hmac.new(secret, signed, hashlib.sha256).digest()))
