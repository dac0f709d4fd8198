# SPDX-License-Identifier: MIT
"""Postmark: POST /email and /email/batch, and its unsigned webhooks."""

import base64
import binascii
import hmac
import json
import time
import uuid
from email.utils import getaddresses

from provider import Provider
from wire import EMAIL, BodyError, json_answer, misfit

# ErrorCode: (HTTP status, message)
CODES = {
    10: (401, "Bad or missing Server API token."), 100: (503, "Maintenance"),
    300: (422, "Invalid email request"), 400: (422, "Sender Signature not found."),
    401: (422, "Sender signature not confirmed"), 402: (422, "Invalid JSON"),
    403: (422, "Invalid request field(s)"), 405: (422, "Not allowed to send"),
    # The official library finds the addresses by the words around them.
    406: (422, "Some recipients are marked as inactive. Found inactive addresses: {to}. Inactive "
          "recipients are those with a hard bounce, a complaint or a manual suppression."),
    409: (422, "JSON required"), 410: (422, "Too many batch messages"),
    411: (422, "Forbidden attachment type"), 412: (422, "Account is pending"),
    413: (422, "Account may not send"), 1101: (422, "Template not found"),
    1235: (422, "The message stream was not found"), 1236: (422, "The stream is archived"),
}
# bare HTTP answers
PLAIN = {"not_found": 404, "too_large": 413, "media_type": 415, "rate_limit": 429,
         "internal": 500, "unavailable": 503, "firewall": 403}
FIELDS = {"From": str, "To": str, "Cc": str, "Bcc": str, "Subject": str, "Tag": str,
          "HtmlBody": str, "TextBody": str, "ReplyTo": str, "Headers": list, "Metadata": dict,
          "TrackOpens": bool, "TrackLinks": str, "MessageStream": str, "Attachments": list}
LINKS = ("None", "HtmlAndText", "HtmlOnly", "TextOnly")
TYPES = {"HardBounce": 1, "Transient": 2, "SoftBounce": 4096, "SpamComplaint": 512,
         "SpamNotification": 512, "BadEmailAddress": 100000, "ManualSuppression": 10000}


