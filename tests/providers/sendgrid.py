# SPDX-License-Identifier: MIT
"""SendGrid v3 mail/send, and its signed event webhook."""

import base64
import binascii
import hmac
import json
import secrets
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs import write_private
from provider import Provider
from wire import EMAIL, Answer, BodyError, json_answer

# name: (status, message, field)
ERRORS = {
    "bad_request": (400, "Bad Request", None),
    "unauthorized": (401, "The provided authorization grant is invalid, expired, or revoked", None),
    "forbidden": (403, "access forbidden", None),
    "unverified_sender": (403, "The from address does not match a verified Sender Identity. Mail "
                          "cannot be sent until this error is resolved.", "from"),
    "not_found": (404, "Not Found", None),
    "method_not_allowed": (405, "method not allowed", None),
    "not_acceptable": (406, "missing Accept header", None),
    "too_large": (413, "Content too large", None),
    "media_type": (415, "Unsupported Media Type", None),
    "rate_limit": (429, "too many requests", None),
    "residency": (451, "The requested resource is not available in this region", None),
    "server_error": (500, "Internal Server Error", None),
    "unavailable": (503, "Service Unavailable", None),
}
BY_STATUS = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found",
             405: "method_not_allowed", 406: "not_acceptable", 413: "too_large",
             415: "media_type", 429: "rate_limit", 451: "residency", 500: "server_error",
             503: "unavailable"}

TOP = {"personalizations": list, "from": dict, "reply_to": dict, "reply_to_list": list,
       "subject": str, "content": list, "attachments": list, "template_id": str, "headers": dict,
       "categories": list, "custom_args": dict, "send_at": int, "batch_id": str, "asm": dict,
       "ip_pool_name": str, "mail_settings": dict, "tracking_settings": dict, "sections": dict}
PERSON = {"to": list, "cc": list, "bcc": list, "from": dict, "subject": str, "headers": dict,
          "substitutions": dict, "dynamic_template_data": dict, "custom_args": dict,
          "send_at": int}
ADDRESS = {"email": str, "name": str}
CONTENT = {"type": str, "value": str}
ATTACHMENT = {"content": str, "type": str, "filename": str, "disposition": str,
              "content_id": str}
FORBIDDEN_HEADERS = frozenset(("received", "dkim-signature", "content-type", "to", "from",
                               "content-transfer-encoding", "subject", "reply-to", "cc", "bcc"))


