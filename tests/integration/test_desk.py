# SPDX-License-Identifier: MIT
"""The dead-letter desk: looking, bringing back, giving verdicts, and who did what."""
import concurrent.futures
import json
import shutil
import subprocess

import pytest

import dead_letters
import servers
from client import Client
from process import wait_until
from traffic import books

FAST = {"attempts": 1}


def kill_some(shop, names, **more):
    """Requests that die at once; returns their deliveries by request."""
    shop.publish("up/request", [{"id": name, "type": "desk.test", "title": name, "body": "b",
                                 "to": {"user": "nobody-%s" % name}, "retry": FAST, **more}
                                for name in names])
    for name in names:
        shop.receipt(name, "dead", 20)


def entries(ops, **params):
    answer = ops.rpc("dlq.list", params)
    assert "error" not in answer, answer
    return answer["result"]["entries"]


def by_request(ops, **params):
    return {entry["request"]: entry for entry in entries(ops, status="any", limit=500, **params)}


def status_of(ops, delivery):
    return ops.rpc("dlq.get", {"id": delivery})["result"]["status"]


@pytest.fixture(scope="module")
def desk(stack):
    with Client(stack, "service", "shop") as shop, Client(stack, "admin", "ops") as ops, \
            Client(stack, "admin", "eve") as eve:
        shop.subscribe("down/#")
        ops.subscribe("down/#")
        ops.subscribe("notify/v1/dlq/#")
        eve.subscribe("down/#")
        yield stack, shop, ops, eve


# Looking

def test_an_entry_is_complete_in_the_list_the_answer_and_the_live_topic(desk):
    _, shop, ops, _ = desk
    content = {"in_app": {"title": "Fetch it"}}
    kill_some(shop, ["whole"], data={"shelf": 7}, content=content, priority="high",
              collapse_key="k", expires_at="2099-01-01T00:00:00Z")
    live = ops.wait(lambda m: m.topic == "notify/v1/dlq/in_app/user_offline"
                    and m.json["request"] == "whole").json
    listed = by_request(ops, type="desk.test")["whole"]
    got = ops.rpc("dlq.get", {"id": listed["delivery"]})["result"]
    for entry in (live, listed, got):
        assert (entry["service"], entry["request"], entry["type"]) == ("shop", "whole", "desk.test")
        assert (entry["channel"], entry["reason"], entry["user"]) == (
            "in_app", "user_offline", "nobody-whole")
        assert (entry["priority"], entry["attempts"], entry["status"]) == (
            "high", 1, "pending_review")
        assert entry["delivery"] == live["delivery"]
    for entry in (live, got):
        assert entry["content"]["title"] == "whole"
        assert entry["content"]["data"] == {"shelf": 7}
        assert entry["content"]["content"] == content
        assert entry["expires_at"] == "2099-01-01T00:00:00.000Z"
        assert entry["collapse_key"] == "k"
    (attempt,) = got["history"]
    assert (attempt["attempt"], attempt["reason"], attempt["state"]) == (1, "user_offline", "dead")


def test_stored_content_that_is_no_object_is_left_out_of_its_entry_only(desk):
    stack, shop, ops, _ = desk
    kill_some(shop, ["odd", "even"])
    odd, even = (by_request(ops, type="desk.test")[name]["delivery"] for name in ("odd", "even"))
    stack.postgres.sql("update notification set content = '[]' where request = 'odd'")
    for delivery, is_there in ((odd, False), (even, True)):
        got = ops.rpc("dlq.get", {"id": delivery})["result"]
        assert got["delivery"] == delivery and ("content" in got) is is_there
    assert "desk.content" in open(stack.bridge.log).read()


