# SPDX-License-Identifier: MIT
"""What every provider has in common: its place in the server and the four things it must say.

`check` refuses what the real one would refuse, `accept` answers as the real one does, `error`
builds a named or numbered failure in the provider's own shape, and `describe` tells an adapter
how to reach it. A provider keeps no sockets; it sees requests and gives answers.
"""

import os
import secrets

import wire
from certs import write_private
from wire import Refusal, text_answer


class Provider:
    name = ""
    body_limit = 32 * 1024 * 1024
    errors = {}            # name -> whatever this provider's error() understands
    max_streams = 100      # SETTINGS_MAX_CONCURRENT_STREAMS at the start of a connection
    signature_headers = ()  # of the callbacks it sends

    def __init__(self, engine, directory):
        self.engine = engine
        self.directory = directory
        self.base_url = self.tls_base_url = None

    # For subclasses to say

    def prepare(self):
        """Make keys and credentials, once, after the ports are known."""

    def check(self, request):
        """Set request.op, .target and .dedupe; raise Refusal for what the real one refuses."""
        raise NotImplementedError

    def accept(self, request):
        raise NotImplementedError

    def error(self, name, request, step):
        """The answer for a scripted error by its name in `errors`."""
        raise NotImplementedError

    def status(self, status, request, step):
        """The answer for a scripted bare HTTP status, in the provider's own shape."""
        return text_answer(status, wire.REASONS.get(status, "status") + "\n")

    def describe(self):
        return {"base_url": self.base_url, "tls_base_url": self.tls_base_url}

    def callbacks(self, spec):
        """[(method, url, headers, body)] for a callback that a test asks for."""
        raise ValueError(f"{self.name} sends no callbacks")

    def act(self, action, spec):
        """Provider-specific controls, such as expiring tokens."""
        raise ValueError(f"{self.name} has no action {action!r}")

    def callback_base(self, request, answer):
        """{url, id, to, ...} of an accepted message, for callbacks that follow by themselves."""
        return None

    def forget(self):
        """Drop what requests have left behind (seen keys, counters); credentials stay."""

    def readable_body(self, request):
        return wire.readable_body(request)

    # For subclasses to use

    def refuse(self, request, name, **step):
        """Refuse with one of our own named errors."""
        request.why = str(name)
        raise Refusal(self.error(name, request, step))

    def secret(self, name, value=None, size=32):
        """Write a credential with mode 0600; returns (value, path)."""
        value = secrets.token_hex(size // 2) if value is None else value
        return value, write_private(os.path.join(self.directory, name), value)
