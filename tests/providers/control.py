# SPDX-License-Identifier: MIT
"""The control API: how a test reads what arrived and scripts what happens next. See README.md."""

import asyncio
import json

from behaviour import LISTENER_KEYS, ScriptError
from recorder import DEFAULT_FIELDS, describe
from wire import BodyError, json_answer


class ControlError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Control:
    """Looks like an engine and a provider to the HTTP connection."""

    name = "control"
    body_limit = 1024 * 1024
    listeners = {}

    def __init__(self, engine, callbacks):
        self.engine = engine
        self.callbacks = callbacks
        self.info = {}

    def link_opened(self, link):
        return 0

    def link_closed(self, link):
        pass

    def early_fault(self, provider):
        return None

    def handle(self, request, link):
        asyncio.ensure_future(self.serve(request, link))

    async def serve(self, request, link):
        try:
            answer = json_answer(200, await self.dispatch(request))
        except ControlError as error:
            answer = json_answer(error.status, {"error": str(error)})
        except (ScriptError, BodyError, ValueError, KeyError, TypeError) as error:
            answer = json_answer(400, {"error": f"{type(error).__name__}: {error}"})
        link.reply(request, answer)

    async def dispatch(self, request):
        path = request.bare_path.rstrip("/").replace("/_control", "")
        query = request.query
        body = json.loads(request.body) if request.body else {}
        key = (request.method, path)
        simple = {
            ("GET", ""): lambda: self.info,
            ("GET", "/requests"): lambda: self.requests(query),
            ("DELETE", "/requests"): lambda: self.clear(query.get("provider")),
            ("GET", "/stats"): lambda: self.stats(query.get("provider")),
            ("GET", "/errors"): lambda: sorted(self.provider(query).errors),
            ("GET", "/behaviour"): lambda: self.engine.behaviours.describe(query.get("provider")),
        }
        if key in simple:
            return simple[key]()
        if key in (("POST", "/behaviour"), ("PUT", "/behaviour")):
            return await self.add_behaviour(body)
        if key == ("POST", "/reset"):
            return await self.reset()
        if key == ("DELETE", "/behaviour"):
            return await self.delete_behaviour(query)
        if key == ("POST", "/callback"):
            return {"results": await self.callbacks.send(self.provider(body), body)}
        if key == ("POST", "/act"):
            return self.provider(body).act(body.get("action"), body) or {"ok": True}
        raise ControlError(404, f"{request.method} {path}: see tests/providers/README.md")

    def provider(self, body):
        name = body.get("provider")
        if name not in self.engine.providers:
            raise ControlError(404, f"no provider {name!r}")
        return self.engine.providers[name]

    def requests(self, query):
        query = dict(query)
        fields = tuple(query.pop("fields").split(",")) if "fields" in query else DEFAULT_FIELDS
        provider, since = query.pop("provider", None), int(query.pop("since", 0))
        limit = min(int(query.pop("limit", 1000)), 50_000)
        for name in query:
            if name not in ("target", "verdict", "op", "status", "dedupe", "proto", "connection"):
                raise ControlError(400, f"cannot select by {name!r}")
        found = self.engine.recorder.select(provider, since, limit, **query)
        last = found[-1].seq if len(found) == limit else self.engine.recorder.last
        return {"requests": [describe(r, fields) for r in found], "next": last}

    def clear(self, provider):
        self.engine.recorder.clear(provider)
        for name, counters in self.engine.counters.items():
            if provider in (None, name):
                counters.clear()
        return {"ok": True}

    def stats(self, provider):
        every = {name: counters.describe() for name, counters in self.engine.counters.items()}
        return every[provider] if provider else every

    async def reset(self):
        """Back to the start: no rules, normal listeners, nothing recorded."""
        self.engine.behaviours.clear()
        self.clear(None)
        for name, listener in self.engine.listeners.items():
            await listener.normal()
            self.engine.providers[name].forget()
        return {"ok": True}

    async def add_behaviour(self, body):
        provider = self.provider(body)
        result = {"provider": provider.name}
        listener_keys = {k: v for k, v in body.items() if k in LISTENER_KEYS}
        rule_keys = {k: v for k, v in body.items() if k not in LISTENER_KEYS}
        if listener_keys:
            result["listener"] = await self.engine.listeners[provider.name].configure(
                listener_keys)
        if set(rule_keys) - {"provider"}:
            result["id"] = self.engine.behaviours.add(rule_keys, provider).number
        return result

    async def delete_behaviour(self, query):
        name = query.get("provider")
        number = int(query["id"]) if "id" in query else None
        self.engine.behaviours.clear(name, number, query.get("target"))
        if number is None and "target" not in query:
            for key, listener in self.engine.listeners.items():
                if name in (None, key):
                    await listener.normal()
        return {"ok": True}
