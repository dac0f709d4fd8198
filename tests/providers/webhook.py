# SPDX-License-Identifier: MIT
"""A receiver of generic webhooks that believes only Standard Webhooks signatures."""

import base64
import collections
import hashlib
import hmac
import secrets
import time

from provider import Provider
from wire import Answer, BodyError, json_answer

TOLERANCE_S = 300
SEEN_KEPT = 200_000

ERRORS = {
    "unsigned": (401, "webhook-id, webhook-timestamp and webhook-signature are required"),
    "bad_signature": (401, "no signature matches"),
    "stale": (401, "the timestamp is more than five minutes off"),
    "bad_id": (400, "webhook-id is empty or contains a full stop"),
    "method": (405, "POST only"),
    "media_type": (415, "application/json only"),
    "malformed": (400, "the body is not JSON"),
    "gone": (410, "this endpoint is gone"),
    "rate_limit": (429, "slow down"),
    "server_error": (500, "internal error"),
    "unavailable": (503, "unavailable"),
}


def sign(key, number, stamp, body):
    """One `v1` entry of a webhook-signature header."""
    mac = hmac.new(key, f"{number}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


class Webhook(Provider):
    name = "webhook"
    errors = ERRORS

    def prepare(self):
        key = secrets.token_bytes(32)
        text = "whsec_" + base64.b64encode(key).decode()
        _, self.secret_file = self.secret("webhook.secret", text)
        self.keys = [key]
        self.seen = collections.OrderedDict()

    def describe(self):
        return {**super().describe(), "secret_file": self.secret_file,
                "url": self.base_url + "/hook", "gone_url": self.base_url + "/gone"}

    def forget(self):
        self.seen.clear()

    def error(self, name, request, step):
        status, text = ERRORS[name]
        return json_answer(status, {"error": name, "message": step.get("text", text)})

    def check(self, request):
        request.target = request.path
        if request.method != "POST":
            self.refuse(request, "method")
        if request.bare_path.startswith("/gone"):
            self.refuse(request, "gone")
        number, stamp = request.header("webhook-id"), request.header("webhook-timestamp")
        signatures = request.header("webhook-signature")
        if number is None or stamp is None or signatures is None:
            self.refuse(request, "unsigned")
        if not number or "." in number:
            self.refuse(request, "bad_id")
        request.dedupe = number
        if not stamp.isdigit() or abs(int(stamp) - time.time()) > TOLERANCE_S:
            self.refuse(request, "stale")
        if not any(hmac.compare_digest(sign(key, number, stamp, request.body), entry)
                   for key in self.keys for entry in signatures.split(" ")):
            self.refuse(request, "bad_signature")
        if request.media_type() != "application/json":
            self.refuse(request, "media_type")
        try:
            request.json()
        except BodyError:
            self.refuse(request, "malformed")
        if len(request.body) > 20_000:
            request.warn("the specification suggests bodies below 20 kB")

    def accept(self, request):
        if request.dedupe in self.seen:
            request.note(repeat=True, first=self.seen[request.dedupe])
        else:
            self.seen[request.dedupe] = request.at_ns
            if len(self.seen) > SEEN_KEPT:
                self.seen.popitem(last=False)
        return Answer(204)
