# SPDX-License-Identifier: MIT
"""Mailgun: POST /v3/{domain}/messages and /messages.mime, and its signed webhooks."""

import hashlib
import hmac
import json
import re
import secrets
import time
from email.utils import formatdate, getaddresses

from provider import Provider
from wire import EMAIL, BodyError, json_answer, parse_multipart, path_parts, text_answer

# name: (HTTP status, message)
ERRORS = {
    "bad_request": (400, "Bad Request"), "from_missing": (400, "from parameter is missing"),
    "to_missing": (400, "to parameter is missing"),
    "to_invalid": (400, "to parameter is not a valid address. please check documentation"),
    "from_invalid": (400, "from parameter is not a valid address. please check documentation"),
    "content_missing": (400, "Need at least one of 'text' or 'html' parameters specified"),
    "not_allowed": (400, "Domain {domain} is not allowed to send: Free accounts are for test "
                    "purposes only."),
    "unauthorized": (401, "Forbidden"), "payment": (402, "Payment required"),
    "forbidden": (403, "Forbidden"), "domain_not_found": (404, "Domain not found: {domain}"),
    "too_large": (413, "Message too large"),
    "rate_limit": (429, "Domain {domain} is not allowed to send: request limit exceeded, try "
                   "again after {date}"),
    "recipient_limit": (429, "Domain {domain} is not allowed to send: recipient limit exceeded, "
                        "try again after {date}"),
    "internal": (500, "Internal Server Error"), "unavailable": (503, "Service Unavailable"),
}
BY_STATUS = {400: "bad_request", 401: "unauthorized", 402: "payment", 403: "forbidden",
             404: "domain_not_found", 413: "too_large", 429: "rate_limit", 500: "internal",
             503: "unavailable"}
FIELDS = frozenset(("from", "to", "cc", "bcc", "subject", "text", "html", "amp-html",
                    "attachment", "inline", "template", "recipient-variables", "message"))
OPTIONS = re.compile(r"o:(tag|dkim|secondary-dkim|deliverytime|deliver-within|testmode|tracking|"
                     r"tracking-clicks|tracking-opens|require-tls|skip-verification|"
                     r"sending-ip|sending-ip-pool|time-zone-localize)")
SIZE_LIMIT = 25 * 1024 * 1024


