# SPDX-License-Identifier: MIT
"""Each further provider: accepts a good request, refuses bad ones, signs its callbacks."""

import base64
import functools
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import time
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac as chmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from provider_server import basic, http_call, secret

SPEC = os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "spec")


def post(url, value, headers=None, method="POST"):
    body = value if isinstance(value, (bytes, str)) else json.dumps(value)
    return http_call(url, method, body, {"Content-Type": "application/json", **(headers or {})})


# Bird v1


def bird(p, key=None, token=None, **changes):
    entry = p.info["bird"]
    body = {"to": "+31612345678", "from": "Tocsin", "text": "hello", "category": "transactional",
            **changes}
    headers = {"Authorization": "Bearer " + (token or secret(entry, "api_key_file"))}
    if key:
        headers["Idempotency-Key"] = key
    return post(entry["base_url"] + "/v1/sms/messages",
                {k: v for k, v in body.items() if v is not None}, headers)


def test_bird_replays_the_first_answer_for_a_key(p):
    first, again, other = bird(p, "k1"), bird(p, "k1"), bird(p, "k1", text="other")
    assert first.status == again.status == 202 and first.json["id"] == again.json["id"]
    assert first.json["segments"] == {"count": 1, "characters": 5, "encoding": "GSM_7BIT"}
    assert (other.status, other.json["error"]["code"]) == (409, "E01005")
    assert p.requests("bird")[1]["extra"]["replay"] is True


@pytest.mark.parametrize("changes, status, name", [
    ({"to": "31612345678"}, 422, "ValidationError"), ({"text": None}, 422, "ValidationError"),
    ({"category": None}, 422, "ValidationError"), ({"from": None}, 422, "ValidationError"),
    ({"text": "a" * 1837}, 422, "ValidationError"), ({"colour": 1}, 422, "ValidationError"),
    ({"media_urls": []}, 422, "SMSUnsupportedFeature"),
    ({"token": "bk_us1_x"}, 401, "Unauthorized")])
def test_bird_refuses(p, changes, status, name):
    reply = bird(p, **changes)
    assert (reply.status, reply.json["error"]["name"]) == (status, name)


def test_bird_webhooks_are_standard(p, receiver):
    p.callback("bird", url=receiver.url, id="sms_1", to="+31612345678", events=[
        "sms.delivered", {"type": "failed", "error": "unreachable"}])
    key = base64.b64decode(secret(p.info["bird"], "webhook_secret_file").removeprefix("whsec_"))
    for _, _, headers, body in receiver.wait(2):
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == "v1," + mac
    assert json.loads(receiver.received[1][3])["data"]["error"]["code"] == "unreachable"


# MessageBird


def messagebird(p, key=None, **changes):
    entry = p.info["messagebird"]
    body = {"originator": "Tocsin", "recipients": ["31612345678"], "body": "hello", **changes}
    return post(entry["base_url"] + "/messages", {k: v for k, v in body.items() if v is not None},
                {"Authorization": "AccessKey " + (key or secret(entry, "access_key_file"))})


def test_messagebird_accepts_and_reports(p, receiver):
    p.script("messagebird", callbacks=["delivered"])
    reply = messagebird(p, reference="r1", reportUrl=receiver.url)
    assert reply.status == 201 and len(reply.json["id"]) == 32
    assert reply.json["recipients"]["items"][0]["recipient"] == 31612345678
    [(method, path, headers, _)] = receiver.wait(1)
    claims = jwt.decode(headers["messagebird-signature-jwt"],
                        secret(p.info["messagebird"], "signing_key_file"), algorithms=["HS256"],
                        issuer="MessageBird")
    url = receiver.url.partition("/callback")[0] + path
    assert method == "GET" and claims["url_hash"] == hashlib.sha256(url.encode()).hexdigest()
    assert "payload_hash" not in claims and "status=delivered" in path


@pytest.mark.parametrize("changes, status, code", [
    ({"recipients": []}, 422, 9), ({"recipients": ["+31612345678"]}, 422, 10),
    ({"body": None}, 422, 9), ({"originator": "far too long a name"}, 422, 10),
    ({"key": "x"}, 401, 2)])
def test_messagebird_refuses(p, changes, status, code):
    reply = messagebird(p, **changes)
    assert (reply.status, reply.json["errors"][0]["code"]) == (status, code)


