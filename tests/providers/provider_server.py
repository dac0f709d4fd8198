# SPDX-License-Identifier: MIT
"""For tests: start the provider server, script it, read its records, and call it by HTTP.

    with ProviderServer(directory) as providers:
        providers.script("twilio", answers=[500, "twilio:21610"])
        ...
        records = providers.wait("twilio", count=2)
"""

import base64
import http.client
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from process import PATIENCE  # noqa: E402


class Control:
    """The control API of a running server, by the contents of its providers.json."""

    def __init__(self, info):
        self.info = info
        self.url = info["control"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def requests(self, provider=None, since=0, limit=50_000, **wanted):
        query = {"since": since, "limit": limit, **wanted}
        if provider:
            query["provider"] = provider
        text = "&".join(f"{k}={urllib.request.quote(str(v), safe=',')}" for k, v in query.items())
        return self.call("GET", "/requests?" + text)["requests"]

    def wait(self, provider, count, timeout=10, **wanted):
        """At least `count` recorded requests, or an AssertionError with what there is."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            found = self.requests(provider, **wanted)
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count}: {found[-5:]}"
            time.sleep(0.02)

    def stats(self, provider):
        return self.call("GET", "/stats?provider=" + provider)

    def script(self, provider, **spec):
        return self.call("POST", "/behaviour", {"provider": provider, **spec})

    def unscript(self, provider):
        return self.call("DELETE", "/behaviour?provider=" + provider)

    def callback(self, provider, **spec):
        return self.call("POST", "/callback", {"provider": provider, **spec})["results"]

    def act(self, provider, action, **spec):
        return self.call("POST", "/act", {"provider": provider, "action": action, **spec})

    def clear(self):
        return self.call("DELETE", "/requests")

    def reset(self):
        return self.call("POST", "/reset")


class ProviderServer(Control):
    def __init__(self, directory, timeout=20):
        self.directory = str(directory)
        self.log = open(os.path.join(self.directory, "providers.log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["/usr/bin/python3", os.path.join(HERE, "server.py"), "--dir", self.directory],
            stdout=self.log, stderr=self.log)
        path = os.path.join(self.directory, "providers.json")
        deadline = time.monotonic() + timeout * PATIENCE
        while not os.path.exists(path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                with open(self.log.name, encoding="utf-8") as log:
                    raise AssertionError("the provider server did not start:\n" + log.read())
            time.sleep(0.02)
        with open(path, encoding="utf-8") as file:
            super().__init__(json.load(file))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=10 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()  # a loop that spins hears no signal
            self.process.wait()
            raise
        finally:
            self.log.close()

    def errors(self):
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def secret(entry, key):
    with open(entry[key], encoding="utf-8") as file:
        return file.read()


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def http_call(url, method="POST", body=b"", headers=None, timeout=120, path=None):
    """One request on its own connection; header names in the answer are lower case."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request(method, path or parts.path + ("?" + parts.query if parts.query else ""),
                           body, headers or {})
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Receiver:
    """A server of our own that keeps what is sent to it."""

    def __init__(self):
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                received.append((self.command, self.path,
                                 {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
            do_GET = do_POST

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback?a=1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def wait(self, count):
        deadline = time.monotonic() + 10 * PATIENCE
        while len(self.received) < count:
            assert time.monotonic() < deadline, self.received
            time.sleep(0.01)
        return self.received
