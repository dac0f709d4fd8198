# SPDX-License-Identifier: MIT
"""Admins stop a provider or a channel: nothing more leaves, nothing is lost, nothing is repeated."""
import collections

from client import Client
from process import wait_until
from traffic import Traffic

SETTINGS = {"bridge.lease": "5s", "queue.active_limit": 400,
            "destinations.webhook.concurrency": 20}


def hooks(stack):
    url = stack.providers.info["webhook"]["url"]

    def make(number, name):
        return {"type": "hook.test", "to": {"url": "%s/%d" % (url, number)}, "title": name,
                "body": "b", "channels": ["webhook"]}
    return make


def asked(stack):
    """{path: how often the webhook was asked}."""
    seen = stack.providers.control("GET", "/requests?provider=webhook&limit=50000&fields=path")
    return collections.Counter(call["path"] for call in seen["requests"])


def result(answer):
    assert "error" not in answer, answer
    return answer["result"]


def held(stack, text="destination.paused"):
    """How many bridges say that they keep to it."""
    return sum(text in open(bridge.log).read() for bridge in stack.bridges)


def leased(stack):
    return int(stack.postgres.value("select count(*) from delivery where state = 1"))


def test_a_paused_provider_is_not_asked_by_any_bridge_and_nothing_is_lost(new_stack):
    stack = new_stack(bridges=2, settings=SETTINGS)
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 40})
    with Client(stack, "admin", "root") as admin, \
            Traffic(stack, rate=300, users=0, make=hooks(stack)) as traffic:
        admin.subscribe("down/#")
        traffic.wait_accepted(300)
        assert result(admin.rpc("provider.pause", {"provider": "webhook", "note": "moving"})) == {
            "provider": "webhook", "paused": True, "changed": True}
        wait_until(lambda: held(stack) == 2, 5, "both bridges keep to it")
        # What is under way ends, what waits in memory goes back, and then all is still.
        wait_until(lambda: leased(stack) == 0, 10, "nothing is leased")
        before = asked(stack)
        traffic.wait_accepted(300)  # what comes in is accepted all the same
        traffic.stop()
        assert asked(stack) == before
        assert result(admin.rpc("provider.pause", {"provider": "webhook"}))["changed"] is False

        for bridge in stack.bridges:  # and it survives those who were told
            bridge.kill()
            bridge.start()
        wait_until(lambda: stack.bridges[0].is_ready() and stack.bridges[1].is_ready(), 20)
        traffic.publish(traffic.fresh(20))
        traffic.wait_accepted(20)
        wait_until(lambda: leased(stack) == 0, 20, "nothing is leased")
        assert asked(stack) == before

        listed = {one["provider"]: one for one in result(admin.rpc("provider.list"))["providers"]}
        assert listed["webhook"]["paused"] and not listed["smtp"]["paused"]
        assert listed["webhook"]["provider_pause"]["by"] == "root"
        assert listed["webhook"]["provider_pause"]["note"] == "moving"
        assert result(admin.rpc("provider.resume", {"provider": "webhook"})) == {
            "provider": "webhook", "paused": False, "changed": True}
        traffic.finish()
        traffic.audit()
        assert len(asked(stack)) == len(traffic.accepted)
        assert [path for path, times in asked(stack).items() if times > 1] == []
        # It cost nobody an attempt.
        assert stack.postgres.value("select max(number) from attempt") == "1"
        audit = stack.postgres.sql("select admin, action, before, after, result from audit order by id")
        assert audit == [
            ["root", "provider.pause", '{"paused":false}', '{"paused":true}', '{"changed":true}'],
            ["root", "provider.pause", '{"paused":true}', '{"paused":true}', '{"changed":false}'],
            ["root", "provider.resume", '{"paused":true}', '{"paused":false}', '{"changed":true}']]