def test_mosquitto_sub_watches_the_dead_letters(desk):
    stack, shop, ops, _ = desk
    program = shutil.which("mosquitto_sub")
    if not program:
        pytest.skip("mosquitto_sub is not installed")
    command = [program, "-V", "mqttv5", "-p", str(stack.broker.port), "-i", "admin/watcher/sub",
               "-u", "watcher", "-P", stack.token("admin", "watcher"), "-q", "1", "-C", "2", "-v",
               "-t", "notify/v1/dlq/+/user_offline", "-W", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        wait_until(lambda: "admin/watcher/sub" in open(stack.broker.log).read() or None, 10)
        names = []
        while watching.poll() is None and len(names) < 100:  # its subscription takes a moment
            names.append("sub-%d" % len(names))
            kill_some(shop, names[-1:], type="desk.sub")
        lines = watching.communicate(timeout=120)[0].splitlines()
    assert watching.returncode == 0 and len(lines) == 2, lines
    for line in lines:
        topic, payload = line.split(" ", 1)
        entry = json.loads(payload)
        assert topic == "notify/v1/dlq/in_app/user_offline"
        assert entry["request"] in names and entry["content"]["title"] == entry["request"]
    refused = subprocess.run(command[:5] + ["-i", "user/u/sub", "-u", "u", "-P",
                                            stack.token("user", "u"), "-t", "notify/v1/dlq/#",
                                            "-W", "2", "-E"], capture_output=True, text=True,
                             timeout=120, check=False)
    assert "denied" in (refused.stdout + refused.stderr).lower(), refused


def test_filters_pages_and_counts_agree(desk):
    _, shop, ops, _ = desk
    names = ["page-%d" % n for n in range(7)]
    kill_some(shop, names, type="desk.pages")
    kill_some(shop, ["other"], type="desk.other")
    found, after = [], None
    while True:
        answer = ops.rpc("dlq.list", {"type": "desk.pages", "limit": 3,
                                      **({"after": after} if after else {})})["result"]
        found += [entry["request"] for entry in answer["entries"]]
        after = answer.get("next")
        if not after:
            break
    assert sorted(found) == names and found == sorted(found, key=found.index)
    count = lambda **f: ops.rpc("dlq.count", f)["result"]["count"]  # noqa: E731
    assert count(type="desk.pages") == 7
    assert count(type="desk.pages", user="nobody-page-3") == 1
    assert count(type="desk.pages", channel="in_app", reason="user_offline", service="shop") == 7
    assert count(type="desk.pages", reason="ack_timeout") == 0
    assert count(type="desk.pages", service="other") == 0
    assert count(type="desk.pages", status="resolved") == 0
    assert count(type="desk.pages", status=["pending_review", "ignored"]) == 7
    assert count(type="desk.pages", since="2099-01-01T00:00:00Z") == 0
    assert count(type="desk.pages", until="2099-01-01T00:00:00Z") == 7
    stats = ops.rpc("dlq.stats", {"type": "desk.pages"})["result"]
    assert (stats["count"], stats["pending_review"]) == (7, 7)
    assert stats["statuses"] == {"pending_review": 7}
    assert stats["reasons"] == [{"channel": "in_app", "reason": "user_offline", "count": 7,
                                 "pending_review": 7}]
    assert [day["count"] for day in stats["days"]] == [7] and len(stats["days"][0]["day"]) == 10
    empty = ops.rpc("dlq.stats", {"type": "no.such"})["result"]
    assert empty == {"count": 0, "pending_review": 0, "statuses": {}, "reasons": [], "days": []}
    exported = ops.rpc("dlq.export", {"type": "desk.pages", "limit": 2})["result"]
    assert len(exported["entries"]) == 2 and exported["next"]
    assert exported["entries"][0]["content"]["title"].startswith("page-")


ERRORS = [
    ("dlq.get", {}, "missing_field", "/params/id"),
    ("dlq.get", {"id": "x"}, "bad_value", "/params/id"),
    ("dlq.get", {"id": "0" * 16}, "not_found", "/params/id"),
    ("dlq.list", {"limit": 0}, "bad_value", "/params/limit"),
    ("dlq.list", {"channel": "fax"}, "bad_value", "/params/channel"),
    ("dlq.list", {"reason": "bad_luck"}, "bad_value", "/params/reason"),
    ("dlq.list", {"status": "lost"}, "bad_value", "/params/status"),
    ("dlq.list", {"status": []}, "bad_value", "/params/status"),
    ("dlq.list", {"since": "yesterday"}, "bad_value", "/params/since"),
    ("dlq.list", {"colour": 1}, "unknown_field", "/params/colour"),
    ("dlq.count", {"colour": 1}, "unknown_field", "/params/colour"),
    ("dlq.stats", {"limit": 1}, "unknown_field", "/params/limit"),
    ("dlq.export", {"limit": 101}, "bad_value", "/params/limit"),
    ("dlq.retry", {}, "bad_value", "/params/ids"),
    ("dlq.retry", {"ids": ["0" * 16], "filter": {}}, "bad_value", "/params/ids"),
    ("dlq.retry", {"ids": []}, "bad_value", "/params/ids"),
    ("dlq.retry", {"filter": {"colour": 1}}, "unknown_field", "/params/filter/colour"),
    ("dlq.retry", {"filter": {"status": "retrying"}}, "bad_value", "/params/filter/status"),
    ("dlq.retry", {"filter": {}, "destination": "nowhere"}, "bad_value", "/params/destination"),
    ("dlq.retry", {"filter": {}, "content": {"type": "t", "title": "t", "body": "b"}}, "bad_value",
     "/params/content"),
    ("dlq.retry", {"ids": ["1" * 16], "content": {"title": "t"}}, "missing_field",
     "/params/content/type"),
    ("dlq.retry", {"ids": ["1" * 16], "content": {"type": "t", "title": 7}}, "bad_value",
     "/params/content/title"),
    ("dlq.retry", {"ids": ["1" * 16], "content": {"type": "t", "to": {}}}, "unknown_field",
     "/params/content/to"),
    ("dlq.resolve", {"filter": {}, "note": ""}, "bad_value", "/params/note"),
    ("dlq.resolve", {"filter": {}, "destination": "in_app"}, "unknown_field",
     "/params/destination"),
    ("dlq.ignore", {"filter": {"status": "ignored"}}, "bad_value", "/params/filter/status"),
]


@pytest.mark.parametrize("method,params,code,field", ERRORS, ids=range(len(ERRORS)))
def test_what_is_wrong_is_said(desk, method, params, code, field):
    error = desk[2].rpc(method, params)["error"]
    assert (error["code"], error["field"]) == (code, field), error


METHODS = ("dlq.list", "dlq.count", "dlq.stats", "dlq.get", "dlq.retry", "dlq.resolve",
           "dlq.ignore", "dlq.export", "audit.list")


def test_nobody_but_an_admin_is_answered(desk):
    stack, shop, ops, _ = desk
    kill_some(shop, ["mine"], type="desk.mine")
    with Client(stack, "user", "mine") as user:  # not its recipient, whose coming would retry it
        user.subscribe("down/#")
        for client in (shop, user):
            for method in METHODS:
                error = client.rpc(method, {"filter": {"type": "desk.mine"}})["error"]
                assert error["code"] == "unknown_method", method
        with pytest.raises(PermissionError):
            user.subscribe("notify/v1/dlq/#")
    assert by_request(ops, type="desk.mine")["mine"]["status"] == "pending_review"


# Verdicts

def test_a_verdict_says_who_when_and_why(desk):
    _, shop, ops, eve = desk
    kill_some(shop, ["v-1", "v-2", "v-3"], type="desk.verdict")
    ids = {name: entry["delivery"] for name, entry in by_request(ops, type="desk.verdict").items()}
    assert ops.rpc("dlq.resolve", {"ids": [ids["v-1"]], "note": "phoned her"})["result"] == {
        "resolved": 1, "skipped": 0}
    assert eve.rpc("dlq.ignore", {"filter": {"type": "desk.verdict", "user": "nobody-v-2"}})[
        "result"] == {"ignored": 1}
    found = by_request(ops, type="desk.verdict")
    one, two, three = found["v-1"], found["v-2"], found["v-3"]
    assert (one["status"], one["changed_by"], one["note"], one["resolved_by"]) == (
        "resolved", "ops", "phoned her", "admin")
    assert one["changed_at"] >= one["died_at"]
    assert (two["status"], two["changed_by"]) == ("ignored", "eve") and "note" not in two
    assert three["status"] == "pending_review" and "changed_by" not in three
    assert [e["request"] for e in entries(ops, type="desk.verdict")] == ["v-3"]
    # What has its verdict is not swept up by a filter, and can be taken up again by name.
    assert ops.rpc("dlq.ignore", {"filter": {"type": "desk.verdict"}})["result"]["ignored"] == 1
    assert ops.rpc("dlq.resolve", {"ids": list(ids.values())})["result"] == {
        "resolved": 2, "skipped": 1}
    assert ops.rpc("dlq.resolve", {"ids": ["0" * 16]})["result"] == {"resolved": 0, "skipped": 1}


# Bringing back

def test_a_retry_is_delivered_urgently_and_resolves_itself(desk):
    stack, shop, ops, _ = desk
    kill_some(shop, ["back"], type="desk.back", priority="low", receipts="all")
    entry = by_request(ops, type="desk.back")["back"]
    with Client(stack, "user", "nobody-back") as user:
        user.subscribe("down/#")
        assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"]["retried"] == 1
        message = user.wait(lambda m: m.topic.endswith("/inbox"))
        assert message.json["id"] == entry["delivery"]
        assert status_of(ops, entry["delivery"]) == "retrying"
        assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"] == {
            "retried": 0, "skipped": 1}
        user.publish("up/ack", {"ids": [entry["delivery"]]})
        shop.receipt("back", "delivered")
    wait_until(lambda: status_of(ops, entry["delivery"]) == "resolved", 20)
    got = ops.rpc("dlq.get", {"id": entry["delivery"]})["result"]
    assert (got["resolved_by"], got["changed_by"], got["retries"]) == ("retry", "ops", 1)
    assert [t["state"] for t in got["history"] if "state" in t] == ["dead", "delivered"]
    assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"]["retried"] == 0
    assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_a_retry_that_dies_again_waits_for_review_with_its_whole_budget_used(desk):
    _, shop, ops, _ = desk
    shop.publish("up/request", {"id": "again", "type": "desk.again", "title": "t", "body": "b",
                                "to": {"user": "nobody"},
                                "retry": {"attempts": 2, "base": "100ms", "max": "100ms"}})
    shop.receipt("again", "dead", 20)
    entry = by_request(ops, type="desk.again")["again"]
    assert entry["attempts"] == 2
    assert ops.rpc("dlq.retry", {"filter": {"type": "desk.again"}, "note": "try"})[
        "result"] == {"retried": 1}
    wait_until(lambda: status_of(ops, entry["delivery"]) == "pending_review", 20)
    got = ops.rpc("dlq.get", {"id": entry["delivery"]})["result"]
    assert (got["attempts"], got["retries"], got["note"]) == (2, 1, "try")
    assert len(got["history"]) == 4
    assert len([m for m in ops.messages if m.topic.startswith("notify/v1/dlq/")
                and m.json["request"] == "again"]) == 2


