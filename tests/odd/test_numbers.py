# SPDX-License-Identifier: MIT
"""What a service gives as JSON goes out byte for byte, through every adapter that takes JSON."""
import json
import random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import odd

DEVICE = "ab" * 32


def numbers():
    """Decimals of 1 to 17 digits, shortest and longer, with and without exponent, both signs."""
    rng = random.Random(14)
    found = ["0", "-0", "0.0", "-0.0", "29.95", "19.99", "0.1", "1.10", "1e2", "1E+2", "1e-7",
             "100", "1.000", "5e-324", "1.7976931348623157e308", "9007199254740993",
             "9223372036854775807", "-9223372036854775808", "0.30000000000000004", "1e0", "0e10"]
    for digits in range(1, 18):
        for _ in range(60):
            text = str(rng.randrange(10 ** (digits - 1), 10 ** digits))
            point = rng.randrange(1, digits + 1)
            one = text[:point] + ("." + text[point:] if point < digits else "")
            found.append(rng.choice(["", "-"]) + one + rng.choice(["", "", "e5", "E-3", "e+10"]))
            found.append(repr(float(one)))
    return found


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """name: (adapter, settings, target, content around the data, how to find it in the body)"""
    place = tmp_path_factory.mktemp("odd")

    def file(name, text):
        path = place / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)
    account = json.dumps({
        "type": "service_account", "project_id": "p", "client_email": "a@p.example",
        "private_key": private_pem(rsa.generate_private_key(65537, 2048)),
        "token_uri": "https://oauth.example/token"})
    secret = file("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    apns = {"key_file": file("apns", private_pem(ec.generate_private_key(ec.SECP256R1()))),
            "key_id": "K", "team_id": "T", "topic": "app"}
    strings = {"parse_int": str, "parse_float": str}

    def load(text):
        return json.loads(text, **strings)
    return {
        "webhook": ("webhook", {"secret_file": secret}, "https://x.example/a",
                    '{"data": %s}', lambda text: load(text)["data"]["data"]),
        "webhook body": ("webhook", {"secret_file": secret}, "https://x.example/a",
                         '{"content":{"webhook":{"body": %s}}}', load),
        "fcm": ("fcm", {"service_account_file": file("account", account)}, "token",
                '{"data": %s}', lambda text: load(text)["message"]["data"]),
        "apns": ("apns", apns, DEVICE, '{"title":"T","data": %s}', load),
        "slack": ("slack", {}, "https://hooks.example/a",
                  '{"title":"T","content":{"chat":{"blocks": [%s]}}}', lambda text: load(text)["blocks"][0]),
        "teams": ("teams", {}, "https://hooks.example/a", '{"content":{"chat":{"card": %s}}}',
                  lambda text: load(text)["attachments"][0]["content"]),
        "whatsapp": ("whatsapp", {"access_token_file": secret, "phone_number_id": "1"},
                     "+15550100999",
                     '{"content":{"chat":{"template":{"name":"n","components":[%s]}}}}',
                     lambda text: load(text)["template"]["components"][0]),
    }


@pytest.mark.parametrize("name", ["webhook", "webhook body", "fcm", "apns", "slack", "teams",
                                  "whatsapp"])
def test_numbers_go_out_as_they_came(ways, name):
    adapter, settings, target, around, find = ways[name]
    given = numbers()
    questions, wanted = [], []
    for at in range(0, len(given), 40):  # a push is small
        some = {"k%d" % i: number for i, number in enumerate(given[at:at + 40])}
        data = "{ %s }" % ", ".join('"%s" : %s' % pair for pair in some.items())
        questions.append({"op": "send", "adapter": adapter, "settings": settings,
                          "target": target, "content": around % data})
        wanted.append(some)
    for answer, some in zip(odd.ask(questions), wanted):
        assert answer.get("error") is None and answer["requests"], answer
        found = find(odd.body(answer["requests"][-1]).decode())
        assert {key: found[key] for key in some} == some


STRINGS = [r'"\u00e9\/\u2028"', r'"\ud83d\ude21"', '"\u00e9\U0001f621"', r'"\u0001\b\f\n\r\t\"\\"',
           '"\x7f"', r'""']


def test_strings_keep_their_spelling_and_their_meaning(ways):
    for name in ("webhook", "webhook body", "slack", "teams", "whatsapp"):
        adapter, settings, target, around, find = ways[name]
        data = '{"a":[%s]}' % ",".join(STRINGS)
        (answer,) = odd.ask([{"op": "send", "adapter": adapter, "settings": settings,
                              "target": target, "content": around % data}])
        text = odd.body(answer["requests"][-1]).decode()
        assert data in text and find(text) == json.loads(data)


def decode(data):
    return '{"id":"1","type":"t","title":"x","to":{"user":"u"},"data":{"a":%s}}' % data


def test_what_cannot_be_carried_is_refused_at_the_door():
    """With a reason, and never changed on the way."""
    bad = [r'"\u0000"', r'"\ud83d"', r'"\ude21\ud83d"', "99999999999999999999", "-1e999",
           '{"b":1,"b":2}']
    answers = odd.ask([{"op": "decode", "text": decode(one)} for one in bad])
    assert all(answer["reason"] for answer in answers), answers
    good = numbers() + STRINGS
    answers = odd.ask([{"op": "decode", "text": decode(one)} for one in good])
    for one, answer in zip(good, answers):
        assert answer["reason"] == "" and '"data":{"a":%s}' % one in answer["content"]


@pytest.mark.parametrize("name", ["fcm", "apns"])
def test_no_name_comes_twice_in_a_push(ways, name):
    adapter, settings, target, _, _ = ways[name]
    data = {key: "mine" for key in ("url", "tocsin_id", "image", "title", "a")}
    for push in ({}, {"url": "https://x.example"}, {"image": "https://x.example/i.png"},
                 {"url": "https://x.example", "data": {"url": "other", "b": 1}}):
        (answer,) = odd.ask([{"op": "send", "adapter": adapter, "settings": settings,
                              "target": target, "content": json.dumps({
                                  "title": "T", "data": data, "content": {"push": push}})}])
        found = []

        def once(pairs):
            names = [key for key, _ in pairs]
            assert len(names) == len(set(names)), names
            found.extend(names)
            return dict(pairs)
        sent = json.loads(odd.body(answer["requests"][-1]), object_pairs_hook=once)
        sent = sent["message"]["data"] if name == "fcm" else sent
        assert sent["tocsin_id"] == "0123456789abcdef" and sent["a"] == "mine"
        assert sent["url"] == push.get("url", "mine")
