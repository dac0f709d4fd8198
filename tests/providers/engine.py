# SPDX-License-Identifier: MIT
"""The middle: every complete request passes here once, from the wire to its provider and back."""

import asyncio
import itertools
import json
import sys
import traceback

from behaviour import UNPROCESSED, Behaviours, delay_seconds
from recorder import Counters, Recorder
from wire import Answer, Refusal, text_answer


class Engine:
    def __init__(self):
        self.loop = None
        self.recorder = Recorder()
        self.behaviours = Behaviours()
        self.providers = {}
        self.counters = {}
        self.links = {}
        self.numbers = itertools.count(1)
        self.listeners = {}
        self.callbacks = None
        self.control = None

    def add(self, provider):
        self.providers[provider.name] = provider
        self.counters[provider.name] = Counters()
        self.links[provider.name] = set()

    # connections

    def link_opened(self, link):
        self.counters[link.provider.name].opened()
        self.links[link.provider.name].add(link)
        return next(self.numbers)

    def link_closed(self, link):
        if link in self.links[link.provider.name]:
            self.links[link.provider.name].discard(link)
            self.counters[link.provider.name].open_connections -= 1

    def early_fault(self, provider):
        if not self.behaviours.rules.get(provider.name):
            return None
        fault = self.behaviours.early(provider.name)
        if fault is not None:
            self.counters[provider.name].faults += 1
        return fault

    # requests

    def handle(self, request, link):
        """Judge a request, record it, and let the link answer, now or later."""
        provider = request.provider
        if request.path.startswith("/_control"):
            self.control.handle(request, link)
            return
        counters = self.counters[provider.name]
        counters.started(request.at_ns)
        step = None
        try:
            answer, step = self.judge(provider, request)
        except Exception:  # a bug of ours must be loud, and must not look like a provider's answer
            traceback.print_exc(file=sys.stderr)
            request.verdict, request.why = "bug", "exception in the provider server"
            answer = text_answer(599, "bug in the provider server\n")
        request.status = answer.status
        counters.statuses[answer.status] += 1
        if request.warnings:
            counters.warnings += 1
        self.recorder.add(request)
        if step is None:
            counters.in_flight -= 1
            link.reply(request, answer)
            return
        delay = delay_seconds(step)
        if delay > 0:
            self.loop.call_later(delay, self.finish, request, link, answer, step)
        else:
            self.finish(request, link, answer, step)

    def judge(self, provider, request):
        """(answer, step or None); sets the verdict."""
        counters = self.counters[provider.name]
        try:
            provider.check(request)
        except Refusal as refusal:
            request.verdict = "refused"
            counters.refused += 1
            return refusal.answer, None
        step = self.behaviours.step(provider.name, request.op, request.target)
        if step is None:
            request.verdict = "accepted"
            counters.accepted += 1
            return provider.accept(request), None
        answer = self.scripted(provider, request, step)
        fault = step.get("fault")
        if answer is not None:
            request.verdict = "scripted"
            counters.scripted += 1
        elif fault in UNPROCESSED:
            request.verdict = "fault"
            answer = Answer(0)
        else:
            request.verdict = "accepted"
            counters.accepted += 1
            answer = provider.accept(request)
            self.schedule_callbacks(provider, request, answer, step["rule"].spec)
        if fault is not None:
            request.why = "fault:" + fault
            counters.faults += 1
        return answer, step

    def scripted(self, provider, request, step):
        """The scripted answer, or None when the script leaves the answer to the provider."""
        if "error" in step:
            request.why = step["error"]
            answer = provider.error(step["error"], request, step)
        elif "status" in step:
            answer = provider.status(step["status"], request, step)
        elif "body" in step:
            answer = Answer(200)
        else:
            return None
        if "body" in step:
            body = step["body"]
            if not isinstance(body, str):
                body = json.dumps(body)
            answer.body = body.encode()
        if "status" in step:
            answer.status = step["status"]
        if "retry_after" in step:
            answer.headers.append(("retry-after", str(step["retry_after"])))
        for name, value in step.get("headers", {}).items():
            answer.headers = [h for h in answer.headers if h[0] != name.lower()]
            answer.headers.append((name.lower(), str(value)))
        return answer

    def finish(self, request, link, answer, step):
        self.counters[request.provider.name].in_flight -= 1
        fault = step.get("fault")
        if fault is None:
            link.reply(request, answer)
        else:
            link.misbehave(request, answer, fault, step)

    def schedule_callbacks(self, provider, request, answer, spec):
        """Callbacks that a rule asks for after each accepted message."""
        events = spec.get("callbacks")
        if events and self.callbacks is not None:
            self.loop.call_later(spec.get("callback_delay_ms", 10) / 1000, lambda:
                                 asyncio.ensure_future(self.callbacks.follow(
                                     provider, request, answer, spec, events)))
