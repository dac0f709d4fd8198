# SPDX-License-Identifier: MIT
"""Vonage Messages API v1, SMS channel: POST /v1/messages."""

import hashlib
import hmac
import json
import re
import secrets
import time
import uuid

import jwt

from certs import private_pem, rsa_key
from provider import Provider
from wire import BodyError, json_answer

DOC = "https://developer.vonage.com/api-errors"
# code: (HTTP status, title)
CODES = {
    1000: (429, "Throttled"), 1010: (422, "Missing params"), 1020: (422, "Invalid params"),
    1021: (422, "Invalid tag"), 1022: (422, "Invalid template"), 1030: (500, "Internal error"),
    1040: (422, "Invalid message"), 1050: (422, "Number barred"),
    1060: (401, "Partner account barred"), 1070: (402, "Partner quota exceeded"),
    1080: (401, "Account not enabled"), 1090: (422, "Message too long"),
    1100: (500, "Communication failed"), 1120: (422, "Illegal sender address"),
    1130: (422, "Invalid TTL"), 1140: (422, "Facility not allowed"),
    1150: (422, "Invalid message class"), 1160: (422, "Non-whitelisted destination"),
    1170: (422, "Invalid or missing MSISDN"), 1180: (503, "Absent subscriber, temporary"),
    1190: (422, "Absent subscriber, permanent"), 1200: (422, "Invalid message"),
    1210: (422, "Anti-spam rejection"), 1220: (503, "Handset busy"),
    1230: (503, "Network error"), 1240: (422, "Illegal number"),
    1241: (429, "Too many send requests to the user"), 1242: (422, "Pending approval"),
    1250: (422, "Unroutable"), 1251: (422, "Unroutable"), 1260: (422, "Destination unreachable"),
    1270: (422, "Age restricted content"), 1280: (422, "Blocked by carrier"),
    1282: (422, "Blocked"), 1290: (422, "Insufficient funds of subscriber"),
    1300: (422, "Not on this network"), 1310: (422, "Not available"),
    **dict.fromkeys((1380, 1381, 1382), (422, "Message rejected")),
    **dict.fromkeys((1474, 1475, 1476), (403, "Fraud rule")),
    **dict.fromkeys((1481, 1482, 1483, 1484), (422, "Compliance rejection")),
    1320: (422, "Media unsupported"), 1330: (422, "Unknown error"),
    1331: (503, "Provider error"), 1340: (422, "Outside of the allowed window"),
    1360: (422, "TTL was exceeded"), 1400: (422, "Unsupported"), 1410: (422, "Unsupported"),
    1420: (422, "Invalid sender"), 1430: (422, "Invalid recipient"),
    1440: (422, "Invalid message type"), 1450: (422, "Invalid"),
    1460: (429, "Daily message limit exceeded"), 1461: (429, "Limit exceeded"),
    1470: (403, "Fraud rule"), 1472: (429, "Fraud rule: rate"), 1473: (403, "Fraud rule"),
    1480: (422, "DLT rejected"), 1490: (422, "Receipt timeout"),
}
# name: (HTTP status, type suffix, title)
NAMED = {
    "unauthorized": (401, "#unauthorized", "Unauthorized"),
    "forbidden": (403, "#forbidden", "Forbidden"),
    "low_balance": (402, "#low-balance", "Low balance"),
    "not_found": (404, "#not-found", "Not Found"),
    "invalid_params": (422, "/messages#1150", "Invalid params"),
    "throttled": (429, "#throttled", "Rate Limit Hit"),
    "internal": (500, "/messages#1030", "Internal error"),
    "unavailable": (503, "#unavailable", "Service Unavailable"),
}
BY_STATUS = {401: "unauthorized", 402: "low_balance", 403: "forbidden", 404: "not_found",
             422: "invalid_params", 429: "throttled", 500: "internal", 503: "unavailable"}
FIELDS = {"message_type": str, "channel": str, "to": str, "from": str, "text": str,
          "client_ref": str, "webhook_url": str, "webhook_version": str, "ttl": int, "sms": dict,
          "trusted_recipient": bool}


