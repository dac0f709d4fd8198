# SPDX-License-Identifier: MIT
"""One name, in and out: an id as the token has it is what each interface gives out and takes back; only
topics have it percent-encoded."""
import itertools

import pytest

import tokens
from client import Client

USERS = ("f:1f2e:jdoe", "50%", "a%41b", "a%3Ab", "jo+news@example.org", "O'Brien", "two words",
         "\u00c5sa \u6771\u4eac", "sp/lash", '"quoted"')
SERVICES = ("orders:eu", "caf\u00e9", "two words")
NUMBER = itertools.count(1)


def result(answer):
    assert "error" not in answer, answer
    return answer["result"]


@pytest.mark.parametrize("user", USERS)
def test_a_users_name_is_the_same_in_each_interface(clients, user):
    service, admin, name = clients["service"], clients["admin"], "name-%d" % next(NUMBER)
    if not admin.filters[1:]:
        admin.subscribe("notify/v1/dlq/#")
    service.publish("up/request", {"id": name, "type": "t.t", "title": "x", "channels": ["email"],
                                   "to": {"user": user}})
    dead = service.receipt(name, "dead", 20)
    assert dead["user"] == user
    letter = admin.wait(lambda m: m.topic.startswith("notify/v1/dlq/") and m.json["request"] == name)
    assert letter.json["user"] == user
    status = result(service.rpc("request.status", {"id": name}))
    assert status["deliveries"][0]["user"] == user
    # What was given out is taken back, and finds the same.
    (entry,) = result(admin.rpc("dlq.list", {"user": dead["user"]}))["entries"]
    assert (entry["user"], entry["request"]) == (user, name)
    assert result(admin.rpc("dlq.count", {"user": entry["user"]})) == {"count": 1}
    assert result(admin.rpc("dlq.ignore", {"filter": {"user": entry["user"]}})) == {"ignored": 1}
    assert result(service.rpc("user.upsert", {"user": entry["user"], "emails": ["u@example.org"]}))
    got = result(service.rpc("user.get", {"user": entry["user"]}))
    assert got["user"] == user and len(got["targets"]) == 1
    service.publish("up/request", {"id": name + "-again", "type": "t.t", "title": "x", "body": "b",
                                   "channels": ["email"], "to": {"user": got["user"]}})
    assert service.receipt(name + "-again", "sent", 20)["user"] == user
    assert result(admin.rpc("presence.get", {"user": got["user"]}))["user"] == user
    rows = result(admin.rpc("audit.list", {"service": "contract", "action": "user.upsert"}))
    assert rows["entries"][0]["params"]["user"] == user


def test_a_user_is_reached_under_the_name_of_its_token(contract, clients):
    for user in USERS:
        with Client(contract, "user", user) as client:
            client.subscribe("down/inbox")
            name = "name-%d" % next(NUMBER)
            clients["service"].publish("up/request", {"id": name, "type": "t", "title": name,
                                                      "to": {"user": user}})
            client.wait(lambda m, n=name: m.json["title"] == n, 10, user)
            assert clients["admin"].rpc("presence.get", {"user": user})["result"]["presence"] == "here"


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_name_is_the_same_in_the_configuration_and_in_each_interface(contract, clients,
                                                                                service):
    """requests.people, .roles and .broadcast name it, as its token does or percent-encoded."""
    admin, number = clients["admin"], "+1555017%04d" % next(NUMBER)
    with Client(contract, "service", service) as client:
        client.subscribe("down/#")
        for name, to in (("role", {"role": "ops"}), ("all", {"broadcast": True})):
            client.publish("up/request", {"id": name, "type": "t", "title": "x", "to": to})
            client.receipt(name, "accepted")
        client.publish("up/request", {"id": "dead", "type": "t", "title": "x", "channels": ["email"],
                                      "to": {"user": "nobody"}})
        client.receipt("dead", "dead", 20)
        assert result(client.rpc("suppression.add", {"channel": "sms", "address": number}))
        (entry,) = result(admin.rpc("dlq.list", {"service": service}))["entries"]
        assert entry["service"] == service
        assert result(admin.rpc("dlq.count", {"service": entry["service"]})) == {"count": 1}
        (row,) = result(admin.rpc("audit.list", {"service": service}))["entries"]
        assert row["service"] == service
        (entry,) = result(admin.rpc("suppression.list", {"address": number}))["entries"]
        assert entry["source"] == "service/" + service
        assert result(client.rpc("suppression.remove", {"channel": "sms", "address": number}))


def test_an_admins_name_is_the_same_in_each_interface(contract, clients):
    name = "name-%d" % next(NUMBER)
    clients["service"].publish("up/request", {"id": name, "type": "t.t", "title": "x",
                                              "channels": ["email"], "to": {"user": name}})
    clients["service"].receipt(name, "dead", 20)
    with Client(contract, "admin", "root:a b") as admin:
        admin.subscribe("down/#")
        assert result(admin.rpc("dlq.ignore", {"filter": {"user": name}})) == {"ignored": 1}
        (entry,) = result(admin.rpc("dlq.list", {"user": name, "status": "ignored"}))["entries"]
        assert entry["changed_by"] == "root:a b"
        (row,) = result(admin.rpc("audit.list", {"admin": entry["changed_by"]}))["entries"]
        assert row["admin"] == "root:a b"


def test_the_encoded_spelling_is_another_name():
    """A raw id may hold a percent sign: what looks encoded is not decoded."""
    assert tokens.encode_id("a%3Ab") != tokens.encode_id("a:b") == "a%3Ab"
