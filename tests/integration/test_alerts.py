# SPDX-License-Identifier: MIT
"""What is wrong is told once, and once when it is over: on alerts/{name}, and to whom it concerns."""
import json
import os

import jsonschema
import pytest

import servers
from client import Client
from process import wait_until

SETTINGS = {"alerts.after": "0s", "alerts.clear": "0s", "alerts.dead_letters": 3,
            "alerts.to": ["user:oncall"], "bridge.lease": "3s"}
SCHEMA = os.path.join(servers.ROOT, "schemas", "json", "alert.schema.json")


def told(admin, name):
    """The states told of one alert, in order; what is only retained again counts once."""
    found = []
    for message in list(admin.messages):
        if message.topic == "notify/v1/alerts/" + name:
            body = message.json
            if not found or found[-1]["since"] != body["since"]:
                found.append(body)
    return found


def states(admin, name):
    return [body["state"] for body in told(admin, name)]


def wait_state(admin, name, *want, timeout=25):
    wait_until(lambda: states(admin, name)[-len(want):] == list(want), timeout,
               "%s to be %s; told: %s" % (name, want, told(admin, name)))
    return told(admin, name)[-1]


def notices(user, text):
    return [m.json for m in list(user.messages)
            if m.topic.endswith("/inbox") and text in m.json["title"]]


def watch(stack):
    return Client(stack, "admin", "root")


def sms(n):
    return {"id": "s%d" % n, "type": "t", "title": "t", "body": "b", "channels": ["sms"],
            "to": {"phone": "+1555010%04d" % n}}


def hook(stack, n, **more):
    return {"id": "h%d" % n, "type": "t", "title": "t", "body": "b", "channels": ["webhook"],
            "to": {"url": "%s/%d" % (stack.providers.info["webhook"]["url"], n)}, **more}


def speaker(stack):
    names = stack.postgres.sql(
        "select b.name from lane l join bridge b using (epoch) where l.name = 'admins'")
    return next((b for b in stack.bridges if names and names[0][0].endswith(":%d" % b.port)), None)


def test_dead_letters_are_told_once_over_a_change_of_speakers_and_resolved(new_stack):
    stack = new_stack(bridges=2, settings={**SETTINGS, "alerts.success_rate": 0})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "status": 400,
                                                   "body": {"code": 21211, "status": 400}})
    with watch(stack) as admin, Client(stack, "service", "shop") as shop, \
            Client(stack, "user", "oncall") as oncall:
        admin.subscribe("notify/v1/alerts/#")
        admin.subscribe("down/#")
        oncall.subscribe("down/#")
        oncall.mqtt.on_message = acknowledge(oncall)
        shop.subscribe("down/#")
        shop.publish("up/request", [sms(n) for n in range(5)])
        fired = wait_state(admin, "dead_letters", "firing")
        assert (fired["value"], fired["threshold"]) == (5, 3)
        with open(SCHEMA) as file:
            jsonschema.validate(fired, json.load(file))
        wait_until(lambda: notices(oncall, "dead_letters fires"), 10, "the notification")
        # Another takes over: it knows what fires, and tells nobody twice.
        speaker(stack).kill()
        other = next(b for b in stack.bridges if b.running)
        wait_until(lambda: speaker(stack) is other, 30, "another speaker")
        wait_until(lambda: other.metrics()['tocsin_alerts_firing{alert="dead_letters"}'] == 1, 20,
                   "the new speaker to know")
        answer = admin.rpc("dlq.resolve", {"filter": {"channel": "sms"}}, 20)
        assert "error" not in answer, answer
        wait_state(admin, "dead_letters", "firing", "resolved")
        wait_until(lambda: notices(oncall, "dead_letters is resolved"), 10)
        assert len({n["id"] for n in notices(oncall, "dead_letters fires")}) == 1
        assert stack.postgres.value(
            "select count(*) from notification where type = 'tocsin.alert'") == "2"
        with watch(stack) as late:
            pass
        assert late  # what was resolved stays retained
        assert states(admin, "dead_letters") == ["firing", "resolved"]


def acknowledge(client):
    def on_message(_mqtt, _data, raw):
        client._on_message(_mqtt, _data, raw)
        if raw.topic.endswith("/inbox"):
            client.publish("up/ack", {"ids": [json.loads(raw.payload)["id"]]}, timeout=None)
    return on_message


