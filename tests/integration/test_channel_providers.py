# SPDX-License-Identifier: MIT
"""Each adapter against the local provider server: real HTTP/1.1, HTTP/2, TLS and SMTP.

The server refuses what the provider would refuse; its `warnings` are what the provider would
swallow and a good client does not send.
"""
import email
import email.policy
import importlib
import json
import os

import pytest

import channel_probe as probe
from channel_probe import ADAPTERS, EMAIL

GOOD = {"slack": "delivered", "webhook": "delivered"}  # else accepted


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not os.path.exists(probe.binary()):
        pytest.skip("tests/spec/probe is not built")
    with probe.ProviderServer(tmp_path_factory.mktemp("channels")) as running:
        yield running


@pytest.fixture
def providers(server):
    server.reset()
    return server


def secure(adapter):
    return adapter == "apns"


@pytest.mark.parametrize("tls", (False, True), ids=("plain", "tls"))
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_message_is_taken(providers, adapter, tls):
    outcome = probe.one(providers.info, adapter, tls=tls)
    assert outcome["outcome"] == GOOD.get(adapter, "accepted"), outcome
    (record,) = [r for r in providers.requests(adapter) if r["op"] == "send"]
    assert record["verdict"] == "accepted", record
    assert not record["warnings"], record["warnings"]
    if adapter not in ("slack", "teams", "webhook", "webpush"):
        assert outcome["provider_id"].strip("<>") == str(record["extra"]["id"]).strip("<>")
    if tls and adapter in ("fcm", "apns", "webpush"):
        assert record["proto"] == "HTTP/2"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_same_delivery_looks_the_same_twice(providers, adapter):
    """The id by which provider or receiver can tell a repeat is stable over attempts."""
    for attempt in (1, 2):
        probe.one(providers.info, adapter, attempt=attempt)
    records = [r for r in providers.requests(adapter) if r["op"] == "send"]
    assert len(records) == 2
    if adapter in ("bird", "webhook", "apns"):
        assert records[0]["dedupe"] == records[1]["dedupe"] != ""
    elif adapter not in ("webpush", "ses", "vonage", "smtp"):
        assert records[0]["body"] == records[1]["body"]


RICH = {
    "title": "Gr\u00fc\u00dfe \U0001f514 von Tocsin, mit einem Betreff, der l\u00e4nger ist als eine Zeile",
    "body": "Erste Zeile\n.\n..\nFrom here\n" + "lang " * 60 + "\u20ac\n",
    "content": {"email": {
        "html": "<p>Gr\u00fc\u00dfe &amp; so</p>\n" * 3,
        "reply_to": "Antwort \u00c4 <reply@example.org>",
        "list_unsubscribe": "https://example.org/u/abc, mailto:u@example.org",
        "headers": {"X-Campaign": "spring"},
        "attachments": [
            {"name": "r\u00e9sum\u00e9.txt", "type": "text/plain", "content": "w6kNCi4NCg=="},
            {"name": "logo.png", "type": "image/png", "content": "iVBORw0KGgo=",
             "content_id": "logo"}]}}}


@pytest.mark.parametrize("adapter", EMAIL)
def test_a_whole_mail_is_taken(providers, adapter):
    outcome = probe.one(providers.info, adapter, content=RICH)
    assert outcome["outcome"] == "accepted", outcome
    (record,) = [r for r in providers.requests(adapter) if r["op"] == "send"]
    assert record["verdict"] == "accepted", record
    assert not record["warnings"], record["warnings"]