# Vonage


@functools.lru_cache(1)
def private_key(pem):
    """Read once: to read an RSA key is to prove it again."""
    return serialization.load_pem_private_key(pem.encode(), None)


def vonage(p, claims=None, headers=None, **changes):
    entry = p.info["vonage"]
    now = int(time.time())
    token = jwt.encode({"application_id": entry["application_id"], "iat": now, "exp": now + 900,
                        "jti": secrets.token_hex(8), **(claims or {})},
                       private_key(secret(entry, "private_key_file")), "RS256")
    body = {"message_type": "text", "channel": "sms", "to": "447700900000", "from": "Tocsin",
            "text": "hello", **changes}
    return post(entry["base_url"] + "/v1/messages", {k: v for k, v in body.items()
                                                     if v is not None},
                headers or {"Authorization": "Bearer " + token})


def test_vonage_accepts_a_jwt_or_basic(p):
    entry = p.info["vonage"]
    assert vonage(p).status == 202
    assert vonage(p, headers={"Authorization": basic(
        entry["api_key"], secret(entry, "api_secret_file"))}).json["message_uuid"]


@pytest.mark.parametrize("changes, status", [
    ({"to": "+447700900000"}, 422), ({"text": None}, 422), ({"channel": "mms"}, 422),
    ({"extra": 1}, 422), ({"ttl": 1}, 422), ({"client_ref": "x" * 101}, 422),
    ({"claims": {"exp": 1}}, 401), ({"claims": {"application_id": "x"}}, 401)])
def test_vonage_refuses(p, changes, status):
    reply = vonage(p, **changes)
    assert reply.status == reply.json.get("status", status) == status
    assert reply.headers["content-type"] == "application/problem+json"


def test_vonage_named_codes_and_signed_callbacks(p, receiver):
    p.script("vonage", answers=["vonage:1240"])
    assert vonage(p).json["type"].endswith("#1240")
    p.callback("vonage", url=receiver.url, id="u", to="447700900000", events=["delivered"])
    [(_, _, headers, body)] = receiver.wait(1)
    claims = jwt.decode(headers["authorization"].split()[1], secret(
        p.info["vonage"], "signature_secret_file"), algorithms=["HS256"])
    assert claims["payload_hash"] == hashlib.sha256(body).hexdigest()
    assert claims["api_key"] == p.info["vonage"]["api_key"]


# APNs


def apns_token(p, **claims):
    entry = p.info["apns"]
    return jwt.encode({"iss": entry["team_id"], "iat": int(time.time()), **claims},
                      secret(entry, "key_file"), "ES256", {"kid": entry["key_id"]})


def apns(p, device=None, body='{"aps":{"alert":"x"}}', token=None, count=1, extra=(), **headers):
    """[(status, body)] of requests made by curl over one HTTP/2 connection."""
    entry = p.info["apns"]
    headers = {"authorization": "bearer " + (token or apns_token(p)), "apns-topic": entry["topic"],
               "apns-push-type": "alert", **{k.replace("_", "-"): v for k, v in headers.items()}}
    arguments = ["curl", "-sS", "--http2", "--cacert", entry["ca_file"], "-d", body,
                 "-w", "\n%{http_code}\n", "--parallel-max", "4", *extra]
    for name, value in headers.items():
        if value is not None:
            arguments += ["-H", f"{name}: {value}"]
    devices = [device] * count if device else entry["valid_tokens"][:count]
    for one in devices:
        arguments.append(f"{entry['tls_base_url']}/3/device/{one}")
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.split("\n")
    return [(int(lines[n + 1]), json.loads(lines[n]) if lines[n] else None)
            for n in range(0, len(lines) - 1, 2)]


def test_apns_accepts_many_on_one_connection(p):
    assert [s for s, _ in apns(p, count=5)] == [200] * 5
    records = p.requests("apns")
    assert len({r["connection"] for r in records}) == 1 and records[0]["proto"] == "HTTP/2"


@pytest.mark.parametrize("device, status, reason", [
    ("dead", 410, "Unregistered"), ("cafe", 410, "ExpiredToken"), ("badd", 400, "BadDeviceToken"),
    ("beef", 400, "DeviceTokenNotForTopic"), ("xyz", 400, "BadDeviceToken")])
