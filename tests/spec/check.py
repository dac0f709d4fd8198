#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the bridge's decoder and the published schemas against one corpus.

Usage: check.py decoder DECODE     the decoder's verdicts, reasons, pointers, contents, receipts
       check.py schema             python3-jsonschema's verdicts with schemas/json/
       check.py ajv                the same with ajv; exits 77 where npm has nothing to offer
       check.py documents          the schemas, their examples and schemas/asyncapi.yaml
"""
import glob
import json
import os
import sys

import corpus
import events
import verdicts

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEMAS = os.path.join(ROOT, "schemas")
sys.path.insert(0, os.path.join(ROOT, "tests"))


def load(name):
    with open(os.path.join(SCHEMAS, "json", name + ".schema.json"), encoding="utf-8") as file:
        return json.load(file)


class Faults:
    def __init__(self):
        self.count = 0

    def add(self, name, said):
        self.count += 1
        print("%s: %s" % (name, said))


# The decoder

CONTENT = ("type", "priority", "title", "body", "template", "locale", "data", "content", "group",
           "schedule", "campaign")


def check_item(faults, case, number, want, got, receipts):
    name = "%s, item %d" % (case.name, number)
    for error in receipts.iter_errors(got["receipt"]):
        faults.add(name, "its receipt is not as published: %s" % error.message)
    if want is corpus.GOOD:
        if "reason" in got:
            faults.add(name, "refused: %s" % got["receipt"])
        return
    said = (got.get("reason"), got.get("pointer"))
    if said != (want.reason, want.pointer):
        faults.add(name, "%s, not %s" % (said, tuple(want)))
    elif len(got["receipt"]["detail"]) < 12:
        faults.add(name, "the sentence says nothing: %s" % got["receipt"]["detail"])


def check_content(faults, case, got):
    """What is stored is what was given, and the priority: the same values, no other members."""
    whole = verdicts.parsed(case.payload)
    for given, kept in zip(whole if isinstance(whole, list) else [whole], got):
        if "content" in kept:
            given = dict({"priority": "normal"}, **given)
            want = {name: given[name] for name in CONTENT if name in given}
            if kept["content"] != want or list(kept["content"]) != [n for n in CONTENT if n in want]:
                faults.add(case.name, "the content is %s" % kept["content"])


def check_digests(faults, decoder):
    """The order of members, white space and spelling do not count; everything else does."""
    one = corpus.request(data={"a": [1, 2], "b": {"c": "ü", "d": 1.5}}, title="t")
    spelled = json.dumps(dict(reversed(one.items())), indent=3).replace("1.5", "15e-1")
    others = [dict(one, data={"a": [2, 1], "b": {"c": "ü", "d": 1.5}}), dict(one, id="r-2"),
              dict(one, title="T"), dict(one, body="t"), dict(one, receipts="all"),
              dict(one, to={"user": "bob"}), dict(one, data={"a": [1, 2], "b": {"c": "ü", "d": 1.6}})]
    payloads = [corpus.text(one), spelled] + [corpus.text(other) for other in others]
    digests = [items[0]["digest"] for items in
               verdicts.decoded(decoder, [payload.encode() for payload in payloads])]
    if digests[0] != digests[1]:
        faults.add("digest", "the same request has two")
    if len(set(digests)) != 1 + len(others):
        faults.add("digest", "different requests have the same")


def check_silence(faults, decoder):
    """No sentence and no pointer repeats a value that was sent."""
    secret = "s3cr3t-value"
    payloads = [corpus.text(corpus.request(**{name: value})) for name, value in [
        ("type", secret.upper()), ("to", {"phone": secret}), ("to", {"email": secret}),
        ("to", {"url": secret}), ("ttl", secret), ("priority", secret), ("locale", secret * 9),
        ("at", secret), ("route", secret), ("channels", [secret]), ("schedule", {"cron": secret})]]
    for payload, items in zip(payloads, verdicts.decoded(
            decoder, [payload.encode() for payload in payloads])):
        if "reason" not in items[0] or secret in json.dumps(items[0]).lower():
            faults.add(payload, "answered with %s" % items[0])


def check_times(faults, decoder):
    """ttl counts from now (the decoder's: 2026-11-20), or from at where that is later."""
    now, hour = 1795132800000, 3600000
    for members, want in [({}, (0, 0)), ({"ttl": "1h"}, (0, now + hour)),
                          ({"ttl": "1h", "at": "2026-11-20T02:00:00Z"}, (now + 2 * hour, now + 3 * hour)),
                          ({"ttl": "1h", "at": "2026-11-19T23:00:00Z"}, (now - hour, now + hour)),
                          ({"expires_at": "2026-11-20T01:00:00+01:00"}, (0, now)),
                          ({"expires_at": "1970-01-01T00:00:00Z"}, (0, 1)),
                          ({"at": "1960-01-01T00:00:00Z"}, (0, 0))]:
        got = verdicts.decoded(decoder, [corpus.text(corpus.request(**members)).encode()])[0][0]
        if (got["deliver_at"], got["expires_at"]) != want:
            faults.add("times", "%s: %s, not %s" % (members, got, want))


def run_events(faults, decoder):
    for schema, kind in events.KINDS.items():
        cases = [case for of, case in events.CASES if of == schema]
        got = verdicts.decoded(decoder, [case.payload for case in cases], "--event", kind)
        for case, items in zip(cases, got):
            want = case.items[0]
            said = (items[0].get("reason"), items[0].get("pointer"))
            if said != ((None, None) if want is corpus.GOOD else tuple(want)):
                faults.add(case.name, "%s, not %s" % (said, want))


def run_decoder(faults, decoder):
    receipts = verdicts.Validator(load("receipt"))
    all_of_them = verdicts.decoded(decoder, [case.payload for case in corpus.CASES])
    for case, got in zip(corpus.CASES, all_of_them):
        if len(got) != len(case.items):
            faults.add(case.name, "%d verdicts, not %d" % (len(got), len(case.items)))
            continue
        for number, (want, item) in enumerate(zip(case.items, got)):
            check_item(faults, case, number, want, item, receipts)
        check_content(faults, case, got)
    run_events(faults, decoder)
    check_digests(faults, decoder)
    check_silence(faults, decoder)
    check_times(faults, decoder)


# The schemas

def names_field(fields, wanted):
    """Is the promised pointer among those found, or inside one that is not exact?"""
    return any(at == wanted or (not is_exact and wanted.startswith(at + "/"))
               for at, is_exact in fields)


def check_verdict(faults, case, got):
    if got == verdicts.NOT_JSON:
        if case.items != [corpus.Bad("malformed", "")] and not case.beyond:
            faults.add(case.name, "is not JSON to the validator")
        return
    if len(got) != len(case.items):
        faults.add(case.name, "%d verdicts, not %d" % (len(got), len(case.items)))
        return
    for number, (want, fields) in enumerate(zip(case.items, got)):
        name = "%s, item %d" % (case.name, number)
        if want is corpus.GOOD or case.beyond:
            if fields:
                faults.add(name, "the schema refuses it: %s" % fields)
        elif not fields:
            faults.add(name, "the schema accepts it")
        elif not names_field(fields, want.pointer):
            faults.add(name, "the schema names %s, not %s" % (fields, want.pointer))


def run_schema(faults):
    schema = load("request")
    for case in corpus.CASES:
        check_verdict(faults, case, verdicts.python_verdicts(schema, case.payload))
    schemas = {name: load(name) for name in events.KINDS}
    for name, case in events.CASES:
        check_verdict(faults, case, verdicts.python_verdict(schemas[name], case.payload))


def run_ajv(faults):
    import npm
    try:
        modules = npm.modules()
    except npm.Unavailable as why:
        print("skipped: %s" % why)
        sys.exit(77)
    if not verdicts.has_ajv(modules):
        print("skipped: ajv is not among the packages")
        sys.exit(77)
    path = os.path.join(SCHEMAS, "json", "request.schema.json")
    for case, got in zip(corpus.CASES, verdicts.ajv_verdicts(
            modules, path, [case.payload for case in corpus.CASES])):
        check_verdict(faults, case, got)


# The documents

def run_documents(faults):
    import asyncapi
    for path in sorted(glob.glob(os.path.join(SCHEMAS, "json", "*.json"))):
        name = os.path.basename(path)
        with open(path, encoding="utf-8") as file:
            schema = json.load(file)
        verdicts.Validator.check_schema(schema)
        for part in ("title", "description", "examples"):
            if not schema.get(part):
                faults.add(name, "has no %s" % part)
        for number, example in enumerate(schema.get("examples", [])):
            for error in verdicts.Validator(schema).iter_errors(example):
                faults.add(name, "example %d: %s" % (number, error.message))
    asyncapi.check(faults, os.path.join(SCHEMAS, "asyncapi.yaml"))


def main(argv):
    faults = Faults()
    if argv[1:2] == ["decoder"] and len(argv) == 3:
        run_decoder(faults, argv[2])
    elif argv[1:] == ["schema"]:
        run_schema(faults)
    elif argv[1:] == ["ajv"]:
        run_ajv(faults)
    elif argv[1:] == ["documents"]:
        run_documents(faults)
    else:
        sys.exit(__doc__)
    cases = corpus.CASES + [case for _, case in events.CASES]
    beyond = sum(1 for case in cases if case.beyond)
    print("%d cases (%d beyond a schema), %d faults" % (len(cases), beyond, faults.count))
    return 1 if faults.count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