def test_the_mail_reads_back_as_it_was_meant(providers):
    probe.one(providers.info, "smtp", content=RICH)
    (record,) = [r for r in providers.requests("smtp", fields="op,raw,body") if r["op"] == "send"]
    import base64
    raw = base64.b64decode(record["raw"])
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))
    raw.decode("ascii")
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Subject"] == RICH["title"]
    assert str(mail["Reply-To"]) == "Antwort \u00c4 <reply@example.org>"
    assert mail["List-Unsubscribe"] == "<https://example.org/u/abc>, <mailto:u@example.org>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Message-ID"] == "<0123456789abcdef.tocsin@mg.example.org>"
    text = mail.get_body(("plain",)).get_content()
    assert text.replace("\r\n", "\n") == RICH["body"]
    html = mail.get_body(("html",)).get_content().replace("\r\n", "\n")
    assert html == RICH["content"]["email"]["html"]
    files = list(mail.iter_attachments())
    assert [f.get_filename() for f in files] == ["r\u00e9sum\u00e9.txt", "logo.png"]
    assert files[0].get_content().encode() == b"\xc3\xa9\r\n.\r\n" or \
        files[0].get_payload(decode=True) == b"\xc3\xa9\r\n.\r\n"
    assert files[1]["Content-ID"] == "<logo>"


@pytest.mark.parametrize("adapter", EMAIL)
@pytest.mark.parametrize("to,sent", [
    ("anna@b\u00fccher.example", "anna@xn--bcher-kva.example"),
    ("\u7528\u6237@\u4f8b\u5b50.\u5e7f\u544a", "\u7528\u6237@xn--fsqu00a.xn--4rr70v")],
    ids=("domain", "name"))
def test_an_address_beyond_ascii_goes_where_it_is_taken(providers, adapter, to, sent):
    outcome = probe.one(providers.info, adapter, target=to)
    records = [r for r in providers.requests(adapter) if r["op"] == "send"]
    if adapter != "smtp" and not sent.isascii():
        assert (outcome["outcome"], outcome["reason"]) == ("permanent", "target_invalid")
        assert records == []
        return
    assert outcome["outcome"] == "accepted", outcome
    (record,) = records
    assert record["verdict"] == "accepted" and not record["warnings"]
    assert sent in json.dumps(record["body"], ensure_ascii=False) or sent in record["target"]
    if adapter == "smtp":
        assert record["extra"]["rcpt_to"] == [sent]