def test_apns_refuses_devices(p, device, status, reason):
    [(got, body)] = apns(p, device + "0" * 60)
    assert (got, body["reason"]) == (status, reason)
    assert ("timestamp" in body) == (status == 410)


@pytest.mark.parametrize("headers, reason", [
    ({"apns_topic": None}, "MissingTopic"), ({"apns_topic": "other"}, "TopicDisallowed"),
    ({"apns_push_type": "odd"}, "InvalidPushType"), ({"apns_priority": "7"}, "BadPriority"),
    ({"apns_push_type": "background", "apns_priority": "10"}, "BadPriority"),
    ({"apns_id": "X"}, "BadMessageId"), ({"apns_expiration": "soon"}, "BadExpirationDate"),
    ({"apns_collapse_id": "x" * 65}, "BadCollapseId"), ({"body": ""}, "PayloadEmpty"),
    ({"body": json.dumps({"aps": {"alert": "x" * 4096}})}, "PayloadTooLarge"),
    ({"authorization": None}, "MissingProviderToken")])
def test_apns_refuses_requests(p, headers, reason):
    assert apns(p, **headers)[0][1]["reason"] == reason


def test_apns_verifies_provider_tokens(p):
    assert apns(p, token=apns_token(p, iat=int(time.time()) - 3700))[0][1]["reason"] \
        == "ExpiredProviderToken"
    assert apns(p, token=apns_token(p, iss="OTHER"))[0][1]["reason"] == "InvalidProviderToken"
    assert apns(p, token="a.b.c")[0][1]["reason"] == "InvalidProviderToken"


def test_apns_scripts_a_timestamp_and_goaway(p):
    p.script("apns", answers=[{"error": "Unregistered", "timestamp": 1234}])
    assert apns(p) == [(410, {"reason": "Unregistered", "timestamp": 1234})]
    p.script("apns", answers=[{"fault": "goaway_after", "text": "Shutdown"}])
    assert [s for s, _ in apns(p, count=3)] == [200] * 3
    assert len({r["connection"] for r in p.requests("apns", verdict="accepted")}) == 2


def test_apns_opens_streams_only_after_a_success(p):
    """A client that sends two at once on a new connection is refused the second stream."""
    import h2.config
    import h2.connection
    import h2.events
    import socket
    import ssl
    entry = p.info["apns"]
    context = ssl.create_default_context(cafile=entry["ca_file"])
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", entry["port"])) as raw, \
            context.wrap_socket(raw, server_hostname="localhost") as sock:
        h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        h2c.initiate_connection()
        headers = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"),
                   (":path", "/3/device/" + entry["valid_tokens"][0]),
                   ("authorization", "bearer " + apns_token(p)), ("apns-topic", entry["topic"])]
        sock.sendall(h2c.data_to_send())
        limits, refused, done = [], [], []
        while not limits:
            for event in h2c.receive_data(sock.recv(65536)):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    limits += [c.new_value for c in event.changed_settings.values()
                               if c.setting == 3]
        sock.sendall(h2c.data_to_send())  # the acknowledgement; from here on the limit binds
        h2c.remote_settings.max_concurrent_streams = 9
        h2c.remote_settings.acknowledge()
        for stream in (1, 3):
            h2c.send_headers(stream, headers)
        h2c.send_data(1, b'{"aps":{}}', end_stream=True)
        sock.sendall(h2c.data_to_send())
        while not (done and len(limits) > 1):
            for event in h2c.receive_data(sock.recv(65536)):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    limits += [c.new_value for c in event.changed_settings.values()
                               if c.setting == 3]
                elif isinstance(event, h2.events.StreamReset):
                    refused.append((event.stream_id, int(event.error_code)))
                elif isinstance(event, h2.events.StreamEnded):
                    done.append(event.stream_id)
            sock.sendall(h2c.data_to_send())
        assert limits == [1, 1000] and refused == [(3, 7)] and done == [1]