def test_a_retry_with_edited_content_leaves_the_original(desk):
    stack, shop, ops, _ = desk
    kill_some(shop, ["edit"], type="desk.edit", priority="high", data={"n": 1})
    entry = by_request(ops, type="desk.edit")["edit"]
    content = ops.rpc("dlq.get", {"id": entry["delivery"]})["result"]["content"]
    content["title"] = "Mended"
    wrong = dict(content, type="desk.else")
    assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]], "content": wrong})["result"] == {
        "retried": 0, "skipped": 1}
    large = dict(content, body="x" * 12000)
    assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]], "content": large})["result"] == {
        "retried": 0, "skipped": 1}
    with Client(stack, "user", "nobody-edit") as user:
        user.subscribe("down/#")
        assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]], "content": content})["result"][
            "retried"] == 1
        message = user.wait(lambda m: m.topic.endswith("/inbox"))
        assert (message.json["title"], message.json["data"]) == ("Mended", {"n": 1})
        user.publish("up/ack", {"ids": [entry["delivery"]]})
        shop.receipt("edit", "delivered")
    got = ops.rpc("dlq.get", {"id": entry["delivery"]})["result"]
    assert got["content"]["title"] == "edit"
    assert got["edited_content"]["title"] == "Mended"


def test_a_retry_goes_by_the_destination_that_was_named(new_stack):
    stack = new_stack(settings={"destinations.other.adapter": "log_sms",
                                "channels.sms.attempts": 1})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "answers": [400],
                                                   "repeat": True})
    with Client(stack, "service", "shop") as shop, Client(stack, "admin", "ops") as ops:
        shop.subscribe("down/#")
        ops.subscribe("down/#")
        shop.publish("up/request", {"id": "sms", "type": "t", "title": "t", "body": "b",
                                    "to": {"phone": "+15550142222"}})
        shop.receipt("sms", "dead", 20)
        entry = by_request(ops)["sms"]
        assert (entry["destination"], entry["target"]) == ("twilio", "+15550142222")
        assert ops.rpc("dlq.retry", {"filter": {}, "destination": "in_app"})["result"] == {
            "retried": 0}
        assert ops.rpc("dlq.retry", {"filter": {}, "destination": "other"})["result"] == {
            "retried": 1}
        assert shop.receipt("sms", "sent", 20)["provider"] == "other"


