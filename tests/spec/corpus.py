# SPDX-License-Identifier: MIT
"""Good and bad requests, and what must be said of each.

The corpus is the contract in examples: topics.md sections 2 and 3.  A case is a payload and, for
each of its items, either GOOD or the reason and the JSON pointer that are promised.  check.py
holds the bridge's decoder and independent JSON Schema validators against it; seeds.py makes the
fuzzer's first inputs of it.

Where a rule is beyond JSON Schema, `beyond` says why: then the schema finds nothing wrong, and a
service that validates before it publishes must know it by itself.
"""
import json
from collections import namedtuple

GOOD = None
Bad = namedtuple("Bad", "reason pointer")
Case = namedtuple("Case", "name payload items beyond")

CASES = []
DURATION = "the length of a duration is beyond a pattern"
BYTES = "JSON Schema counts characters, not bytes"
ENCODED = "JSON Schema does not know the percent-encoded length"
TWICE = "JSON parsers drop or merge duplicate members before a schema sees them"
DEPTH = "JSON Schema does not count nesting"
PAIR = "JSON Schema does not compare two members"
SIZE = "JSON Schema does not measure the text"
INBOX = "JSON Schema does not measure the notification that a client gets"
CALENDAR = "a pattern does not know how long a month is"
DIGITS = "to a validator 2^63 and 2^63 written as a real are one number"


def add(name, payload, items, beyond=None):
    if not isinstance(payload, bytes):
        payload = payload.encode()
    CASES.append(Case(name, payload, items, beyond))


def text(value):
    return json.dumps(value, ensure_ascii=False)


def request(**members):
    """The smallest good request with these members set, or taken out by None."""
    whole = {"id": "r-1", "type": "order.ready", "to": {"user": "alice"}}
    for name, value in members.items():
        whole[name] = value
        if value is None:
            del whole[name]
    return whole


def good(name, beyond=None, **members):
    add(name, text(request(**members)), [GOOD], beyond)


def bad(name, reason, pointer, beyond=None, **members):
    add(name, text(request(**members)), [Bad(reason, pointer)], beyond)


def good_raw(name, more):
    """The smallest good request, followed by members as they are written."""
    add(name, text(request())[:-1] + "," + more + "}", [GOOD])


def bad_raw(name, reason, pointer, more, beyond=None):
    more = more if isinstance(more, bytes) else more.encode()
    add(name, text(request())[:-1].encode() + b"," + more + b"}", [Bad(reason, pointer)], beyond)