# Web Push


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encrypt(subscription, plain, padding_bytes=0):
    """RFC 8291, written again here so that the server's decryption is not checked by itself."""
    def mac(key, data):
        context = chmac.HMAC(key, hashes.SHA256())
        context.update(data)
        return context.finalize()
    ua = unb64u(subscription["keys"]["p256dh"])
    key = ec.generate_private_key(ec.SECP256R1())
    mine = key.public_key().public_bytes(serialization.Encoding.X962,
                                         serialization.PublicFormat.UncompressedPoint)
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(), ua))
    salt = os.urandom(16)
    ikm = mac(mac(unb64u(subscription["keys"]["auth"]), shared),
              b"WebPush: info\0" + ua + mine + b"\1")
    prk = mac(salt, ikm)
    cek = mac(prk, b"Content-Encoding: aes128gcm\0\1")[:16]
    nonce = mac(prk, b"Content-Encoding: nonce\0\1")[:12]
    record = AESGCM(cek).encrypt(nonce, plain + b"\2" + b"\0" * padding_bytes, None)
    return salt + (4096).to_bytes(4, "big") + b"\x41" + mine + record


def webpush(p, subscription=None, plain=b'{"a":1}', body=None, claims=None, **headers):
    entry = p.info["webpush"]
    subscription = subscription or entry["subscriptions"][0]
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(subscription["endpoint"]))
    token = jwt.encode({"aud": origin, "exp": int(time.time()) + 3600,
                        "sub": entry["vapid_subject"], **(claims or {})},
                       secret(entry, "vapid_private_key_file"), "ES256")
    all_headers = {"TTL": "60", "Content-Encoding": "aes128gcm",
                   "Content-Type": "application/octet-stream",
                   "Authorization": f"vapid t={token}, k={entry['vapid_public_key']}",
                   **{k.replace("_", "-"): v for k, v in headers.items()}}
    return http_call(subscription["endpoint"], "POST",
                     encrypt(subscription, plain, 7) if body is None else body,
                     {k: v for k, v in all_headers.items() if v is not None})


def test_webpush_decrypts_what_it_accepts(p):
    reply = webpush(p, Topic="t", Urgency="high")
    assert reply.status == 201 and "/message/" in reply.headers["location"]
    [record] = p.requests("webpush")
    assert (record["body_kind"], record["body"]) == ("push", {"a": 1})
    assert webpush(p, p.info["webpush"]["tls_subscriptions"][1]).status == 201