# Every error that the server knows of each provider, by the class it must end in; from the
# tables of the providers' own documents, not from ours.
CLASSES = {
    "twilio": {
        "throttle": "20429 21611 30022 63018 30025 30026",
        "retry": "20409 20500 20503 30001 30008 30017 30020 30021 30410 60005 30003 30004",
        "retry_after": "30023 30027 63038",
        "auth_config_error": "20003 20005 20006 20008 20404 21212 21606 21607 21659 21660 21661 "
                             "21603 21701 21703 21704 21705 21609 30002 30018 30024 30032 30033 "
                             "30034 30035",
        "dead_target": "21211 21421 21614 21635 21265 21610",
        "permanent": "30005 30006 63003 63024 21408 21608 21219 20004 21602 21604 21617 21618 "
                     "21619 21620 21623 21624 21654 21655 21656 21266 21612 21214 20001 20422 "
                     "30007 30010 30011 30012 30013 30014 30015 30016 30019 30111 30450 63016 "
                     "63005 63021",
    },
    "bird": {
        "retry": "timeout in_progress internal unavailable idempotency_unavailable",
        "retry_after": "rate_limit",
        "auth_config_error": "auth_error billing_error permission_error",
        "dead_target": "invalid_recipient",
        "permanent": "no_eligible_sender malformed not_found key_reused validation_error "
                     "unsupported_feature",
    },
    "vonage": {
        "throttle": "1000 1241 1460 1461 1472 throttled",
        "retry": "1030 1100 1180 1220 1230 1331 internal unavailable",
        "auth_config_error": "1060 1070 1080 1120 1140 1242 1420 unauthorized forbidden "
                             "low_balance",
        "dead_target": "1170 1430 1310 1240",
        "accepted": "1490",
        "permanent": "1050 1190 1300 1160 1470 1473 1474 1475 1476 1480 1481 1482 1483 1484 1010 "
                     "1020 1021 1022 1040 1090 1130 1150 1200 1210 1250 1251 1260 1270 1280 1282 "
                     "1290 1320 1330 1340 1360 1380 1381 1382 1400 1410 1440 1450 not_found "
                     "invalid_params",
    },
    "fcm": {
        "dead_target": "UNREGISTERED INVALID_TOKEN",
        "permanent": "SENDER_ID_MISMATCH INVALID_ARGUMENT",
        "auth_config_error": "PERMISSION_DENIED",
        "throttle": "QUOTA_EXCEEDED RESOURCE_EXHAUSTED",
        "retry": "THIRD_PARTY_AUTH_ERROR UNAVAILABLE INTERNAL UNSPECIFIED_ERROR",
    },
    "apns": {
        "dead_target": "Unregistered ExpiredToken",
        "permanent": "BadDeviceToken DeviceTokenNotForTopic BadCollapseId BadExpirationDate "
                     "BadMessageId BadPriority DuplicateHeaders InvalidPushType PayloadEmpty "
                     "MissingDeviceToken BadPath MethodNotAllowed PayloadTooLarge",
        "auth_config_error": "BadTopic MissingTopic TopicDisallowed BadCertificate "
                             "BadCertificateEnvironment Forbidden InvalidProviderToken "
                             "MissingProviderToken UnrelatedKeyIdInToken "
                             "BadEnvironmentKeyIdInToken",
        "throttle": "TooManyProviderTokenUpdates TooManyRequests",
        "retry": "IdleTimeout InternalServerError ServiceUnavailable Shutdown",
    },
    "webpush": {
        "dead_target": "not_found gone unregistered",
        "permanent": "VapidPkHashMismatch missing_ttl invalid_ttl invalid_topic invalid_urgency "
                     "invalid_encryption undecryptable too_large method media_type",
        "auth_config_error": "missing_auth invalid_auth BadJwtToken",
        "throttle": "rate_limit",
        "retry": "internal bad_gateway unavailable backoff",
    },
    "sendgrid": {
        "permanent": "bad_request not_found method_not_allowed not_acceptable too_large "
                     "media_type",
        "auth_config_error": "unauthorized forbidden unverified_sender residency",
        "retry_after": "rate_limit",
        "retry": "server_error unavailable",
    },
    "mailgun": {
        "permanent": "bad_request from_missing to_missing from_invalid content_missing too_large",
        "dead_target": "to_invalid",
        "auth_config_error": "not_allowed unauthorized payment forbidden domain_not_found",
        "retry_after": "rate_limit recipient_limit",
        "retry": "internal unavailable",
    },
    "ses": {
        "throttle": "TooManyRequestsException Throttling",
        "retry_after": "DailyQuota",
        "auth_config_error": "LimitExceededException AccountSuspendedException "
                             "SendingPausedException MailFromDomainNotVerifiedException "
                             "NotFoundException UnknownOperationException "
                             "InvalidSignatureException IncompleteSignatureException "
                             "MissingAuthenticationTokenException UnrecognizedClientException "
                             "AccessDeniedException",
        "permanent": "NotVerified MessageRejected BadRequestException SerializationException "
                     "RequestEntityTooLarge",
        "retry": "InternalServiceError ServiceUnavailable",
    },
    "slack": {
        "permanent": "invalid_token team_disabled action_prohibited no_active_hooks "
                     "posting_to_general_channel_denied invalid_payload no_text "
                     "too_many_attachments invalid_blocks msg_too_long",
        "dead_target": "user_not_found channel_not_found no_service no_service_id no_team "
                       "channel_is_archived",
        "retry_after": "rate_limited",
        "retry": "rollup_error internal unavailable",
    },
    "teams": {
        "permanent": "trigger_disabled not_found bad_request too_large legacy_too_large",
        "dead_target": "gone",
        "auth_config_error": "unauthorized forbidden",
        "throttle": "rate_limit legacy_throttled",
        "retry": "internal bad_gateway unavailable",
    },
    "whatsapp": {
        "throttle": "130429 80007 4 133016 131056",
        "auth_config_error": "131048 368 131031 0 3 10 190 200 131005 131042 131045 133010 33",
        "retry": "1 2 131000 131016",
        "dead_target": "131050",
        "permanent": "131026 131008 131009 132001 132015 132016 132068 132069 131030 131049 "
                     "130472 131047 131051 131052 131053 132000 132005 132007 132012 100",
    },
    "webhook": {
        "retry": "unsigned bad_signature stale bad_id method media_type malformed server_error "
                 "unavailable",
        "dead_target": "gone",
        "throttle": "rate_limit",
    },
    "smtp": {
        "dead_target": "user_unknown null_mx",
        "permanent": "bad_domain bad_syntax moved disabled mailbox_full over_limit too_large "
                     "content policy",
        "auth_config_error": "relay_denied auth_failed auth_weak auth_required "
                             "encryption_required",
        "retry": "busy insufficient closing temporary auth_temporary unavailable",
        "retry_after": "greylist",
        "throttle": "rate throttling",
    },
    "messagebird": {
        "auth_config_error": "not_allowed no_balance",
        "permanent": "missing_params invalid_params not_found bad_request",
        "throttle": "rate_limit",
        "retry": "internal internal_99 unavailable",
    },
    "postmark": {
        "auth_config_error": "10 400 401 405 413 1235 1236 firewall",
        "dead_target": "406",
        "permanent": "412 300 402 403 409 410 411 1101 not_found too_large media_type",
        "throttle": "rate_limit",
        "retry": "100 internal unavailable",
    },
}


