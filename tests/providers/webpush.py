# SPDX-License-Identifier: MIT
"""A push service and the browsers behind it: RFC 8030 requests, RFC 8292 VAPID, RFC 8291 bodies.

It holds the subscriptions' private keys and decrypts every body. A real service cannot, so where
only the browser would notice, we refuse all the same: an unreadable notification is a failure.
"""

import json
import os
import re
import secrets
import time
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certs import private_pem
from provider import Provider
from wire import Answer, b64url, from_b64url, json_answer

# name: (HTTP status, errno, message)
ERRORS = {
    "missing_ttl": (400, 111, "Missing TTL header"), "invalid_ttl": (400, 111, "Invalid TTL"),
    "invalid_topic": (400, 113, "Invalid topic"),
    "invalid_urgency": (400, 111, "Invalid urgency"),
    "invalid_encryption": (400, 110, "Invalid aes128gcm Content Encoding"),
    "undecryptable": (400, 110, "The browser could not decrypt the body"),
    "missing_auth": (401, 109, "Missing Authorization header"),
    "invalid_auth": (401, 109, "Invalid Authorization"),
    "BadJwtToken": (403, 109, "BadJwtToken"),
    "VapidPkHashMismatch": (403, 109, "VapidPkHashMismatch"),
    "not_found": (404, 102, "Invalid URL endpoint"),
    "method": (405, 105, "Method not allowed"),
    "gone": (410, 106, "Subscription has expired or been unsubscribed"),
    "unregistered": (410, 103, "Expired URL endpoint"),
    "too_large": (413, 104, "Request body too large"),
    "media_type": (415, 110, "Unsupported content encoding"),
    "rate_limit": (429, 121, "Too many requests"),
    "internal": (500, 999, "Unknown error"), "bad_gateway": (502, 900, "Upstream failed"),
    "backoff": (503, 201, "Use exponential back-off"),
    "unavailable": (503, 202, "Immediate okay"),
}
BY_STATUS = {400: "invalid_encryption", 401: "invalid_auth", 403: "BadJwtToken",
             404: "not_found", 405: "method", 410: "gone", 413: "too_large", 415: "media_type",
             429: "rate_limit", 500: "internal", 502: "bad_gateway", 503: "backoff"}


def mac(key, data):
    context = hmac.HMAC(key, hashes.SHA256())
    context.update(data)
    return context.finalize()


def point(key):
    """The uncompressed point of a public key."""
    return key.public_bytes(serialization.Encoding.X962,
                            serialization.PublicFormat.UncompressedPoint)


def decrypt(body, private_key, auth):
    """The plaintext of one aes128gcm record; ValueError says what is wrong with it."""
    if len(body) < 86 + 17:
        raise ValueError("shorter than a header and a record")
    salt, record, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
    if length != 65:
        raise ValueError("the key id is no uncompressed point")
    sender, cipher = body[21:86], body[86:]
    if record < 18 or len(cipher) > record:
        raise ValueError("more than one record")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
    shared = private_key.exchange(ec.ECDH(), key)
    info = b"WebPush: info\0" + point(private_key.public_key()) + sender + b"\1"
    prk = mac(salt, mac(mac(auth, shared), info))
    cek = mac(prk, b"Content-Encoding: aes128gcm\0\1")[:16]
    nonce = mac(prk, b"Content-Encoding: nonce\0\1")[:12]
    try:
        padded = AESGCM(cek).decrypt(nonce, cipher, None).rstrip(b"\0")
    except InvalidTag:
        raise ValueError("the tag does not match") from None
    if padded[-1:] != b"\2":
        raise ValueError("the last record must end in 02")
    return padded[:-1]


class Subscription:
    def __init__(self):
        self.number = secrets.token_urlsafe(24)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = secrets.token_bytes(16)
        self.is_gone = False

    def describe(self, base):
        return {"endpoint": f"{base}/push/{self.number}", "keys": {
            "p256dh": b64url(point(self.key.public_key())), "auth": b64url(self.auth)}}


