# SPDX-License-Identifier: MIT
"""Drives one adapter at the provider server by tests/spec/probe, without broker or database."""
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "providers"))

import servers  # noqa: E402
from provider_server import ProviderServer  # noqa: E402,F401 (for those who import us)

PHONE = "+15005550010"
CONTENT = {"title": "Your order", "body": "It is ready at counter 4."}

# Which of a provider's own settings are keys of its adapter.
KEYS = {
    "twilio": ("base_url", "account_sid", "auth_token_file", "from"),
    "bird": ("base_url", "api_key_file", "from"),
    "messagebird": ("base_url", "access_key_file", "from"),
    "vonage": ("base_url", "application_id", "private_key_file", "from"),
    "fcm": ("base_url", "service_account_file", "project_id"),
    "apns": ("base_url", "key_file", "key_id", "team_id", "topic"),
    "webpush": ("vapid_private_key_file", "vapid_subject"),
    "sendgrid": ("base_url", "api_key_file"),
    "mailgun": ("base_url", "domain", "api_key_file"),
    "ses": ("base_url", "region", "access_key_id", "secret_access_key_file", "configuration_set"),
    "postmark": ("base_url", "server_token_file", "message_stream"),
    "smtp": ("host", "port", "tls", "username", "password_file"),
    "slack": (),
    "teams": (),
    "whatsapp": ("base_url", "version", "phone_number_id", "access_token_file"),
    "webhook": ("secret_file",),
}
ADAPTERS = tuple(KEYS)
EMAIL = ("sendgrid", "mailgun", "ses", "postmark", "smtp")
BY_URL = ("webpush", "slack", "teams", "webhook")


def binary():
    return os.path.join(servers.build_dir(), "tests", "spec", "probe")


def settings(info, adapter, tls=False):
    """The adapter's configuration for the provider server that says `info` of itself."""
    own = info[adapter]
    keys = {key: own[key] for key in KEYS[adapter]}
    keys["ca_file"] = info["ca_file"]
    if tls and "base_url" in keys:
        keys["base_url"] = own["tls_base_url"]
    if tls and adapter == "smtp":
        keys["port"], keys["tls"] = own["tls_port"], "tls"
    if adapter in EMAIL:
        keys["from"] = "Tocsin <noreply@mg.example.org>"
    if adapter in BY_URL:
        keys["allow_private"] = "true"
    return keys


def target(info, adapter, tls=False, number=0):
    own = info[adapter]
    if adapter in ("fcm", "apns"):
        return own["valid_tokens"][number]
    if adapter == "webpush":
        return json.dumps(own["tls_subscriptions" if tls else "subscriptions"][number])
    if adapter in ("slack", "teams"):
        return own["tls_webhook_url" if tls else "webhook_url"]
    if adapter == "webhook":
        return (own["tls_base_url"] if tls else own["base_url"]) + "/hook"
    return "someone@example.com" if adapter in EMAIL else PHONE


def run(info, adapter, tls=False, content=None, timeout="10s", keys=None, **options):
    """The outcomes of one run of the probe, in the order in which they came."""
    words = {**settings(info, adapter, tls), "timeout": timeout, **(keys or {})}
    words = {key: value for key, value in words.items() if value is not None}
    options.setdefault("target", target(info, adapter, tls))
    options["content"] = json.dumps(CONTENT if content is None else content)
    command = [binary(), adapter, *("%s=%s" % pair for pair in words.items()),
               *("@%s=%s" % pair for pair in options.items())]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=600, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def one(info, adapter, **more):
    outcomes = run(info, adapter, **more)
    assert len(outcomes) == 1, outcomes
    return outcomes[0]
