# SPDX-License-Identifier: MIT
"""Firebase Cloud Messaging HTTP v1, with its OAuth token endpoint at /token."""

import json
import os
import re
import secrets
import time

import jwt

from certs import private_pem, rsa_key, write_private
from provider import Provider
from wire import BodyError, json_answer

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN = re.compile(r"^[A-Za-z0-9_-]{4,64}:APA91b[A-Za-z0-9_-]{8,200}$")
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

# name: (HTTP status, google.rpc status, FcmError.errorCode or None, message)
ERRORS = {
    "UNREGISTERED": (404, "NOT_FOUND", "UNREGISTERED", "Requested entity was not found."),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SenderId mismatch"),
    "INVALID_TOKEN": (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT",
                      "The registration token is not a valid FCM registration token"),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT", None, "Request contains an invalid argument."),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR",
                               "Auth error from APNS or Web Push Service"),
    "UNAUTHENTICATED": (401, "UNAUTHENTICATED", None, "Request had invalid authentication "
                        "credentials. Expected OAuth 2 access token."),
    "PERMISSION_DENIED": (403, "PERMISSION_DENIED", None, "The caller does not have permission"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Quota exceeded"),
    "RESOURCE_EXHAUSTED": (429, "RESOURCE_EXHAUSTED", None, "Resource has been exhausted"),
    "UNAVAILABLE": (503, "UNAVAILABLE", "UNAVAILABLE", "The service is currently unavailable."),
    "INTERNAL": (500, "INTERNAL", "INTERNAL", "Internal error encountered."),
    "UNSPECIFIED_ERROR": (500, "UNKNOWN", "UNSPECIFIED_ERROR", "Unspecified error"),
    # the token endpoint
    "invalid_grant": (400, None, None, "Invalid JWT Signature."),
    "invalid_client": (401, None, None, "The OAuth client was not found."),
    "invalid_scope": (400, None, None, "Invalid OAuth scope or ID token audience provided."),
    "unsupported_grant_type": (400, None, None, "Invalid grant_type"),
    "internal_failure": (500, None, None, "Backend Error"),
}
BY_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
             404: "UNREGISTERED", 429: "QUOTA_EXCEEDED", 500: "INTERNAL", 503: "UNAVAILABLE"}

ANY = object()
STRING_MAP = object()
ANDROID_NOTIFICATION = dict.fromkeys((
    "title", "body", "icon", "color", "sound", "tag", "click_action", "body_loc_key",
    "body_loc_args", "title_loc_key", "title_loc_args", "channel_id", "ticker", "sticky",
    "event_time", "local_only", "notification_priority", "default_sound",
    "default_vibrate_timings", "default_light_settings", "vibrate_timings", "visibility",
    "notification_count", "light_settings", "image", "bypass_proxy_notification", "proxy"), ANY)
OPTIONS = {"analytics_label": str}
MESSAGE = {
    "name": str, "data": STRING_MAP, "token": str, "topic": str, "condition": str, "fid": str,
    "notification": {"title": str, "body": str, "image": str},
    "android": {"collapse_key": str, "priority": str, "ttl": str,
                "restricted_package_name": str, "data": STRING_MAP,
                "notification": ANDROID_NOTIFICATION, "fcm_options": OPTIONS,
                "direct_boot_ok": bool, "bandwidth_constrained_ok": bool,
                "restricted_satellite_ok": bool},
    "webpush": {"headers": STRING_MAP, "data": STRING_MAP, "notification": ANY,
                "fcm_options": {"link": str, "analytics_label": str}},
    "apns": {"headers": STRING_MAP, "payload": ANY, "live_activity_token": str,
             "fcm_options": {"analytics_label": str, "image": str}},
    "fcm_options": OPTIONS,
}
SEND = {"validate_only": bool, "message": MESSAGE}


def snake(name):
    return re.sub(r"[A-Z]", lambda m: "_" + m.group().lower(), name)


