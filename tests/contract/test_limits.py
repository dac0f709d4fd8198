# SPDX-License-Identifier: MIT
"""One limit, one place: what stands in several parts is the same number in each, and holds at N and N + 1."""
import json
import re

import pytest

import methods
from client import Client

SCHEMA = json.loads(methods.read("schemas", "json", "request.schema.json"))
TO = SCHEMA["$defs"]["request"]["properties"]["to"]


def of_c(path, name):
    text = methods.read(*path.split("/"))
    found = re.search(r"\b%s\s*(?:=\s*)?(\d+)" % name, text)
    assert found, "%s has no %s" % (path, name)
    return int(found.group(1))


def of_schema(name):
    members = TO.get("properties") or SCHEMA["$defs"][TO["$ref"].rsplit("/", 1)[1]]["properties"]
    return members[name]["maxLength"]


# What the bridge, the auth plugin and the schema each say of the same thing.
SAME = {
    "a role": [of_c("bridge/core/topic.h", "TOPIC_ROLE_MAX"),
               of_c("plugins/auth/principal.h", "PRINCIPAL_ROLE_MAX"), of_schema("role")],
    "an id": [of_c("bridge/core/topic.h", "TOPIC_ID_MAX"),
              of_c("plugins/auth/principal.h", "PRINCIPAL_ID_MAX"), of_schema("user")],
}


@pytest.mark.parametrize("what", SAME)
def test_a_limit_is_the_same_in_each_part(what):
    assert len(set(SAME[what])) == 1, (what, SAME[what])


@pytest.mark.parametrize("to, length", (("role", SAME["a role"][0]), ("user", SAME["an id"][0])))
def test_a_recipient_is_taken_at_its_limit_and_refused_beyond(clients, to, length):
    service = clients["service"]
    for more, status in ((0, "accepted"), (1, "rejected")):
        name = "limit-%s-%d" % (to, more)
        service.publish("up/request", {"id": name, "type": "t", "title": "x",
                                       "to": {to: "n" * (length + more)}})
        receipt = service.receipt(name, status)
        assert (receipt.get("reason"), receipt.get("field")) == (
            ("too_large", "/to/" + to) if more else (None, None))


def test_a_token_may_carry_an_id_and_a_role_of_the_limit_and_gets_what_is_sent_to_them(contract,
                                                                                        clients):
    user, role = "u" * SAME["an id"][0], "r" * SAME["a role"][0]
    with Client(contract, "user", user, device=None, roles=[role]) as client:
        client.subscribe("down/inbox")
        client.subscribe("notify/v1/roles/%s/#" % role)
        for name, to in (("to-user", {"user": user}), ("to-role", {"role": role})):
            clients["service"].publish("up/request", {"id": name, "type": "t", "title": name,
                                                      "to": to})
            client.wait(lambda m, n=name: m.json.get("title") == n, 10, name)
    with pytest.raises(ConnectionError):
        Client(contract, "user", user + "u", device=None).connect()


# Pages of rpc: who asks, the call, the most that docs/operations.md names.
PAGES = (("admin", "dlq.list", 500), ("admin", "dlq.export", 100))


@pytest.mark.parametrize("kind, method, most", PAGES)
def test_a_page_is_given_at_its_limit_and_refused_beyond(clients, kind, method, most):
    assert re.search(r"`%s` \|[^\n]*at most %d\b" % (re.escape(method), most),
                     methods.read("docs", "operations.md"))
    for limit in (1, most):
        assert "result" in clients[kind].rpc(method, {"limit": limit}), limit
    for limit in (0, most + 1):
        error = clients[kind].rpc(method, {"limit": limit})["error"]
        assert (error["code"], error["field"]) == ("bad_value", "/params/limit"), error
