# SPDX-License-Identifier: MIT
"""Who may call what: each method by each kind of caller, on their own object and another's, and the row
of the audit that a change leaves."""
import itertools
import os
import sys

import pytest

from client import Client

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import methods  # noqa: E402

NUMBER = itertools.count(1000)
# A good call of each method; those that change something of others say what the audit has of it.
PUSH = {"platform": "fcm", "token": "device-authority:APA91b" + "x" * 20}
CALLS = {
    "audit.list": {}, "badge": {}, "history": {}, "queue.stats": {}, "provider.list": {},
    "dlq.list": {}, "dlq.count": {}, "dlq.stats": {}, "dlq.export": {},
    "dlq.get": {"id": "0000000000000001"},
    "dlq.retry": {"filter": {"user": "nobody"}}, "dlq.resolve": {"filter": {"user": "nobody"}},
    "dlq.ignore": {"filter": {"user": "nobody"}},
    "provider.pause": {"provider": "twilio", "note": "x"}, "provider.resume": {"provider": "twilio"},
    "channel.pause": {"channel": "chat"}, "channel.resume": {"channel": "chat"},
    "presence.get": {"user": "bob"},
    "user.upsert": {"user": "bob", "emails": ["bob@example.org"]},
    "user.get": {"user": "bob"}, "user.delete": {"user": "bob"},
    "suppression.add": {"channel": "email", "address": "al@example.org"},
    "suppression.remove": {"channel": "email", "address": "al@example.org"},
    "suppression.list": {},
    "device.register": PUSH, "device.unregister": {"token": PUSH["token"]},
    "request.status": {"id": "nothing"}, "request.cancel": {"id": "nothing"},
    "request.retract": {"id": "nothing"},
}
# Changes of what is not the caller's own: each leaves a row.
AUDITED = {"dlq.retry", "dlq.resolve", "dlq.ignore", "provider.pause", "provider.resume",
           "channel.pause", "channel.resume", "user.upsert", "user.delete", "suppression.add",
           "suppression.remove"}


def test_every_method_of_the_code_is_in_the_contract_and_in_this_table():
    code = methods.of_code()
    assert set(code) == set(CALLS)
    assert methods.of_contract() == {(kind, method) for method, flags in code.items()
                                     for kind in methods.callers(flags)}
    assert AUDITED <= set(CALLS)


def audit(caller, **wanted):
    return caller.rpc("audit.list", {"limit": 500, **wanted})["result"]["entries"]


@pytest.mark.parametrize("kind", methods.KINDS)
def test_each_kind_may_call_what_the_contract_lets_it_and_changes_leave_a_row(clients, kind):
    client, admin = clients[kind], clients["admin"]
    allowed = {method for of, method in methods.of_contract() if of == kind}
    for method, params in CALLS.items():
        before = len(audit(admin, action=method))
        answer = client.rpc(method, params)
        code = answer.get("error", {}).get("code")
        if method not in allowed:
            assert code == "unknown_method", (kind, method, answer)
            assert len(audit(admin, action=method)) == before
            continue
        # queue.stats has no answer until the queue has been looked at for the first time.
        assert code in (None, "not_found", "busy" if method == "queue.stats" else None), (
            kind, method, answer)
        after = audit(admin, action=method)
        if method not in AUDITED or method.startswith("dlq."):
            continue  # a filter that matches nothing changes nothing
        assert len(after) == before + 1, (kind, method)
        other = "service" if kind == "admin" else "admin"
        assert after[0][kind] == "contract" and other not in after[0], (kind, method)


def test_a_service_that_is_not_named_reads_and_changes_nothing_of_people(contract, clients):
    """requests.people names `contract` and others; `evil` would send bob's mail to itself."""
    good, admin = clients["service"], clients["admin"]
    assert good.rpc("user.upsert", {"user": "bob", "emails": ["bob@example.org"]})["result"] == {"targets": 1}
    rows = len(audit(admin))
    with Client(contract, "service", "evil") as evil:
        evil.subscribe("down/#")
        for method in ("user.upsert", "user.get", "user.delete", "suppression.add",
                       "suppression.remove", "suppression.list"):
            error = evil.rpc(method, CALLS[method])["error"]
            assert error["code"] == "not_allowed" and "requests.people" in error["message"], method
    assert len(audit(admin)) == rows
    (target,) = admin.rpc("user.get", {"user": "bob"})["result"]["targets"]
    assert target["target"] == "bob@example.org"