class Fcm(Provider):
    name = "fcm"
    errors = ERRORS
    max_streams = 100
    token_ttl = 3599

    def prepare(self):
        self.project = "tocsin-test"
        self.email = f"sender@{self.project}.iam.gserviceaccount.com"
        key = rsa_key()
        self.public_key = key.public_key()
        self.key_id = secrets.token_hex(20)
        self.audiences = [self.base_url + "/token", self.tls_base_url + "/token",
                          "https://oauth2.googleapis.com/token"]
        account = {
            "type": "service_account", "project_id": self.project,
            "private_key_id": self.key_id, "private_key": private_pem(key).decode(),
            "client_email": self.email, "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": self.audiences[0], "universe_domain": "googleapis.com"}
        self.account_file = write_private(os.path.join(self.directory, "fcm-account.json"),
                                          json.dumps(account, indent=1))
        self.tokens = {}
        self.sample = [f"device{n:04d}:APA91b" + secrets.token_urlsafe(24) for n in range(10)]

    def describe(self):
        return {**super().describe(), "service_account_file": self.account_file,
                "project_id": self.project, "token_uri": self.audiences[0],
                "valid_tokens": self.sample, "token_pattern": TOKEN.pattern,
                "dead_token": "dead0000:APA91b" + "d" * 24,
                "mismatch_token": "other000:APA91b" + "o" * 24}

    def act(self, action, spec):
        if action == "expire_tokens":
            self.tokens.clear()
        elif action == "token_ttl":
            self.token_ttl = int(spec["seconds"])
        else:
            super().act(action, spec)

    def forget(self):
        self.token_ttl = Fcm.token_ttl

    def error(self, name, request, step):
        status, rpc, code, message = ERRORS[name]
        message = step.get("text", message)
        if rpc is None:
            return json_answer(status, {"error": name, "error_description": message})
        details = []
        if code is not None:
            details.append({"@type": FCM_ERROR, "errorCode": code})
        if name == "INVALID_ARGUMENT":
            details.append({"@type": BAD_REQUEST, "fieldViolations": [
                {"field": step.get("field", "message"), "description": message}]})
        error = {"code": status, "message": message, "status": rpc}
        if details:
            error["details"] = details
        headers = [("vary", "X-Origin")]
        if status == 401:
            headers.append(("www-authenticate", 'Bearer realm="https://accounts.google.com/"'))
        return json_answer(status, {"error": error}, headers)

    def status(self, status, request, step):
        if request.op == "token":
            name = "invalid_grant" if status < 500 else "internal_failure"
            answer = self.error(name, request, step)
            answer.status = status
            return answer
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        path = request.bare_path
        if path == "/token":
            request.op = "token"
            self.check_grant(request)
            return
        match = re.fullmatch(r"/v1/projects/([^/]+)/messages:send", path)
        if not match or request.method != "POST":
            request.why = "path"
            self.refuse(request, "UNREGISTERED", text="Requested URL was not found")
        token = request.bearer()
        expiry = self.tokens.get(token)
        if expiry is None or expiry < time.monotonic():
            self.refuse(request, "UNAUTHENTICATED")
        if match.group(1) != self.project:
            self.refuse(request, "PERMISSION_DENIED")
        if request.media_type() != "application/json":
            self.refuse(request, "INVALID_ARGUMENT", text="content-type must be application/json")
        try:
            body = request.json()
        except BodyError as error:
            self.refuse(request, "INVALID_ARGUMENT", text=f"Invalid JSON payload received. {error}")
        self.check_fields(request, body, SEND, "")
        self.check_message(request, body)

    # OAuth

    def check_grant(self, request):
        if request.method != "POST" or request.media_type() != "application/x-www-form-urlencoded":
            self.refuse(request, "unsupported_grant_type")
        try:
            form = dict(request.form())
        except BodyError as error:
            self.refuse(request, "unsupported_grant_type", text=str(error))
        if form.get("grant_type") != GRANT:
            self.refuse(request, "unsupported_grant_type")
        for name in form:
            if name not in ("grant_type", "assertion"):
                request.warn(f"unknown field {name}")
        try:
            header = jwt.get_unverified_header(form.get("assertion", ""))
            claims = jwt.decode(form["assertion"], self.public_key, algorithms=["RS256"],
                                audience=self.audiences, issuer=self.email, leeway=5,
                                options={"require": ["iss", "aud", "exp", "iat"]})
        except (jwt.PyJWTError, KeyError, ValueError) as error:
            self.refuse(request, "invalid_grant", text=f"Invalid JWT: {error}")
        if header.get("kid") not in (None, self.key_id):
            self.refuse(request, "invalid_grant", text="Invalid JWT: unknown kid")
        if header.get("kid") is None:
            request.warn("the JWT names no kid")
        if claims["exp"] - claims["iat"] > 3600:
            self.refuse(request, "invalid_grant", text="Invalid JWT: Token must be a short-lived "
                        "token (60 minutes) and in a reasonable timeframe.")
        if SCOPE not in str(claims.get("scope", "")).split() and \
                "https://www.googleapis.com/auth/cloud-platform" not in str(claims.get("scope")):
            self.refuse(request, "invalid_scope")
        request.target = claims["iss"]
        request.note(claims=claims)

    def accept(self, request):
        if request.op == "token":
            token = "ya29.c." + secrets.token_urlsafe(96)
            now = time.monotonic()
            self.tokens = {t: e for t, e in self.tokens.items() if e > now}
            self.tokens[token] = now + self.token_ttl
            return json_answer(200, {"access_token": token, "expires_in": self.token_ttl,
                                     "token_type": "Bearer"})
        name = f"projects/{self.project}/messages/0:{time.time_ns() // 1000}%" \
            + secrets.token_hex(8)
        request.note(id=name)
        return json_answer(200, {"name": name}, [("vary", "X-Origin")])

    # the message

    def check_fields(self, request, value, shape, where):
        """Names and types as the API's JSON decoder would: snake_case or camelCase."""
        if shape is ANY:
            return
        bad = where or "body"
        if isinstance(shape, type):
            if not isinstance(value, shape):
                self.refuse(request, "INVALID_ARGUMENT", field=bad,
                            text=f"Invalid value at '{bad}' (TYPE_{shape.__name__.upper()})")
            return
        if not isinstance(value, dict):
            self.refuse(request, "INVALID_ARGUMENT", field=bad, text=f"'{bad}' is no object")
        for key, item in value.items():
            path = f"{where}.{key}" if where else key
            if shape is STRING_MAP:
                if not isinstance(item, str):
                    self.refuse(request, "INVALID_ARGUMENT", field=path,
                                text=f"Invalid value at '{path}' (TYPE_STRING)")
                continue
            name = key if key in shape else snake(key)
            if name not in shape:
                self.refuse(request, "INVALID_ARGUMENT", field=path, text="Invalid JSON payload "
                            f'received. Unknown name "{key}" at \'{bad}\': Cannot find field.')
            self.check_fields(request, item, shape[name], path)

    def check_message(self, request, body):
        message = {snake(k): v for k, v in body.get("message", {}).items()}
        targets = [k for k in ("token", "topic", "condition", "fid") if message.get(k)]
        if len(targets) != 1:
            self.refuse(request, "INVALID_ARGUMENT", text="Recipient of the message is not set "
                        "or set more than once.", field="message.token")
        request.target = message[targets[0]]
        data = message.get("data", {})
        for key in data:
            if key in ("from", "message_type", "collapse_key") \
                    or key.startswith(("google.", "gcm.notification.")):
                self.refuse(request, "INVALID_ARGUMENT", text=f"Invalid data payload key: {key}",
                            field="message.data")
        self.check_android(request, message.get("android", {}))
        size = sum(len(k.encode()) + len(v.encode()) for part in (data, message.get(
            "notification", {})) for k, v in part.items())
        if size > (2048 if targets[0] == "topic" else 4096):
            self.refuse(request, "INVALID_ARGUMENT", text="Message too big", field="message.data")
        if targets[0] in ("token", "fid"):
            if request.target.startswith("dead"):
                self.refuse(request, "UNREGISTERED")
            if not TOKEN.match(request.target):
                self.refuse(request, "INVALID_TOKEN")
            if request.target.startswith("other"):
                self.refuse(request, "SENDER_ID_MISMATCH")

    def check_android(self, request, android):
        if "ttl" in android:
            match = re.fullmatch(r"([0-9]+)(\.[0-9]{1,9})?s", android["ttl"])
            if not match or int(match.group(1)) > 2419200:
                self.refuse(request, "INVALID_ARGUMENT", field="message.android.ttl",
                            text="TTL must be a duration of 0 to 2419200 seconds")
        if android.get("priority", "normal").lower() not in ("normal", "high"):
            self.refuse(request, "INVALID_ARGUMENT", field="message.android.priority",
                        text="Invalid value at 'message.android.priority'")