def test_webpush_decrypts_the_vector_of_the_rfc():
    from webpush import decrypt
    key = ec.derive_private_key(int.from_bytes(unb64u(
        "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), "big"), ec.SECP256R1())
    body = unb64u("DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3v"
                  "CYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuw"
                  "XPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
    assert decrypt(body, key, unb64u("BTBZMqHH6r4Tts7J_aSIgg")) == \
        b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize("changes, status", [
    ({"TTL": None}, 400), ({"TTL": "x"}, 400), ({"Urgency": "max"}, 400), ({"Topic": "a b"}, 400),
    ({"Content_Encoding": "gzip"}, 415), ({"Authorization": None}, 401),
    ({"Authorization": "WebPush x"}, 401), ({"claims": {"aud": "https://x"}}, 403),
    ({"claims": {"exp": int(time.time()) + 100_000}}, 403), ({"claims": {"sub": "x"}}, 403),
    ({"claims": {"sub": "mailto:a@localhost"}}, 403), ({"body": b"x" * 5000}, 413),
    ({"body": b"x" * 200}, 400)])
def test_webpush_refuses(p, changes, status):
    assert webpush(p, **changes).status == status


def test_webpush_subscriptions_come_and_go(p):
    assert webpush(p, p.info["webpush"]["gone_subscription"]).status == 410
    [made] = p.act("webpush", "subscribe", count=1)["subscriptions"]
    assert webpush(p, made).status == 201
    p.act("webpush", "unsubscribe", endpoint=made["endpoint"])
    assert webpush(p, made).status == 410
    assert webpush(p, {**made, "endpoint": made["endpoint"] + "x"}).status == 404


# Mailgun


def mailgun(p, domain="mg.example.org", key=None, **changes):
    entry = p.info["mailgun"]
    fields = {"from": "f@mg.example.org", "to": "A <a@example.org>", "subject": "s", "text": "t",
              "v:delivery": "1", **{k.replace("__", ":"): v for k, v in changes.items()}}
    return http_call(f"{entry['base_url']}/v3/{domain}/messages", body=urlencode(
        {k: v for k, v in fields.items() if v is not None}), headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": basic("api", key or secret(entry, "api_key_file"))})


def test_mailgun_accepts_forms_and_multipart(p):
    reply = mailgun(p)
    assert reply.status == 200 and reply.json["message"] == "Queued. Thank you."
    entry = p.info["mailgun"]
    done = subprocess.run(
        ["curl", "-sS", "-u", "api:" + secret(entry, "api_key_file"), "-F", "from=f@x.org", "-F",
         "to=a@example.org", "-F", "subject=s", "--form-string", "html=<p>x</p>", "-F",
         "attachment=@/dev/stdin;filename=a.txt",
         entry["base_url"] + "/v3/mg.example.org/messages"],
        input=b"attached", capture_output=True, timeout=120, check=True)
    assert json.loads(done.stdout)["id"].startswith("<")
    first, second = p.requests("mailgun")
    assert first["target"] == second["target"] == "a@example.org"
    assert second["extra"]["files"][0][1] == "a.txt" and not second["warnings"]


@pytest.mark.parametrize("changes, status", [
    ({"to": None}, 400), ({"to": "nobody"}, 400), ({"from": None}, 400), ({"text": None}, 400),
    ({"v__x": "y" * 17000}, 400), ({"domain": "other.org"}, 404), ({"key": "x"}, 401)])
def test_mailgun_refuses(p, changes, status):
    assert mailgun(p, **changes).status == status


def test_mailgun_rate_limit_names_a_date(p):
    p.script("mailgun", answers=["rate_limit"])
    assert mailgun(p).json["message"].endswith(" UTC")


def test_mailgun_webhooks_are_signed(p, receiver):
    from mailgun import sign
    assert sign("key-test", "1529006854", "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0") \
        == "2df0e54f503d31abdc1519117a730ae38748e41e86f9ae25431dbd26059468af"
    p.callback("mailgun", url=receiver.url, id="<1@mg>", to="a@example.org", events=["failed"])
    made = json.loads(receiver.wait(1)[0][3])
    signature = made["signature"]
    assert signature["signature"] == sign(secret(p.info["mailgun"], "webhook_signing_key_file"),
                                          signature["timestamp"], signature["token"])
    assert made["event-data"]["severity"] == "permanent"


# SES


def ses(p, spoil=None, raw=None, **changes):
    from ses import canonical_request, signature
    entry = p.info["ses"]
    host = urlsplit(entry["base_url"]).netloc
    value = {"FromEmailAddress": "F <f@example.org>", "Destination": {"ToAddresses": [
        "a@example.org"]}, "Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {
            "Text": {"Data": "t"}}}}, **changes}
    body = json.dumps(raw or {k: v for k, v in value.items() if v is not None}).encode()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - (600 if spoil == "old"
                                                                        else 0)))
    headers = [("host", host), ("content-type", "application/json"), ("x-amz-date", stamp)]
    signed = ["content-type", "host", "x-amz-date"]
    made = signature(secret(entry, "secret_access_key_file"), stamp, "us-east-1", "ses",
                     canonical_request("POST", "/v2/email/outbound-emails", "", headers, signed,
                                       body))
    key = "AKIAX" if spoil == "key" else entry["access_key_id"]
    auth = (f"AWS4-HMAC-SHA256 Credential={key}/{stamp[:8]}/us-east-1/ses/aws4_request, "
            f"SignedHeaders={';'.join(signed)}, Signature={made}")
    if spoil == "body":
        body += b" "
    return post(entry["base_url"] + "/v2/email/outbound-emails", body,
                {"X-Amz-Date": stamp, **({} if spoil == "none" else {"Authorization": auth})})


def test_ses_accepts(p):
    reply = ses(p, EmailTags=[{"Name": "delivery", "Value": "1"}], ConfigurationSetName="tocsin")
    assert reply.status == 200 and reply.json["MessageId"]


@pytest.mark.parametrize("spoil, status, name", [
    ("body", 403, "InvalidSignatureException"), ("old", 403, "InvalidSignatureException"),
    ("key", 403, "UnrecognizedClientException"),
    ("none", 403, "MissingAuthenticationTokenException")])
def test_ses_verifies_sigv4(p, spoil, status, name):
    reply = ses(p, spoil)
    assert reply.status == status and reply.headers["x-amzn-errortype"].startswith(name)