class Postmark(Provider):
    name = "postmark"
    errors = {**{str(code): code for code in CODES}, **PLAIN}
    signature_headers = ("Authorization",)

    def prepare(self):
        self.token, self.token_file = self.secret("postmark.token", str(uuid.uuid4()))
        self.password, self.password_file = self.secret("postmark.webhook-password")

    def describe(self):
        return {**super().describe(), "server_token_file": self.token_file,
                "message_stream": "outbound", "webhook_user": "postmark",
                "webhook_password_file": self.password_file}

    def error(self, name, request, step):
        if name in PLAIN:
            if name == "firewall":
                answer = json_answer(403, "")
                answer.headers, answer.body = [("content-type", "text/html")], b"<h1>403</h1>"
                return answer
            return super().status(PLAIN[name], request, step)
        code = int(name)
        status, message = CODES[code]
        message = step.get("text") or message.replace("{to}", str(request.target))
        return json_answer(status, {"ErrorCode": code, "Message": message})

    def status(self, status, request, step):
        if status == 401:
            return self.error(10, request, step)
        if status == 422:
            return self.error(300, request, step)
        if status == 500:
            return json_answer(500, {"ErrorCode": 0, "Message": "Internal Server Error"})
        return super().status(status, request, step)

    def check(self, request):
        if request.bare_path not in ("/email", "/email/batch") or request.method != "POST":
            self.refuse(request, "not_found")
        token = request.header("x-postmark-server-token", "")
        if not hmac.compare_digest(token, self.token) and token != "POSTMARK_API_TEST":
            self.refuse(request, 10)
        if request.media_type() != "application/json":
            self.refuse(request, "media_type")
        if "application/json" not in request.header("accept", ""):
            request.warn("no Accept: application/json")
        if len(request.body) > (10 if request.bare_path == "/email" else 50) * 1024 * 1024:
            self.refuse(request, "too_large")
        try:
            body = request.json()
        except BodyError:
            self.refuse(request, 402)
        if request.bare_path == "/email/batch":
            if not isinstance(body, list) or len(body) > 500:
                self.refuse(request, 410)
            request.note(batch=[self.fault_of(request, item) for item in body])
            request.target = self.first(body[0].get("To", "")) if body else None
            return
        found = self.fault_of(request, body)
        request.target = self.first(body.get("To", "")) if isinstance(body, dict) else None
        if found is not None:
            self.refuse(request, found[0], text=found[1])

    def first(self, text):
        addresses = getaddresses([text])
        return addresses[0][1] if addresses else None

    def fault_of(self, request, body):
        """(ErrorCode, message) of a bad message, or None."""
        if not isinstance(body, dict):
            return 402, "Invalid JSON"
        for name, value in body.items():
            if name not in FIELDS:
                request.warn(f"unknown field {name}")
            elif value is not None and not isinstance(value, FIELDS[name]):
                return 403, f"Invalid field {name}"
        if not body.get("From"):
            return 300, "Invalid 'From' address: ''."
        everyone = getaddresses([body[k] for k in ("To", "Cc", "Bcc") if body.get(k)])
        everyone = [a for _, a in everyone if a]
        if not everyone or not body.get("To"):
            return 300, "Zero recipients specified"
        if len(everyone) > 50:
            return 300, "Too many recipients"
        for address in everyone + [self.first(body["From"])]:
            if not EMAIL.match(address or ""):
                return 300, f"Invalid address: '{address}'."
        if self.first(body["From"]).endswith("@unverified.example"):
            return 400, None
        if not body.get("HtmlBody") and not body.get("TextBody"):
            return 300, "Provide either email TextBody or HtmlBody or both."
        if any(len(body.get(k) or "") > 5 * 1024 * 1024 for k in ("HtmlBody", "TextBody")):
            return 300, "The body is larger than 5 MB"
        return self.fault_of_rest(body)

    def fault_of_rest(self, body):
        wrong = misfit({k: v for k, v in body.items() if v is not None}, {
            "Headers": [{"Name": str, "Value": str}],
            "Attachments": [{"Name": str, "Content": str, "ContentType": str}]})
        if wrong is not None:
            return 403, f"Invalid field {wrong}"
        for header in body.get("Headers") or []:
            if set(header) != {"Name", "Value"}:
                return 300, "Headers need Name and Value"
        metadata = body.get("Metadata") or {}
        if any(not isinstance(v, str) or len(v) > 80 or len(k) > 20 for k, v in metadata.items()):
            return 300, "Invalid metadata"
        if (body.get("TrackLinks") or "None") not in LINKS:
            return 300, "Invalid TrackLinks"
        if (body.get("MessageStream") or "outbound") not in ("outbound", "broadcast"):
            return 1235, None
        for attachment in body.get("Attachments") or []:
            if not attachment.get("Name") or not attachment.get("ContentType"):
                return 300, "Attachments need Name and ContentType"
            if attachment["Name"].rpartition(".")[2].lower() in ("exe", "vbs", "bat", "scr"):
                return 411, None
            try:
                base64.b64decode(attachment.get("Content", ""), validate=True)
            except (binascii.Error, ValueError):
                return 300, "Attachment content is not base64"
        return None

    def taken(self, to):
        return {"To": to, "SubmittedAt": time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z", time.gmtime()),
                "MessageID": str(uuid.uuid4()), "ErrorCode": 0, "Message": "OK"}

    def accept(self, request):
        body = request.json()
        if isinstance(body, list):
            answers = []
            for item, found in zip(body, request.extra["batch"]):
                answers.append(self.taken(item.get("To")) if found is None else {
                    "ErrorCode": found[0], "Message": found[1] or CODES[found[0]][1]})
            return json_answer(200, answers)
        answer = self.taken(body["To"])
        request.note(id=answer["MessageID"])
        return json_answer(200, answer)

    def callback_base(self, request, answer):
        body = request.json()
        return {"id": request.extra["id"], "to": request.target,
                "metadata": body.get("Metadata") or {}, "tag": body.get("Tag")}

    def callbacks(self, spec):
        """Events: Delivery, a bounce type such as HardBounce, SpamComplaint, Open, Click,
        SubscriptionChange; an object with RecordType is merged."""
        calls = []
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        to = spec.get("to", "to@example.org")
        for event in spec.get("events", ["Delivery"]):
            if isinstance(event, str):
                event = {"RecordType": "Bounce", "Type": event} if event in TYPES and \
                    event != "SpamComplaint" else {"RecordType": event}
            body = {"MessageID": spec["id"], "ServerID": 1, "MessageStream": "outbound",
                    "Tag": spec.get("tag"), "Metadata": spec.get("metadata", {})}
            kind = event["RecordType"]
            if kind == "Delivery":
                body.update(Recipient=to, DeliveredAt=now, Details="250 ok")
            elif kind in ("Bounce", "SpamComplaint"):
                name = event.get("Type", "SpamComplaint" if kind != "Bounce" else "HardBounce")
                body.update(Email=to, BouncedAt=now, ID=int(time.time()), Type=name,
                            TypeCode=TYPES.get(name, 0), Inactive=name == "HardBounce",
                            CanActivate=True, Description=name, Details="550 5.1.1")
            elif kind == "SubscriptionChange":
                body.update(Recipient=to, ChangedAt=now, SuppressSending=True, Origin="Recipient",
                            SuppressionReason="ManualSuppression")
            else:
                body.update(Recipient=to, ReceivedAt=now, OriginalLink="https://example.org/")
            body.update(event)
            pair = spec.get("auth", f"postmark:{self.password}")
            headers = {"Content-Type": "application/json", "User-Agent": "Postmark"}
            if pair:
                headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            calls.append(("POST", spec["url"], headers, json.dumps(body).encode()))
        return calls