class SendGrid(Provider):
    name = "sendgrid"
    errors = ERRORS
    signature_headers = ("X-Twilio-Email-Event-Webhook-Signature",)

    def prepare(self):
        self.key, self.key_file = self.secret(
            "sendgrid.key", f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}")
        self.signer = ec.generate_private_key(ec.SECP256R1())
        spki = self.signer.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public_key = base64.b64encode(spki).decode()
        self.public_file = write_private(f"{self.directory}/sendgrid-webhook.pub",
                                         self.public_key)
        self.unverified = "unverified.example"

    def describe(self):
        return {**super().describe(), "api_key_file": self.key_file,
                "webhook_public_key": self.public_key,
                "webhook_public_key_file": self.public_file,
                "unverified_from": f"someone@{self.unverified}"}

    def error(self, name, request, step):
        status, message, field = ERRORS[name]
        headers = self.rate_headers()
        if status == 429:
            headers = [("x-ratelimit-limit", "600"), ("x-ratelimit-remaining", "0"),
                       ("x-ratelimit-reset", str(int(time.time()) + step.get("reset", 2)))]
        return json_answer(status, {"errors": [{
            "message": step.get("text", message), "field": step.get("field", field),
            "help": None}]}, headers)

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def rate_headers(self):
        return [("x-ratelimit-limit", "600"), ("x-ratelimit-remaining", "599"),
                ("x-ratelimit-reset", str(int(time.time()) + 60))]

    def bad(self, request, field, text):
        request.why = field
        self.refuse(request, "bad_request", field=field, text=text)

    def check(self, request):
        if request.bare_path != "/v3/mail/send":
            self.refuse(request, "not_found")
        if not hmac.compare_digest(request.bearer() or "", self.key):
            self.refuse(request, "unauthorized")
        if request.method != "POST":
            self.refuse(request, "method_not_allowed")
        if request.media_type() != "application/json":
            self.refuse(request, "media_type")
        if len(request.body) > 30 * 1024 * 1024:
            self.refuse(request, "too_large")
        try:
            body = request.json()
        except BodyError as error:
            self.bad(request, None, f"Bad Request: {error}")
        self.check_shape(request, body, TOP, "")
        self.check_people(request, body)
        self.check_content(request, body)
        self.check_rest(request, body)
        if body["from"]["email"].rpartition("@")[2] == self.unverified:
            self.refuse(request, "unverified_sender")

    def check_shape(self, request, value, shape, where):
        if not isinstance(value, dict):
            self.bad(request, where or None, f"{where or 'body'} must be an object")
        for key, item in value.items():
            path = f"{where}.{key}" if where else key
            if key not in shape:
                self.bad(request, path, f"Additional property {key} is not allowed")
            if not isinstance(item, shape[key]) or isinstance(item, bool):
                self.bad(request, path, f"Invalid type. Expected: {shape[key].__name__}")

    def check_address(self, request, value, where):
        self.check_shape(request, value, ADDRESS, where)
        if not EMAIL.match(value.get("email", "")):
            self.bad(request, where + ".email", "Does not contain a valid address.")

    def check_people(self, request, body):
        people = body.get("personalizations")
        if not people or len(people) > 1000:
            self.bad(request, "personalizations", "The personalizations field is required and "
                     "must have at least one and at most 1000 personalizations.")
        total, seen = 0, []
        for n, person in enumerate(people):
            where = f"personalizations.{n}"
            self.check_shape(request, person, PERSON, where)
            if not person.get("to"):
                self.bad(request, where + ".to", "The to array is required for all "
                         "personalization objects, and must have at least one email object "
                         "with a valid email address.")
            addresses = []
            for kind in ("to", "cc", "bcc"):
                for m, address in enumerate(person.get(kind, [])):
                    self.check_address(request, address, f"{where}.{kind}.{m}")
                    addresses.append(address["email"].lower())
            if len(set(addresses)) != len(addresses):
                self.bad(request, where, "Each email address in the personalization block should "
                         "be unique between to, cc, and bcc.")
            total += len(addresses)
            seen += addresses
            if not (person.get("subject") or body.get("subject") or body.get("template_id")):
                self.bad(request, "subject", "The subject is required. You can get around this "
                         "requirement if you use a template with a subject defined.")
        if total > 1000:
            self.bad(request, "personalizations", "There is a limit of 1000 total recipients.")
        request.target = seen[0]
        if "from" not in body:
            self.bad(request, "from.email", "The from object must be provided for every email "
                     "send. It is an object that requires the email parameter.")
        self.check_address(request, body["from"], "from")
        if "reply_to" in body and "reply_to_list" in body:
            self.bad(request, "reply_to", "reply_to and reply_to_list cannot be used together.")
        if "reply_to" in body:
            self.check_address(request, body["reply_to"], "reply_to")

    def check_content(self, request, body):
        content = body.get("content", [])
        if not content and not body.get("template_id"):
            self.bad(request, "content", "Unless a valid template_id is provided, the content "
                     "parameter is required.")
        kinds = []
        for n, part in enumerate(content):
            self.check_shape(request, part, CONTENT, f"content.{n}")
            if not part.get("type") or not part.get("value"):
                self.bad(request, f"content.{n}.value", "The content value must be a string at "
                         "least one character in length.")
            kinds.append(part["type"].partition(";")[0])
        if "text/plain" in kinds and kinds[0] != "text/plain":
            self.bad(request, "content", "If present, text/plain must be first.")
        if kinds.count("text/plain") > 1 or kinds.count("text/html") > 1:
            self.bad(request, "content", "Each content type may appear once.")
        for n, attachment in enumerate(body.get("attachments", [])):
            where = f"attachments.{n}"
            self.check_shape(request, attachment, ATTACHMENT, where)
            if not attachment.get("filename"):
                self.bad(request, where + ".filename", "The attachment filename is required.")
            try:
                base64.b64decode(attachment.get("content", "?"), validate=True)
            except (binascii.Error, ValueError):
                self.bad(request, where + ".content", "The attachment content must be base64 "
                         "encoded.")
            if attachment.get("disposition", "attachment") not in ("attachment", "inline"):
                self.bad(request, where + ".disposition", "The disposition must be inline or "
                         "attachment.")

    def check_rest(self, request, body):
        headers = dict(body.get("headers", {}))
        for person in body["personalizations"]:
            headers.update(person.get("headers", {}))
        for name, value in headers.items():
            if name.lower() in FORBIDDEN_HEADERS or name.lower().startswith("x-sg-"):
                self.bad(request, "headers", f"The header {name} is reserved.")
            if not isinstance(value, str):
                self.bad(request, "headers", "Header values must be strings.")
        categories = body.get("categories", [])
        if len(categories) > 10 or any(not isinstance(c, str) or len(c) > 255
                                       for c in categories):
            self.bad(request, "categories", "At most 10 categories of at most 255 characters.")
        for args in [body.get("custom_args", {})] + \
                [p.get("custom_args", {}) for p in body["personalizations"]]:
            if any(not isinstance(v, str) for v in args.values()):
                self.bad(request, "custom_args", "The custom_args values must be strings.")
            if len(json.dumps(args)) > 10_000:
                self.bad(request, "custom_args", "The custom_args exceed 10000 bytes.")
        if body.get("send_at", 0) > time.time() + 72 * 3600:
            self.bad(request, "send_at", "send_at is limited to 72 hours ahead.")

    def accept(self, request):
        settings = request.json().get("mail_settings", {})
        if settings.get("sandbox_mode", {}).get("enable"):
            return Answer(200, b"", self.rate_headers())
        number = secrets.token_urlsafe(16)
        request.note(id=number)
        return Answer(202, b"", [("x-message-id", number), *self.rate_headers()])

    def callback_base(self, request, answer):
        body = request.json()
        person = body["personalizations"][0]
        return {"id": request.extra["id"], "to": request.target,
                "custom_args": {**body.get("custom_args", {}), **person.get("custom_args", {})}}

    def callbacks(self, spec):
        """One POST with every event in it. Events: a name, or an object that is merged in.

        `body` in their place: these bytes (as Latin-1), signed as they are."""
        events = []
        for event in spec.get("events", ["delivered"]):
            event = {"event": event} if isinstance(event, str) else dict(event)
            message = {"email": spec.get("to", "to@example.org"), "timestamp": int(time.time()),
                       "smtp-id": f"<{spec['id']}@ismtpd.example>",
                       "sg_event_id": secrets.token_urlsafe(16),
                       "sg_message_id": f"{spec['id']}.recvd-5c4f.0",
                       **spec.get("custom_args", {})}
            defaults = {
                "delivered": {"response": "250 OK"},
                "deferred": {"response": "451 4.7.1 try later", "attempt": "1"},
                "bounce": {"type": "bounce", "status": "5.1.1",
                           "reason": "550 5.1.1 user unknown"},
                "dropped": {"reason": "Bounced Address", "status": "5.0.0"},
                "click": {"url": "https://example.org/", "ip": "192.0.2.1"},
                "open": {"ip": "192.0.2.1", "useragent": "test"},
            }
            events.append({**message, **defaults.get(event["event"], {}), **event})
        # What arrives ends in CRLF, and the CRLF is signed.
        body = json.dumps(events).encode() + b"\r\n"
        if "body" in spec:
            body = spec["body"].encode("latin-1")
        stamp = str(spec.get("timestamp", int(time.time())))
        sign = self.signer.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return [("POST", spec["url"], {
            "Content-Type": "application/json", "User-Agent": "SendGrid Event API",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(sign).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp}, body)]