def test_a_provider_that_fails_is_told_by_its_breaker_its_rate_and_its_queue(new_stack):
    stack = new_stack(settings={**SETTINGS, "alerts.dead_letters": 0, "alerts.queue_age": "2s",
                                "alerts.success_rate": 50, "destinations.twilio.strikes": 3,
                                "channels.sms.retry_base": "1s"})
    with watch(stack) as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe("notify/v1/alerts/#")
        admin.subscribe("down/#")
        shop.subscribe("down/#")
        stack.providers.control("POST", "/behaviour", {"provider": "twilio", "status": 503})
        shop.publish("up/request", [sms(n) for n in range(10)])
        assert wait_state(admin, "breaker.twilio", "firing")["provider"] == "twilio"
        stack.providers.control("POST", "/reset", {})
        wait_state(admin, "breaker.twilio", "firing", "resolved", timeout=90)
        stack.providers.control("POST", "/behaviour", {"provider": "webhook", "status": 400})
        shop.publish("up/request", [hook(stack, n) for n in range(40)])
        fired = wait_state(admin, "success_rate.webhook", "firing")
        assert fired["provider"] == "webhook" and fired["value"] < 50
        # What is paused is meant to wait: that is no alert.
        admin.rpc("provider.pause", {"provider": "webhook"})
        stack.providers.control("POST", "/reset", {})
        wait_until(lambda: "destination.paused" in open(stack.bridge.log).read(), 5)
        shop.publish("up/request", [hook(stack, 100 + n) for n in range(200)])
        shop.receipt("h299", "accepted", 20)
        stack.postgres.sql("update delivery set due_at = now() - interval '1 minute'")
        waited = len([m for m in admin.messages])
        admin.rpc("queue.stats")
        assert states(admin, "queue_age.webhook") == [], waited
        stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 4000})
        stack.bridge.set("destinations.webhook.concurrency", 5)
        stack.bridge.stop()
        stack.bridge.start()
        admin.rpc("provider.resume", {"provider": "webhook"})
        wait_state(admin, "queue_age.webhook", "firing", timeout=40)
        stack.providers.control("POST", "/reset", {})


def test_the_database_is_told_to_be_away_while_it_is(new_stack):
    stack = new_stack(settings=SETTINGS)
    with watch(stack) as admin, Client(stack, "user", "oncall") as oncall:
        admin.subscribe("notify/v1/alerts/#")
        oncall.subscribe("down/#")
        wait_state(admin, "database", "resolved")  # whoever begins to speak says how it is
        stack.postgres.stop()
        wait_state(admin, "database", "firing")
        assert stack.bridge.metrics()['tocsin_alerts_firing{alert="database"}'] == 1
        # The notice is a request like any other, and urgent ones are shown at once.
        wait_until(lambda: notices(oncall, "database fires"), 15, "the notification")
        stack.postgres.start()
        wait_state(admin, "database", "firing", "resolved")
        wait_until(lambda: notices(oncall, "database is resolved"), 30)
        assert len({n["id"] for n in notices(oncall, "database fires")}) == 1
        assert stack.postgres.sql("select name, is_firing from alert") == [["database", "f"]]


REFUSE = """
create function refuse_alert() returns trigger language plpgsql as
  $$ begin raise exception 'on purpose' using errcode = '%s'; end $$;
create trigger refuse_alert before insert or update on alert for each row
  execute function refuse_alert();
"""


@pytest.mark.parametrize("sqlstate", ["42501", "22000"])
def test_an_alert_that_the_database_refuses_is_told_all_the_same(new_stack, sqlstate):
    """A right that is missing is not the alert's fault, and no reason to keep it from anybody."""
    stack = new_stack(settings={**SETTINGS, "alerts.success_rate": 0})
    with watch(stack) as admin, Client(stack, "service", "shop") as shop:
        admin.subscribe("notify/v1/alerts/#")
        shop.subscribe("down/#")
        wait_state(admin, "database", "resolved")
        stack.postgres.sql(REFUSE % sqlstate)
        stack.providers.control("POST", "/behaviour", {"provider": "twilio", "status": 400,
                                                       "body": {"code": 21211, "status": 400}})
        shop.publish("up/request", [sms(n) for n in range(5)])
        wait_state(admin, "dead_letters", "firing")
    assert stack.bridge.has_logged("alerts.refused")


def test_what_the_broker_kept_from_being_told_is_told_when_it_is_back(new_stack):
    stack = new_stack(settings=SETTINGS)
    with watch(stack) as admin:
        admin.subscribe("notify/v1/alerts/#")
        wait_state(admin, "database", "resolved")
        stack.broker.stop()
        wait_until(lambda: "alert.firing alert=broker" in open(stack.bridge.log).read(), 15)
        assert stack.bridge.metrics()['tocsin_alerts_firing{alert="broker"}'] == 1
        assert stack.postgres.value("select is_firing from alert where name = 'broker'") == "t"
        stack.broker.start()
        wait_state(admin, "broker", "resolved", timeout=30)
        wait_until(lambda: stack.postgres.value(
            "select count(*) from notification where type = 'tocsin.alert'") == "2", 20)


def test_alerts_are_quiet_where_all_is_well(stack):
    with watch(stack) as admin:
        admin.subscribe("notify/v1/alerts/#")
        admin.subscribe("notify/v1/stats/#")
        wait_until(lambda: len([m for m in admin.messages if "/stats/" in m.topic]) >= 3, 25)
        assert {m.topic for m in admin.messages if "/alerts/" in m.topic} <= {
            "notify/v1/alerts/database"}
        assert stack.postgres.value("select count(*) from alert") == "0"