# Errors of operations other than sending, or tested by themselves below.
ELSEWHERE = {
    "apns": {"ExpiredProviderToken"},
    "fcm": {"UNAUTHENTICATED", "invalid_grant", "invalid_client", "invalid_scope",
            "unsupported_grant_type", "internal_failure"},
}


def known_errors(adapter):
    module = importlib.import_module("messagebird" if adapter == "bird" else adapter)
    return next({str(name) for name in kind.errors} for kind in vars(module).values()
                if getattr(kind, "name", None) == adapter and hasattr(kind, "errors"))


SMTP_STAGES = {"auth_failed": "auth", "auth_temporary": "auth", "auth_weak": "auth",
               "encryption_required": "auth", "auth_required": "mail", "unavailable": "connect"}


def in_stages(adapter, wanted):
    """[(operation of the server, errors it answers with)]; a send, but for some of SMTP's."""
    if adapter != "smtp":
        return [("send", wanted)]
    late = [pair for pair in wanted if pair[0] not in SMTP_STAGES]
    return [("send", late)] + [(SMTP_STAGES[name], [(name, kind)]) for name, kind in wanted
                               if name in SMTP_STAGES]


@pytest.mark.parametrize("adapter", sorted(CLASSES))
def test_every_error_ends_in_its_class(providers, adapter):
    known = known_errors(adapter)
    wanted = [(name, kind) for kind, names in CLASSES[adapter].items() for name in names.split()
              if name in known]
    assert known - {name for name, _ in wanted} - ELSEWHERE.get(adapter, set()) == set()
    outcomes = []
    for op, names in in_stages(adapter, wanted):
        providers.unscript(adapter)
        providers.script(adapter, op=op, answers=[adapter + ":" + name for name, _ in names])
        outcomes += probe.run(providers.info, adapter, tls=secure(adapter), count=len(names))
    wanted = [pair for _, names in in_stages(adapter, wanted) for pair in names]
    got = [(name, outcome["outcome"]) for (name, _), outcome in zip(wanted, outcomes)]
    assert got == wanted, [(a, b) for a, b in zip(got, wanted) if a != b]