# Who did what

def test_every_action_is_in_the_audit_with_before_and_after(desk):
    _, shop, ops, eve = desk
    kill_some(shop, ["a-1", "a-2"], type="desk.audit")
    filters = {"type": "desk.audit"}
    eve.rpc("dlq.ignore", {"filter": filters, "note": "spam"})
    eve.rpc("dlq.resolve", {"filter": dict(filters, status="ignored")})
    eve.rpc("dlq.resolve", {"filter": filters})
    found = ops.rpc("audit.list", {"admin": "eve", "limit": 3})["result"]
    assert found["next"]
    none, resolved, ignored = found["entries"]
    assert [e["action"] for e in found["entries"]] == ["dlq.resolve", "dlq.resolve", "dlq.ignore"]
    assert ignored["params"] == {"filter": filters, "note": "spam"}
    assert (ignored["before"], ignored["after"]) == ({"pending_review": 2}, {"ignored": 2})
    assert ignored["result"] == {"ignored": 2} and ignored["call"]
    assert (resolved["before"], resolved["after"]) == ({"ignored": 2}, {"resolved": 2})
    assert none["result"] == {"resolved": 0} and none["before"] == {}
    assert ignored["id"] < resolved["id"] and ignored["at"] <= resolved["at"]
    older = ops.rpc("audit.list", {"admin": "eve", "after": found["next"]})["result"]["entries"]
    assert all(e["id"] < ignored["id"] for e in older)
    only = ops.rpc("audit.list", {"action": "dlq.ignore", "admin": "eve", "limit": 1})["result"]
    assert only["entries"] == [ignored]
    for params, field in (({"limit": 0}, "limit"), ({"who": "x"}, "who"), ({"after": 1}, "after")):
        assert ops.rpc("audit.list", params)["error"]["field"] == "/params/" + field
    assert ops.rpc("audit.list", {"since": "2099-01-01T00:00:00Z"})["result"] == {"entries": []}


