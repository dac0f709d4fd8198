# SPDX-License-Identifier: MIT
"""WhatsApp Cloud API: POST /v23.0/{phone-number-id}/messages, and its signed webhooks."""

import hashlib
import hmac
import json
import re
import secrets
import time

from provider import Provider
from wire import BodyError, json_answer, misfit

# code: (HTTP status, message)
CODES = {
    0: (401, "AuthException"), 1: (500, "API Unknown"), 2: (503, "API Service"),
    3: (400, "API Method"), 4: (429, "API Too Many Calls"), 10: (403, "Permission Denied"),
    33: (400, "Parameter value is not valid"), 100: (400, "Invalid parameter"),
    190: (401, "Error validating access token: Session has expired"),
    200: (403, "API Permission"), 368: (403, "Temporarily blocked for policies violations"),
    80007: (429, "Rate limit issues"), 130429: (429, "Rate limit hit"),
    130472: (400, "User's number is part of an experiment"),
    131000: (500, "Something went wrong"), 131005: (403, "Access denied"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"), 131016: (503, "Service unavailable"),
    131026: (400, "Message undeliverable"), 131030: (400, "Recipient phone number not in allowed "
                                                     "list"),
    131031: (403, "Account has been locked"),
    131042: (400, "Business eligibility payment issue"),
    131045: (500, "Incorrect certificate"), 131047: (400, "Re-engagement message"),
    131048: (429, "Spam rate limit hit"), 131049: (400, "Not delivered, to maintain a healthy "
                                                   "ecosystem"),
    131050: (400, "User has stopped marketing messages"),
    131051: (400, "Unsupported message type"), 131052: (400, "Media download error"),
    131053: (400, "Media upload error"), 131056: (429, "Pair rate limit hit"),
    132000: (400, "Template param count mismatch"),
    132001: (404, "Template does not exist"), 132005: (400, "Template hydrated text too long"),
    132007: (400, "Template format character policy violated"),
    132012: (400, "Template parameter format mismatch"), 132015: (400, "Template is paused"),
    132016: (400, "Template is disabled"), 132068: (400, "Flow is blocked"),
    132069: (429, "Flow is throttled"), 133010: (400, "Phone number not registered"),
    133016: (429, "Account register deregister rate limit exceeded"),
}
BY_STATUS = {400: 100, 401: 190, 403: 10, 404: 132001, 429: 130429, 500: 131000, 503: 131016}
FIELDS = frozenset(("messaging_product", "recipient_type", "to", "type", "text", "template",
                    "image", "audio", "video", "document", "sticker", "location", "contacts",
                    "interactive", "reaction", "context", "biz_opaque_callback_data", "preview_url",
                    "status", "message_id"))
MEDIA = {"id": str, "link": str, "caption": str, "filename": str}
SHAPE = {
    "messaging_product": str, "recipient_type": str, "to": str, "type": str,
    "biz_opaque_callback_data": str, "context": {"message_id": str},
    "text": {"body": str, "preview_url": bool},
    "template": {"name": str, "language": {"code": str, "policy": str}, "components": [{
        "type": str, "sub_type": str, "parameters": [{"type": str, "text": str}]}]},
    **dict.fromkeys(("image", "audio", "video", "document", "sticker"), MEDIA)}
TYPES = ("text", "template", "image", "audio", "video", "document", "sticker", "location",
         "contacts", "interactive", "reaction")
COMPONENTS = {"header", "body", "button"}


class WhatsApp(Provider):
    name = "whatsapp"
    errors = {str(code): code for code in CODES}
    signature_headers = ("X-Hub-Signature-256",)

    def prepare(self):
        self.phone = "1" + str(secrets.randbelow(10 ** 14)).zfill(14)
        self.token, self.token_file = self.secret("whatsapp.token", "EAA" + secrets.token_hex(40))
        self.app, self.app_file = self.secret("whatsapp.app-secret")
        self.verify, self.verify_file = self.secret("whatsapp.verify-token")
        self.templates = {"order_ready": 1, "hello_world": 0}

    def describe(self):
        return {**super().describe(), "version": "v23.0", "phone_number_id": self.phone,
                "access_token_file": self.token_file, "app_secret_file": self.app_file,
                "verify_token_file": self.verify_file,
                "templates": self.templates, "languages": ["en", "en_US", "de"]}

    def error(self, name, request, step):
        code = int(name)
        status, message = CODES[code]
        return json_answer(status, {"error": {
            "message": f"(#{code}) {message}", "type": "OAuthException", "code": code,
            "is_transient": status >= 500,
            "error_data": {"messaging_product": "whatsapp",
                           "details": step.get("text", message)},
            "fbtrace_id": secrets.token_urlsafe(8)}})

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        match = re.fullmatch(r"/v(\d+)\.0/(\d+)/messages", request.bare_path)
        if not match or request.method != "POST":
            self.refuse(request, 100, text="Unsupported request")
        if not hmac.compare_digest(request.bearer() or "", self.token):
            self.refuse(request, 190)
        if match.group(2) != self.phone:
            self.refuse(request, 33, text="Object with this ID does not exist")
        try:
            if request.media_type() != "application/json":
                raise BodyError("content-type must be application/json")
            body = request.json()
            if not isinstance(body, dict):
                raise BodyError("no object")
        except BodyError as error:
            self.refuse(request, 100, text=str(error))
        for name in body:
            if name not in FIELDS:
                self.refuse(request, 100, text=f"Unexpected key \"{name}\" on param")
        wrong = misfit(body, SHAPE)
        if wrong is not None:
            self.refuse(request, 131009 if wrong == "to" else 100, text=f"{wrong} is of a wrong "
                        "type")
        if body.get("messaging_product") != "whatsapp":
            self.refuse(request, 100, text="messaging_product must be whatsapp")
        if body.get("recipient_type", "individual") not in ("individual", "group"):
            self.refuse(request, 100, text="recipient_type")
        to = body.get("to")
        if not isinstance(to, str) or not re.fullmatch(r"\+?[1-9][0-9]{6,14}", to):
            self.refuse(request, 131009 if to else 131008, text="to")
        request.target = to.lstrip("+")
        if len(body.get("biz_opaque_callback_data", "")) > 512:
            self.refuse(request, 100, text="biz_opaque_callback_data")
        self.check_content(request, body)

    def check_content(self, request, body):
        kind = body.get("type", "text")
        if kind not in TYPES:
            self.refuse(request, 131051)
        content = body.get(kind)
        if not isinstance(content, dict) and kind != "contacts":
            self.refuse(request, 131008, text=f"{kind} is required")
        if kind == "text":
            if set(content) - {"body", "preview_url"}:
                self.refuse(request, 100, text="Unexpected key in text")
            if not content.get("body") or len(content["body"]) > 4096:
                self.refuse(request, 131008 if not content.get("body") else 100, text="text.body")
        elif kind == "template":
            self.check_template(request, content)
        elif kind in ("image", "audio", "video", "document", "sticker"):
            if ("id" in content) == ("link" in content):
                self.refuse(request, 100, text=f"{kind} needs id or link")

    def check_template(self, request, content):
        language = content.get("language", {})
        if not content.get("name") or not language.get("code"):
            self.refuse(request, 131008, text="template needs name and language.code")
        if content["name"] not in self.templates or \
                language["code"] not in ("en", "en_US", "de"):
            self.refuse(request, 132001)
        count = 0
        for component in content.get("components", []):
            if str(component.get("type", "")).lower() not in COMPONENTS:
                self.refuse(request, 100, text="component type")
            for parameter in component.get("parameters", []):
                if "type" not in parameter or (parameter["type"] == "text"
                                               and not parameter.get("text")):
                    self.refuse(request, 132012)
            if component.get("type", "").lower() == "body":
                count = len(component.get("parameters", []))
        if count != self.templates[content["name"]]:
            self.refuse(request, 132000)

    def accept(self, request):
        body = request.json()
        number = "wamid." + secrets.token_urlsafe(40)
        request.note(id=number)
        return json_answer(200, {
            "messaging_product": "whatsapp",
            "contacts": [{"input": body["to"], "wa_id": request.target}],
            "messages": [{"id": number, "message_status": "accepted"}]})

    def callback_base(self, request, answer):
        body = request.json()
        return {"id": request.extra["id"], "to": request.target,
                "data": body.get("biz_opaque_callback_data")}

    def callbacks(self, spec):
        """One POST with every status in it (`separate: true`: one each). Events: sent, delivered,
        read, failed; an object may set `code`. `verify` makes the GET handshake, `inbound` a
        message with `text`."""
        calls, statuses = [], []
        for event in spec.get("events", ["delivered"]):
            event = {"status": event} if isinstance(event, str) else dict(event)
            if event["status"] == "verify":
                mark = "&" if "?" in spec["url"] else "?"
                token = spec.get("verify_token", self.verify)
                calls.append(("GET", f"{spec['url']}{mark}hub.mode=subscribe&hub.challenge="
                              f"{event.get('challenge', '1158201444')}&hub.verify_token={token}",
                              {}, b""))
                continue
            if event["status"] == "inbound":
                calls.append(self.post(spec, {"messages": [{
                    "from": spec["to"], "id": "wamid." + secrets.token_urlsafe(20),
                    "timestamp": str(int(time.time())), "type": "text",
                    "text": {"body": event.get("text", "STOP")}}]}))
                continue
            status = {"id": spec["id"], "status": event["status"],
                      "timestamp": str(event.get("timestamp", int(time.time()))),
                      "recipient_id": str(spec.get("to", "")).lstrip("+")}
            if spec.get("data"):
                status["biz_opaque_callback_data"] = spec["data"]
            if event["status"] == "failed":
                code = int(event.get("code", 131026))
                title = CODES.get(code, (400, "Error"))[1]
                status["errors"] = [{"code": code, "title": title, "message": title,
                                     "error_data": {"details": title}}]
            statuses.append(status)
        groups = [[s] for s in statuses] if spec.get("separate") else [statuses] * bool(statuses)
        return calls + [self.post(spec, {"statuses": group}) for group in groups]

    def post(self, spec, value):
        value = {"messaging_product": "whatsapp", "metadata": {
            "display_phone_number": "15550001111", "phone_number_id": self.phone},
            # Meta escapes what is not ASCII, so only the received bytes can be verified.
            "contacts": [{"profile": {"name": "Jos\u00e9"},
                          "wa_id": str(spec.get("to", "")).lstrip("+")}], **value}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [{
            "id": "1", "changes": [{"field": "messages", "value": value}]}]}).encode()
        made = hmac.new(self.app.encode(), body, hashlib.sha256).hexdigest()
        return ("POST", spec["url"], {"Content-Type": "application/json",
                                      "X-Hub-Signature-256": "sha256=" + made}, body)