FAULTS = (
    # fault, outcome, costs no attempt
    ("drop", ("unknown",)), ("reset", ("unknown",)), ("garbage", ("unknown",)),
    ("hang", ("unknown",)), ("slow_headers", ("unknown",)),
    ("drop_early", ("retry", "unknown")), ("reset_early", ("retry", "unknown")),
)


@pytest.mark.parametrize("fault,allowed", FAULTS, ids=[f[0] for f in FAULTS])
@pytest.mark.parametrize("adapter", ("twilio", "fcm", "apns", "sendgrid", "webhook"))
def test_a_broken_answer_is_judged_by_what_was_sent(providers, adapter, fault, allowed):
    providers.script(adapter, fault=fault, op="send")
    outcome = probe.one(providers.info, adapter, tls=secure(adapter), timeout="1500ms")
    assert outcome["outcome"] in allowed, outcome
    assert "detail" in outcome


@pytest.mark.parametrize("fault", ("refuse_stream", "goaway"))
def test_a_stream_that_was_not_processed_is_never_an_unknown_outcome(providers, fault):
    """RFC 9113 section 8.7: a retry that costs no attempt, or sent again at once; never unknown."""
    providers.script("apns", fault=fault, op="send", repeat=True)
    outcome = probe.one(providers.info, "apns", tls=True)
    assert outcome["outcome"] == "retry" and outcome["is_connection"], outcome
    assert not [r for r in providers.requests("apns") if r["verdict"] == "accepted"]
    providers.reset()
    providers.script("apns", fault=fault, op="send")
    outcome = probe.one(providers.info, "apns", tls=True)
    assert outcome["outcome"] in ("retry", "accepted"), outcome


@pytest.mark.parametrize("adapter", ("twilio", "webhook"))
def test_a_hundred_megabytes_end_early(providers, adapter):
    providers.script(adapter, fault="huge", status=500)
    outcome = probe.one(providers.info, adapter)
    assert outcome["outcome"] in ("retry", "unknown"), outcome


@pytest.mark.parametrize("adapter", [a for a in ADAPTERS if a != "smtp"])
def test_a_refused_connection_costs_no_attempt(providers, adapter):
    providers.script(adapter, listen="close")
    try:
        outcome = probe.one(providers.info, adapter, tls=secure(adapter), timeout="2s")
    finally:
        providers.unscript(adapter)
    assert outcome["outcome"] in ("retry", "unknown"), outcome


@pytest.mark.parametrize("kind", ("expired", "wrong_host", "self_signed"))
@pytest.mark.parametrize("adapter", ("twilio", "apns", "smtp"))
def test_a_bad_certificate_ends_before_anything_is_sent(providers, adapter, kind):
    providers.script(adapter, tls=kind)
    try:
        outcome = probe.one(providers.info, adapter, tls=True, timeout="3s")
    finally:
        providers.unscript(adapter)
    if adapter == "smtp":
        assert outcome["outcome"] == "auth_config_error", outcome
    else:
        assert outcome["outcome"] == "retry" and outcome["is_connection"], outcome
    assert not [r for r in providers.requests(adapter) if r["op"] == "send"]


def test_a_private_address_is_not_called_unless_allowed(providers):
    outcome = probe.one(providers.info, "webhook", keys={"allow_private": "false"})
    assert (outcome["outcome"], outcome["reason"]) == ("permanent", "target_invalid")
    assert providers.requests("webhook") == []


def test_attachments_are_fetched_and_sent(providers):
    url = providers.info["webhook"]["base_url"] + "/hook"
    content = {"title": "S", "body": "t", "content": {"email": {"attachments": [
        {"name": "a", "url": url}]}}}
    outcome = probe.one(providers.info, "sendgrid", content=content)
    assert (outcome["outcome"], outcome["reason"]) == ("permanent", "content_invalid"), outcome
    outcome = probe.one(providers.info, "sendgrid", content=content, keys={"allow_private": "true"})
    assert outcome["outcome"] == "permanent" and "fetched" in outcome["detail"], outcome
    assert providers.requests("sendgrid") == []