@pytest.mark.parametrize("change", ("update audit set admin = 'nobody'", "delete from audit",
                                    "truncate audit", "delete from audit where false"))
def test_the_audit_cannot_be_changed(stack, change):
    with pytest.raises(servers.ServerError, match="never changed"):
        stack.postgres.sql(change)


# Many at once

def ended_once(stack, count):
    """Every retry has ended as sent, each once."""
    rows = stack.postgres.sql("select count(*), count(distinct delivery) from attempt a "
                              "join notification n on n.id = a.notification "
                              "where n.type = 'bulk.test' and a.state = 3")
    return rows == [[str(count), str(count)]] or None


def test_two_admins_who_retry_the_same_at_once_send_nothing_twice(new_stack):
    count = 6000
    stack = new_stack(bridges=2)
    dead_letters.make(stack, count)
    with Client(stack, "admin", "ops") as ops, Client(stack, "admin", "eve") as eve:
        ops.subscribe("down/#")
        eve.subscribe("down/#")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda admin: admin.rpc(
                "dlq.retry", {"filter": {"reason": "user_offline"}}, 60), (ops, eve)))
        assert sum(answer["result"]["retried"] for answer in done) == count, done
        rows = ops.rpc("audit.list", {"limit": 100})["result"]["entries"]
        assert sum(row["result"]["retried"] for row in rows) == count
        wait_until(lambda: ended_once(stack, count), 90, "every retry to end", 0.2)
        wait_until(lambda: ops.rpc("dlq.count", {"status": "resolved"})["result"]["count"] == count,
                   60, "every one to be resolved", 0.2)
    seen = stack.providers.control("GET", "/stats?provider=twilio")
    assert seen["requests"] == count, seen
    now = books(stack)
    assert (now["missing"], now["in_flight"], now["dead"], now["sent"]) == (0, 0, 0, count)


