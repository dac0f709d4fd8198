# SPDX-License-Identifier: MIT
"""For tests: start the provider server, talk to its control API, and read its records.

    with ProviderServer(directory) as providers:
        providers.script("twilio", answers=[500, "twilio:21610"])
        ...
        records = providers.wait("twilio", count=2)
"""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))


class Control:
    """The control API of a running server, by the contents of its providers.json."""

    def __init__(self, info):
        self.info = info
        self.url = info["control"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
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
        deadline = time.monotonic() + timeout
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
        deadline = time.monotonic() + timeout
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
        code = self.process.wait(timeout=10)
        self.log.close()
        return code

    def errors(self):
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