class Vonage(Provider):
    name = "vonage"
    errors = {**{str(code): code for code in CODES}, **NAMED}
    signature_headers = ("Authorization",)

    def prepare(self):
        key = rsa_key()
        self.public_key = key.public_key()
        self.application = str(uuid.uuid4())
        self.api_key = secrets.token_hex(4)
        _, self.key_file = self.secret("vonage-application.pem", private_pem(key).decode())
        self.api_secret, self.secret_file = self.secret("vonage.api-secret", size=16)
        self.signature, self.signature_file = self.secret("vonage.signature-secret")
        self.verified = {}

    def describe(self):
        return {**super().describe(), "application_id": self.application,
                "private_key_file": self.key_file, "api_key": self.api_key,
                "api_secret_file": self.secret_file,
                "signature_secret_file": self.signature_file, "from": "Tocsin"}

    def error(self, name, request, step):
        if name in NAMED:
            status, kind, title = NAMED[name]
        else:
            status, title = CODES[int(name)]
            kind = f"/messages#{name}"
        body = {"type": DOC + kind, "title": title, "detail": step.get("text", title),
                "instance": str(uuid.uuid4())}
        if "parameter" in step:
            body["invalid_parameters"] = [{"name": step["parameter"], "reason": body["detail"]}]
        answer = json_answer(status, body)
        answer.headers[0] = ("content-type", "application/problem+json")
        return answer

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def is_authorized(self, request):
        pair = request.basic_auth()
        if pair is not None:
            return pair[0] == self.api_key and hmac.compare_digest(pair[1], self.api_secret)
        token = request.bearer()
        if token is None:
            return False
        if self.verified.get(token, 0) > time.time():
            return True
        try:
            claims = jwt.decode(token, self.public_key, algorithms=["RS256"], leeway=5,
                                options={"require": ["iat", "exp", "jti"]})
        except (jwt.PyJWTError, ValueError) as error:
            request.warn(f"JWT: {error}")
            return False
        if claims.get("application_id") != self.application or \
                claims["exp"] - claims["iat"] > 86400:
            request.warn("JWT: wrong application_id or valid for more than a day")
            return False
        if len(self.verified) > 1000:
            self.verified.clear()
        self.verified[token] = claims["exp"]
        return True

    def invalid(self, request, parameter, text):
        self.refuse(request, "invalid_params", parameter=parameter, text=text)

    def check(self, request):
        if request.bare_path != "/v1/messages" or request.method != "POST":
            self.refuse(request, "not_found")
        if not self.is_authorized(request):
            self.refuse(request, "unauthorized")
        try:
            if request.media_type() != "application/json":
                raise BodyError("content-type must be application/json")
            body = request.json()
            if not isinstance(body, dict):
                raise BodyError("the body is no object")
        except BodyError as error:
            self.invalid(request, "body", str(error))
        for name, value in body.items():
            if name not in FIELDS:
                self.invalid(request, name, "unknown field")
            if not isinstance(value, FIELDS[name]):
                self.invalid(request, name, "wrong type")
        if body.get("channel") != "sms" or body.get("message_type") != "text":
            self.invalid(request, "channel", "this server plays sms and text only")
        if not re.fullmatch(r"[0-9]{7,15}", body.get("to", "")):
            self.invalid(request, "to", "must be 7 to 15 digits")
        if not re.fullmatch(r"[0-9]{3,15}|(?=.*[A-Za-z])[A-Za-z0-9 ._-]{1,11}",
                            body.get("from", "")):
            self.invalid(request, "from", "invalid sender")
        request.target = body["to"]
        self.check_rest(request, body)

    def check_rest(self, request, body):
        if not 1 <= len(body.get("text", "")) <= 1000:
            self.invalid(request, "text", "must be 1 to 1000 characters")
        if len(body.get("client_ref", "")) > 100:
            self.invalid(request, "client_ref", "more than 100 characters")
        if not 20 <= body.get("ttl", 3600) <= 604800:
            self.invalid(request, "ttl", "20 to 604800 seconds")
        if body.get("webhook_version", "v1") not in ("v0.1", "v1"):
            self.invalid(request, "webhook_version", "v0.1 or v1")
        sms = body.get("sms", {})
        if set(sms) - {"encoding_type", "content_id", "entity_id", "pool_id"} or \
                sms.get("encoding_type", "auto") not in ("text", "unicode", "auto"):
            self.invalid(request, "sms", "unknown option")

    def accept(self, request):
        number = str(uuid.uuid4())
        request.note(id=number)
        return json_answer(202, {"message_uuid": number}, [("x-request-id", str(uuid.uuid4()))])

    def callback_base(self, request, answer):
        body = request.json()
        return {"url": body.get("webhook_url"), "id": request.extra["id"], "to": body["to"],
                "from": body["from"], "client_ref": body.get("client_ref")}

    def callbacks(self, spec):
        """A POST for each status; an object may set `error` (a code); `inbound` comes in."""
        calls = []
        for event in spec.get("events", ["delivered"]):
            event = {"status": event} if isinstance(event, str) else event
            body = {"message_uuid": spec["id"], "to": str(spec.get("to", "")).lstrip("+"),
                    "from": spec.get("from", "Tocsin"), "channel": "sms",
                    "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "status": event["status"]}
            if spec.get("client_ref"):
                body["client_ref"] = spec["client_ref"]
            if event["status"] == "inbound":
                body.update(message_uuid=event.get("id", str(uuid.uuid4())), to="4915730000000",
                            message_type="text", text=event["text"])
                body["from"] = body["from"].lstrip("+")
                del body["status"]
            if event["status"] == "submitted":
                body["usage"] = {"currency": "EUR", "price": "0.0333"}
            code = event.get("error", 1330 if event["status"] in ("rejected", "undeliverable")
                             else None)
            if code:
                title = CODES.get(int(code), (422, "Error"))[1]
                body["error"] = {"type": f"{DOC}/messages#{code}", "title": str(code),
                                 "detail": title, "instance": str(uuid.uuid4())}
            data = json.dumps(body).encode()
            now = int(spec.get("timestamp", time.time()))
            token = jwt.encode({
                "iat": now, "jti": str(uuid.uuid4()), "iss": "Vonage", "api_key": self.api_key,
                "application_id": self.application,
                "payload_hash": hashlib.sha256(data).hexdigest()}, self.signature, "HS256")
            calls.append(("POST", spec["url"], {"Content-Type": "application/json",
                                                "Authorization": "Bearer " + token}, data))
        return calls
