# SPDX-License-Identifier: MIT
"""What is said of the queue is what is in it, whichever bridge has it and whichever says it."""
import datetime
import json

from client import Client
from process import wait_until

TOPIC = "notify/v1/stats/queue"
SETTINGS = {"bridge.lease": "3s", "channels.email.retry_base": "1h", "channels.email.retry_max": "1h",
            "destinations.sendgrid.strikes": 0, "destinations.smtp.strikes": 0}


def latest(client):
    found = [m for m in list(client.messages) if m.topic == TOPIC]
    return found[-1].json if found else None


def line(stats, provider):
    return next((one for one in stats["providers"] if one["provider"] == provider), None)


def wait_for(admin, check, timeout=20):
    """The first report published for which check holds."""
    def look():
        stats = latest(admin)
        return stats if stats and check(stats) else None
    try:
        return wait_until(look, timeout, "a report")
    except TimeoutError:
        raise AssertionError("last report: %s" % json.dumps(latest(admin))) from None


def hook(stack, name, **more):
    return {"id": name, "type": "t", "title": "t", "body": "b", "channels": ["webhook"],
            "to": {"url": stack.providers.info["webhook"]["url"] + "/" + name}, **more}


def test_the_numbers_are_those_of_the_queue_over_two_bridges(new_stack):
    stack = new_stack(bridges=2, settings=SETTINGS)
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=2)
    with Client(stack, "admin", "root") as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe("down/#")
        admin.subscribe(TOPIC)
        shop.subscribe("down/#")
        shop.publish("up/request", [hook(stack, "ok%d" % n) for n in range(30)])
        for number in range(30):
            shop.receipt("ok%d" % number, "delivered", 20)
        shop.publish("up/request", [hook(stack, "later%d" % n, at=later.isoformat())
                                    for n in range(7)])
        # One that fails and is tried again in an hour; five that die.
        stack.providers.control("POST", "/behaviour", {"provider": "sendgrid", "status": 503})
        stack.providers.control("POST", "/behaviour", {"provider": "smtp", "listen": "refuse"})
        shop.publish("up/request", {"id": "m1", "type": "t", "title": "t", "body": "b",
                                    "channels": ["email"], "to": {"email": "a@example.org"},
                                    "receipts": "all"})
        shop.receipt("m1", "retrying")
        stack.providers.control("POST", "/behaviour", {"provider": "twilio", "status": 400,
                                                       "body": {"code": 21211, "status": 400}})
        shop.publish("up/request", [{"id": "s%d" % n, "type": "t", "title": "t", "body": "b",
                                     "channels": ["sms"], "to": {"phone": "+1555010%04d" % n}}
                                    for n in range(5)])
        for number in range(5):
            shop.receipt("s%d" % number, "dead", 20)
        admin.rpc("provider.pause", {"provider": "webhook"})
        wait_until(lambda: all("destination.paused" in open(bridge.log).read()
                               for bridge in stack.bridges), 5)
        shop.publish("up/request", [hook(stack, "wait%d" % n) for n in range(12)])
        shop.receipt("wait11", "accepted")

        stats = wait_for(admin, lambda s: line(s, "webhook")["waiting"] == 12
                         and line(s, "webhook")["completed"] == 30 and s["total"]["failed"] == 5)
        webhook, sms = line(stats, "webhook"), line(stats, "twilio")
        assert stats["bridges"] == 2
        assert webhook["scheduled"] == 7 and webhook["paused"] and webhook["active"] == 0
        assert 0 < webhook["oldest_waiting_s"] < 60
        assert webhook["success_rate"] == 1 and webhook["average_attempts"] == 1
        assert (sms["dead"], sms["failed"], sms["completed"]) == (5, 5, 0)
        assert (sms["success_rate"], sms["dead_rate"]) == (0, 1)
        mail = next(one for one in stats["channels"] if one["channel"] == "email")
        assert mail["scheduled"] == 1 and mail["retry_rate"] == 1 and mail["success_rate"] is None
        total = stats["total"]
        assert (total["waiting"], total["scheduled"], total["dead"]) == (12, 8, 5)
        assert total["success_rate"] == round(30 / 35, 4)
        assert total["per_minute"] >= 0 and not total["paused"]
        answer = admin.rpc("queue.stats")["result"]
        assert line(answer, "webhook")["waiting"] == 12
        assert admin.rpc("queue.stats", {"x": 1})["error"]["code"] == "unknown_field"
        assert shop.rpc("queue.stats")["error"]["code"] == "unknown_method"

        # And it is retained: whoever comes later need not wait for the next.
        with Client(stack, "admin", "late") as late:
            late.subscribe(TOPIC)
            assert late.wait(lambda m: m.topic == TOPIC, 3).retain


def test_one_bridge_speaks_and_another_takes_over(new_stack):
    stack = new_stack(bridges=2, settings=SETTINGS)
    with Client(stack, "admin", "root") as admin:
        admin.subscribe(TOPIC)
        wait_for(admin, lambda s: s["bridges"] == 2)

        def moments():
            return [m.json["at"] for m in list(admin.messages) if m.topic == TOPIC and not m.retain]
        wait_until(lambda: len(moments()) >= 4, 25)
        times = [datetime.datetime.fromisoformat(at.replace("Z", "+00:00")) for at in moments()]
        gaps = [(b - a).total_seconds() for a, b in zip(times, times[1:])]
        # One may be held up; two would speak twice as often.
        assert sum(gaps) / len(gaps) > 3.5, "two speak at once: %s" % gaps
        speaker = stack.postgres.value(
            "select b.name from lane l join bridge b using (epoch) where l.name = 'admins'")
        victim = next(b for b in stack.bridges if speaker.endswith(":%d" % b.port))
        victim.kill()
        wait_for(admin, lambda s: s["bridges"] == 1, 30)
        count = len(moments())
        wait_until(lambda: len(moments()) > count, 15, "the other one to go on")


def test_what_a_dead_bridge_had_is_stalled_until_another_takes_it(new_stack):
    stack = new_stack(bridges=2, settings={**SETTINGS, "bridge.lease": "12s",
                                           "destinations.webhook.concurrency": 20})
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 3000})
    with Client(stack, "admin", "root") as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe(TOPIC)
        shop.subscribe("down/#")
        shop.publish("up/request", [hook(stack, "h%d" % n) for n in range(300)])
        shop.receipt("h299", "accepted")
        wait_for(admin, lambda s: s["total"]["active"] > 0)
        # The one that does not speak, so that somebody sees it.
        speaker = stack.postgres.value(
            "select b.name from lane l join bridge b using (epoch) where l.name = 'admins'")
        victim = next(b for b in stack.bridges if not speaker.endswith(":%d" % b.port))
        wait_until(lambda: int(stack.postgres.value(
            "select count(*) from delivery d join bridge b using (epoch) "
            "where b.name like '%%:%d'" % victim.port)), 20, "it has some")
        victim.kill()

        def over_for(seconds):
            stack.postgres.sql("update bridge set lease_until = now() - interval '%d s' "
                               "where name like '%%:%d'" % (seconds, victim.port))
        over_for(0)
        wait_for(admin, lambda s: s["total"]["stalled"] > 0, 30)
        over_for(12)
        wait_for(admin, lambda s: s["total"]["stalled"] == 0, 40)
