# SPDX-License-Identifier: MIT
"""Bird, both generations: the v1 platform API (`bird`) and classic MessageBird REST."""

import hashlib
import hmac
import base64
import json
import re
import secrets
import time
from urllib.parse import urlencode

import jwt

import segments
from provider import Provider
from webhook import sign
from wire import E164, BodyError, json_answer

# name: (HTTP status, type, code, name in the answer, message)
BIRD_ERRORS = {
    "malformed": (400, "invalid_request_error", "E01001", "MalformedRequest", "bad request"),
    "auth_error": (401, "auth_error", "E01010", "Unauthorized", "invalid API key"),
    "billing_error": (402, "billing_error", "E01020", "InsufficientBalance", "balance too low"),
    "permission_error": (403, "permission_error", "E01021", "Forbidden", "not allowed"),
    "not_found": (404, "not_found_error", "E01002", "NotFound", "no such path"),
    "timeout": (408, "api_error", "E01030", "RequestTimeout", "timed out"),
    "in_progress": (409, "idempotency_error", "E01004", "RequestInProgress",
                    "a request with this key is in progress"),
    "key_reused": (409, "idempotency_error", "E01005", "IdempotencyKeyReuse",
                   "this key was used with another request"),
    "validation_error": (422, "validation_error", "E01003", "ValidationError", "invalid request"),
    "unsupported_feature": (422, "validation_error", "E02010", "SMSUnsupportedFeature",
                            "this feature is a preview"),
    "invalid_recipient": (422, "validation_error", "E02001", "SMSInvalidRecipient",
                          "the recipient cannot be reached"),
    "no_eligible_sender": (422, "validation_error", "E02002", "SMSNoEligibleSender",
                           "no sender for this destination"),
    "rate_limit": (429, "rate_limit_error", "E01006", "TooManyRequests", "rate limit exceeded"),
    "internal": (500, "api_error", "E01031", "InternalError", "internal error"),
    "unavailable": (503, "api_error", "E01032", "ServiceUnavailable", "unavailable"),
    "idempotency_unavailable": (503, "api_error", "E01033", "IdempotencyUnavailable",
                                "the idempotency store is unavailable; nothing was executed"),
}
BIRD_STATUS = {400: "malformed", 401: "auth_error", 402: "billing_error",
               403: "permission_error", 404: "not_found", 408: "timeout", 409: "in_progress",
               422: "validation_error", 429: "rate_limit", 500: "internal", 503: "unavailable"}
BIRD_FIELDS = frozenset(("to", "from", "text", "template", "category", "tags", "metadata",
                         "options"))
BIRD_PREVIEWS = frozenset(("media_urls", "scheduled_at", "validity_period", "status_callback"))
CATEGORIES = ("transactional", "marketing", "authentication", "service")
REPLAY_S = 3 * 3600
# What ends a message, by event, unless a test says more.
BIRD_REASONS = {"sms.failed": "unreachable", "sms.undelivered": "invalid_destination",
                "sms.rejected": "content_rejected", "sms.expired": "unreachable"}