@pytest.mark.parametrize("changes, name", [
    ({"Destination": None}, "BadRequestException"), ({"Content": {}}, "BadRequestException"),
    ({"Content": "x"}, "SerializationException"), ({"FromEmailAddress": None}, "BadRequest"),
    ({"Destination": {"ToAddresses": ["a@b.c"] * 51}}, "BadRequestException"),
    ({"ConfigurationSetName": "other"}, "NotFoundException"),
    ({"FromEmailAddress": "x@unverified.example"}, "MessageRejected"),
    ({"Content": {"Raw": {"Data": "%"}}}, "SerializationException")])
def test_ses_refuses(p, changes, name):
    assert ses(p, **changes).headers["x-amzn-errortype"].startswith(name)


def test_ses_canonical_requests_and_signatures_of_the_published_suite():
    from ses import canonical_request, signature
    suite = os.path.join(SPEC, "aws-sigv4")
    if not os.path.isdir(suite):
        pytest.skip("the published SigV4 suite is not beside this checkout")
    checked = 0
    for name in sorted(os.listdir(suite)):
        place = os.path.join(suite, name, name)
        if not os.path.exists(place + ".req") or any(
                part in name for part in ("normalize", "multiline", "session-token")):
            continue
        with open(place + ".req", "rb") as file:
            head, _, body = file.read().replace(b"\r\n", b"\n").partition(b"\n\n")
        lines = head.decode().split("\n")
        method, _, target = lines[0].rpartition(" ")[0].partition(" ")
        headers = [(k.lower(), v) for k, _, v in (line.partition(":") for line in lines[1:])]
        with open(place + ".authz", encoding="utf-8") as file:
            want = file.read()
        signed = want.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        path, _, query = target.partition("?")
        canonical = canonical_request(method, path, query, headers, signed, body)
        with open(place + ".creq", encoding="utf-8") as file:
            assert canonical == file.read().replace("\r\n", "\n"), name
        stamp = dict(headers)["x-amz-date"]
        assert want.endswith(signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", stamp,
                                       "us-east-1", "service", canonical)), name
        checked += 1
    assert checked >= 15


@pytest.mark.parametrize("version, hashing", [("1", hashes.SHA1()), ("2", hashes.SHA256())])
def test_ses_events_come_signed_through_sns(p, receiver, version, hashing):
    p.callback("ses", url=receiver.url, id="m-1", to="a@example.org", signature_version=version,
               events=["SubscriptionConfirmation", "Bounce"])
    confirmation, bounce = [json.loads(c[3]) for c in receiver.wait(2)]
    key = x509.load_pem_x509_certificate(http_call(
        bounce["SigningCertURL"], "GET").body).public_key()
    for message, names in ((bounce, "Message MessageId Timestamp TopicArn Type"), (
            confirmation, "Message MessageId SubscribeURL Timestamp Token TopicArn Type")):
        text = "".join(f"{n}\n{message[n]}\n" for n in names.split())
        key.verify(base64.b64decode(message["Signature"]), text.encode(), padding.PKCS1v15(),
                   hashing)
    assert json.loads(bounce["Message"])["bounce"]["bounceType"] == "Permanent"
    assert http_call(confirmation["SubscribeURL"], "GET").status == 200
    assert p.requests("ses", op="confirm")


# Postmark


def postmark(p, token=None, path="/email", value=None, **changes):
    entry = p.info["postmark"]
    body = value or {"From": "F <f@example.org>", "To": "a@example.org", "Subject": "s",
                     "TextBody": "t", "MessageStream": "outbound", **changes}
    if isinstance(body, dict):
        body = {k: v for k, v in body.items() if v is not None}
    return post(entry["base_url"] + path, body, {
        "Accept": "application/json",
        "X-Postmark-Server-Token": token or secret(entry, "server_token_file")})


def test_postmark_accepts_one_and_a_batch(p):
    assert postmark(p).json["ErrorCode"] == 0
    message = {"From": "f@example.org", "To": "a@example.org", "TextBody": "t"}
    codes = [r["ErrorCode"] for r in postmark(p, path="/email/batch", value=[
        message, {**message, "To": ""}]).json]
    assert codes == [0, 300]


