# SPDX-License-Identifier: MIT
"""Scripted behaviour: which answer, delay or fault a matching request gets instead of its own.

A rule belongs to one provider, and perhaps to one target (exact, or a shell pattern) and one
operation. Each matching request takes one step from its rule; the newest rule that matches a
target wins over one for the whole provider. A rule whose steps are used up disappears, so that
`answers: [500, 500]` means two failures and then the truth.
"""

import fnmatch
import itertools
import random
import time

FAULTS = frozenset((
    "drop",            # read the request, process it, close without an answer
    "drop_unprocessed",  # read the request, close without an answer, as if it never arrived
    "drop_early",      # close at the first byte of a request, before reading it
    "reset",           # as drop, by RST (on HTTP/2: RST_STREAM)
    "reset_early",     # as drop_early, by RST
    "reset_connection",  # as reset, but always the whole TCP connection
    "garbage",         # answer bytes that are no protocol at all
    "truncate",        # promise more body than is sent, then close
    "endless",         # a body that never ends
    "huge",            # a body of `bytes`, 100 MB unless told
    "slow_headers",    # the answer's head, one byte each `byte_ms` (1000)
    "slow_body",       # the answer's body, likewise
    "hang",            # no answer, connection open
    "goaway",          # HTTP/2: GOAWAY that leaves this stream unprocessed
    "goaway_after",    # HTTP/2: answer, then GOAWAY
    "refuse_stream",   # HTTP/2: RST_STREAM with REFUSED_STREAM
))
EARLY = frozenset(("drop_early", "reset_early"))
UNPROCESSED = frozenset(("drop_unprocessed", "goaway", "refuse_stream")) | EARLY
STEP_KEYS = frozenset(("status", "error", "fault", "delay_ms", "retry_after", "body", "headers",
                       "bytes", "byte_ms", "stage", "text", "timestamp", "param", "parameter",
                       "field", "reset", "seconds"))
RULE_KEYS = STEP_KEYS | frozenset(("provider", "target", "op", "times", "answers", "repeat",
                                   "callbacks", "callback_url", "callback_delay_ms", "share",
                                   "limit"))
LISTENER_KEYS = frozenset(("listen", "tls", "max_streams", "goaway_every", "close_every",
                           "drop_every", "close_connections"))


class ScriptError(ValueError):
    """A script that cannot be followed; the text says why."""


def parse_step(item, provider):
    """One entry of `answers`: a status, a named error, a fault's name, "ok", or an object."""
    if isinstance(item, bool):
        raise ScriptError("an answer is a status, a name or an object")
    if isinstance(item, int):
        return {"status": item}
    if isinstance(item, str):
        name = item.partition(":")[2] if item.startswith(provider.name + ":") else item
        if name == "ok":
            return {}
        if name in FAULTS:
            return {"fault": name}
        if name in provider.errors:
            return {"error": name}
        if name.isdigit():
            return {"status": int(name)}
        raise ScriptError(f"{provider.name} knows no error or fault {item!r}")
    if not isinstance(item, dict):
        raise ScriptError("an answer is a status, a name or an object")
    unknown = set(item) - STEP_KEYS
    if unknown:
        raise ScriptError(f"unknown keys {sorted(unknown)}")
    step = dict(item)
    if isinstance(step.get("error"), (str, int)):
        step["error"] = str(step["error"]).removeprefix(provider.name + ":")
        if step["error"] not in provider.errors:
            raise ScriptError(f"{provider.name} knows no error {step['error']!r}")
    if "fault" in step and step["fault"] not in FAULTS:
        raise ScriptError(f"no fault {step['fault']!r}; there are {sorted(FAULTS)}")
    return step


class Bucket:
    """A rate limit that the provider itself enforces."""

    def __init__(self, spec):
        unknown = set(spec) - {"per_second", "burst"}
        if unknown:
            raise ScriptError(f"unknown keys {sorted(unknown)} in limit")
        self.rate = float(spec["per_second"])
        self.burst = float(spec.get("burst", max(1, self.rate)))
        self.tokens, self.at = self.burst, time.monotonic()

    def allows(self):
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Rule:
    numbers = itertools.count(1)

    def __init__(self, spec, provider):
        unknown = set(spec) - RULE_KEYS
        if unknown:
            raise ScriptError(f"unknown keys {sorted(unknown)}")
        self.number = next(self.numbers)
        self.spec = spec
        self.provider = provider.name
        self.op = spec.get("op", "send")
        self.target = spec.get("target")
        self.is_pattern = self.target is not None and any(c in self.target for c in "*?")
        self.steps = [parse_step(item, provider) for item in spec.get("answers", [])]
        self.common = parse_step({k: v for k, v in spec.items() if k in STEP_KEYS}, provider)
        self.repeat = bool(spec.get("repeat"))
        self.left = spec.get("times")
        self.share = float(spec.get("share", 1))
        self.bucket = Bucket(spec["limit"]) if "limit" in spec else None
        self.used = 0

    def applies(self):
        """Whether a request that matches is one of those that the rule is for."""
        if self.bucket is not None:
            return not self.bucket.allows()
        return self.share >= 1 or random.random() < self.share

    def matches(self, op, target):
        if op != self.op and self.op != "*":
            return False
        if self.target is None:
            return True
        if target is None:
            return False
        return fnmatch.fnmatchcase(target, self.target) if self.is_pattern \
            else target == self.target

    def take(self):
        """The next step, and whether the rule is used up by it."""
        step = dict(self.common)
        if self.steps:
            step.update(self.steps[self.used % len(self.steps)])
        self.used += 1
        spent = bool(self.steps) and not self.repeat and self.used >= len(self.steps)
        if self.left is not None:
            self.left -= 1
            spent = spent or self.left <= 0
        return step, spent

    def describe(self):
        return {"id": self.number, "used": self.used, **self.spec}


class Behaviours:
    """The rules of all providers."""

    def __init__(self):
        self.rules = {}

    def add(self, spec, provider):
        rule = Rule(spec, provider)
        rules = self.rules.setdefault(provider.name, [])
        rules.insert(0, rule)
        rules.sort(key=lambda r: r.target is None)
        return rule

    def step(self, name, op, target):
        """The step for a whole request, or None."""
        rules = self.rules.get(name)
        if not rules:
            return None
        for rule in rules:
            if rule.matches(op, target) and rule.applies():
                step, spent = rule.take()
                if spent:
                    rules.remove(rule)
                step["rule"] = rule
                return step
        return None

    def early(self, name):
        """A fault due before the request is read, or None; only provider-wide rules have one."""
        for rule in self.rules.get(name, ()):
            following = rule.steps[rule.used % len(rule.steps)] if rule.steps else rule.common
            if rule.target is None and following.get("fault", rule.common.get("fault")) in EARLY:
                step, spent = rule.take()
                if spent:
                    self.rules[name].remove(rule)
                return step["fault"]
        return None

    def clear(self, name=None, number=None, target=None):
        for key in [name] if name else list(self.rules):
            self.rules[key] = [r for r in self.rules.get(key, ())
                               if (number is not None and r.number != number)
                               or (target is not None and r.target != target)]

    def describe(self, name=None):
        return [rule.describe() for key, rules in self.rules.items()
                if name in (None, key) for rule in rules]


def delay_seconds(step):
    delay = step.get("delay_ms", 0)
    if isinstance(delay, list):
        delay = random.uniform(*delay)
    return delay / 1000
