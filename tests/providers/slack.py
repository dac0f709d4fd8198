# SPDX-License-Identifier: MIT
"""Slack incoming webhooks: POST /services/T.../B.../..."""

import re
import secrets

from provider import Provider
from wire import BodyError, strict_json, text_answer

# body text: HTTP status
ERRORS = {
    "invalid_payload": 400, "no_text": 400, "too_many_attachments": 400, "invalid_blocks": 400,
    "user_not_found": 400, "msg_too_long": 400, "channel_not_found": 404, "no_service": 404,
    "no_service_id": 404, "no_team": 404, "channel_is_archived": 410, "invalid_token": 403,
    "team_disabled": 403, "action_prohibited": 403, "no_active_hooks": 403,
    "posting_to_general_channel_denied": 403, "rate_limited": 429, "rollup_error": 500,
    "internal": 500, "unavailable": 503,
}
BY_STATUS = {400: "invalid_payload", 403: "action_prohibited", 404: "no_service",
             410: "channel_is_archived", 429: "rate_limited", 500: "rollup_error",
             503: "unavailable"}
FIELDS = {"text": str, "blocks": list, "attachments": list, "thread_ts": str, "mrkdwn": bool,
          "unfurl_links": bool, "unfurl_media": bool, "metadata": dict, "response_type": str,
          "replace_original": bool, "delete_original": bool}
IGNORED = ("username", "icon_url", "icon_emoji", "channel", "link_names", "parse")


class Slack(Provider):
    name = "slack"
    errors = ERRORS

    def prepare(self):
        self.team = "T" + secrets.token_hex(4).upper()
        self.service = "B" + secrets.token_hex(4).upper()
        self.token = secrets.token_urlsafe(18).replace("-", "x").replace("_", "y")
        self.path = f"/services/{self.team}/{self.service}/{self.token}"

    def describe(self):
        _, file = self.secret("slack.url", self.base_url + self.path)
        return {**super().describe(), "webhook_url": self.base_url + self.path,
                "webhook_url_file": file, "tls_webhook_url": self.tls_base_url + self.path,
                "dead_webhook_url": f"{self.base_url}/services/{self.team}/B00000000/x"}

    def error(self, name, request, step):
        headers = [("retry-after", "1")] if name == "rate_limited" \
            and "retry_after" not in step else []
        return text_answer(ERRORS[name], step.get("text", name), headers)

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        request.target = request.bare_path
        match = re.fullmatch(r"/services/([^/]+)/([^/]+)/([^/]+)", request.bare_path)
        if not match or match.group(2) != self.service:
            self.refuse(request, "no_service" if match and match.group(1) == self.team
                        else "no_team")
        if match.group(3) != self.token:
            self.refuse(request, "invalid_token")
        if request.method != "POST":
            self.refuse(request, "invalid_payload")
        try:
            if request.media_type() == "application/json":
                body = request.json()
            else:
                body = strict_json(dict(request.form()).get("payload", "").encode())
            if not isinstance(body, dict):
                raise BodyError("no object")
        except BodyError:
            self.refuse(request, "invalid_payload")
        self.check_body(request, body)

    def check_body(self, request, body):
        for name, value in body.items():
            if name in IGNORED:
                request.warn(f"{name} is ignored for app webhooks")
            elif name not in FIELDS:
                request.warn(f"unknown field {name}")
            elif not isinstance(value, FIELDS[name]):
                self.refuse(request, "invalid_payload")
        if not body.get("text") and not body.get("blocks") and not body.get("attachments"):
            self.refuse(request, "no_text")
        if len(body.get("text", "")) > 40_000:
            self.refuse(request, "msg_too_long")
        if len(body.get("attachments", [])) > 100:
            self.refuse(request, "too_many_attachments")
        blocks = body.get("blocks", [])
        if len(blocks) > 50 or any(not isinstance(b, dict) or "type" not in b for b in blocks):
            self.refuse(request, "invalid_blocks")
        if blocks and not body.get("text"):
            request.warn("blocks without text: notifications show nothing")

    def accept(self, request):
        return text_answer(200, "ok")