@pytest.mark.parametrize("changes, status, code", [
    ({"To": None}, 422, 300), ({"To": "x"}, 422, 300), ({"TextBody": None}, 422, 300),
    ({"From": "x@unverified.example"}, 422, 400), ({"MessageStream": "other"}, 422, 1235),
    ({"TrackLinks": "All"}, 422, 300), ({"Subject": 1}, 422, 403), ({"token": "x"}, 401, 10),
    ({"Attachments": [{"Name": "a.exe", "ContentType": "x", "Content": ""}]}, 422, 411)])
def test_postmark_refuses(p, changes, status, code):
    reply = postmark(p, **changes)
    assert (reply.status, reply.json["ErrorCode"]) == (status, code)


def test_postmark_webhooks_carry_basic_auth(p, receiver):
    p.callback("postmark", url=receiver.url, id="m", to="a@example.org",
               events=["Delivery", "HardBounce", "SpamComplaint"])
    p.callback("postmark", url=receiver.url, id="m", events=["Delivery"], tamper="missing")
    calls = receiver.wait(4)
    want = basic("postmark", secret(p.info["postmark"], "webhook_password_file"))
    assert [c[2].get("authorization") for c in calls] == [want] * 3 + [None]
    assert [json.loads(c[3])["RecordType"] for c in calls[:3]] == ["Delivery", "Bounce",
                                                                   "SpamComplaint"]


# Chat


def test_slack(p):
    entry = p.info["slack"]
    assert post(entry["webhook_url"], {"text": "hi"}).body == b"ok"
    for value, status, text in (({}, 400, b"no_text"), (b"{", 400, b"invalid_payload"),
                                ({"text": "x", "blocks": [1]}, 400, b"invalid_blocks")):
        reply = post(entry["webhook_url"], value)
        assert (reply.status, reply.body) == (status, text)
    assert post(entry["dead_webhook_url"], {"text": "hi"}).body == b"no_service"
    assert post(entry["webhook_url"] + "x", {"text": "hi"}).status == 403
    p.script("slack", answers=["rate_limited"])
    assert post(entry["webhook_url"], {"text": "hi"}).headers["retry-after"] == "1"


def test_teams(p):
    entry = p.info["teams"]
    card = {"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None,
        "content": {"type": "AdaptiveCard", "version": "1.4", "body": []}}]}
    assert post(entry["webhook_url"], card).status == 202
    assert post(entry["webhook_url"], {"text": "x"}).status == 202
    first, second = p.requests("teams")
    assert first["extra"]["posted"] and not second["extra"]["posted"] and second["warnings"]
    assert post(entry["webhook_url"].replace("%2F", "/"), card).status == 401
    assert post(entry["dead_webhook_url"], card).status == 404
    assert post(entry["webhook_url"], b"{").status == 400
    assert post(entry["legacy_webhook_url"], {"text": "x"}).body == b"1"
    p.script("teams", answers=["legacy_throttled"])
    assert b"HTTP error 429" in post(entry["legacy_webhook_url"], {"text": "x"}).body


def whatsapp(p, token=None, **changes):
    entry = p.info["whatsapp"]
    body = {"messaging_product": "whatsapp", "to": "+31612345678", "type": "text",
            "text": {"body": "hi"}, **changes}
    return post(f"{entry['base_url']}/v23.0/{entry['phone_number_id']}/messages",
                {k: v for k, v in body.items() if v is not None},
                {"Authorization": "Bearer " + (token or secret(entry, "access_token_file"))})


def test_whatsapp_accepts_text_and_templates(p):
    assert whatsapp(p).json["messages"][0]["id"].startswith("wamid.")
    template = {"name": "order_ready", "language": {"code": "en"}, "components": [
        {"type": "body", "parameters": [{"type": "text", "text": "1"}]}]}
    assert whatsapp(p, type="template", text=None, template=template).status == 200


@pytest.mark.parametrize("changes, code", [
    ({"to": None}, 131008), ({"to": "x"}, 131009), ({"type": "song"}, 131051),
    ({"text": {}}, 131008), ({"subject": "x"}, 100), ({"token": "x"}, 190),
    ({"type": "template", "template": {"name": "no", "language": {"code": "en"}}}, 132001),
    ({"type": "template", "template": {"name": "order_ready", "language": {"code": "en"}}}, 132000),
    ({"messaging_product": None}, 100)])
