# SPDX-License-Identifier: MIT
"""Good and bad events of users and calls, as corpus.py has requests: what is said of each.

KINDS names, for each schema in schemas/json/, the event that the decoder is told it is.
"""
import json

from corpus import GOOD, Bad, Case, DEPTH, TWICE, CALENDAR, nested

ID = "0123456789abcdef"
KINDS = {"ack": "ack", "mark": "read", "click": "click", "rpc": "rpc"}
CASES = []  # (schema, Case)


def add(schema, name, payload, want, beyond=None):
    if not isinstance(payload, (str, bytes)):
        payload = json.dumps(payload, ensure_ascii=False)
    if isinstance(payload, str):
        payload = payload.encode()
    CASES.append((schema, Case("%s: %s" % (schema, name), payload, [want], beyond)))


URL = "https://example.org/a"
for kind, more in (("ack", {}), ("mark", {}), ("click", {"url": URL})):
    add(kind, "one id", dict(more, ids=[ID]), GOOD)
    add(kind, "five hundred ids", dict(more, ids=["%016x" % i for i in range(500)]), GOOD)
    add(kind, "an id twice", dict(more, ids=[ID, ID]), GOOD)
    add(kind, "five hundred and one ids", dict(more, ids=[ID] * 501), Bad("too_large", "/ids"))
    add(kind, "no ids", dict(more, ids=[]), Bad("bad_value", "/ids"))
    add(kind, "ids missing", dict(more), Bad("missing_field", "/ids"))
    add(kind, "ids that are text", dict(more, ids=ID), Bad("bad_value", "/ids"))
    for one in (7, "", "0123", ID.upper(), ID + "0", None, {}):
        add(kind, "the id %s" % json.dumps(one), dict(more, ids=[ID, one]),
            Bad("bad_value", "/ids/1"))
    add(kind, "an unknown member", dict(more, ids=[ID], id=ID), Bad("unknown_field", "/id"))
    add(kind, "no object", [ID], Bad("bad_value", ""))
    add(kind, "no JSON", "{", Bad("malformed", ""))
    add(kind, "nothing", "", Bad("malformed", ""))
    add(kind, "ids twice", json.dumps(dict(more, ids=[ID]))[:-1] + ',"ids":["%s"]}' % ID,
        Bad("malformed", "/ids"), TWICE)
add("ack", "all", {"all": True}, Bad("unknown_field", "/all"))
add("mark", "all", {"all": True}, GOOD)
add("mark", "all before a time", {"all": True, "before": "2026-11-20T12:34:56.789+01:00"}, GOOD)
add("mark", "all and ids", {"all": True, "ids": [ID]}, Bad("bad_value", "/all"))
for value in (False, "true", 1, None):
    add("mark", "all %s" % json.dumps(value), {"all": value}, Bad("bad_value", "/all"))
for value in ("", "2026-11-20", "2026-11-20T12:34:56", 7):
    add("mark", "before %s" % json.dumps(value), {"all": True, "before": value},
        Bad("bad_value", "/before"))
add("mark", "before the 30th of February", {"all": True, "before": "2026-02-30T00:00:00Z"},
    Bad("bad_value", "/before"), CALENDAR)
add("mark", "some before a time", {"ids": [ID], "before": "2026-11-20T12:34:56Z"},
    Bad("bad_value", "/before"))
add("mark", "before a time, and no more", {"before": "2026-11-20T12:34:56Z"},
    Bad("missing_field", "/ids"))
add("click", "no url", {"ids": [ID]}, Bad("missing_field", "/url"))
for value in ("", "javascript:alert(1)", "example.org", "https://exam ple.org", 7):
    add("click", "url %s" % json.dumps(value), {"ids": [ID], "url": value},
        Bad("bad_value", "/url"))
add("click", "a url of 2,049 characters", {"ids": [ID], "url": "https://a/" + "b" * 2039},
    Bad("too_large", "/url"))

add("rpc", "a call without parameters", {"rpc": "1"}, GOOD)
add("rpc", "a call with parameters", {"rpc": "x" * 128, "params": {"a": [1, {"b": None}]}}, GOOD)
add("rpc", "no id", {"params": {}}, Bad("missing_field", "/rpc"))
for value in ("", 7, None, {}):
    add("rpc", "the id %s" % json.dumps(value), {"rpc": value}, Bad("bad_value", "/rpc"))
add("rpc", "an id of 129 characters", {"rpc": "x" * 129}, Bad("too_large", "/rpc"))
for value in ([], "x", None, 7):
    add("rpc", "params %s" % json.dumps(value), {"rpc": "1", "params": value},
        Bad("bad_value", "/params"))
add("rpc", "sixty-five parameters", {"rpc": "1", "params": {"p%d" % i: i for i in range(65)}},
    Bad("too_large", "/params"))
add("rpc", "an unknown member", {"rpc": "1", "method": "x"}, Bad("unknown_field", "/method"))
add("rpc", "a parameter twice", '{"rpc":"1","params":{"a":1,"a":2}}', Bad("malformed", "/params/a"),
    TWICE)
add("rpc", "parameters nested too deep", '{"rpc":"1","params":{"a":%s}}' % nested(15),
    Bad("too_large", "/params/a" + "/0" * 14), DEPTH)
add("rpc", "parameters nested deep", '{"rpc":"1","params":{"a":%s}}' % nested(14), GOOD)
add("rpc", "no object", [{"rpc": "1"}], Bad("malformed", ""))
add("rpc", "no JSON", "rpc", Bad("malformed", ""))
