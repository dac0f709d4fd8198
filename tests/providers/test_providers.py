# SPDX-License-Identifier: MIT
"""The provider server itself, and the providers of the first hour: they accept what the real ones
accept, refuse what the real ones refuse, and misbehave exactly as scripted."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import random
import smtplib
import socket
import ssl
import stat
import subprocess
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest

from provider_server import ProviderServer, basic, http_call, secret


# The server


def test_credentials_are_private_and_the_state_file_is_complete(p):
    for name, entry in p.info.items():
        if not isinstance(entry, dict):
            continue
        for key, value in entry.items():
            if key.endswith("_file") and key != "ca_file":
                assert stat.S_IMODE(os.stat(value).st_mode) == 0o600, (name, key)


def test_sigterm_ends_it_cleanly_and_removes_the_state_file(tmp_path):
    server = ProviderServer(tmp_path)
    sock = socket.create_connection(("127.0.0.1", urlsplit(server.info["twilio"]["base_url"]).port))
    assert server.stop() == 0
    assert not os.path.exists(tmp_path / "providers.json")
    sock.close()


def test_control_refuses_what_it_does_not_know(p):
    for body in ({"provider": "nobody"}, {"provider": "twilio", "answers": ["no such"]},
                 {"provider": "twilio", "anwsers": [500]}, {"provider": "twilio", "tls": "odd"},
                 {"provider": "twilio", "fault": "explode"}):
        with pytest.raises(AssertionError):
            p.call("POST", "/behaviour", body)


# Twilio


def twilio_send(p, fields=None, auth=None, **kw):
    entry = p.info["twilio"]
    form = {"To": "+15005550010", "From": entry["from"], "Body": "hello"}
    form.update(fields or {})
    form = {k: v for k, v in form.items() if v is not None}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": auth or basic(
        entry["account_sid"], secret(entry, "auth_token_file"))}
    url = kw.pop("base", entry["base_url"])
    return http_call(f"{url}/2010-04-01/Accounts/{entry['account_sid']}/Messages.json",
                     body=urlencode(form), headers=headers, **kw)


def test_twilio_accepts_and_answers_in_its_shape(p):
    reply = twilio_send(p, {"Body": "a" * 161})
    assert reply.status == 201
    assert reply.json["sid"].startswith("SM") and len(reply.json["sid"]) == 34
    assert (reply.json["status"], reply.json["num_segments"]) == ("queued", "2")
    [record] = p.requests("twilio")
    assert record["body"]["To"] == "+15005550010" and record["verdict"] == "accepted"
    assert record["at_ns"] > 1e18 and record["extra"]["id"] == reply.json["sid"]


@pytest.mark.parametrize("fields, status, code", [
    ({"To": None}, 400, 21604), ({"To": "0123"}, 400, 21211), ({"To": "12345"}, 400, 21265),
    ({"To": "+1500555001a"}, 400, 21211), ({"From": None}, 400, 21603),
    ({"From": "+15005559999"}, 400, 21659), ({"Body": None}, 400, 21602),
    ({"Body": "a" * 1601}, 400, 21617), ({"To": "+15005550006"}, 400, 21266),
    ({"To": "+15005550004"}, 400, 21610), ({"From": None, "MessagingServiceSid": "MG" + "0" * 32},
                                            404, 21701),
    ({"StatusCallback": "http://a_b.example/"}, 400, 21609), ({"ValidityPeriod": "0"}, 400, 21624)])
def test_twilio_refuses(p, fields, status, code):
    reply = twilio_send(p, fields)
    assert (reply.status, reply.json["code"], reply.json["status"]) == (status, code, status)
    assert p.requests("twilio")[0]["verdict"] == "refused"


def test_twilio_refuses_wrong_credentials_and_paths(p):
    assert twilio_send(p, auth=basic("AC0", "x")).json["code"] == 20003
    entry = p.info["twilio"]
    reply = http_call(entry["base_url"] + "/2010-04-01/Messages.json")
    assert (reply.status, reply.json["code"]) == (404, 20404)


def test_twilio_notes_unknown_fields_that_the_real_one_swallows(p):
    assert twilio_send(p, {"Boddy": "x"}).status == 201
    assert p.requests("twilio")[0]["warnings"] == ["unknown field Boddy"]


def test_twilio_callbacks_carry_its_signature(p, receiver):
    p.callback("twilio", url=receiver.url, id="SM1", events=["sent", {"status": "failed",
                                                                     "error_code": 30008}])
    calls = receiver.wait(2)
    token = secret(p.info["twilio"], "auth_token_file")
    for _, _, headers, body in calls:
        text = receiver.url + "".join(k + v for k, v in sorted(parse_qsl(body.decode())))
        want = base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest())
        assert headers["x-twilio-signature"] == want.decode()
    assert dict(parse_qsl(calls[1][3].decode()))["ErrorCode"] == "30008"


def test_twilio_signature_vector():
    from twilio import signature
    pairs = [("CallSid", "CA1234567890ABCDE"), ("Digits", "1234"), ("From", "+14158675309"),
             ("To", "+18005551212"), ("Caller", "+14158675309")]
    assert signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2",
                     pairs) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_callbacks_follow_an_accepted_message(p, receiver):
    p.script("twilio", callbacks=["sent", "delivered"])
    sid = twilio_send(p, {"StatusCallback": receiver.url}).json["sid"]
    bodies = [dict(parse_qsl(call[3].decode())) for call in receiver.wait(2)]
    assert [b["MessageStatus"] for b in bodies] == ["sent", "delivered"]
    assert {b["MessageSid"] for b in bodies} == {sid}


# Scripts and faults


def test_a_script_is_followed_and_ends(p):
    p.script("twilio", answers=[500, "twilio:21610", {"error": "20429", "retry_after": 7}, "ok"])
    replies = [twilio_send(p) for _ in range(5)]
    assert [r.status for r in replies] == [500, 400, 429, 201, 201]
    assert [r.json.get("code") for r in replies[:3]] == [20500, 21610, 20429]
    assert replies[2].headers["retry-after"] == "7"
    assert [r["verdict"] for r in p.requests("twilio")] == ["scripted"] * 3 + ["accepted"] * 2


def test_a_script_may_be_for_one_target_only(p):
    p.script("twilio", target="+1500555002*", status=503)
    assert twilio_send(p, {"To": "+15005550020"}).status == 503
    assert twilio_send(p, {"To": "+15005550030"}).status == 201


def test_bad_requests_are_refused_even_under_a_script(p):
    p.script("twilio", answers=[500])
    assert twilio_send(p, {"To": None}).status == 400
    assert twilio_send(p).status == 500


def test_delay(p):
    p.script("twilio", delay_ms=200)
    start = time.monotonic()
    assert twilio_send(p).status == 201
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("fault, error", [
    ("drop", http.client.RemoteDisconnected), ("drop_unprocessed", http.client.RemoteDisconnected),
    ("drop_early", (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)),
    ("reset", ConnectionResetError), ("reset_early", (ConnectionResetError, BrokenPipeError)),
    ("garbage", http.client.BadStatusLine), ("truncate", http.client.IncompleteRead)])
def test_faults_that_break_the_connection(p, fault, error):
    p.script("twilio", answers=[fault])
    with pytest.raises(error):
        twilio_send(p)
    assert twilio_send(p).status == 201
    assert p.stats("twilio")["faults"] == 1


def test_a_dropped_answer_still_counts_as_taken(p):
    p.script("twilio", answers=["drop", "drop_unprocessed"])
    for _ in range(2):
        with pytest.raises(http.client.RemoteDisconnected):
            twilio_send(p)
    assert [r["verdict"] for r in p.requests("twilio")] == ["accepted", "fault"]


@pytest.mark.parametrize("fault", ["hang", "slow_headers", "slow_body"])
def test_faults_that_never_end_in_time(p, fault):
    p.script("twilio", answers=[{"fault": fault, "byte_ms": 300}])
    parts = urlsplit(p.info["twilio"]["base_url"])
    sock = socket.create_connection((parts.hostname, parts.port), timeout=60)
    entry = p.info["twilio"]
    auth = basic(entry["account_sid"], secret(entry, "auth_token_file"))
    body = urlencode({"To": "+15005550010", "From": entry["from"], "Body": "x"})
    sock.sendall(f"POST /2010-04-01/Accounts/{entry['account_sid']}/Messages.json HTTP/1.1\r\n"
                 f"Host: x\r\nAuthorization: {auth}\r\nContent-Length: {len(body)}\r\n"
                 f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode())
    got = b""
    while fault == "slow_body" and b"\r\n\r\n" not in got:
        got += sock.recv(65536)
    sock.settimeout(0.7)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        while time.monotonic() - start < 1.5:
            got += sock.recv(65536)
        raise TimeoutError
    assert got.count(b"\r\n\r\n") == (1 if fault == "slow_body" else 0)
    assert len(got) < 400
    sock.close()


def test_huge_and_endless_bodies(p):
    p.script("twilio", answers=[{"fault": "huge", "bytes": 5_000_000}, "endless"])
    reply = twilio_send(p)
    assert (reply.status, len(reply.body)) == (201, 5_000_000)
    parts = urlsplit(p.info["twilio"]["base_url"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    entry = p.info["twilio"]
    connection.request("POST", f"/2010-04-01/Accounts/{entry['account_sid']}/Messages.json",
                       urlencode({"To": "+15005550010", "From": entry["from"], "Body": "x"}),
                       {"Content-Type": "application/x-www-form-urlencoded", "Authorization": basic(
                           entry["account_sid"], secret(entry, "auth_token_file"))})
    answer = connection.getresponse()
    assert len(answer.read(20_000_000)) == 20_000_000
    connection.close()


@pytest.mark.parametrize("mode, error", [
    ("refuse", ConnectionRefusedError), ("reset", ConnectionResetError),
    ("close", (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)),
    ("hang", TimeoutError)])
def test_faults_at_accept(p, mode, error):
    p.script("twilio", listen=mode)
    with pytest.raises(error):
        twilio_send(p, timeout=0.5)
    p.unscript("twilio")
    assert twilio_send(p).status == 201


@pytest.mark.parametrize("mode, text", [
    ("fail", "HANDSHAKE_FAILURE|EOF"), ("expired", "expired"), ("wrong_host", "mismatch"),
    ("self_signed", "self.signed")])
def test_faults_in_tls(p, mode, text):
    entry = p.info["twilio"]
    context = ssl.create_default_context(cafile=p.info["ca_file"])
    port = urlsplit(entry["tls_base_url"]).port

    def handshake():
        with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
            context.wrap_socket(sock, server_hostname="127.0.0.1").close()
    handshake()
    p.script("twilio", tls=mode)
    with pytest.raises(ssl.SSLError, match=f"(?i){text}"):
        handshake()
    p.unscript("twilio")
    handshake()


def test_many_requests_in_one_write(p):
    entry = p.info["twilio"]
    body = urlencode({"To": "+15005550010", "From": entry["from"], "Body": "x"})
    auth = basic(entry["account_sid"], secret(entry, "auth_token_file"))
    one = (f"POST /2010-04-01/Accounts/{entry['account_sid']}/Messages.json HTTP/1.1\r\nHost: x\r\n"
           f"Authorization: {auth}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
           f"Transfer-Encoding: chunked\r\n\r\n5\r\n{body[:5]}\r\n{len(body) - 5:x}\r\n{body[5:]}"
           "\r\n0\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", urlsplit(entry["base_url"]).port)) as sock:
        sock.sendall(one * 50)
        got = b""
        while got.count(b"HTTP/1.1 201") < 50 or not got.endswith(b"}"):
            got += sock.recv(65536)
    assert p.stats("twilio")["accepted"] == 50


# FCM


def fcm_token(p, **changes):
    entry = p.info["fcm"]
    account = json.loads(secret(entry, "service_account_file"))
    now = int(time.time())
    claims = {"iss": account["client_email"], "aud": account["token_uri"], "iat": now,
              "exp": now + 3600, "scope": "https://www.googleapis.com/auth/firebase.messaging",
              **changes}
    assertion = jwt.encode(claims, account["private_key"], "RS256",
                           {"kid": account["private_key_id"]})
    return http_call(account["token_uri"], body=urlencode({
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}),
        headers={"Content-Type": "application/x-www-form-urlencoded"})


def fcm_send(p, message, token=None, project=None):
    entry = p.info["fcm"]
    token = token or fcm_token(p).json["access_token"]
    return http_call(f"{entry['base_url']}/v1/projects/{project or entry['project_id']}"
                     "/messages:send", body=json.dumps({"message": message}),
                     headers={"Content-Type": "application/json",
                              "Authorization": "Bearer " + token})


def test_fcm_grants_and_accepts(p):
    reply = fcm_token(p)
    assert reply.status == 200 and reply.json["token_type"] == "Bearer"
    message = {"token": p.info["fcm"]["valid_tokens"][0], "data": {"k": "v"},
               "notification": {"title": "t", "body": "b"},
               "android": {"priority": "high", "ttl": "3600s", "collapseKey": "c"}}
    sent = fcm_send(p, message, reply.json["access_token"])
    assert sent.status == 200 and sent.json["name"].startswith("projects/tocsin-test/messages/")


@pytest.mark.parametrize("changes, error", [
    ({"aud": "https://elsewhere"}, "invalid_grant"), ({"iss": "x"}, "invalid_grant"),
    ({"exp": 1}, "invalid_grant"), ({"exp": int(time.time()) + 9000}, "invalid_grant"),
    ({"scope": "other"}, "invalid_scope")])
def test_fcm_refuses_grants(p, changes, error):
    reply = fcm_token(p, **changes)
    assert reply.status == 400 and reply.json["error"] == error


@pytest.mark.parametrize("message, status, code", [
    ({"token": "dead0000:APA91b" + "d" * 24}, 404, "UNREGISTERED"),
    ({"token": "other000:APA91b" + "d" * 24}, 403, "SENDER_ID_MISMATCH"),
    ({"token": "nonsense"}, 400, "INVALID_ARGUMENT"), ({}, 400, None),
    ({"token": "VALID", "topic": "x"}, 400, None),
    ({"token": "VALID", "data": {"k": 1}}, 400, None),
    ({"token": "VALID", "data": {"google.x": "1"}}, 400, None),
    ({"token": "VALID", "data": {"k": "x" * 4097}}, 400, None),
    ({"token": "VALID", "tittle": "x"}, 400, None),
    ({"token": "VALID", "android": {"ttl": "1h"}}, 400, None)])
def test_fcm_refuses(p, message, status, code):
    if message.get("token") == "VALID":
        message = {**message, "token": p.info["fcm"]["valid_tokens"][0]}
    reply = fcm_send(p, message)
    details = reply.json["error"]["details"]
    assert reply.status == status == reply.json["error"]["code"]
    assert details[0].get("errorCode") == code
    assert code or details[0]["@type"].endswith("BadRequest")


def test_fcm_tokens_expire(p):
    token = fcm_token(p).json["access_token"]
    message = {"token": p.info["fcm"]["valid_tokens"][0]}
    assert fcm_send(p, message, token).status == 200
    p.act("fcm", "expire_tokens")
    reply = fcm_send(p, message, token)
    assert (reply.status, reply.json["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert fcm_send(p, message, project="other").status == 403


def test_fcm_speaks_http2(p):
    entry = p.info["fcm"]
    token = fcm_token(p).json["access_token"]
    body = json.dumps({"message": {"token": entry["valid_tokens"][0]}})
    done = subprocess.run(
        ["curl", "-sS", "--http2", "--cacert", entry["ca_file"], "-H",
         "authorization: Bearer " + token, "--json", body, "-w", "\n%{http_version} %{http_code}",
         f"{entry['tls_base_url']}/v1/projects/{entry['project_id']}/messages:send"],
        capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.endswith("\n2 200"), done
    assert p.requests("fcm", op="send")[0]["proto"] == "HTTP/2"


# SendGrid


def sendgrid_send(p, key=None, raw=None, **changes):
    entry = p.info["sendgrid"]
    body = {"personalizations": [{"to": [{"email": "a@example.org"}]}],
            "from": {"email": "f@example.org"}, "subject": "s",
            "content": [{"type": "text/plain", "value": "t"}], **changes}
    return http_call(entry["base_url"] + "/v3/mail/send", body=raw or json.dumps(
        {k: v for k, v in body.items() if v is not None}), headers={
            "Content-Type": "application/json",
            "Authorization": "Bearer " + (key or secret(entry, "api_key_file"))})


def test_sendgrid_accepts(p):
    reply = sendgrid_send(p)
    assert reply.status == 202 and reply.body == b"" and reply.headers["x-message-id"]


@pytest.mark.parametrize("changes, field", [
    ({"personalizations": []}, "personalizations"), ({"from": None}, "from.email"),
    ({"from": {"email": "nobody"}}, "from.email"), ({"subject": None}, "subject"),
    ({"content": None}, "content"), ({"contents": []}, "contents"),
    ({"content": [{"type": "text/html", "value": "h"}, {"type": "text/plain", "value": "t"}]},
     "content"),
    ({"headers": {"Subject": "x"}}, "headers"), ({"custom_args": {"a": 1}}, "custom_args"),
    ({"attachments": [{"content": "%%", "filename": "f"}]}, "attachments.0.content"),
    ({"send_at": 1 << 40}, "send_at")])
def test_sendgrid_refuses(p, changes, field):
    reply = sendgrid_send(p, **changes)
    assert reply.status == 400 and reply.json["errors"][0]["field"] == field


def test_sendgrid_refuses_a_key_and_a_sender(p):
    assert sendgrid_send(p, key="SG.x").status == 401
    assert sendgrid_send(p, **{"from": {"email": p.info["sendgrid"]["unverified_from"]}}
                         ).status == 403


def test_sendgrid_events_are_signed(p, receiver):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    p.callback("sendgrid", url=receiver.url, id="abc", to="a@example.org",
               events=["delivered", "bounce"], custom_args={"delivery": "1"})
    [(_, _, headers, body)] = receiver.wait(1)
    key = serialization.load_der_public_key(base64.b64decode(
        p.info["sendgrid"]["webhook_public_key"]))
    key.verify(base64.b64decode(headers["x-twilio-email-event-webhook-signature"]),
               headers["x-twilio-email-event-webhook-timestamp"].encode() + body,
               ec.ECDSA(hashes.SHA256()))
    events = json.loads(body)
    assert [e["event"] for e in events] == ["delivered", "bounce"] and events[0]["delivery"] == "1"


# Webhook


def webhook_send(p, number="msg_1", age=0, body='{"a":1}', spoil=False, path="/hook"):
    key = base64.b64decode(secret(p.info["webhook"], "secret_file").removeprefix("whsec_"))
    stamp = str(int(time.time()) - age)
    mac = hmac.new(key, f"{number}.{stamp}.{body}".encode(), hashlib.sha256).digest()
    return http_call(p.info["webhook"]["base_url"] + path, body=body + " " * spoil, headers={
        "Content-Type": "application/json", "webhook-id": number, "webhook-timestamp": stamp,
        "webhook-signature": "v1,AAAA v1," + base64.b64encode(mac).decode()})


def test_webhook_believes_signatures_only(p):
    assert webhook_send(p).status == 204
    assert webhook_send(p, spoil=True).status == 401
    assert webhook_send(p, age=400).status == 401
    assert webhook_send(p, number="a.b").status == 400
    assert webhook_send(p, path="/gone").status == 410
    assert http_call(p.info["webhook"]["url"], body="{}").status == 401
    assert webhook_send(p).status == 204
    assert p.requests("webhook", verdict="accepted")[1]["extra"]["repeat"] is True


# SMTP


def smtp_client(p, mode="starttls"):
    entry = p.info["smtp"]
    context = ssl.create_default_context(cafile=p.info["ca_file"])
    if mode == "tls":
        return smtplib.SMTP_SSL("127.0.0.1", entry["tls_port"], context=context, timeout=120)
    client = smtplib.SMTP("127.0.0.1", entry["port" if mode == "starttls" else "plain_port"],
                          timeout=120)
    if mode == "starttls":
        client.starttls(context=context)
    return client


MAIL = ("From: A <a@example.org>\r\nTo: b@example.org\r\nDate: Fri, 20 Nov 2026 00:00:00 +0000\r\n"
        "Message-ID: <1@example.org>\r\nSubject: =?utf-8?B?aMOp?=\r\n\r\nline\r\n.dot\r\n")


@pytest.mark.parametrize("mode", ["starttls", "tls", "plain"])
def test_smtp_takes_mail(p, mode):
    with smtp_client(p, mode) as client:
        if mode != "plain":
            client.login("tocsin", secret(p.info["smtp"], "password_file"))
        client.sendmail("a@example.org", ["b@example.org"], MAIL)
        client.sendmail("a@example.org", ["c@example.org"], MAIL)
    first, second = p.requests("smtp", op="send")
    assert first["body"]["subject"] == "hé"
    assert first["body"]["parts"][0]["text"] == "line\r\n.dot\r\n"
    assert first["target"] == "b@example.org" and second["target"] == "c@example.org"
    assert first["dedupe"] == "<1@example.org>" and first["tls"] == (mode != "plain")
    assert first["connection"] == second["connection"]


def test_smtp_refuses_by_recipient_and_login(p):
    with smtp_client(p) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as error:
            client.sendmail("a@example.org", ["b@example.org"], MAIL)
        assert error.value.smtp_code == 530
    with smtp_client(p) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("tocsin", "wrong")
    with smtp_client(p, "plain") as client:
        refused = client.sendmail("a@example.org", ["b@example.org", "dead@example.org",
                                                    "grey@example.org"], MAIL)
        assert {k: v[0] for k, v in refused.items()} == {"dead@example.org": 550,
                                                         "grey@example.org": 451}


def test_smtp_refuses_bad_messages(p):
    with smtp_client(p, "plain") as client:
        for mail in (MAIL.replace("Date:", "Dada:"), MAIL + "x" * 999 + "\r\n",
                     MAIL.replace("\r\nTo:", "\r\nTo: x@y.z\r\nTo:")):
            with pytest.raises(smtplib.SMTPDataError):
                client.sendmail("a@example.org", ["b@example.org"], mail)
    assert [r["verdict"] for r in p.requests("smtp", op="send")] == ["refused"] * 3


def test_smtp_scripts_at_each_stage(p):
    p.script("smtp", answers=["greylist", "temporary", {"status": 452, "stage": "data"}, "drop"])
    with smtp_client(p, "plain") as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("a@example.org", ["b@example.org"], MAIL)
        for code in (451, 452):
            with pytest.raises(smtplib.SMTPDataError) as error:
                client.sendmail("a@example.org", ["b@example.org"], MAIL)
            assert error.value.smtp_code == code
            client.rset()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.sendmail("a@example.org", ["b@example.org"], MAIL)
    assert p.requests("smtp", op="send")[-1]["verdict"] == "accepted"


def test_smtp_xoauth2(p):
    token = secret(p.info["smtp"], "oauth_token_file")
    for value, code in ((token, 235), ("wrong", 535)):
        with smtp_client(p) as client:
            client.ehlo()
            text = base64.b64encode(f"user=tocsin\1auth=Bearer {value}\1\1".encode()).decode()
            got, _ = client.docmd("AUTH", "XOAUTH2 " + text)
            if got == 334:
                got, _ = client.docmd("")
            assert got == code


# Limits and connections


def test_a_rate_limit_answers_only_what_is_above_it(p):
    p.script("twilio", limit={"per_second": 1, "burst": 3}, error="20429", retry_after=1)
    statuses = [twilio_send(p).status for _ in range(6)]
    assert statuses[:3] == [201] * 3 and statuses.count(429) >= 2
    assert sum(p.stats("twilio")["per_second"].values()) == 6


def test_kept_connections_end_with_and_without_a_word(p):
    entry = p.info["webhook"]
    for how, said in (("close_every", "close"), ("drop_every", None)):
        p.unscript("webhook")
        p.script("webhook", **{how: 2})
        connection = http.client.HTTPConnection(urlsplit(entry["base_url"]).netloc, timeout=120)
        heard = []
        for _ in range(2):
            connection.request("POST", "/gone", "{}", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            heard.append(answer.getheader("connection"))
        assert heard == [None, said]
        connection.close()


def test_only_the_newest_records_are_kept():
    import recorder

    class Fake:
        def __init__(self, size=10):
            self.size = size
    kept = recorder.Recorder()
    for _ in range(recorder.KEEP + 10):
        kept.add(Fake())
    assert len(kept.requests) == recorder.KEEP and kept.requests[0].seq == 11
    assert [r.seq for r in kept.after(kept.last - 2)] == [kept.last - 1, kept.last]
    kept.add(Fake(recorder.KEEP_BYTES // 2))
    kept.add(Fake(recorder.KEEP_BYTES - 2048))
    assert len(kept.requests) == 1


# HTTP/2


BROKEN = (16, 18, 52, 55, 56, 92)  # curl's codes for a connection that breaks under it


def curl_h2(p, *more, token=None):
    entry = p.info["fcm"]
    body = json.dumps({"message": {"token": entry["valid_tokens"][0]}})
    done = subprocess.run(
        ["curl", "-sS", "--http2", "--max-time", "0.8", "--cacert", entry["ca_file"], "-H",
         "authorization: Bearer " + token, "-H", "content-type: application/json", "-d", body,
         "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}", *more,
         f"{entry['tls_base_url']}/v1/projects/{entry['project_id']}/messages:send"],
        capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("fault, code", [
    ("reset", 92), ("drop", BROKEN), ("reset_connection", BROKEN),
    ("garbage", BROKEN), ("hang", 28), ({"fault": "slow_headers", "byte_ms": 300}, 28),
    ({"fault": "slow_body", "byte_ms": 300}, 28), ("truncate", (18, 92)), ("endless", 28)])
def test_faults_over_http2(p, fault, code):
    token = fcm_token(p).json["access_token"]
    p.script("fcm", answers=[fault])
    got, _ = curl_h2(p, token=token)
    assert got in (code if isinstance(code, tuple) else (code,))
    assert curl_h2(p, token=token)[1].startswith("2 200")


def test_huge_bodies_obey_flow_control(p):
    token = fcm_token(p).json["access_token"]
    p.script("fcm", answers=[{"fault": "huge", "bytes": 3_000_000}])
    assert curl_h2(p, token=token) == (0, "2 200 3000000")


def test_a_refused_stream_is_tried_again_by_a_good_client(p):
    token = fcm_token(p).json["access_token"]
    p.script("fcm", answers=["refuse_stream"])
    assert curl_h2(p, token=token)[1].startswith("2 200")
    assert [r["verdict"] for r in p.requests("fcm", op="send")] == ["fault", "accepted"]


def test_goaway_leaves_a_stream_unprocessed(p):
    """This libcurl then fails with CURLE_HTTP2 and does not repeat the request by itself."""
    token = fcm_token(p).json["access_token"]
    p.script("fcm", answers=["goaway"])
    assert curl_h2(p, token=token)[0] == 16
    assert [r["verdict"] for r in p.requests("fcm", op="send")] == ["fault"]
    assert curl_h2(p, token=token)[1].startswith("2 200")


def test_alpn_can_be_without_h2(p):
    token = fcm_token(p).json["access_token"]
    p.script("fcm", tls="http1")
    assert curl_h2(p, token=token)[1].startswith("1.1 200")


def test_garbage_at_every_door_breaks_nothing(p):
    """Random and half-right bytes, to each port; afterwards everything still works."""
    chance = random.Random(7)
    ports = [urlsplit(p.info["twilio"][k]).port for k in ("base_url", "tls_base_url")]
    ports += [p.info["smtp"][k] for k in ("port", "tls_port", "plain_port")]
    starts = [b"", b"POST / HTTP/1.1\r\n",
              b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
              b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"EHLO x\r\nMAIL FROM:<a@b.c>\r\n",
              b"EHLO x\r\nAUTH PLAIN ",
              b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n",
              b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    for turn in range(200):
        with socket.create_connection(("127.0.0.1", ports[turn % len(ports)]), timeout=120) as sock:
            try:
                sock.sendall(chance.choice(starts) + chance.randbytes(chance.randrange(300))
                             + b"\r\n\r\n")
                if turn % 3 == 0:
                    sock.shutdown(socket.SHUT_WR)
                    sock.recv(100)
            except ConnectionError:
                pass
    assert twilio_send(p).status == 201
    with smtp_client(p, "plain") as client:
        assert client.sendmail("a@example.org", ["b@example.org"], MAIL) == {}


def test_thousands_of_requests_wait_at_once(p):
    """A delay holds no thread and no task, so many may be held."""
    p.script("webhook", delay_ms=1000)
    key = base64.b64decode(secret(p.info["webhook"], "secret_file").removeprefix("whsec_"))
    stamp = int(time.time())
    mac = base64.b64encode(hmac.new(key, f"m.{stamp}.{{}}".encode(), hashlib.sha256).digest())
    request = (f"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               f"webhook-id: m\r\nwebhook-timestamp: {stamp}\r\nwebhook-signature: "
               f"v1,{mac.decode()}\r\nContent-Length: 2\r\n\r\n{{}}").encode()
    port = urlsplit(p.info["webhook"]["base_url"]).port
    socks = []
    try:
        for _ in range(500):
            sock = socket.create_connection(("127.0.0.1", port), timeout=120)
            sock.sendall(request)
            socks.append(sock)
        assert all(sock.recv(4096).startswith(b"HTTP/1.1 204") for sock in socks)
        assert p.stats("webhook")["peak_in_flight"] >= 500
    finally:
        for sock in socks:
            sock.close()


def test_a_stream_limit_makes_a_client_take_turns(p):
    token = fcm_token(p).json["access_token"]
    p.script("fcm", max_streams=1, delay_ms=50)
    p.clear()
    entry = p.info["fcm"]
    arguments = ["curl", "-sS", "--http2", "--parallel", "--parallel-max", "6", "--cacert",
                 entry["ca_file"], "-H", "authorization: Bearer " + token, "-w", "%{http_code} ",
                 "--json", json.dumps({"message": {"token": entry["valid_tokens"][0]}})]
    for _ in range(3):
        arguments += ["-o", "/dev/null", f"{entry['tls_base_url']}/v1/projects/"
                      f"{entry['project_id']}/messages:send"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["200"] * 3
    streams = {}
    for record in p.requests("fcm", op="send"):
        streams.setdefault(record["connection"], []).append(record["at_ns"])
    for times in streams.values():
        assert all(b - a >= 45_000_000 for a, b in zip(times, times[1:]))


@pytest.mark.parametrize("fault", ["endless", "huge", "slow_body"])
def test_a_client_that_leaves_early_stops_the_flood(p, fault):
    """However it leaves: by closing, by RST, or with its sending half shut."""
    p.script("twilio", answers=[{"fault": fault, "byte_ms": 1}], repeat=True)
    entry = p.info["twilio"]
    body = urlencode({"To": "+15005550010", "From": entry["from"], "Body": "x"})
    request = (f"POST /2010-04-01/Accounts/{entry['account_sid']}/Messages.json HTTP/1.1\r\n"
               f"Host: x\r\nAuthorization: "
               f"{basic(entry['account_sid'], secret(entry, 'auth_token_file'))}\r\n"
               f"Content-Type: application/x-www-form-urlencoded\r\n"
               f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
    for turn in range(12):
        with socket.create_connection(("127.0.0.1", urlsplit(entry["base_url"]).port)) as sock:
            sock.sendall(request)
            if turn % 3 == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            elif turn % 3 == 1:
                sock.shutdown(socket.SHUT_WR)
            if turn % 2:
                sock.recv(1000)
    deadline = time.monotonic() + 60
    while p.stats("twilio")["open_connections"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("spec, error", [
    ({"op": "connect", "answers": ["unavailable"]}, smtplib.SMTPConnectError),
    ({"op": "connect", "answers": ["drop"]}, smtplib.SMTPServerDisconnected),
    ({"op": "connect", "answers": ["hang"]}, smtplib.SMTPServerDisconnected),
    ({"op": "mail", "answers": [{"status": 451}]}, smtplib.SMTPSenderRefused),
    ({"answers": [{"fault": "hang", "stage": "rcpt"}]}, smtplib.SMTPServerDisconnected),
    ({"answers": [{"fault": "reset", "stage": "data"}]}, smtplib.SMTPServerDisconnected),
    ({"answers": [{"fault": "garbage", "stage": "end"}]}, smtplib.SMTPException),
    ({"answers": [{"fault": "huge", "bytes": 50_000, "stage": "end"}]}, smtplib.SMTPException),
    ({"answers": [{"fault": "slow_headers", "stage": "end", "byte_ms": 900}]},
     smtplib.SMTPServerDisconnected),
    ({"answers": ["closing"]}, smtplib.SMTPException)])
def test_smtp_faults(p, spec, error):
    p.script("smtp", **spec)
    with pytest.raises((error, OSError)):
        client = smtplib.SMTP("127.0.0.1", p.info["smtp"]["plain_port"], timeout=0.5)
        try:
            client.sendmail("a@example.org", ["b@example.org"], MAIL)
        finally:
            client.close()
    with smtp_client(p, "plain") as client:
        assert client.sendmail("a@example.org", ["b@example.org"], MAIL) == {}


def test_smtp_login_can_fail_for_a_while(p):
    p.script("smtp", op="auth", answers=["auth_temporary"] * 2)  # PLAIN, then LOGIN
    password = secret(p.info["smtp"], "password_file")
    with smtp_client(p) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as error:
            client.login("tocsin", password)
        assert error.value.smtp_code == 454
    with smtp_client(p) as client:
        client.login("tocsin", password)