def test_whatsapp_refuses(p, changes, code):
    assert whatsapp(p, **changes).json["error"]["code"] == code


def test_whatsapp_webhooks_are_signed_over_the_bytes(p, receiver):
    p.callback("whatsapp", url=receiver.url, id="wamid.1", to="31612345678", events=[
        "verify", "sent", {"status": "failed", "code": 131026}])
    verify, statuses = receiver.wait(2)
    assert dict(parse_qsl(urlsplit(verify[1]).query))["hub.mode"] == "subscribe"
    key = secret(p.info["whatsapp"], "app_secret_file")
    assert statuses[2]["x-hub-signature-256"] == "sha256=" + hmac.new(
        key.encode(), statuses[3], hashlib.sha256).hexdigest()
    assert b"\\u00e9" in statuses[3]


# All of them


@pytest.mark.parametrize("name", ["bird", "messagebird", "vonage", "webpush", "mailgun", "ses",
                                  "postmark", "whatsapp"])
def test_every_named_error_can_be_answered(p, name):
    """Each name in a provider's table makes an answer in its own shape, and no traceback."""
    names = p.call("GET", "/errors?provider=" + name)
    send = globals()[name]
    p.script(name, answers=names)
    for error in names:
        reply = send(p)
        assert 400 <= reply.status < 599, error
    assert send(p).status < 300


def test_quoted_targets_can_be_selected(p):
    whatsapp(p)
    assert p.requests("whatsapp", target="31612345678")
    assert not p.requests("whatsapp", target=quote("31612345678#"))


def fcm_message(p):
    from test_providers import fcm_send
    return fcm_send(p, {"token": p.info["fcm"]["valid_tokens"][0], "data": {"k": "v"},
                        "notification": {"title": "t"}, "android": {"ttl": "1s"},
                        "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {}}}})


def whatsapp_template(p):
    return whatsapp(p, type="template", text=None, template={
        "name": "order_ready", "language": {"code": "en"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "1"}]}]})


@pytest.mark.parametrize("name, send", [
    ("bird", lambda p: bird(p, tags=[{"name": "a", "value": "b"}], metadata={"a": 1})),
    ("messagebird", lambda p: messagebird(p, reference="r")),
    ("vonage", lambda p: vonage(p, sms={"encoding_type": "auto"}, client_ref="x", ttl=60)),
    ("fcm", fcm_message), ("whatsapp", whatsapp), ("whatsapp", whatsapp_template),
    ("postmark", lambda p: postmark(p, Headers=[{"Name": "a", "Value": "b"}], Metadata={"a": "b"},
                                    Attachments=[{"Name": "a.txt", "ContentType": "text/plain",
                                                  "Content": "aGk="}])),
    ("slack", lambda p: post(p.info["slack"]["webhook_url"], {
        "text": "x", "blocks": [{"type": "section"}], "attachments": [{}]})),
    ("teams", lambda p: post(p.info["teams"]["webhook_url"], {"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": {"type": "AdaptiveCard", "version": "1.4", "body": []}}]}))])
def test_no_body_breaks_the_server(p, name, send):
    """Every mutation of a good body is answered as a provider would, never by a fault of ours."""
    from test_openapi import mutations
    assert send(p).status < 300
    record = p.requests(name, op="send")[-1]
    url = p.info[name]["base_url"] + record["path"]
    headers = {k: v for k, v in record["headers"].items()
               if k not in ("host", "content-length", "idempotency-key")}
    for path, body in mutations(record["body"]):
        assert http_call(url, body=json.dumps(body), headers=headers).status != 599, (path, body)
    for body in (b"", b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b'{"a":1,"a":2}',
                 b"[" * 100_000):
        assert 400 <= http_call(url, body=body, headers=headers).status < 599 \
            or name == "teams", body[:50]


def test_errors_name_what_is_at_fault_when_told(p):
    p.script("messagebird", answers=[{"error": "invalid_params", "parameter": "recipients"}])
    assert messagebird(p).json["errors"][0]["parameter"] == "recipients"
    p.script("bird", answers=[{"error": "rate_limit", "retry_after": 9}])
    assert bird(p).headers["retry-after"] == "9"
    p.script("webpush", answers=[{"status": 307, "headers": {"Location": "http://127.0.0.1:1/"}}])
    reply = webpush(p)
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/")
