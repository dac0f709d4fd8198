# SPDX-License-Identifier: MIT
"""Sends what providers send to us: signed delivery reports, by plain HTTP client calls in a thread.

A test may ask for a spoiled one: `tamper` is "signature" (one character changed), "missing" (the
signature header left out) or "body" (a byte added after signing).
"""

import asyncio
import http.client
import ssl
import time
from urllib.parse import urlsplit

TIMEOUT_S = 15


def spoil(provider, how, call):
    method, url, headers, body = call
    headers = dict(headers)
    if how == "body":
        body = body + b" "
    elif how in ("missing", "signature"):
        for name in provider.signature_headers:
            if how == "missing":
                headers.pop(name, None)
            elif name in headers:
                value = headers[name]
                at = len(value) // 2
                headers[name] = value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1:]
    elif how:
        raise ValueError(f"tamper is signature, missing or body, not {how!r}")
    return method, url, headers, body


def send_all(calls, pause_s):
    """Send in order over kept connections; [{status, body, ms} or {error}]."""
    results, connections = [], {}
    for method, url, headers, body in calls:
        parts = urlsplit(url)
        path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        started = time.monotonic()
        try:
            key = (parts.scheme, parts.netloc)
            if key not in connections:
                if parts.scheme == "https":
                    context = ssl.create_default_context()
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    connections[key] = http.client.HTTPSConnection(
                        parts.netloc, timeout=TIMEOUT_S, context=context)
                else:
                    connections[key] = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
            connections[key].request(method, path, body or None, dict(headers))
            answer = connections[key].getresponse()
            text = answer.read().decode("utf-8", "replace")
            results.append({"status": answer.status, "body": text[:2000],
                            "ms": round((time.monotonic() - started) * 1000, 2)})
        except (OSError, http.client.HTTPException) as error:
            connections.pop(key, None)
            results.append({"error": f"{type(error).__name__}: {error}"})
        if pause_s:
            time.sleep(pause_s)
    for connection in connections.values():
        connection.close()
    return results


class Callbacks:
    def __init__(self, engine):
        self.engine = engine

    def build(self, provider, spec):
        calls = provider.callbacks(spec)
        if spec.get("tamper"):
            calls = [spoil(provider, spec["tamper"], call) for call in calls]
        return calls * int(spec.get("repeat", 1))

    async def send(self, provider, spec):
        calls = self.build(provider, spec)
        pause = spec.get("pause_ms", 0) / 1000
        if spec.get("dry_run"):
            return [{"method": m, "url": u, "headers": dict(h), "body": b.decode("latin-1")}
                    for m, u, h, b in calls]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, send_all, calls, pause)

    async def follow(self, provider, request, answer, rule_spec, events):
        """The callbacks that belong to one accepted request."""
        base = provider.callback_base(request, answer)
        if base is None:
            return
        spec = {**base, "events": events}
        if rule_spec.get("callback_url"):
            spec["url"] = rule_spec["callback_url"]
        if spec.get("url"):
            await self.send(provider, spec)