class WebPush(Provider):
    name = "webpush"
    errors = ERRORS
    body_limit = 64 * 1024

    def prepare(self):
        self.vapid = ec.generate_private_key(ec.SECP256R1())
        self.vapid_public = b64url(point(self.vapid.public_key()))
        number = self.vapid.private_numbers().private_value.to_bytes(32, "big")
        _, self.vapid_file = self.secret("webpush-vapid.pem", private_pem(self.vapid).decode())
        _, self.vapid_raw_file = self.secret("webpush-vapid.raw", b64url(number))
        self.subscriptions, self.verified = {}, {}
        self.sample = [self.subscribe() for _ in range(10)]
        gone = self.subscribe()
        gone.is_gone = True
        self.gone = gone

    def subscribe(self):
        subscription = Subscription()
        self.subscriptions[subscription.number] = subscription
        return subscription

    def describe(self):
        return {**super().describe(), "vapid_private_key_file": self.vapid_file,
                "vapid_private_key_raw_file": self.vapid_raw_file,
                "vapid_public_key": self.vapid_public, "vapid_subject": "mailto:push@example.org",
                "subscriptions": [s.describe(self.base_url) for s in self.sample],
                "tls_subscriptions": [s.describe(self.tls_base_url) for s in self.sample],
                "gone_subscription": self.gone.describe(self.base_url),
                "tls_gone_subscription": self.gone.describe(self.tls_base_url)}

    def act(self, action, spec):
        """subscribe {count, tls}: more subscriptions; unsubscribe {endpoint}: gone from now on."""
        if action == "subscribe":
            base = self.tls_base_url if spec.get("tls") else self.base_url
            return {"subscriptions": [self.subscribe().describe(base)
                                      for _ in range(int(spec.get("count", 1)))]}
        if action == "unsubscribe":
            self.subscriptions[os.path.basename(urlsplit(spec["endpoint"]).path)].is_gone = True
            return None
        return super().act(action, spec)

    def error(self, name, request, step):
        status, errno, message = ERRORS[name]
        headers = [("www-authenticate", "vapid")] if status == 401 else []
        return json_answer(status, {
            "code": status, "errno": errno, "error": name,
            "message": step.get("text", message),
            "more_info": "http://autopush.readthedocs.io/en/latest/http.html"}, headers)

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        match = re.fullmatch(r"/push/([A-Za-z0-9_-]+)", request.bare_path)
        subscription = self.subscriptions.get(match.group(1)) if match else None
        if subscription is None:
            self.refuse(request, "not_found")
        request.target = request.bare_path
        if request.method != "POST":
            self.refuse(request, "method")
        self.check_headers(request)
        self.check_vapid(request)
        if subscription.is_gone:
            self.refuse(request, "gone")
        if len(request.body) > 4096:
            self.refuse(request, "too_large")
        if not request.body:
            return
        try:
            plain = decrypt(request.body, subscription.key, subscription.auth)
        except ValueError as error:
            self.refuse(request, "undecryptable", text=str(error))
        request.note(plaintext=plain.decode("utf-8", "replace"))

    def check_headers(self, request):
        ttl = request.header("ttl")
        if ttl is None:
            self.refuse(request, "missing_ttl")
        if not re.fullmatch("[0-9]{1,9}", ttl):
            self.refuse(request, "invalid_ttl")
        if request.header("urgency", "normal") not in ("very-low", "low", "normal", "high"):
            self.refuse(request, "invalid_urgency")
        if not re.fullmatch("[A-Za-z0-9_-]{1,32}", request.header("topic", "t")):
            self.refuse(request, "invalid_topic")
        if request.body and request.header("content-encoding") != "aes128gcm":
            self.refuse(request, "media_type")
        if request.body and request.media_type() != "application/octet-stream":
            request.warn("content-type is not application/octet-stream")

    def check_vapid(self, request):
        header = request.header("authorization")
        if header is None:
            self.refuse(request, "missing_auth")
        match = re.fullmatch(r"(?i:vapid) +t=([^,\s]+) *, *k=([^,\s]+)", header) or None
        if match is None:
            self.refuse(request, "invalid_auth", text="not `vapid t=..., k=...`")
        token, key = match.groups()
        if key != self.vapid_public:
            self.refuse(request, "VapidPkHashMismatch")
        origin = ("https://" if request.tls else "http://") + request.header("host", "")
        if self.verified.get((token, origin), 0) > time.time():
            return
        try:
            claims = jwt.decode(token, ec.EllipticCurvePublicKey.from_encoded_point(
                ec.SECP256R1(), from_b64url(key)), algorithms=["ES256"], audience=origin,
                options={"require": ["aud", "exp", "sub"]})
        except (jwt.PyJWTError, ValueError) as error:
            self.refuse(request, "BadJwtToken", text=f"BadJwtToken: {error}")
        if claims["exp"] > time.time() + 86400 + 60:
            self.refuse(request, "BadJwtToken", text="BadJwtToken: exp is more than a day ahead")
        if not re.match(r"mailto:[^@\s]+@(?!localhost$)|https://(?!localhost)",
                        str(claims["sub"])):
            self.refuse(request, "BadJwtToken", text="BadJwtToken: sub is no contact")
        if len(self.verified) > 1000:
            self.verified.clear()
        self.verified[token, origin] = claims["exp"]

    def accept(self, request):
        number = secrets.token_urlsafe(12)
        request.note(id=number)
        base = self.tls_base_url if request.tls else self.base_url
        return Answer(201, b"", [("location", f"{base}/message/{number}"),
                                 ("ttl", request.header("ttl"))])

    def readable_body(self, request):
        """What the browser read."""
        plain = (request.extra or {}).get("plaintext")
        if plain is None:
            return super().readable_body(request)
        try:
            return "push", json.loads(plain)
        except ValueError:
            return "push", plain