def test_fcm_fetches_one_token_for_a_hundred_pushes(providers):
    outcomes = probe.run(providers.info, "fcm", tls=True, count=100, concurrency=50)
    assert {o["outcome"] for o in outcomes} == {"accepted"}
    assert len([r for r in providers.requests("fcm") if r["op"] == "token"]) == 1


def test_fcm_gets_a_new_token_when_the_old_one_is_refused(providers):
    providers.script("fcm", op="send", answers=["UNAUTHENTICATED"])
    assert probe.one(providers.info, "fcm")["outcome"] == "accepted"
    assert len([r for r in providers.requests("fcm") if r["op"] == "token"]) == 2
    providers.clear()
    providers.script("fcm", op="send", error="UNAUTHENTICATED")
    assert probe.one(providers.info, "fcm")["outcome"] == "auth_config_error"


def test_apns_uses_one_connection_and_one_token(providers):
    outcomes = probe.run(providers.info, "apns", tls=True, count=200, concurrency=100,
                         connections=1)
    assert {o["outcome"] for o in outcomes} == {"accepted"}, outcomes[:3]
    records = providers.requests("apns")
    assert len({r["connection"] for r in records}) == 1
    assert len({r["headers"]["authorization"] for r in records}) == 1


def test_apns_survives_goaway(providers):
    providers.script("apns", answers=["ok", {"fault": "goaway"}, "ok"])
    outcomes = probe.run(providers.info, "apns", tls=True, count=3)
    assert [o["outcome"] for o in outcomes][0] == "accepted"
    assert outcomes[1]["outcome"] in ("accepted", "retry", "unknown")
    assert outcomes[2]["outcome"] == "accepted", outcomes


def test_every_browser_reads_its_own_push(providers):
    content = {"title": "T", "body": "\u20ac", "data": {"order": 7}}
    for number in range(3):
        outcome = probe.one(providers.info, "webpush", content=content,
                            target=probe.target(providers.info, "webpush", number=number))
        assert outcome["outcome"] == "accepted"
    for record in providers.requests("webpush"):
        plain = json.loads(record["extra"]["plaintext"])
        assert plain == {"tocsin_id": "0123456789abcdef", "title": "T", "body": "\u20ac",
                         "data": {"order": "7"}}


def test_the_pem_and_the_raw_vapid_key_are_the_same(providers):
    raw = providers.info["webpush"]["vapid_private_key_raw_file"]
    outcome = probe.one(providers.info, "webpush", keys={"vapid_private_key_file": raw})
    assert outcome["outcome"] == "accepted"


def test_smtp_speaks_each_kind_of_login(providers):
    own = providers.info["smtp"]
    for keys in ({}, {"port": own["tls_port"], "tls": "tls"},
                 {"auth": "xoauth2", "password_file": own["oauth_token_file"]},
                 {"port": own["plain_port"], "tls": "none"}):
        assert probe.one(providers.info, "smtp", keys=keys)["outcome"] == "accepted", keys


def test_ses_signs_with_temporary_credentials(providers):
    own = providers.info["ses"]
    outcome = probe.one(providers.info, "ses", keys={
        "access_key_id": own["temporary_access_key_id"],
        "session_token_file": own["session_token_file"]})
    assert outcome["outcome"] == "accepted", outcome


def test_whatsapp_sends_a_template(providers):
    content = {"content": {"chat": {"template": {
        "name": "order_ready", "language": "en",
        "components": [{"type": "body", "parameters": [{"type": "text", "text": "4"}]}]}}}}
    outcome = probe.one(providers.info, "whatsapp", content=content)
    assert outcome["outcome"] == "accepted", outcome


def test_bird_answers_a_repeat_with_the_first_message(providers):
    first = probe.one(providers.info, "bird")
    again = probe.one(providers.info, "bird", attempt=2)
    assert first["provider_id"] == again["provider_id"]
    assert len(providers.requests("bird")) == 2