def test_a_change_by_a_service_is_audited_with_what_was_before(clients):
    service, admin, user = clients["service"], clients["admin"], "audited%d" % next(NUMBER)
    service.rpc("user.upsert", {"user": user, "emails": ["old@example.org"]})
    service.rpc("user.upsert", {"user": user, "emails": ["new@example.net"]})
    rows = [row for row in audit(admin, service="contract", action="user.upsert")
            if row["params"]["user"] == user]
    assert len(rows) == 2
    assert rows[0]["before"] == rows[1]["after"] and rows[0]["after"] != rows[0]["before"]
    assert "example.net" in str(rows[0]["after"]) and "new@" not in str(rows)
    # What is so already leaves no row: services say it again at each login.
    service.rpc("user.upsert", {"user": user, "emails": ["new@example.net"]})
    assert len([row for row in audit(admin, service="contract", action="user.upsert")
                if row["params"]["user"] == user]) == 2
    assert not [row for row in audit(admin, admin="contract") if "service" in row]


def suppress(stack, address, source, channel=2):
    stack.postgres.sql("insert into suppression (channel, address, reason, source) values (%d, '%s',"
                       " 19, '%s')" % (channel, address, source))


@pytest.mark.parametrize("source", ("keyword", "unsubscribe", "provider", "admin/ops",
                                    "service/other"))
def test_a_service_does_not_remove_what_others_have_suppressed(contract, clients, source):
    service, admin = clients["service"], clients["admin"]
    address = "+1555016%04d" % next(NUMBER)
    suppress(contract, address, source)
    params = {"channel": "sms", "address": address}
    error = service.rpc("suppression.remove", params)["error"]
    assert (error["code"], error["field"]) == ("not_allowed", "/params/address")
    assert len(admin.rpc("suppression.list", params)["result"]["entries"]) == 1
    assert admin.rpc("suppression.remove", params)["result"] == {"removed": 1}


def test_a_service_removes_what_it_has_suppressed_itself(contract, clients):
    service, admin = clients["service"], clients["admin"]
    address = "+1555016%04d" % next(NUMBER)
    params = {"channel": "sms", "address": address}
    assert service.rpc("suppression.add", params)["result"] == {"added": 1}
    assert service.rpc("suppression.remove", params)["result"] == {"removed": 1}
    # An admin's word stands above a service's, and a service's does not replace it.
    assert service.rpc("suppression.add", params)["result"] == {"added": 1}
    assert admin.rpc("suppression.add", params)["result"] == {"added": 1}
    assert service.rpc("suppression.add", params)["result"] == {"added": 0}
    assert service.rpc("suppression.remove", params)["error"]["code"] == "not_allowed"
    (entry,) = admin.rpc("suppression.list", params)["result"]["entries"]
    assert entry["source"] == "admin/contract"


def test_what_a_provider_says_stands_above_what_a_service_had_suppressed(contract, clients):
    """Else the service could take the recipient's own word back."""
    service, number = clients["service"], "+15550177777"
    params = {"channel": "sms", "address": number}
    suppress(contract, number, "service/contract")
    contract.postgres.sql("update suppression set scope = 'other.type' where address = '%s'" % number)
    contract.providers.control("POST", "/behaviour", {"provider": "twilio", "target": number,
                                                      "answers": ["twilio:21610"], "repeat": True})
    try:
        service.publish("up/request", {"id": "stop-1", "type": "t.t", "title": "t", "body": "b",
                                       "to": {"phone": number}, "channels": ["sms"]})
        service.receipt("stop-1", "suppressed", 20)
    finally:
        contract.providers.control("POST", "/reset", {})
    assert service.rpc("suppression.remove", params)["error"]["code"] == "not_allowed"
    typed = {**params, "type": "other.type"}  # its own entry, of that type alone
    assert service.rpc("suppression.remove", typed)["result"] == {"removed": 1}


def test_requests_are_their_services_alone(contract, clients):
    service = clients["service"]
    service.publish("up/request", {"id": "mine-1", "type": "t", "title": "t",
                                   "to": {"user": "bob"}, "at": "2099-01-01T00:00:00Z"})
    service.receipt("mine-1", "accepted")
    with Client(contract, "service", "other") as other:
        other.subscribe("down/#")
        for method in ("request.status", "request.cancel", "request.retract"):
            assert other.rpc(method, {"id": "mine-1"})["error"]["code"] == "not_found", method
    assert service.rpc("request.cancel", {"id": "mine-1"})["result"] == {"cancelled": 1}