def sign(key, stamp, token):
    return hmac.new(key.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest()


class Mailgun(Provider):
    name = "mailgun"
    errors = ERRORS
    body_limit = 53 * 1024 * 1024

    def prepare(self):
        self.domain = "mg.example.org"
        self.key, self.key_file = self.secret("mailgun.key", "key-" + secrets.token_hex(16))
        self.signing, self.signing_file = self.secret("mailgun.signing-key")

    def describe(self):
        return {**super().describe(), "domain": self.domain, "api_key_file": self.key_file,
                "webhook_signing_key_file": self.signing_file}

    def error(self, name, request, step):
        status, message = ERRORS[name]
        if name == "unauthorized":
            return text_answer(401, "Forbidden")
        parts = path_parts(request)
        domain = parts[1] if len(parts) > 1 else self.domain
        wait = step.get("seconds", 2)
        message = message.replace("{domain}", domain).replace("{date}", formatdate(
            time.time() + wait).replace("-0000", "UTC"))
        return json_answer(status, {"message": step.get("text", message)})

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        parts = path_parts(request)
        if len(parts) != 3 or parts[0] != "v3" or parts[2] not in ("messages", "messages.mime") \
                or request.method != "POST":
            self.refuse(request, "domain_not_found", text="Not Found")
        auth = request.basic_auth()
        if auth is None or auth[0] != "api" or not hmac.compare_digest(auth[1], self.key):
            self.refuse(request, "unauthorized")
        if parts[1] != self.domain:
            self.refuse(request, "domain_not_found")
        fields, files = self.read(request)
        self.check_fields(request, fields, files, parts[2])
        request.note(fields={k: v[0] if len(v) == 1 else v for k, v in fields.items()},
                     files=[f[:3] + (len(f[3]),) for f in files])

    def read(self, request):
        """(fields: name -> values, files: (name, filename, type, bytes))."""
        fields, files = {}, []
        try:
            if request.media_type() == "multipart/form-data":
                for part in parse_multipart(request.header("content-type"), request.body):
                    if part[1] is not None or part[0] == "message":
                        files.append(part)
                    else:
                        fields.setdefault(part[0], []).append(part[3].decode("utf-8"))
            elif request.media_type() == "application/x-www-form-urlencoded":
                for name, value in request.form():
                    fields.setdefault(name, []).append(value)
            else:
                request.warn("content-type is neither multipart/form-data nor a form")
        except (BodyError, UnicodeDecodeError) as error:
            self.refuse(request, "bad_request", text=str(error))
        return fields, files

    def addresses(self, values):
        return [address for _, address in getaddresses(values)]

    def check_fields(self, request, fields, files, kind):
        for name in fields:
            if name not in FIELDS and not name.startswith(("h:", "v:", "t:")) \
                    and not OPTIONS.fullmatch(name):
                request.warn(f"unknown field {name}")
        to = self.addresses(fields.get("to", []))
        if not to:
            self.refuse(request, "to_missing")
        if len(to) > 1000 or not all(EMAIL.match(a) for a in to):
            self.refuse(request, "to_invalid")
        request.target = to[0]
        if sum(len(v) for k, vs in fields.items() if k[:2] in ("o:", "h:", "v:", "t:")
               for v in vs) > 16384:
            self.refuse(request, "bad_request", text="o:, h:, v: and t: parameters are too large")
        if len(request.body) > SIZE_LIMIT:
            self.refuse(request, "too_large")
        if kind == "messages.mime":
            if not any(f[0] == "message" for f in files):
                self.refuse(request, "bad_request", text="message parameter is missing")
            return
        if not fields.get("from"):
            self.refuse(request, "from_missing")
        if not all(EMAIL.match(a) for a in self.addresses(fields["from"])):
            self.refuse(request, "from_invalid")
        if not any(fields.get(k) for k in ("text", "html", "amp-html", "template")):
            self.refuse(request, "content_missing")
        for name in ("recipient-variables", "t:variables"):
            try:
                json.loads(fields.get(name, ["{}"])[0])
            except ValueError:
                self.refuse(request, "bad_request", text=f"{name} is not valid JSON")
        for file in files:
            if file[0] not in ("attachment", "inline"):
                request.warn(f"unknown file {file[0]}")

    def accept(self, request):
        given = request.extra["fields"].get("h:Message-Id")
        number = given or f"<{time.strftime('%Y%m%d%H%M%S')}.{secrets.token_hex(8)}@{self.domain}>"
        request.note(id=number)
        return json_answer(200, {"id": number, "message": "Queued. Thank you."})

    def callback_base(self, request, answer):
        fields = request.extra["fields"]
        return {"id": request.extra["id"], "to": request.target, "variables": {
            k[2:]: v for k, v in fields.items() if k.startswith("v:")}}

    def callbacks(self, spec):
        """A POST for each event; an object is merged into event-data.."""
        calls = []
        defaults = {"failed": {"severity": "permanent", "reason": "bounce", "delivery-status": {
            "code": 550, "message": "5.1.1 no such user", "description": ""}},
            "delivered": {"delivery-status": {"code": 250, "message": "OK"}},
            "clicked": {"url": "https://example.org/"}}
        for event in spec.get("events", ["delivered"]):
            event = {"event": event} if isinstance(event, str) else dict(event)
            number = spec.get("id", "<x@mg.example.org>")
            data = {"id": secrets.token_urlsafe(16), "timestamp": time.time(),
                    "log-level": "info", "recipient": spec.get("to", "to@example.org"),
                    "message": {"headers": {"message-id": number.strip("<>"),
                                            "to": spec.get("to"), "from": "f@example.org"}},
                    "user-variables": spec.get("variables", {}), "tags": [],
                    **defaults.get(event["event"], {}), **event}
            stamp = str(spec.get("timestamp", int(time.time())))
            token = spec.get("token", secrets.token_hex(25))
            made = sign(self.signing, stamp, token)
            if spec.get("bad_signature"):
                made = made[::-1]
            body = json.dumps({"signature": {"timestamp": stamp, "token": token,
                                             "signature": made}, "event-data": data})
            calls.append(("POST", spec["url"], {"Content-Type": "application/json"},
                          body.encode()))
        return calls