class Bird(Provider):
    name = "bird"
    errors = BIRD_ERRORS
    signature_headers = ("webhook-signature",)

    def prepare(self):
        self.key, self.key_file = self.secret("bird.key", "bk_us1_" + secrets.token_hex(24))
        self.hook_key = secrets.token_bytes(32)
        text = "whsec_" + base64.b64encode(self.hook_key).decode()
        _, self.hook_file = self.secret("bird.webhook-secret", text)
        self.kept = {}

    def forget(self):
        self.kept.clear()

    def describe(self):
        return {**super().describe(), "api_key_file": self.key_file,
                "webhook_secret_file": self.hook_file, "from": "+15005550006"}

    def error(self, name, request, step):
        status, kind, code, label, message = BIRD_ERRORS[name]
        number = "req_" + secrets.token_hex(12)
        error = {"type": kind, "code": code, "name": label, "message": step.get("text", message),
                 "doc_url": f"https://bird.com/docs/errors/{code}", "request_id": number}
        if "param" in step:
            error["param"] = step["param"]
            error["details"] = [{"param": step["param"], "message": error["message"]}]
        headers = [("x-request-id", number)]
        if status == 429:
            headers += [("ratelimit-limit", "100"), ("ratelimit-remaining", "0"),
                        ("ratelimit-reset", "1"), ("retry-after", str(step.get("retry_after", 1)))]
            step.pop("retry_after", None)
        return json_answer(status, {"error": error}, headers)

    def status(self, status, request, step):
        if status in BIRD_STATUS:
            return self.error(BIRD_STATUS[status], request, step)
        return super().status(status, request, step)

    def invalid(self, request, param, text):
        self.refuse(request, "validation_error", param=param, text=text)

    def check(self, request):
        if request.bare_path != "/v1/sms/messages" or request.method != "POST":
            self.refuse(request, "not_found")
        if not hmac.compare_digest(request.bearer() or "", self.key):
            self.refuse(request, "auth_error")
        try:
            if request.media_type() != "application/json":
                raise BodyError("content-type must be application/json")
            body = request.json()
            if not isinstance(body, dict):
                raise BodyError("the body is no object")
        except BodyError as error:
            self.refuse(request, "malformed", text=str(error))
        request.dedupe = request.header("idempotency-key")
        if request.dedupe is None:
            request.warn("no Idempotency-Key")
        elif not 1 <= len(request.dedupe) <= 255:
            self.refuse(request, "malformed", text="Idempotency-Key is too long")
        self.check_body(request, body)
        request.target = body["to"]
        kept = self.kept.get(request.dedupe)
        if kept and kept[0] != hashlib.sha256(request.body).digest():
            self.refuse(request, "key_reused")

    def check_body(self, request, body):
        for name in body:
            if name in BIRD_PREVIEWS:
                self.refuse(request, "unsupported_feature", param=name)
            if name not in BIRD_FIELDS:
                self.invalid(request, name, "unknown field")
        if not isinstance(body.get("to"), str) or not E164.match(body["to"]):
            self.invalid(request, "to", "must be an E.164 number")
        if ("text" in body) == ("template" in body):
            self.invalid(request, "text", "exactly one of text and template is required")
        if "text" in body:
            if not isinstance(body["text"], str) or not body["text"]:
                self.invalid(request, "text", "must be a string")
            if segments.count(body["text"])[1] > 12:
                self.invalid(request, "text", "more than 12 segments")
            if body.get("category") not in CATEGORIES:
                self.invalid(request, "category", f"is one of {', '.join(CATEGORIES)}")
            sender = body.get("from")
            if not isinstance(sender, str) or not (E164.match(sender) or re.fullmatch(
                    r"(?=.*[A-Za-z])[A-Za-z0-9 _-]{1,11}", sender)):
                self.invalid(request, "from", "is a number or at most 11 characters")
        tags = body.get("tags", [])
        if not isinstance(tags, list) or len(tags) > 20 or any(
                not isinstance(t, dict) or set(t) != {"name", "value"} for t in tags):
            self.invalid(request, "tags", "at most 20 of {name, value}")
        if len(json.dumps(body.get("metadata", {}))) > 2048:
            self.invalid(request, "metadata", "larger than 2 KB")
        options = body.get("options", {})
        if not isinstance(options, dict) or set(options) - {"smart_encoding"}:
            self.invalid(request, "options", "unknown option")

    def accept(self, request):
        now = time.monotonic()
        kept = self.kept.get(request.dedupe)
        if kept and now - kept[2] < REPLAY_S:
            request.note(replay=True, id=kept[3])
            return json_answer(202, kept[1], [("x-request-id", "req_" + secrets.token_hex(12))])
        body = request.json()
        number = "sms_" + secrets.token_hex(16)
        request.note(id=number)
        encoding, parts, units = segments.count(body.get("text", ""))
        answer = {"id": number, "status": "accepted", "to": body["to"], "from": body.get("from"),
                  "segments": {"count": parts, "characters": units,
                               "encoding": "GSM_7BIT" if encoding == "GSM-7" else "UCS2"},
                  "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        if request.dedupe is not None:
            if len(self.kept) >= 100_000:
                self.kept.clear()
            self.kept[request.dedupe] = (hashlib.sha256(request.body).digest(), answer, now, number)
        return json_answer(202, answer, [
            ("x-request-id", "req_" + secrets.token_hex(12)), ("ratelimit-limit", "100"),
            ("ratelimit-remaining", "99"), ("ratelimit-reset", "1")])

    def callback_base(self, request, answer):
        body = request.json()
        return {"id": request.extra["id"], "to": body["to"], "from": body.get("from"),
                "tags": body.get("tags", []), "metadata": body.get("metadata", {})}

    def callbacks(self, spec):
        """Events: sms.sent, sms.delivered, ...; an object may set `error` (its code)."""
        calls = []
        for event in spec.get("events", ["sms.delivered"]):
            event = {"type": event} if isinstance(event, str) else dict(event)
            kind = event["type"] if event["type"].startswith("sms.") else "sms." + event["type"]
            data = {"sms_id": spec["id"], "workspace_id": "ws_1", "to": spec.get("to"),
                    "from": spec.get("from"), "tags": spec.get("tags", []),
                    "metadata": spec.get("metadata", {})}
            reason = event.get("error", BIRD_REASONS.get(kind))
            if reason:
                data["error"] = {"code": reason, "message": reason.replace("_", " ")}
            if kind == "sms.received":
                data["text"] = event.get("text", "STOP")
            body = json.dumps({"type": kind, "timestamp": time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "data": data}).encode()
            number = event.get("webhook_id", "msg_" + secrets.token_hex(12))
            stamp = str(spec.get("timestamp", int(time.time())))
            calls.append(("POST", spec["url"], {
                "content-type": "application/json", "webhook-id": number,
                "webhook-timestamp": stamp,
                "webhook-signature": sign(self.hook_key, number, stamp, body)}, body))
        return calls


# name: (HTTP status, code, description)
CLASSIC_ERRORS = {
    "not_allowed": (401, 2, "Request not allowed (incorrect access_key)"),
    "missing_params": (422, 9, "missing params"), "invalid_params": (422, 10, "invalid params"),
    "not_found": (404, 20, "message not found"), "bad_request": (400, 21, "Bad request"),
    "no_balance": (422, 25, "Not enough balance"),
    "rate_limit": (429, 0, "Too many requests"),
    "internal": (500, 98, "Internal error"), "internal_99": (500, 99, "Internal error"),
    "unavailable": (503, 99, "Service unavailable"),
}
CLASSIC_STATUS = {400: "bad_request", 401: "not_allowed", 404: "not_found",
                  422: "invalid_params", 429: "rate_limit", 500: "internal", 503: "unavailable"}
CLASSIC_FIELDS = frozenset((
    "originator", "recipients", "body", "type", "datacoding", "reference", "reportUrl",
    "validity", "gateway", "typeDetails", "mclass", "scheduledDatetime", "shortenUrls",
    "groupIds"))


class MessageBird(Provider):
    name = "messagebird"
    errors = CLASSIC_ERRORS
    signature_headers = ("MessageBird-Signature-JWT",)

    def prepare(self):
        self.key, self.key_file = self.secret("messagebird.key", "live_" + secrets.token_hex(12))
        self.signing, self.signing_file = self.secret("messagebird.signing-key")

    def describe(self):
        return {**super().describe(), "access_key_file": self.key_file,
                "signing_key_file": self.signing_file, "from": "Tocsin"}

    def error(self, name, request, step):
        status, code, text = CLASSIC_ERRORS[name]
        return json_answer(status, {"errors": [{
            "code": code, "description": step.get("text", text),
            "parameter": step.get("parameter")}]})

    def status(self, status, request, step):
        if status in CLASSIC_STATUS:
            return self.error(CLASSIC_STATUS[status], request, step)
        return super().status(status, request, step)

    def invalid(self, request, parameter, text, name="invalid_params"):
        self.refuse(request, name, parameter=parameter, text=text)

    def read(self, request):
        """The fields of a JSON or form body."""
        try:
            if request.media_type() == "application/json":
                fields = request.json()
                if not isinstance(fields, dict):
                    raise BodyError("the body is no object")
                return fields
            fields = dict(request.form())
        except BodyError as error:
            self.refuse(request, "bad_request", text=str(error))
        if "recipients" in fields:
            fields["recipients"] = fields["recipients"].split(",")
        return fields

    def check(self, request):
        if request.bare_path != "/messages" or request.method != "POST":
            self.refuse(request, "not_found")
        scheme, _, key = request.header("authorization", "").partition(" ")
        if scheme != "AccessKey" or not hmac.compare_digest(key, self.key):
            self.refuse(request, "not_allowed")
        fields = self.read(request)
        for name in fields:
            if name not in CLASSIC_FIELDS:
                request.warn(f"unknown field {name}")
        for name in ("originator", "recipients", "body"):
            if not fields.get(name):
                self.invalid(request, name, f"{name} is required", "missing_params")
        sender = str(fields["originator"])
        if not re.fullmatch(r"\+?[0-9]{3,15}|[A-Za-z0-9 ]{1,11}", sender):
            self.invalid(request, "originator", "originator is invalid")
        recipients = fields["recipients"]
        if not isinstance(recipients, list) or len(recipients) > 50 or any(
                not re.fullmatch(r"[1-9][0-9]{6,14}", str(r)) for r in recipients):
            self.invalid(request, "recipients", "no (correct) recipients found")
        request.target = str(recipients[0])
        if not isinstance(fields["body"], str) or segments.count(fields["body"])[1] > 9:
            self.invalid(request, "body", "body is too long")
        self.check_options(request, fields)
        request.note(fields=fields)

    def check_options(self, request, fields):
        if fields.get("type", "sms") not in ("sms", "flash", "binary"):
            self.invalid(request, "type", "type is invalid")
        if fields.get("datacoding", "plain") not in ("plain", "unicode", "auto"):
            self.invalid(request, "datacoding", "datacoding is invalid")
        if fields.get("datacoding", "plain") == "plain" and \
                segments.count(fields["body"])[0] != "GSM-7":
            request.warn("characters outside GSM-7 with datacoding plain")
        if len(str(fields.get("reference") or "")) > 128:
            self.invalid(request, "reference", "reference is too long")
        if fields.get("reportUrl") and not fields.get("reference"):
            request.warn("reportUrl without reference: no reports are sent")

    def accept(self, request):
        fields = request.extra["fields"]
        number = secrets.token_hex(16)
        request.note(id=number)
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        parts = segments.count(fields["body"])[1]
        items = [{"recipient": int(r), "originator": None, "status": "sent",
                  "statusDatetime": now, "messagePartCount": parts} for r in fields["recipients"]]
        return json_answer(201, {
            "id": number, "href": f"{self.base_url}/messages/{number}", "direction": "mt",
            "type": fields.get("type", "sms"), "originator": fields["originator"],
            "body": fields["body"], "reference": fields.get("reference"),
            "reportUrl": fields.get("reportUrl"), "validity": fields.get("validity"),
            "gateway": 10, "typeDetails": {}, "datacoding": fields.get("datacoding", "plain"),
            "mclass": 1, "scheduledDatetime": None, "createdDatetime": now,
            "recipients": {"totalCount": len(items), "totalSentCount": len(items),
                           "totalDeliveredCount": 0, "totalDeliveryFailedCount": 0,
                           "items": items}})

    def callback_base(self, request, answer):
        fields = request.extra["fields"]
        if not fields.get("reference"):
            return None
        return {"url": fields.get("reportUrl"), "id": request.extra["id"],
                "to": str(fields["recipients"][0]), "reference": fields["reference"]}

    def callbacks(self, spec):
        """A GET for each status; an object may set `error_code` and `reason`.

        `inbound` makes a message that came in: by POST, as a form or (`json`) an object.
        """
        calls = []
        for event in spec.get("events", ["delivered"]):
            event = {"status": event} if isinstance(event, str) else event
            if event["status"] == "inbound":
                fields = {"id": event.get("id", secrets.token_hex(16)),
                          "recipient": "4915730000000", "originator": spec["from"].lstrip("+"),
                          "body": event["text"], "createdDatetime": time.strftime(
                              "%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())}
                body = (json.dumps(fields) if event.get("json") else urlencode(fields)).encode()
                kind = "json" if event.get("json") else "x-www-form-urlencoded"
                signed = spec.get("signed_url", spec["url"])
                calls.append(("POST", spec["url"], {
                    "Content-Type": "application/" + kind,
                    "MessageBird-Signature-JWT": self.token(signed, spec, body)}, body))
                continue
            query = [("id", spec["id"]), ("reference", spec.get("reference", "")),
                     ("recipient", str(spec.get("to", "")).lstrip("+")),
                     ("status", event["status"]),
                     ("statusDatetime", time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))]
            if "error_code" in event:
                query.append(("statusErrorCode", str(event["error_code"])))
            if "reason" in event:
                query.append(("statusReason", event["reason"]))
            mark = "&" if "?" in spec["url"] else "?"
            url = spec["url"] + mark + urlencode(query)
            signed = spec.get("signed_url", spec["url"]) + mark + urlencode(query)
            calls.append(("GET", url, {"MessageBird-Signature-JWT": self.token(signed, spec)}, b""))
        return calls

    def token(self, url, spec, body=b""):
        now = int(spec.get("timestamp", time.time()))
        claims = {"iss": "MessageBird", "nbf": now, "exp": now + 60, "jti": secrets.token_hex(16),
                  "url_hash": hashlib.sha256(url.encode()).hexdigest()}
        if body:
            claims["payload_hash"] = hashlib.sha256(body).hexdigest()
        return jwt.encode(claims, self.signing, spec.get("algorithm", "HS256"))