def short_ids(count):
    """So many different ids that ten thousand of them fit in a payload."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return ["".join(digits[i // 62 ** n % 62] for n in range(1 + (i > 61) + (i > 3843)))
            for i in range(count)]


def users(count):
    return json.dumps(request(to={"users": short_ids(count)}), separators=(",", ":"))


def nested(levels, leaf="1"):
    return "[" * levels + leaf + "]" * levels


# The envelope

good("the smallest request")
good("every member but those that exclude each other", channels=["push", "in_app"],
     route={"mode": "first", "escalate_after": "30s"}, priority="high", title="Ready",
     body="At the counter", locale="de-AT", data={"a": [1, 2.5, None, True, {"b": "c"}]},
     content={"email": {"html": "<p>x</p>"}, "push": {"image": "https://example.org/x.png"}},
     at="2027-01-01T00:00:00Z", expires_at="2027-01-02T00:00:00+01:00", collapse_key="order-1",
     group={"key": "orders", "window": "10m", "max": 5},
     retry={"attempts": 5, "base": "1s", "factor": 1.5, "max": "1m", "jitter": True},
     campaign="autumn", receipts="all")
add("white space anywhere", ' \t\r\n{ "id" : "r-1" ,\n"type":"a" , "to" : { "user" : "u" } } \n',
    [GOOD])
add("an array of one", text([request()]), [GOOD])
add("an array of five hundred", text([request(id="r%d" % i) for i in range(500)]), [GOOD] * 500)
add("an array of five hundred and one", text([request(id="r%d" % i) for i in range(501)]),
    [Bad("too_large", "")])
add("an empty array", "[]", [Bad("bad_value", "")])
add("a bad item among good ones", text([request(), request(titel="x"), request(id="r-3")]),
    [GOOD, Bad("unknown_field", "/titel"), GOOD])
add("items that are no objects", '[7,"x",null,true,[],[%s],%s]' % (text(request()),
                                                                  text(request())),
    [Bad("malformed", "")] * 6 + [GOOD])
add("a duplicate in one item of three",
    "[%s,%s,%s]" % (text(request()), '{"id":"b","type":"a","to":{"user":"u"},"body":"1","body":"2"}',
                    text(request())),
    [GOOD, Bad("malformed", "/body"), GOOD], TWICE)
for name, payload in [
        ("nothing", ""), ("white space alone", " \n"), ("a number", "7"), ("a string", '"x"'),
        ("null", "null"), ("true", "true"), ("an object cut short", '{"id":"r-1"'),
        ("an array cut short", "[" + text(request())), ("two objects", text(request()) * 2),
        ("a trailing comma", text(request())[:-1] + ",}"),
        ("a trailing comma in an array", "[" + text(request()) + ",]"),
        ("single quotes", "{'id':'r-1'}"), ("a name without quotes", '{id:"r-1"}'),
        ("a comment", text(request()) + " // x"), ("NaN", text(request())[:-1] + ',"data":{"x":NaN}}'),
        ("a number with a plus", text(request())[:-1] + ',"data":{"x":+1}}'),
        ("a number with a leading zero", text(request())[:-1] + ',"data":{"x":01}}'),
        ("a number that ends in its point", text(request())[:-1] + ',"data":{"x":1.}}'),
        ("a raw line feed in text", text(request())[:-1] + ',"body":"a\nb"}'),
        ("an escape that is none", text(request())[:-1] + ',"body":"\\x"}'),
        ("a short unicode escape", text(request())[:-1] + ',"body":"\\u12"}'),
        ("a byte order mark", "\ufeff" + text(request())),
        ("form data", "id=r-1&type=order.ready"), ("XML", "<request id='r-1'/>")]:
    add(name, payload, [Bad("malformed", "")])
add("UTF-16", text(request()).encode("utf-16-le"), [Bad("malformed", "")])
add("a raw NUL", text(request()).encode() + b"\0", [Bad("malformed", "")])
add("64 KiB", text(request(channels=["email"], data={"x": "y" * 65400}))[:-1].ljust(65535) + "}",
    [GOOD])
add("64 KiB and a byte", text(request(channels=["email"], data={"x": "y" * 65400}))[:-1]
    .ljust(65536) + "}", [Bad("too_large", "")], SIZE)
bad("an unknown member", "unknown_field", "/foo", foo=1)
bad("a slip of the pen", "unknown_field", "/chanels", chanels=["sms"])
bad("a member in capitals", "unknown_field", "/Title", Title="x")
bad("an unknown member with a slash and a tilde", "unknown_field", "/a~1b~0c", **{"a/b~c": 1})
bad("an unknown member without a name", "unknown_field", "/", **{"": 1})
bad("identity in the payload", "unknown_field", "/service", service="other")
bad_raw("the same member twice", "malformed", "/body", '"body":"a","body":"a"', TWICE)
bad_raw("the same member twice, once escaped", "malformed", "/body",
        '"body":"a","\\u0062ody":"b"', TWICE)
bad_raw("the same member twice in data", "malformed", "/data/a", '"data":{"a":1,"a":1}', TWICE)
bad_raw("the same member twice in a list in data", "malformed", "/data/l/1/a",
        '"data":{"l":[{"a":1},{"a":1,"a":2}]}', TWICE)
add("the id twice", '{"id":"a","type":"x","to":{"user":"u"},"id":"b"}', [Bad("malformed", "/id")],
    TWICE)
good_raw("thirty containers in data", '"data":{"x":%s}' % nested(30))
bad_raw("one container too many in data", "too_large", "/data/x" + "/0" * 30,
        '"data":{"x":%s}' % nested(31), DEPTH)
bad_raw("three hundred containers in data", "too_large", "/data/x" + "/0" * 30,
        '"data":{"x":%s}' % nested(300), DEPTH)
add("the array around items counts for none",
    "[" + text(request())[:-1] + ',"data":{"x":%s}}]' % nested(30), [GOOD])

# Text

good("text from all planes", title="Grüße, 東京 🚀 \U0010ffff", body="\u2028\ufffe")
good_raw("text in escapes", '"title":"\\u0047r\\u00fc\\u00dfe \\ud83d\\ude80 \\/ \\b\\f\\n\\r\\t"')
bad_raw("U+0000 in the title", "bad_value", "/title", '"title":"a\\u0000b"')
bad_raw("U+0000 deep in data", "bad_value", "/data/a/0", '"data":{"a":["\\u0000"]}')
bad_raw("U+0000 in a name in data", "bad_value", "/data", '"data":{"a\\u0000":1}')
bad_raw("half a surrogate pair", "malformed", "/title", '"title":"\\ud83d"',
        "validators see text after their parser mended it")
bad_raw("a surrogate pair the wrong way round", "malformed", "/data/x",
        '"data":{"x":"\\ude80\\ud83d"}', "validators see text after their parser mended it")
for name, raw in [("a lone continuation byte", b"\x80"), ("an overlong slash", b"\xc0\xaf"),
                  ("a surrogate in UTF-8", b"\xed\xa0\x80"), ("beyond Unicode", b"\xf4\x90\x80\x80"),
                  ("Latin-1", b"gr\xfcn"), ("a character cut short", b"\xe2\x82")]:
    bad_raw(name, "malformed", "/title", b'"title":"' + raw + b'"',
            "a payload that is not UTF-8 is no JSON to a validator")
bad_raw("a name that is not UTF-8", "malformed", "/data", b'"data":{"\xff":1}',
        "a payload that is not UTF-8 is no JSON to a validator")

# id

good("an id of 128 bytes", id="x" * 128)
good("an id of any text", id=" Bestellung №7/ä\n\"")
good("an id of 128 bytes in 32 characters", id="🚀" * 32)
bad("an id of 129 bytes", "too_large", "/id", id="x" * 129)
bad("an id of 130 bytes in 65 characters", "too_large", "/id", id="ü" * 65, beyond=BYTES)
bad("no id", "missing_field", "/id", id=None)
bad("an empty id", "bad_value", "/id", id="")
bad("a number as id", "bad_value", "/id", id=7)
bad_raw("null as body", "bad_value", "/body", '"body":null')

# type

for value in ("a", "order.ready", "a.b.c.d", "x_1", "_", "9", "a" * 128):
    good("type %s" % value[:12], type=value)
bad("a type of 129 characters", "too_large", "/type", type="a" * 129)
bad("no type", "missing_field", "/type", type=None)
for value in ("", ".", "a.", ".a", "a..b", "Order.Ready", "order-ready", "order ready", "größe",
              "order.ready\n", 7, ["a"], {}, True):
    bad("type %s" % text(value), "bad_value", "/type", type=value)

# to

for name, to in [("a user", {"user": "alice"}), ("a user from an identity provider", {"user": "auth0|5f7c"}),
                 ("a user of 128 bytes", {"user": "u" * 128}),
                 ("a user of 128 bytes when encoded", {"user": "/" * 42 + "xx"}),
                 ("a user with anything in the id", {"user": "a/b+c#d ä"}),
                 ("several users", {"users": ["a", "b", "c"]}), ("one user in a list", {"users": ["a"]}),
                 ("a role", {"role": "oncall"}), ("everybody", {"broadcast": True}),
                 ("a list", {"topic": "news/sport"}), ("an address", {"email": "a@example.org"}),
                 ("a phone", {"phone": "+4917012345678"}), ("a token", {"push_token": "abc:DEF-123_"}),
                 ("a webhook", {"url": "https://example.org/hook?x=1#y"})]:
    good("to " + name, to=to)
add("ten thousand users", users(10000), [GOOD])
add("ten thousand users and one", users(10001), [Bad("too_large", "/to/users")])
bad("no recipient", "missing_field", "/to", to=None)
bad("an empty recipient", "missing_field", "/to", to={})
bad("two recipients", "bad_value", "/to", to={"user": "a", "role": "b"})
bad("an unknown recipient", "unknown_field", "/to/usr", to={"usr": "a"})
for value in ("alice", ["alice"], 7, True):
    bad("to %s" % text(value), "bad_value", "/to", to=value)
bad("an empty user", "bad_value", "/to/user", to={"user": ""})
bad("a number as user", "bad_value", "/to/user", to={"user": 7})
bad("a user of 129 bytes", "too_large", "/to/user", to={"user": "u" * 129})
bad("a user of 129 bytes when encoded", "too_large", "/to/user", to={"user": "/" * 43},
    beyond=ENCODED)
bad("a user of 128 characters beyond ASCII", "too_large", "/to/user", to={"user": "ü" * 128},
    beyond=ENCODED)
bad("no users", "bad_value", "/to/users", to={"users": []})
bad("users that are text", "bad_value", "/to/users", to={"users": "a,b"})
bad("a user twice", "bad_value", "/to/users/2", to={"users": ["a", "b", "a", "b"]})
bad("an empty user among users", "bad_value", "/to/users/1", to={"users": ["a", ""]})
bad("a number among users", "bad_value", "/to/users/1", to={"users": ["a", 1]})
bad("a long user among users", "too_large", "/to/users/0", to={"users": ["u" * 129]})
good("a role of 64 bytes", to={"role": "r" * 64}, channels=["in_app"])
bad("a role of 65 bytes", "too_large", "/to/role", to={"role": "r" * 65})
bad("a role of 65 bytes when encoded", "too_large", "/to/role", to={"role": "/" * 21 + "xx"},
    beyond=BYTES)
bad("an empty role", "bad_value", "/to/role", to={"role": ""})
bad("a list as role", "bad_value", "/to/role", to={"role": ["a"]})
for value in (False, 1, "true", {}):
    bad("broadcast %s" % text(value), "bad_value", "/to/broadcast", to={"broadcast": value})
bad("an empty list name", "bad_value", "/to/topic", to={"topic": ""})
for value in ("a@b", "a.b+c@example.org", "x" * 64 + "@example.org", "a@" + "b" * 63 + ".org",
              "a@xn--mnchen-3ya.de", "ä@b", "a@ö.de", "jürgen@bücher.example", "用户@例子.广告",
              "\U0001f514@example.org", "!#$%&'*+/=?^_`{|}~-@example.org",
              "a@" + ".".join(["b" * 62] * 4)):
    good("email %s of %d" % (value[:20], len(value)), to={"email": value})
for value in ("", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "A <a@b>", "a@-b", "a@b-", "a@b..c",
              "a@b.", "a,b@c", "x" * 65 + "@example.org", "a@" + "b" * 64 + ".org", "ä b@c", "a\u00a0b@c", "a@b\u3002c",
              "a\uff20b", "\u202ea@b", "a@ö..de", "a@-ö.de",
              "a@b\r\nBcc: c@d", 'a"b@c', "a@[127.0.0.1]"):
    bad("email %s" % text(value), "bad_value", "/to/email", to={"email": value})
bad("an address of 255 characters", "too_large", "/to/email",
    to={"email": "a@" + ".".join(["b" * 63] * 3 + ["b" * 61])})
for value in ("+1234567", "+123456789012345"):
    good("phone %s" % value, to={"phone": value})
for value in ("", "+", "+123456", "+1234567890123456"[:16] + "x", "123456789", "+0123456789",
              "+49 170 1234567", "+49-170", "0049170123456", "+49170123456a", "++4917012345",
              "+４９１７０", "+1234567\n"):
    bad("phone %s" % text(value), "too_large" if len(value) > 16 else "bad_value", "/to/phone",
        to={"phone": value})
bad("a phone of 17 characters", "too_large", "/to/phone", to={"phone": "+1234567890123456"})
good("a token of 4,096 characters", to={"push_token": "t" * 4096})
bad("a token of 4,097 characters", "too_large", "/to/push_token", to={"push_token": "t" * 4097})
for value in ("", "a b", "ä", "a\n", 7):
    bad("token %s" % text(value), "bad_value", "/to/push_token", to={"push_token": value})
for value in ("http://a", "https://example.org", "https://example.org:8443/a%20b?c=d&e=%5B#f",
              "http://[::1]:8080/", "https://user:secret@example.org/",
              "https://example.org/" + "a" * 2028):
    good("url %s" % value[:30], to={"url": value})
for value in ("", "http://", "https:///x", "ftp://example.org", "example.org", "//example.org",
              "HTTPS://example.org", "https://exam ple.org", "https://example.org/a b",
              "https://example.org/\n", "https://münchen.de", "javascript:alert(1)",
              'https://example.org/"', "https://example.org/<x>", "https://example.org\\x",
              "https://-a", 7):
    bad("url %s" % text(value), "bad_value", "/to/url", to={"url": value})
bad("a URL of 2,049 characters", "too_large", "/to/url", to={"url": "https://example.org/" + "a" * 2029})

# channels and route

for channel in ("in_app", "push", "sms", "email", "chat", "webhook"):
    good("channel %s" % channel, channels=[channel])
good("all channels", channels=["webhook", "chat", "email", "sms", "push", "in_app"])
for value in ([], "sms", {}, 7):
    bad("channels %s" % text(value), "bad_value", "/channels", channels=value)
bad("an unknown channel", "bad_value", "/channels/1", channels=["sms", "fax"])
bad("a channel in capitals", "bad_value", "/channels/0", channels=["SMS"])
bad("a channel twice", "bad_value", "/channels/1", channels=["sms", "sms"])
bad("a number as channel", "bad_value", "/channels/0", channels=[1])
for value in ("all", "first", {"mode": "all"}, {"mode": "first"},
              {"mode": "first", "escalate_after": "1s"}, {"mode": "first", "escalate_after": "P7D"}):
    good("route %s" % text(value), route=value)
for value in ("any", "", "First", 7, ["first"], True):
    bad("route %s" % text(value), "bad_value", "/route", route=value)
bad("a route without a mode", "missing_field", "/route/mode", route={"escalate_after": "30s"})
bad("an unknown mode", "bad_value", "/route/mode", route={"mode": "random"})
bad("an unknown member of route", "unknown_field", "/route/after",
    route={"mode": "first", "after": "30s"})
bad("escalation where all go at once", "bad_value", "/route/escalate_after",
    route={"mode": "all", "escalate_after": "30s"})
bad("escalation after nothing", "bad_value", "/route/escalate_after",
    route={"mode": "first", "escalate_after": "999ms"}, beyond=DURATION)
bad("escalation after more than a week", "bad_value", "/route/escalate_after",
    route={"mode": "first", "escalate_after": "169h"}, beyond=DURATION)

# Enumerations

for value in ("urgent", "high", "normal", "low"):
    good("priority %s" % value, priority=value)
for value in ("", "Normal", "critical", 1, []):
    bad("priority %s" % text(value), "bad_value", "/priority", priority=value)
for value in ("final", "all", "none"):
    good("receipts %s" % value, receipts=value)
for value in ("", "some", True, []):
    bad("receipts %s" % text(value), "bad_value", "/receipts", receipts=value)

# Content

good("an empty title and body", title="", body="")
good("a title of 1,000 characters", title="x" * 1000)
good("a title of 1,000 characters beyond ASCII", title="🚀" * 1000)
bad("a title of 1,001 characters", "too_large", "/title", title="x" * 1001)
bad("a title of 1,001 characters beyond ASCII", "too_large", "/title", title="ü" * 1001)
good("a body of 32,768 characters", body="x" * 32768, channels=["email"])
bad("a body of 32,769 characters", "too_large", "/body", body="x" * 32769, channels=["email"])
for value in (7, [], {}, True):
    bad("title %s" % text(value), "bad_value", "/title", title=value)
    bad("body %s" % text(value), "bad_value", "/body", body=value)
for value in ("welcome", "order.ready", "a-b_c.D9", "t" * 128):
    good("template %s" % value[:12], template=value)
for value in ("", ".", "a..b", "a b", "a/b", "../x", 7):
    bad("template %s" % text(value), "bad_value", "/template", template=value)
bad("a template of 129 characters", "too_large", "/template", template="t" * 129)
bad("a template and a title", "bad_value", "/template", template="a", title="b")
bad("a template and a body", "bad_value", "/template", template="a", body="b")
for value in ("de", "pt-BR", "zh-Hant-TW", "sl-rozaj-biske-1994", "de-DE-u-co-phonebk"):
    good("locale %s" % value, locale=value)
for value in ("d", "", "de_DE", "de-", "-de", "abcdefghi", "de-abcdefghi", "1a", "de DE", 7):
    bad("locale %s" % text(value), "bad_value", "/locale", locale=value)
bad("a locale of 65 characters", "too_large", "/locale", locale="de" + "-abcdefgh" * 7)
good("empty data", data={})
good_raw("numbers at their limits", '"data":{"a":9223372036854775807,"b":-9223372036854775808,'
         '"c":1.7976931348623157e308,"d":-0,"e":1E-400,"f":0.1,"g":1e2}')
bad_raw("an integer of more than 64 bits", "bad_value", "/data/a",
        '"data":{"a":9223372036854775808}', DIGITS)
bad_raw("a negative integer of more than 64 bits", "bad_value", "/data/a/0",
        '"data":{"a":[-9223372036854775809]}', DIGITS)
bad_raw("a real beyond a double", "bad_value", "/data/a", '"data":{"a":1e309}')
bad_raw("a negative real beyond a double", "bad_value", "/data/a", '"data":{"a":-1e309}')
for value in ([], "x", 7, True):
    bad("data %s" % text(value), "bad_value", "/data", data=value)
good("an empty override", content={"push": {}})
good("overrides with members of the adapters", content={
    "push": {"image": "https://example.org/x.png", "apns": {"aps": {"sound": "x"}}},
    "email": {"subject": "s", "html": "<p>", "text": "t", "attachments": [{"url": "https://x"}]}})
for channel, name in (("email", "htm"), ("email", "atachments"), ("sms", "subject"), ("sms", "html"),
                      ("in_app", "text"), ("push", "imag"), ("chat", "card_json"), ("webhook", "url"),
                      ("email", "Html"), ("email", "")):
    bad("content.%s.%s" % (channel, name), "unknown_field", "/content/%s/%s" % (channel, name),
        content={channel: {name: "x"}})
bad("text where an adapter's object is", "bad_value", "/content/push/apns",
    content={"push": {"apns": "x"}})
bad("an override for an unknown channel", "unknown_field", "/content/fax", content={"fax": {}})
bad("an override that is text", "bad_value", "/content/sms", content={"sms": "x"})
bad("an override's title that is a number", "bad_value", "/content/sms/title",
    content={"sms": {"title": 7}})
bad("an override's html that is a list", "bad_value", "/content/email/html",
    content={"email": {"html": []}})
bad_raw("U+0000 in an override", "bad_value", "/content/chat/blocks/0",
        '"content":{"chat":{"blocks":["\\u0000"]}}')
bad("content that is a list", "bad_value", "/content", content=[])

# When

for value in ("2026-11-20T12:34:56Z", "2026-11-20t12:34:56z", "2026-11-20 12:34:56+01:00",
              "2026-11-20T12:34:56.123456789-11:30", "2024-02-29T00:00:00Z",
              "2026-12-31T23:59:60Z", "1969-07-20T20:17:40Z", "1970-01-01T00:00:00Z",
              "9999-12-31T23:59:59Z"):
    good("at %s" % value, at=value)
    good("expires_at %s" % value, expires_at=value)
for value in ("", "tomorrow", "2026-11-20", "2026-11-20T12:34Z", "2026-11-20T12:34:56",
              "2026-13-20T12:34:56Z", "2026-00-20T12:34:56Z", "2026-11-32T12:34:56Z",
              "2026-11-00T12:34:56Z", "2026-11-20T24:00:00Z", "2026-11-20T12:60:00Z",
              "2026-11-20T12:34:61Z", "2026-11-20T12:34:56+24:00", "2026-11-20T12:34:56+0100",
              "2026-11-20T12:34:56.Z", "20261120T123456Z", " 2026-11-20T12:34:56Z",
              "2026-11-20T12:34:56Z ", "2026-11-20T12:34:56Z\n", 1795132800):
    bad("at %s" % text(value), "bad_value", "/at", at=value)
bad("a time of 65 characters", "bad_value", "/at", at="2026-11-20T12:34:56." + "0" * 44 + "Z")
for value in ("2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z"):
    bad("at %s" % value, "bad_value", "/at", at=value, beyond=CALENDAR)
bad("expiry before it is due", "bad_value", "/expires_at", at="2027-01-02T00:00:00Z",
    expires_at="2027-01-01T00:00:00Z", beyond=PAIR)
bad("expiry when it is due", "bad_value", "/expires_at", at="2027-01-02T00:00:00Z",
    expires_at="2027-01-02T01:00:00+01:00", beyond=PAIR)
bad("expires_at and ttl", "bad_value", "/ttl", expires_at="2027-01-02T00:00:00Z", ttl="1h")
for value in ("1s", "1000ms", "5m", "2h", "7d", "366d", "PT30S", "PT1.5S", "PT1,5S", "P1D", "P1DT2H",
              "PT1H30M", "P2W", "PT0H1S", "P0DT1S", "0000001s"):
    good("ttl %s" % value, ttl=value)
for value in ("", "s", "5", "5 s", "5S", "1h30m", "1.5h", "-1s", "+1s", "1w", "P", "PT", "P1DT", "P1M",
              "P1Y", "P1H", "PT1D", "P1W2D", "P1D1W", "PT1S1M", "PT1M1M", "PT1.5M", "p1d", "1s ", "1s\n",
              30, ["1s"]):
    bad("ttl %s" % text(value), "bad_value", "/ttl", ttl=value)
for value in ("0s", "999ms", "PT0S", "367d", "P53W", "99999999999999999999s"):
    bad("ttl %s" % value, "bad_value", "/ttl", ttl=value, beyond=DURATION)

# Schedule

good("a schedule", schedule={"cron": "0 9 * * MON-FRI"})
good("a schedule with everything", schedule={
    "cron": "*/15 0,12 1-7 JAN-DEC/2 1#2", "timezone": "America/Argentina/Buenos_Aires",
    "until": "2027-01-01T00:00:00Z", "max_occurrences": 100000, "skip": ["2026-12-25", "2027-01-01"]})
good("skipping a year", schedule={"cron": "0 9 * * *", "skip": ["2028-01-01"] * 366})
bad("skipping more than a year", "too_large", "/schedule/skip",
    schedule={"cron": "0 9 * * *", "skip": ["2028-01-01"] * 367})
bad("at and schedule", "bad_value", "/schedule", at="2027-01-02T00:00:00Z",
    schedule={"cron": "0 9 * * *"})
bad("a schedule without cron", "missing_field", "/schedule/cron", schedule={"timezone": "UTC"})
for value in ("", "0 9 * *", "0 9 * * * *", "0  9 * * *", " 0 9 * * *", "0 9 * * * ", "@daily",
              "0 9 * * ?!", 7):
    bad("cron %s" % text(value), "bad_value", "/schedule/cron", schedule={"cron": value})
bad("a cron of 129 characters", "too_large", "/schedule/cron",
    schedule={"cron": "0 9 * * " + "1" * 121})
for value in ("UTC", "Europe/Berlin", "Etc/GMT+5", "US/East-Indiana"):
    good("time zone %s" % value, schedule={"cron": "0 9 * * *", "timezone": value})
for value in ("", "/", "Europe/", "+01:00", "Europe//Berlin", "Europe Berlin", "1/2", 7):
    bad("time zone %s" % text(value), "bad_value", "/schedule/timezone",
        schedule={"cron": "0 9 * * *", "timezone": value})
bad("a time zone of 65 characters", "too_large", "/schedule/timezone",
    schedule={"cron": "0 9 * * *", "timezone": "A" * 65})
bad("until some day", "bad_value", "/schedule/until",
    schedule={"cron": "0 9 * * *", "until": "2027-01-01"})
for value in (0, -1, 100001, 1.5, "3", True):
    bad("max_occurrences %s" % text(value), "bad_value", "/schedule/max_occurrences",
        schedule={"cron": "0 9 * * *", "max_occurrences": value})
for value in ("2026-13-01", "2026-1-1", "2026-12-25T00:00:00Z", 7):
    bad("skip %s" % text(value), "bad_value", "/schedule/skip/0",
        schedule={"cron": "0 9 * * *", "skip": [value]})
bad("an unknown member of schedule", "unknown_field", "/schedule/tz",
    schedule={"cron": "0 9 * * *", "tz": "UTC"})
bad("a schedule that is text", "bad_value", "/schedule", schedule="0 9 * * *")

# Keys, groups, retries

for member in ("collapse_key", "campaign"):
    good("%s of 128 characters" % member, **{member: "ü" * 128})
    bad("%s of 129 characters" % member, "too_large", "/" + member, **{member: "k" * 129})
    bad("%s empty" % member, "bad_value", "/" + member, **{member: ""})
    bad("%s a number" % member, "bad_value", "/" + member, **{member: 7})
good("a group by its key alone", group={"key": "k"})
good("a group at its limits", group={"key": "k" * 128, "window": "7d", "max": 1000})
good("a real that is an integer", group={"key": "k", "max": 5.0})
bad("a group without key", "missing_field", "/group/key", group={"window": "1m"})
bad("a group with an empty key", "bad_value", "/group/key", group={"key": ""})
bad("a group with a long key", "too_large", "/group/key", group={"key": "k" * 129})
bad("an unknown member of group", "unknown_field", "/group/size", group={"key": "k", "size": 3})
bad("a group that is text", "bad_value", "/group", group="k")
for value in (0, 1001, 2.5, "5", True, -1):
    bad("group max %s" % text(value), "bad_value", "/group/max", group={"key": "k", "max": value})
bad("a group's window that is a number", "bad_value", "/group/window",
    group={"key": "k", "window": 60})
bad("a group's window of nothing", "bad_value", "/group/window", group={"key": "k", "window": "0s"},
    beyond=DURATION)
good("an empty retry", retry={})
good("retry at its lower limits", retry={"attempts": 1, "base": "100ms", "factor": 1, "max": "100ms",
                                         "jitter": False})
good("retry at its upper limits", retry={"attempts": 50, "base": "1h", "factor": 10, "max": "7d"})
for value in (0, 51, 2.5, "3", []):
    bad("attempts %s" % text(value), "bad_value", "/retry/attempts", retry={"attempts": value})
for value in (0.99, 10.01, "2", True, -1):
    bad("factor %s" % text(value), "bad_value", "/retry/factor", retry={"factor": value})
for value in ("full", 1, []):
    bad("jitter %s" % text(value), "bad_value", "/retry/jitter", retry={"jitter": value})
bad("a base too short", "bad_value", "/retry/base", retry={"base": "99ms"}, beyond=DURATION)
bad("a base too long", "bad_value", "/retry/base", retry={"base": "61m"}, beyond=DURATION)
bad("a max too long", "bad_value", "/retry/max", retry={"max": "8d"}, beyond=DURATION)
bad("a base that is a number", "bad_value", "/retry/base", retry={"base": 2000})
bad("a max shorter than its base", "bad_value", "/retry/max", retry={"base": "2s", "max": "1s"},
    beyond=PAIR)
bad("an unknown member of retry", "unknown_field", "/retry/times", retry={"times": 3})
bad("a retry that is a number", "bad_value", "/retry", retry=3)

# What a client gets

good("ten KiB less the envelope", data={"x": "y" * 9950})
bad("more than ten KiB for a client", "too_large", "/data", data={"x": "y" * 10240}, beyond=INBOX)
bad("a long body for a client", "too_large", "/body", body="y" * 10240, channels=["sms", "in_app"],
    beyond=INBOX)
good("more than ten KiB by email", data={"x": "y" * 20000}, channels=["email"])
good("more than ten KiB to an address", data={"x": "y" * 20000}, to={"email": "a@example.org"})
good("a long body that the client gets short", body="y" * 20000,
     content={"in_app": {"body": "short"}})
