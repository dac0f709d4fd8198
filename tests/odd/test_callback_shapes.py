# SPDX-License-Identifier: MIT
"""Callbacks as providers sign them: odd members cost no event, and a URL has many spellings."""
import base64
import hashlib
import hmac
import itertools
import json
import random
import shutil
import subprocess
import urllib.parse

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import npm
import odd

NOW = 1700000000
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://x.example/callbacks/p"


def sign(data, how="sha256", key=SECRET):
    return hmac.new(key.encode(), data, how)


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(claims):
    head = url64(b'{"alg":"HS256","typ":"JWT"}') + "." + url64(json.dumps(claims).encode())
    return head + "." + url64(sign(head.encode()).digest())


class Signers:
    """provider: headers, query and body for a text; each proves what the provider's own does."""

    def __init__(self, place):
        self.place = place
        self.key = ec.generate_private_key(ec.SECP256R1())
        spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.files = {"secret": self.file("secret", SECRET),
                      "public": self.file("public", base64.b64encode(spki).decode())}

    def file(self, name, text):
        path = self.place / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def question(self, provider, body, url=URL, **more):
        more = {"headers": {}, **more}
        return {"op": "callback", "adapter": provider, "url": url, "now": NOW,
                "settings": {"callback_secret_file":
                             self.files["public" if provider == "sendgrid" else "secret"]},
                "query": url.partition("?")[2], "body64": odd.b64(body), **more}

    def sendgrid(self, body):
        proof = self.key.sign(str(NOW).encode() + body, ec.ECDSA(hashes.SHA256()))
        return self.question("sendgrid", body, headers={
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(proof).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": str(NOW)})

    def postmark(self, body):
        return self.question("postmark", body, headers={
            "Authorization": "Basic " + odd.b64("tocsin:" + SECRET)})

    def whatsapp(self, body):
        return self.question("whatsapp", body, headers={
            "X-Hub-Signature-256": "sha256=" + sign(body).hexdigest()})

    def vonage(self, body):
        token = jwt({"iat": NOW + 0.5, "payload_hash": hashlib.sha256(body).hexdigest()})
        return self.question("vonage", body, headers={"Authorization": "Bearer " + token})

    def bird(self, body):
        key = base64.b64decode(SECRET[6:])
        text = ("m1.%d." % NOW).encode() + body
        return self.question("bird", body, headers={
            "webhook-id": "m1", "webhook-timestamp": str(NOW), "webhook-signature": "v1," + odd.b64(
                hmac.new(key, text, "sha256").digest())})

    def mailgun(self, body):
        proof = {"timestamp": str(NOW), "token": "t", "signature":
                 sign((str(NOW) + "t").encode()).hexdigest()}
        return self.question("mailgun", b'{"signature":' + json.dumps(proof).encode() + b","
                             + body.lstrip(b"{"))

    def messagebird(self, body=b"", url=URL, signed=None):
        claims = {"iss": "MessageBird", "jti": "j", "nbf": NOW, "exp": NOW + 60,
                  "url_hash": hashlib.sha256((signed or url).encode()).hexdigest()}
        if body:
            claims["payload_hash"] = hashlib.sha256(body).hexdigest()
        return self.question("messagebird", body, url, headers={
            "MessageBird-Signature-JWT": jwt(claims)})

    def twilio(self, body, url=URL, signed=None):
        pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)
        text = (signed or url) + "".join(k + v for k, v in sorted(set(pairs)))
        return self.question("twilio", body, url, headers={
            "X-Twilio-Signature": base64.b64encode(sign(text.encode(), "sha1").digest()).decode()})


@pytest.fixture(scope="module")
def signers(tmp_path_factory):
    return Signers(tmp_path_factory.mktemp("odd"))


# A member of each kind that some reader of JSON refuses, and whether RFC 8259 forbids it.
ODD = [(b'"x":"\\u0000"', False), (b'"x":"\\ud83d"', False), (b'"x":"\\udc00\\ud800"', False),
       (b'"x":"\xe9"', False), (b'"x":"\xed\xa0\x80"', False), (b'"x":"\xf5\x80"', False),
       (b'"x":99999999999999999999', False), (b'"x":-1e999', False), (b'"x":1e-999', False),
       (b'"x":1,"x":2', False), (b'"":0', False), (b'"\xe9":0', False), (b'"\\u0000":0', False),
       (b'"x":' + b"[" * 80 + b"]" * 80, False), (b'"x":"' + b"y" * 70000 + b'"', False),
       (b'"x":"a\tb"', True), (b'"x":"a\nb"', True), (b'"x":"\\x41"', True), (b'"x":"\\u12"', True),
       (b'"x":NaN', True), (b'"x":-Infinity', True), (b'"x":007', True), (b'"x":.5', True),
       (b'"x":undefined', True), (b'"x":+1', True), (b'"x":', True), (b'"x":1 "y":2', True)]
EVENTS = {
    "sendgrid": b'{"event":"delivered","sg_message_id":"m%d.recvd-1","sg_event_id":"e"%s}',
    "whatsapp": b'{"id":"m%d","status":"read"%s}',
    "postmark": b'{"RecordType":"Delivery","MessageID":"m%d"%s}',
    "vonage": b'{"message_uuid":"m%d","status":"delivered"%s}',
    "bird": b'{"type":"sms.delivered","data":{"sms_id":"m%d"}%s}',
    "mailgun": b'{"event-data":{"event":"delivered","message":{"headers":{"message-id":"<m%d>"}}'
               b'%s}}'}
AROUND = {"sendgrid": b"[%s]\r\n",
          "whatsapp": b'{"entry":[{"changes":[{"value":{"statuses":[%s]}}]}]}'}


@pytest.mark.parametrize("provider", EVENTS)
def test_an_odd_member_costs_no_event(signers, provider):
    questions, wanted = [], []
    for (member, is_error), place in itertools.product(ODD, range(3 if provider in AROUND else 1)):
        events = [EVENTS[provider] % (i, b"," + member if i == place else b"")
                  for i in range(3 if provider in AROUND else 1)]
        body = AROUND.get(provider, b"%s") % b",".join(events)
        questions.append(getattr(signers, provider)(body))
        wanted.append((len(events), is_error, body))
    for answer, (count, is_error, body) in zip(odd.ask(questions), wanted):
        assert answer["verdict"] == "good", (answer, body[:200])
        ids = [event["id"].strip("<>") for event in answer["events"]]
        assert ids == ["m%d" % i for i in range(count)], (answer, body[:200])
        assert len(answer["unread"]) == is_error, (answer, body[:200])


@pytest.mark.parametrize("provider", EVENTS)
def test_what_is_not_understood_is_never_dropped(signers, provider):
    texts = [b"{}", b'{"a":1}', b'{"event":"new","status":"new","type":"new","RecordType":"new"}']
    if provider != "mailgun":  # whose proof is in the JSON
        texts += [b"", b"no JSON", b"\x00", b'"text"', b"7", b"[1]", b'[{"event":"bounce"}]']
    if provider == "sendgrid":
        texts.remove(b"")
    for answer, text in zip(odd.ask([getattr(signers, provider)(text) for text in texts]), texts):
        assert answer["verdict"] == "good" and answer["unread"] and not answer["events"], text


CHARS = "'@:/?!()*,;$~[]|^`{}\"<>\\ -._aZ9\u00e9\U0001f514"
RAW = urllib.parse.quote
SPELLINGS = [lambda text: text, RAW, urllib.parse.quote_plus, lambda text: RAW(text, safe=""),
             lambda text: RAW(text, safe="!'()*~"), lambda text: RAW(text, safe="!'()*~;/?:@$,"),
             lambda text: RAW(text, safe="@:/?!()*,;$~[]|^`{}\\"),
             lambda text: RAW(text, safe="'@:/?!()*,;$~[]|^`{}\\"),
             lambda text: RAW(text, safe="").lower() if "%" in RAW(text, safe="")
             and text.lower() == text else RAW(text, safe=""),
             lambda text: RAW(text, safe="").replace("%20", "+").replace("~", "%7E")]


def values():
    rng = random.Random(18)
    yield from ("it's", "b@c:d", "a b", "\u00fc", "(x)", "[1]", "a/b?c", "a,b;c", "it's @ (1:2)")
    for _ in range(40):
        yield "".join(rng.choice(CHARS) for _ in range(rng.randrange(1, 9)))


def cases():
    """(signed, requested): two spellings of one URL."""
    for value in values():
        urls = list(dict.fromkeys("%s?a=%s&b=1" % (URL, spell(value)) for spell in SPELLINGS))
        yield from itertools.product(urls, urls)


@pytest.mark.parametrize("provider", ["twilio", "messagebird"])
def test_a_url_is_signed_in_one_spelling_and_requested_in_another(signers, provider):
    body = b"MessageSid=SM1&MessageStatus=delivered" if provider == "twilio" else b""
    pairs = list(cases())
    answers = odd.ask([getattr(signers, provider)(body, url=requested, signed=signed)
                       for signed, requested in pairs])
    assert len(pairs) > 1000
    wrong = [pair for pair, answer in zip(pairs, answers) if answer["verdict"] != "good"]
    assert not wrong, (len(wrong), wrong[:5])


@pytest.mark.parametrize("provider", ["twilio", "messagebird"])
def test_another_url_is_not_believed(signers, provider):
    rng = random.Random(19)
    body = b"MessageSid=SM1&MessageStatus=delivered" if provider == "twilio" else b""
    pairs = [("?a=b&c=d", "?a=b%26c=d"), ("?a=b+c", "?a=b%2Bc"), ("?a=b", "?a=B"), ("?a=b", "?a=c"),
             ("?a=%2527", "?a=%27"), ("?a='", "?a="), ("?a=b", "?a=b&c=d"), ("", "?a=b"),
             ("?a=%3D", "?a=="), ("?a=%23", "?a=#")]
    for value in values():
        at = rng.randrange(len(value))
        other = value[:at] + rng.choice([c for c in CHARS if c != value[at]]) + value[at + 1:]
        pairs += [("?a=" + spell(value), "?a=" + spell(other)) for spell in SPELLINGS[1:6]]
    answers = odd.ask([getattr(signers, provider)(body, url=URL + requested, signed=URL + signed)
                       for signed, requested in pairs])
    wrong = [pair for pair, answer in zip(pairs, answers) if answer["verdict"] == "good"]
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("off, verdict", [(0, "good"), (-55, "good"), (110, "good"), (-65, "refused"),
                                          (125, "refused")])
def test_clocks_may_differ_by_a_minute(signers, off, verdict):
    (answer,) = odd.ask([{**signers.messagebird(url=URL + "?id=1&status=sent"), "now": NOW + off}])
    assert answer["verdict"] == verdict


TWILIO = """
const twilio = require('twilio');
let text = ''; process.stdin.on('data', d => text += d).on('end', () => {
  for (const [url, params] of JSON.parse(text))
    console.log(twilio.getExpectedTwilioSignature(process.argv[1], url, params));
});
"""


def test_twilios_own_signature_is_ours(signers):
    try:
        modules = npm.modules()
    except npm.Unavailable as why:
        pytest.skip(str(why))
    params = {"MessageSid": "SM1", "MessageStatus": "delivered", "Body": "caf\u00e9 & 'x'"}
    body = urllib.parse.urlencode(params).encode()
    pairs = list(cases())[::7]
    done = subprocess.run(
        [shutil.which("node"), "-e", TWILIO, SECRET], stdout=subprocess.PIPE, check=True,
        input=json.dumps([[signed, params] for signed, _ in pairs]).encode(),
        env={"NODE_PATH": modules, "PATH": "/usr/bin:/bin"}, timeout=60)
    questions = []
    for (_, requested), proof in zip(pairs, done.stdout.decode().split()):
        question = signers.twilio(body, url=requested)
        question["headers"] = {"X-Twilio-Signature": proof}
        questions.append(question)
    assert {answer["verdict"] for answer in odd.ask(questions)} == {"good"}