def test_what_waits_to_be_put_back_can_be_called_back(new_stack):
    stack = new_stack(settings={"destinations.twilio.concurrency": 1})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "delay_ms": 200,
                                                   "answers": ["ok"], "repeat": True})
    dead_letters.make(stack, 3000)
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/#")
        assert ops.rpc("dlq.retry", {"filter": {}}, 30)["result"]["retried"] == 3000
        called = ops.rpc("dlq.ignore", {"filter": {"status": "retrying"}}, 30)["result"]["ignored"]
        assert called > 1500, "a slow destination has few retries before its live traffic"
        rows = stack.postgres.sql("select count(*) from delivery")
        assert int(rows[0][0]) <= 3000 - called
    assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_live_traffic_passes_what_is_brought_back(new_stack):
    """A slow provider with a long retry before it, and a service that goes on."""
    stack = new_stack(settings={"destinations.twilio.concurrency": 2})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "delay_ms": 50,
                                                   "answers": ["ok"], "repeat": True})
    dead_letters.make(stack, 1500)
    with Client(stack, "admin", "ops") as ops, Client(stack, "service", "shop") as shop:
        ops.subscribe("down/#")
        shop.subscribe("down/#")
        assert ops.rpc("dlq.retry", {"filter": {}}, 30)["result"]["retried"] == 1500

        def sent(kind):
            return int(stack.postgres.value(
                "select count(*) from attempt a join notification n on n.id = a.notification "
                "where n.type = '%s' and a.state = 3" % kind))
        wait_until(lambda: sent("bulk.test") > 20 or None, 30, "the retry to flow")
        for priority in ("urgent", "normal", "low"):
            names = ["%s-%d" % (priority, n) for n in range(5)]
            shop.publish("up/request", [{"id": name, "type": "live", "title": "t", "body": name,
                                         "priority": priority, "to": {"phone": "+15550177777"}}
                                        for name in names])
            for name in names:
                shop.receipt(name, "sent", 60)
        assert sent("bulk.test") < 1000, "live ones went first"


def test_old_ones_resolve_by_age(new_stack):
    stack = new_stack(settings={"retention.resolve_after": "1h"})
    dead_letters.make(stack, 10)
    dead_letters.make(stack, 10, first=11)
    stack.postgres.sql("update dead_letter set died_at = now() - interval '2 hours' "
                       "where recipient <= '+15550000010'")
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/#")
        wait_until(lambda: ops.rpc("dlq.count", {"status": "resolved"})["result"]["count"] == 10,
                   30, "resolution by age", 0.2)
        (entry,) = entries(ops, status="resolved", limit=1)
        assert entry["resolved_by"] == "age" and "changed_by" not in entry
        assert ops.rpc("dlq.count")["result"]["count"] == 10


def test_they_go_when_their_notifications_have_gone(new_stack):
    stack = new_stack(settings={"retention.days": 5})
    stack.bridge.stop()
    dead_letters.make(stack, 10, days_ago=7)
    dead_letters.make(stack, 10, first=11, days_ago=4)
    stack.bridge.start()
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/#")
        wait_until(lambda: ops.rpc("dlq.count")["result"]["count"] <= 10, 30, "the purge", 0.2)
        left = by_request(ops)
        assert sorted(left) == ["bulk-%d" % n for n in range(11, 21)]