def test_what_a_paused_provider_held_in_memory_does_not_take_the_others_room(new_stack):
    """Two hundred wait for the one that is stopped, in an active set of a hundred."""
    stack = new_stack(settings={**SETTINGS, "queue.active_limit": 100})
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 500})
    url = stack.providers.info["webhook"]["url"]
    with Client(stack, "admin", "root") as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe("down/#")
        shop.subscribe("down/#")
        shop.publish("up/request", [
            {"id": "h%d" % n, "type": "t", "title": "t", "body": "b", "channels": ["webhook"],
             "to": {"url": "%s/%d" % (url, n)}} for n in range(200)])
        shop.receipt("h199", "accepted")
        result(admin.rpc("channel.pause", {"channel": "webhook"}))
        wait_until(lambda: leased(stack) == 0, 10, "what waited is given back")
        shop.publish("up/request", {"id": "mail", "type": "t", "title": "t", "body": "b",
                                    "channels": ["email"], "to": {"email": "a@example.org"}})
        shop.receipt("mail", "sent")
        result(admin.rpc("channel.resume", {"channel": "webhook"}))
        for number in range(200):
            shop.receipt("h%d" % number, "delivered", 30)


def test_another_provider_steps_in_for_one_that_is_paused_but_not_for_its_channel(new_stack):
    stack = new_stack()
    with Client(stack, "admin", "root") as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe("down/#")
        shop.subscribe("down/#")

        def mail(name):
            shop.publish("up/request", {"id": name, "type": "t", "title": "t", "body": "b",
                                        "channels": ["email"], "to": {"email": "a@example.org"}})
        first = [one["provider"] for one in result(admin.rpc("provider.list"))["providers"]
                 if one["channel"] == "email"]
        assert sorted(first) == ["sendgrid", "smtp"]
        mail("m1")
        usual = shop.receipt("m1", "sent")["provider"]
        result(admin.rpc("provider.pause", {"provider": usual}))
        wait_until(lambda: held(stack), 5)
        mail("m2")
        assert shop.receipt("m2", "sent")["provider"] != usual
        result(admin.rpc("channel.pause", {"channel": "email"}))
        wait_until(lambda: open(stack.bridge.log).read().count("destination.paused") == 2, 5)
        mail("m3")
        shop.receipt("m3", "accepted")
        listed = result(admin.rpc("provider.list"))["providers"]
        assert all(one["paused"] for one in listed if one["channel"] == "email")
        result(admin.rpc("provider.resume", {"provider": usual}))
        mail("m4")
        shop.receipt("m4", "accepted")
        assert not [r for r in shop.receipts() if r["id"] in ("m3", "m4") and r["status"] == "sent"]
        result(admin.rpc("channel.resume", {"channel": "email"}))
        shop.receipt("m3", "sent")
        shop.receipt("m4", "sent")


def test_users_get_what_was_stopped_when_in_app_is_resumed(stack):
    with Client(stack, "admin", "root") as admin, Client(stack, "service", "shop") as shop, \
            Client(stack, "user", "alice") as alice:
        admin.subscribe("down/#")
        shop.subscribe("down/#")
        alice.subscribe("down/#")
        result(admin.rpc("channel.pause", {"channel": "in_app"}))
        wait_until(lambda: held(stack), 5)
        shop.publish("up/request", {"id": "i1", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "alice"}})
        shop.receipt("i1", "accepted")
        assert stack.postgres.value("select attempts from delivery") == "0"
        assert not [m for m in alice.messages if m.topic.endswith("/inbox")]
        result(admin.rpc("channel.resume", {"channel": "in_app"}))
        shown = alice.wait(lambda m: m.topic.endswith("/inbox")).json
        alice.publish("up/ack", {"ids": [shown["id"]]})
        shop.receipt("i1", "delivered")


def test_only_admins_stop_anything_and_only_what_there_is(stack):
    with Client(stack, "admin", "root") as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe("down/#")
        shop.subscribe("down/#")
        for method, params in (("provider.pause", {"provider": "smtp"}),
                               ("channel.pause", {"channel": "sms"}), ("provider.list", {})):
            assert shop.rpc(method, params)["error"]["code"] == "unknown_method"
        for method, params, code in (
                ("provider.pause", {"provider": "nobody"}, "not_found"),
                ("provider.pause", {}, "missing_field"),
                ("provider.resume", {"provider": "smtp", "note": "x"}, "unknown_field"),
                ("channel.pause", {"channel": "pigeon"}, "bad_value"),
                ("channel.resume", {"chanel": "sms"}, "missing_field"),
                ("provider.list", {"x": 1}, "unknown_field")):
            assert admin.rpc(method, params)["error"]["code"] == code, method
        assert stack.postgres.value("select count(*) from admin_pause") == "0"
