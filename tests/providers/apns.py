# SPDX-License-Identifier: MIT
"""Apple's push service: POST /3/device/{token} over HTTP/2, with provider tokens.

One stream at a time until the first request with a valid token has succeeded, then a thousand.
"""

import json
import re
import secrets
import time
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from certs import private_pem
from provider import Provider
from wire import Answer, BodyError, Refusal, json_answer, text_answer

# reason: HTTP status
REASONS = {
    "BadCollapseId": 400, "BadDeviceToken": 400, "BadExpirationDate": 400, "BadMessageId": 400,
    "BadPriority": 400, "BadTopic": 400, "DeviceTokenNotForTopic": 400, "DuplicateHeaders": 400,
    "IdleTimeout": 400, "InvalidPushType": 400, "MissingDeviceToken": 400, "MissingTopic": 400,
    "PayloadEmpty": 400, "TopicDisallowed": 400, "BadCertificate": 403,
    "BadCertificateEnvironment": 403, "ExpiredProviderToken": 403, "Forbidden": 403,
    "InvalidProviderToken": 403, "MissingProviderToken": 403, "UnrelatedKeyIdInToken": 403,
    "BadEnvironmentKeyIdInToken": 403, "BadPath": 404, "MethodNotAllowed": 405,
    "ExpiredToken": 410, "Unregistered": 410, "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429, "TooManyRequests": 429, "InternalServerError": 500,
    "ServiceUnavailable": 503, "Shutdown": 503,
}
BY_STATUS = {400: "BadDeviceToken", 403: "InvalidProviderToken", 404: "BadPath",
             405: "MethodNotAllowed", 410: "Unregistered", 413: "PayloadTooLarge",
             429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable"}
TYPES = ("alert", "background", "location", "voip", "complication", "fileprovider", "mdm",
         "liveactivity", "pushtotalk", "widgets")
SUFFIXES = ("", ".voip", ".complication", ".push-type.liveactivity", ".location-query",
            ".pushkit.fileprovider", ".voip-ptt", ".push-type.widgets")
HEADERS = ("authorization", "apns-topic", "apns-push-type", "apns-id", "apns-expiration",
           "apns-priority", "apns-collapse-id")
APS = frozenset(("alert", "badge", "sound", "thread-id", "category", "content-available",
                 "mutable-content", "target-content-id", "interruption-level", "relevance-score",
                 "filter-criteria", "stale-date", "content-state", "timestamp", "event",
                 "dismissal-date", "attributes-type", "attributes", "url-args"))
PREFIXES = {"dead": "Unregistered", "cafe": "ExpiredToken", "badd": "BadDeviceToken",
            "beef": "DeviceTokenNotForTopic"}
UPDATE_S = 20 * 60
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Apns(Provider):
    name = "apns"
    errors = REASONS
    max_streams = 1

    def prepare(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.key_id = secrets.token_hex(5).upper()
        self.team = secrets.token_hex(5).upper()
        self.topic = "org.example.tocsin"
        _, self.key_file = self.secret("apns.p8", private_pem(self.key).decode())
        self.update_s = UPDATE_S
        self.verified = {}
        self.sample = [f"{n:04x}" + secrets.token_hex(30) for n in range(1, 11)]

    def forget(self):
        self.update_s = UPDATE_S

    def act(self, action, spec):
        if action != "token_update_interval":
            super().act(action, spec)
        self.update_s = spec["seconds"]

    def describe(self):
        port = int(self.tls_base_url.rpartition(":")[2])
        return {**super().describe(), "host": "127.0.0.1", "port": port,
                "key_file": self.key_file, "key_id": self.key_id, "team_id": self.team,
                "topic": self.topic, "valid_tokens": self.sample,
                **{name.lower() + "_token": prefix + "0" * 60
                   for prefix, name in PREFIXES.items()}}

    def error(self, name, request, step):
        status = REASONS[name]
        body = {"reason": name}
        if status == 410:
            body["timestamp"] = step.get("timestamp", int(time.time() * 1000))
        return json_answer(status, body, [("apns-id", self.message_id(request))])

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def message_id(self, request):
        given = request.header("apns-id", "")
        return given if UUID.fullmatch(given) else str(uuid.uuid4())

    def check(self, request):
        if request.proto != "HTTP/2":
            request.why = "HTTP/1.1"
            raise Refusal(text_answer(505, "HTTP/2 only\n", [("connection", "close")]))
        if request.method != "POST":
            self.refuse(request, "MethodNotAllowed")
        match = re.fullmatch(r"/3/device/([^/]*)", request.bare_path)
        if not match:
            self.refuse(request, "BadPath")
        names = [name for name, _ in request.headers if name in HEADERS]
        if len(set(names)) != len(names):
            self.refuse(request, "DuplicateHeaders")
        self.check_token(request)
        request.target = match.group(1)
        if not request.target:
            self.refuse(request, "MissingDeviceToken")
        self.check_headers(request)
        self.check_payload(request)
        if not re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,100}", request.target):
            self.refuse(request, "BadDeviceToken")
        for prefix, name in PREFIXES.items():
            if request.target.startswith(prefix):
                self.refuse(request, name)

    def check_token(self, request):
        token = request.bearer()
        if not token:
            self.refuse(request, "MissingProviderToken")
        if token not in self.verified:
            self.verified[token] = self.read_token(request, token)
        now = time.time()
        if self.verified[token] < now - 3600:
            self.refuse(request, "ExpiredProviderToken")
        link = request.link
        used, since = getattr(link, "provider_token", (None, 0))
        if used != token:
            if used is not None and now - since < self.update_s:
                self.refuse(request, "TooManyProviderTokenUpdates")
            link.provider_token = (token, now)

    def read_token(self, request, token):
        """The iat of a good token."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("kid") != self.key_id:
                raise jwt.InvalidTokenError("unknown kid")
            claims = jwt.decode(token, self.key.public_key(), algorithms=["ES256"], leeway=5,
                                issuer=self.team, options={"require": ["iss", "iat"]})
        except (jwt.PyJWTError, ValueError) as error:
            request.note(jwt=str(error))
            self.refuse(request, "InvalidProviderToken")
        if set(header) - {"alg", "kid", "typ"}:
            request.warn("unusual fields in the JWT header")
        if len(self.verified) > 1000:
            self.verified.clear()
        return claims["iat"]

    def check_headers(self, request):
        topic = request.header("apns-topic")
        if not topic:
            self.refuse(request, "MissingTopic")
        if not topic.startswith(self.topic) or topic[len(self.topic):] not in SUFFIXES:
            self.refuse(request, "TopicDisallowed")
        kind = request.header("apns-push-type")
        if kind is None:
            request.warn("no apns-push-type")
        elif kind not in TYPES:
            self.refuse(request, "InvalidPushType")
        priority = request.header("apns-priority", "5" if kind == "background" else "10")
        if priority not in ("10", "5", "1") or (kind == "background" and priority == "10"):
            self.refuse(request, "BadPriority")
        if not UUID.fullmatch(request.header("apns-id", str(uuid.UUID(int=0)))):
            self.refuse(request, "BadMessageId")
        request.dedupe = request.header("apns-id")
        if not request.header("apns-expiration", "0").isdigit():
            self.refuse(request, "BadExpirationDate")
        if len(request.header("apns-collapse-id", "").encode()) > 64:
            self.refuse(request, "BadCollapseId")

    def check_payload(self, request):
        limit = 5120 if request.header("apns-push-type") == "voip" else 4096
        if len(request.body) > limit:
            self.refuse(request, "PayloadTooLarge")
        try:
            body = request.json()
        except BodyError:
            self.refuse(request, "PayloadEmpty")
        if not isinstance(body, dict):
            self.refuse(request, "PayloadEmpty")
        aps = body.get("aps")
        if not isinstance(aps, dict):
            request.warn("no aps dictionary")
            return
        for name in set(aps) - APS:
            request.warn(f"unknown aps key {name}")

    def accept(self, request):
        request.link.allow_streams(1000)
        number = self.message_id(request)
        request.note(id=number)
        return Answer(200, b"", [("apns-id", number)])

    def readable_body(self, request):
        try:
            return "json", json.loads(request.body)
        except ValueError:
            return super().readable_body(request)
