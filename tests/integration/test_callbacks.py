# SPDX-License-Identifier: MIT
"""Providers report what became of a message: believed when proved, folded, told to the service."""
import http.client
import json
import os
import signal
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
import pytest

import channel_probe as probe
import servers
from client import Client
from process import wait_until
from test_crash_points import has_crash_points

# Each provider: its channel, the destination's keys for callbacks (from what the provider server
# says of itself), events from good to final and the states they make, and a failure.
SPEC = {
    "twilio": ("sms", {}, ["sent", "delivered"], ["delivered"],
               {"status": "undelivered", "error_code": 30005}, "dead", "target_invalid"),
    "messagebird": ("sms", {"callback_secret_file": "signing_key_file"}, ["sent", "delivered"],
                    ["delivered"], {"status": "delivery_failed", "error_code": 9}, "dead",
                    "provider_rejected"),
    "bird": ("sms", {"callback_secret_file": "webhook_secret_file"},
             ["sms.sent", "sms.delivered"], ["delivered"],
             {"type": "sms.undelivered", "error": "recipient_opted_out"}, "suppressed",
             "opted_out"),
    "vonage": ("sms", {"callback_secret_file": "signature_secret_file"},
               ["submitted", "delivered", "read"], ["delivered", "read"],
               {"status": "rejected", "error": 1300}, "dead", "target_invalid"),
    "sendgrid": ("email", {"callback_secret_file": "webhook_public_key_file"},
                 ["processed", "delivered", "open"], ["delivered", "read"], "bounce",
                 "suppressed", "bounced"),
    "mailgun": ("email", {"callback_secret_file": "webhook_signing_key_file"},
                ["accepted", "delivered", "opened"], ["delivered", "read"], "failed",
                "suppressed", "bounced"),
    "ses": ("email", {"callback_topic_arn": "sns_topic_arn", "callback_sns_url": "base_url"},
            ["Send", "Delivery"], ["delivered"], "Complaint", "suppressed", "complained"),
    "postmark": ("email", {"callback_user": "webhook_user",
                           "callback_secret_file": "webhook_password_file"},
                 ["Delivery", "Open"], ["delivered", "read"], "HardBounce", "suppressed",
                 "bounced"),
    "whatsapp": ("chat", {"callback_secret_file": "app_secret_file",
                          "callback_verify_file": "verify_token_file"},
                 ["sent", "delivered", "read"], ["delivered", "read"],
                 {"status": "failed", "code": 131026}, "dead", "target_invalid"),
}
# Those that one stack can have at once: the first destination of a channel is the one used.
GROUPS = (("twilio", "sendgrid", "whatsapp"), ("messagebird", "mailgun"), ("vonage", "ses"),
          ("bird", "postmark"))
STATES = {"read": "delivered"}  # where the receipt says more than the state


def destination(info, name):
    keys = {"adapter": name, **probe.settings(info, name)}
    if name == "ses":
        keys["base_url"] = info[name]["base_url"]
    keys.update((key, info[name][own]) for key, own in SPEC[name][1].items())
    return keys


with open(os.path.join(servers.ROOT, "schemas", "json", "status.schema.json"), encoding="utf-8") as text:
    STATUS = jsonschema.Draft202012Validator(json.load(text))


class Scene:
    """One stack with the destinations of a group, and a service that asks."""

    def __init__(self, stack):
        self.stack = stack
        self.service = Client(stack, "service", "shop")
        self.service.connect()
        self.service.subscribe("down/#")
        self.asked = 0

    def send(self, name, **more):
        """A message that the provider took: (request, provider's id)."""
        self.asked += 1
        request = "%s-%d" % (name, self.asked)
        channel = SPEC[name][0]
        to = {"email": "Someone%d@example.com" % self.asked} if channel == "email" else \
            {"phone": "+1500555%04d" % (100 + self.asked)}
        to = more.pop("to", to)
        self.service.publish("up/request", {
            "id": request, "type": "order.ready", "title": "Ready", "body": "Counter 3",
            "to": to, "channels": [channel], **more})
        return request, self.service.receipt(request, "sent")["provider_id"]

    def url(self, name):
        return self.stack.bridge.url + "/callbacks/" + name

    def call(self, name, number, events, **more):
        """The provider tells us; the statuses that we answered."""
        if name == "ses":
            more.setdefault("plain_cert", True)
        results = self.stack.providers.control("POST", "/callback", {
            "provider": name, "url": self.url(name), "id": number, "events": events,
            "to": "someone@example.com" if SPEC[name][0] == "email" else probe.PHONE, **more})
        results = results.get("results", results) if isinstance(results, dict) else results
        return [r.get("status", r) for r in results]

    def state(self, request):
        answer = self.service.rpc("request.status", {"id": request})
        STATUS.validate(answer["result"])
        (delivery,) = answer["result"]["deliveries"]
        return delivery

    def statuses(self, request):
        return [r["status"] for r in self.service.receipts(request)]

    def wait_state(self, request, state):
        return wait_until(lambda: self.state(request) if self.state(request)["state"] == state
                          else None, 10, "%s to be %s" % (request, state))

    def settle(self, name):
        """A later message of this provider is folded: whatever came before it is, too."""
        request, number = self.send(name)
        assert set(self.call(name, number, SPEC[name][2][-1:])) == {200}
        self.service.receipt(request, SPEC[name][3][-1])

    def count(self, where):
        return int(self.stack.postgres.sql("select count(*) from callback_event " + where)[0][0])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """scenes(name): the scene of the group in which the provider is."""
    made = {}

    def scene(name):
        group = next(g for g in GROUPS if name in g)
        if group not in made:
            stack = servers.Stack(tmp_path_factory.mktemp("callbacks"))
            for server in (stack.postgres, stack.broker, stack.providers):
                server.start()
            stack.settings = [("destinations", {one: destination(stack.providers.info, one)
                                                for one in group})]
            stack.add_bridge()
            made[group] = Scene(stack)
        return made[group]
    yield scene
    for one in made.values():
        one.service.close()
        one.stack.stop()
        one.stack.remove()


@pytest.fixture(params=SPEC)
def name(request):
    return request.param


@pytest.fixture
def scene(scenes, name):
    return scenes(name)


def test_what_a_provider_reports_is_told_and_shown(scene, name):
    _, _, events, told, _, _, _ = SPEC[name]
    request, number = scene.send(name)
    assert scene.state(request)["state"] == "sent"
    assert set(scene.call(name, number, events)) == {200}
    for status in told:
        receipt = scene.service.receipt(request, status)
        assert receipt["provider"] == name and receipt["provider_id"] == number
        assert receipt["attempt"] == 1 and "reason" not in receipt
    delivery = scene.state(request)
    assert delivery["state"] == STATES.get(told[-1], told[-1])
    assert delivery["report"] == told[-1]
    assert scene.statuses(request) == ["accepted", "sent"] + told


def test_a_failure_has_its_reason(scene, name):
    _, _, _, _, failure, status, reason = SPEC[name]
    request, number = scene.send(name)
    assert set(scene.call(name, number, [failure])) == {200}
    assert scene.service.receipt(request, status)["reason"] == reason
    delivery = scene.state(request)
    assert (delivery["state"], delivery["reason"]) == (status, reason)
    kept = scene.stack.postgres.sql("select address, source from suppression where address ilike"
                                    " (select recipient from sent where provider_id = '%s')"
                                    % number)
    assert len(kept) == (1 if status == "suppressed" else 0)


def test_whoever_complained_is_not_sent_to_again(scenes):
    scene = scenes("postmark")
    to = {"email": "Annoyed@example.com"}
    request, number = scene.send("postmark", to=to)
    assert scene.call("postmark", number, ["SpamComplaint"]) == [200]
    assert scene.service.receipt(request, "suppressed")["reason"] == "complained"
    scene.service.publish("up/request", {"id": "again", "type": "order.ready", "body": "x",
                                         "to": to, "channels": ["email"]})
    assert scene.service.receipt("again", "suppressed")["reason"] == "complained"


SMS = ("twilio", "messagebird", "vonage", "bird")


def heard(scene, name, number, text, **more):
    """Somebody answers by SMS; what we answered."""
    event = {"type": "sms.received"} if name == "bird" else {"status": "inbound"}
    return scene.call(name, "none", [{**event, "text": text, **more}], **{"from": number})


def ask_sms(scene, number):
    scene.asked += 1
    request = "heard-%d" % scene.asked
    scene.service.publish("up/request", {"id": request, "type": "order.ready", "body": "x",
                                         "to": {"phone": number}, "channels": ["sms"]})
    scene.service._wait(lambda: len(scene.service.receipts(request)) > 1, 10, "an end")
    return scene.service.receipts(request)[-1]


@pytest.mark.parametrize("name", SMS)
def test_stop_and_start_are_obeyed(scenes, name):
    scene = scenes(name)
    number = "+15005557%03d" % (100 + SMS.index(name))
    assert ask_sms(scene, number)["status"] == "sent"
    assert heard(scene, name, number, "please stop, will you") == [200]
    assert ask_sms(scene, number)["status"] == "sent"
    assert heard(scene, name, number, " Stop.") == [200]
    last = ask_sms(scene, number)
    assert (last["status"], last["reason"]) == ("suppressed", "opted_out")
    (entry,) = scene.service.rpc("suppression.list", {"channel": "sms", "address": number})[
        "result"]["entries"]
    assert entry["source"] == "keyword"
    assert heard(scene, name, number, "START", json=True) == [200]
    assert ask_sms(scene, number)["status"] == "sent"
    with open(scene.stack.bridge.log) as file:
        assert number not in file.read()


def test_a_repeat_of_an_old_stop_changes_nothing(scenes):
    scene, number = scenes("twilio"), "+15005557777"
    assert heard(scene, "twilio", number, "STOP", id="SMone") == [200]
    assert heard(scene, "twilio", number, "START", id="SMtwo") == [200]
    assert heard(scene, "twilio", number, "STOP", id="SMone") == [200]
    assert ask_sms(scene, number)["status"] == "sent"


def test_start_takes_nothing_back_that_others_wrote(scenes):
    scene, number = scenes("twilio"), "+15005557778"
    scene.service.rpc("suppression.add", {"channel": "sms", "address": number,
                                          "reason": "opted_out"})
    assert heard(scene, "twilio", number, "START") == [200]
    assert ask_sms(scene, number)["status"] == "suppressed"


@pytest.mark.parametrize("name", SMS)
def test_a_forged_stop_is_refused(scenes, name):
    scene, number = scenes(name), "+15005557%03d" % (200 + SMS.index(name))
    event = {"type": "sms.received"} if name == "bird" else {"status": "inbound"}
    for how in ("signature", "missing", "body"):
        assert scene.call(name, "none", [{**event, "text": "STOP"}], tamper=how,
                          **{"from": number}) == [401]
    assert ask_sms(scene, number)["status"] == "sent"


def books(scene):
    return scene.stack.postgres.sql("select missing, dead, sent, delivered from conservation")[0]


def letters(admin, request, **more):
    answer = admin.rpc("dlq.list", {"service": "shop", "limit": 100, **more})
    return [e for e in answer["result"]["entries"] if e["request"] == request]


def test_what_failed_after_it_was_sent_is_a_dead_letter(scenes):
    scene = scenes("twilio")
    with Client(scene.stack, "admin", "ops") as admin:
        admin.subscribe("down/#")
        admin.subscribe("notify/v1/dlq/#")
        request, number = scene.send("twilio")
        failure = {"status": "undelivered", "error_code": 30005}
        assert scene.call("twilio", number, [failure, failure], repeat=2) == [200] * 4
        told = scene.service.receipt(request, "dead")
        letter = admin.wait(lambda m: m.topic == "notify/v1/dlq/sms/target_invalid"
                            and m.json["request"] == request).json
        assert (letter["code"], letter["destination"]) == ("30005", "twilio")
        assert letter["content"]["body"] == "Counter 3"
        (entry,) = letters(admin, request)
        assert (entry["reason"], entry["status"]) == (told["reason"], "pending_review")
        assert scene.state(request)["state"] == "dead"
        assert books(scene)[0] == "0"
        scene.settle("twilio")
        assert scene.statuses(request).count("dead") == 1
        assert len([m for m in admin.messages if m.topic.startswith("notify/v1/dlq/")
                    and m.json["request"] == request]) == 1
        # Once more: another message, and the number is reachable now.
        assert admin.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"]["retried"] == 1
        scene.service._wait(lambda: scene.statuses(request).count("sent") == 2, 20, "sent again")
        again = scene.service.receipts(request)[-1]["provider_id"]
        assert again != number
        assert scene.call("twilio", again, ["delivered"]) == [200]
        scene.service.receipt(request, "delivered")
        scene.wait_state(request, "delivered")
        assert books(scene)[0] == "0"


def test_what_arrives_after_all_is_no_dead_letter_any_more(scenes):
    scene = scenes("twilio")
    with Client(scene.stack, "admin", "ops") as admin:
        admin.subscribe("down/#")
        request, number = scene.send("twilio")
        assert scene.call("twilio", number, [{"status": "failed", "error_code": 30008}]) == [200]
        scene.service.receipt(request, "dead")
        assert letters(admin, request)
        assert scene.call("twilio", number, ["delivered"]) == [200]
        scene.service.receipt(request, "delivered")
        (entry,) = letters(admin, request, status="resolved")
        assert entry["resolved_by"] == "provider"
        assert scene.state(request)["state"] == "delivered"
        assert books(scene)[0] == "0"


def test_what_one_message_brought_another_does_not_make_dead(scenes):
    scene = scenes("twilio")
    failure = {"status": "failed", "error_code": 30008}
    with Client(scene.stack, "admin", "ops") as admin:
        admin.subscribe("down/#")
        request, number = scene.send("twilio")
        assert scene.call("twilio", number, [failure]) == [200]
        scene.service.receipt(request, "dead")
        (entry,) = letters(admin, request)
        assert admin.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"]["retried"] == 1
        scene.service._wait(lambda: scene.statuses(request).count("sent") == 2, 20, "sent again")
        again = scene.service.receipts(request)[-1]["provider_id"]
        # The first has arrived after all: that the second did not is no loss.
        assert scene.call("twilio", number, ["delivered"]) == [200]
        scene.service.receipt(request, "delivered")
        assert scene.call("twilio", again, [failure]) == [200]
        scene.settle("twilio")
        assert not letters(admin, request, status="pending_review")
        assert scene.stack.postgres.sql(
            "select l.is_dead, l.resolved_by from dead_letter l join notification n"
            " on n.id = l.notification where n.request = '%s'" % request) == [["f", "provider"]]
        assert books(scene)[0] == "0"


def escalate(scene, user, phones, channels=("sms", "email"), **to):
    """A request that tries one channel after the other: (id, how it stands, the provider's ids)."""
    scene.service.rpc("user.upsert", {"user": user, "phones": phones,
                                      "emails": [user + "@example.com"], **to})
    request = "steps-" + user
    scene.service.publish("up/request", {
        "id": request, "type": "order.ready", "title": "Ready", "body": "Counter 3",
        "to": {"user": user}, "channels": list(channels), "receipts": "all",
        "route": {"mode": "first", "escalate_after": "10m"}})

    def told(channel, status):
        return [r for r in scene.service.receipts(request)
                if (r.get("channel"), r["status"]) == (channel, status)]
    wait_until(lambda: len(told("sms", "sent")) == len(phones), 10, "the first channel")
    return request, told, [r["provider_id"] for r in told("sms", "sent")]


def waiting(scene, request):
    return scene.stack.postgres.sql(
        "select s.channel, extract(epoch from s.due_at - now())::int from scheduled s join"
        " notification n on n.id = s.notification where n.request = '%s' order by s.id" % request)


@pytest.mark.parametrize("name,failure", [("twilio", "undelivered"), ("sendgrid", "bounce")])
def test_a_failure_that_is_reported_brings_the_next_channel_forward(scenes, name, failure):
    scene = scenes(name)
    if name == "twilio":
        request, told, (number,) = escalate(scene, "kim", ["+15005558001"])
        last = "email"
    else:
        request, told, (number,) = escalate(scene, "kit", ["+15005558002"],
                                            ("sms", "email", "chat"), chats=["+15005558003"])
        assert scene.call("twilio", number, ["undelivered"]) == [200]
        wait_until(lambda: told("email", "sent"), 10, "email")
        number, last = told("email", "sent")[0]["provider_id"], "chat"
    assert told(last, "sent") == []
    assert set(scene.call(name, number, [failure])) == {200}
    wait_until(lambda: told(last, "sent"), 10, "the next channel")
    assert waiting(scene, request) == []
    assert books(scene)[0] == "0"


def test_one_of_several_phones_that_fails_brings_nothing_forward(scenes):
    scene = scenes("twilio")
    request, told, numbers = escalate(scene, "lee", ["+15005558011", "+15005558012"])
    assert scene.call("twilio", numbers[0], ["undelivered"]) == [200]
    wait_until(lambda: told("sms", "dead"), 10, "the failure")
    ((channel, seconds),) = waiting(scene, request)
    assert (channel, int(seconds) > 300) == ("3", True)
    assert scene.call("twilio", numbers[1], ["undelivered"]) == [200]
    wait_until(lambda: told("email", "sent"), 10, "the next channel")


def test_what_a_provider_has_delivered_calls_off_the_next_channel(scenes):
    scene = scenes("twilio")
    request, told, (number,) = escalate(scene, "max", ["+15005558021"],
                                        ("sms", "email", "chat"), chats=["+15005558022"])
    assert scene.call("twilio", number, ["sent"]) == [200]
    scene.settle("twilio")
    assert len(waiting(scene, request)) == 2
    assert scene.call("twilio", number, ["delivered"]) == [200]
    for channel in ("email", "chat"):
        (off,) = wait_until(lambda: told(channel, "cancelled"), 10, "the end of " + channel)
        assert off["user"] == "max"
    assert waiting(scene, request) == []
    assert books(scene)[0] == "0"


def test_a_bounce_is_no_dead_letter(scenes):
    scene = scenes("sendgrid")
    with Client(scene.stack, "admin", "ops") as admin:
        admin.subscribe("down/#")
        request, number = scene.send("sendgrid")
        assert set(scene.call("sendgrid", number, ["bounce"])) == {200}
        scene.service.receipt(request, "suppressed")
        assert letters(admin, request) == []
        assert books(scene)[0] == "0"


@pytest.mark.parametrize("event,status", [
    ("delivered", "delivered"), ({"status": "undelivered", "error_code": 30005}, "dead")],
    ids=["delivered", "dead"])
def test_a_receipt_that_a_crash_swallowed_is_told_after_it(tmp_path, event, status):
    """Killed between the commit of a fold and the receipts of it: told by who comes next."""
    if not has_crash_points(servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    with servers.Stack(tmp_path) as stack, Client(stack, "service", "shop") as shop, \
            Client(stack, "admin", "ops") as admin:
        shop.subscribe("down/#")
        admin.subscribe("notify/v1/dlq/#")
        stack.bridge.stop()
        stack.bridge.env["TOCSIN_CRASH_AT"] = "callbacks.folded:2"
        stack.bridge.start()

        def send(name, event):
            shop.publish("up/request", {"id": name, "type": "t", "body": "b",
                                        "to": {"phone": "+15005551%03d" % len(shop.messages)}})
            stack.providers.control("POST", "/callback", {
                "provider": "twilio", "url": stack.bridge.url + "/callbacks/twilio",
                "id": shop.receipt(name, "sent")["provider_id"], "events": [event]})
        send("one", "delivered")
        shop.receipt("one", "delivered")
        send("two", event)
        wait_until(lambda: not stack.bridge.running, 10, "the crash")
        assert [r["status"] for r in shop.receipts("two")] == ["accepted", "sent"]
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        shop.receipt("two", status, 20)
        if status == "dead":
            admin.wait(lambda m: m.topic.startswith("notify/v1/dlq/sms/")
                       and m.json["request"] == "two", 20)
        wait_until(lambda: stack.postgres.sql(
            "select (select count(*) from callback_event where teller is not null)"
            " + (select count(*) from untold)") == [["0"]], 20, "all to be told")
        stack.bridge.stop()
        before = len(shop.receipts("two"))
        stack.bridge.start()
        send("three", "delivered")
        shop.receipt("three", "delivered")
        assert len(shop.receipts("two")) == before  # told, and so never again


def test_a_new_secret_is_read_on_sighup(tmp_path):
    """And providers that want it are told with each message where to report."""
    settings = {"http.public_url": "https://hooks.example/", "bridge.lease": "4s",
                **{"destinations.%s.timeout" % name: "2s" for name in servers.DESTINATIONS}}
    with servers.Stack(tmp_path, settings=settings) as stack:
        bridge, old = stack.bridge, stack.providers.info["twilio"]["auth_token_file"]
        with Client(stack, "service", "shop") as shop:
            shop.subscribe("down/#")
            shop.publish("up/request", {"id": "one", "type": "t", "body": "b",
                                        "to": {"phone": "+15005551234"}})
            number = shop.receipt("one", "sent")["provider_id"]
            (sent,) = [r for r in stack.providers.control(
                "GET", "/requests?provider=twilio&fields=body,target")["requests"]]
            assert "https://hooks.example/callbacks/twilio" in str(sent["body"])

            def report():
                (result,) = stack.providers.control("POST", "/callback", {
                    "provider": "twilio", "url": bridge.url + "/callbacks/twilio", "id": number,
                    "signed_url": "https://hooks.example/callbacks/twilio",
                    "events": ["delivered"], "to": "+15005551234"})["results"]
                return result["status"]
            for text, wanted in (("another secret\n", 401), (open(old).read(), 200)):
                path = str(tmp_path / ("secret-%d" % wanted))
                servers.write_file(path, text)
                bridge.set("destinations.twilio.callback_secret_file", path)
                bridge.prepare()
                # One that comes before the reload before it is over is refused.
                wait_until(lambda: (os.kill(bridge.pid, signal.SIGHUP), report() == wanted)[1],
                           60, "the new secret", 0.5)
            shop.receipt("one", "delivered")


def test_a_late_report_moves_nothing_back(scene, name):
    _, _, events, told, _, _, _ = SPEC[name]
    request, number = scene.send(name)
    for event in reversed(events):
        assert set(scene.call(name, number, [event])) == {200}
    scene.service.receipt(request, told[-1])
    scene.settle(name)
    assert scene.statuses(request)[2:] == told[-1:]
    assert scene.state(request)["report"] == told[-1]


def test_a_repeat_counts_once(scene, name):
    _, _, events, told, _, _, _ = SPEC[name]
    request, number = scene.send(name)
    assert set(scene.call(name, number, events[-1:], repeat=3)) == {200}
    scene.service.receipt(request, told[-1])
    scene.settle(name)
    assert scene.count("where provider_id = '%s'" % number) == 1
    assert scene.statuses(request).count(told[-1]) == 1


def refused(scene, name, result="refused"):
    return scene.stack.bridge.metrics()[
        'tocsin_callbacks_total{destination="%s",result="%s"}' % (name, result)]


TAMPERED = [("signature", {"tamper": "signature"}), ("missing", {"tamper": "missing"}),
            ("body", {"tamper": "body"})]
# What is not covered: nothing of Postmark's, and of Mailgun and SNS, which sign values within
# the body, not its bytes; for those two a wrong signature is put there.
INSIDE = {"mailgun": [("signature", {"bad_signature": True})],
          "ses": [("signature", {"bad_signature": True}),
                  ("topic", {"topic_arn": "arn:aws:sns:us-east-1:999:of-others"}),
                  ("certificate", {"cert_url": "http://127.0.0.1:1/a.pem"})],
          "postmark": TAMPERED[:2] + [("nobody", {"auth": "postmark:wrong"})]}


def test_what_cannot_be_proved_is_refused_and_counted(scene, name):
    _, _, events, _, _, _, _ = SPEC[name]
    request, number = scene.send(name)
    before = refused(scene, name)
    ways = INSIDE.get(name, TAMPERED)
    for way, spec in ways:
        assert set(scene.call(name, number, events[-1:], **spec)) == {401}, way
    assert refused(scene, name) == before + len(ways)
    scene.settle(name)
    assert scene.state(request)["state"] == "sent"
    assert scene.count("where provider_id = '%s'" % number) == 0


def test_a_report_may_come_before_its_message_is_recorded(scenes):
    scene = scenes("twilio")
    request, _ = scene.send("twilio")
    early = "SM" + "e" * 32
    assert scene.call("twilio", early, ["delivered"]) == [200]
    assert scene.count("where provider_id = '%s' and fold_at is not null" % early) == 1
    scene.stack.postgres.sql(
        "update sent set provider_id = '%s' where delivery in (select delivery from attempt"
        " where provider_id is not null order by at desc limit 1)" % early)
    scene.service.receipt(request, "delivered", 15)


def test_an_event_without_the_message_is_matched_by_our_delivery(scenes):
    scene = scenes("sendgrid")
    for how in ("smtp-id", "tocsin_delivery"):
        request, _ = scene.send("sendgrid")
        delivery = scene.stack.postgres.sql(
            "select to_hex(delivery) from attempt order by at desc limit 1")[0][0].zfill(16)
        event = {"event": "bounce", "type": "bounce", "sg_message_id": "", "status": "5.1.1"}
        event[how] = "<%s.tocsin@example.org>" % delivery if how == "smtp-id" else delivery
        assert scene.call("sendgrid", "none", [event]) == [200]
        assert scene.service.receipt(request, "suppressed")["reason"] == "bounced"


@pytest.mark.parametrize("odd", [
    '"reason":"550 \\u0000 x"', '"reason":"550 \\ud83d"', '"reason":"550 \xe9"',
    '"n":99999999999999999999', '"n":1,"n":2', '"reason":"a\tb"', '"n":NaN', '"reason":"\\x"'])
def test_an_odd_member_costs_no_event(scenes, odd):
    scene = scenes("sendgrid")
    sent = [scene.send("sendgrid") for _ in range(3)]
    body = "[%s]" % ",".join(
        '{"event":"delivered","sg_message_id":"%s.recvd-1","sg_event_id":"%s"%s}'
        % (number, number, "," + odd if i == 1 else "") for i, (_, number) in enumerate(sent))
    assert scene.call("sendgrid", "none", [], body=body) == [200]
    for request, _ in sent:
        scene.service.receipt(request, "delivered")


def test_what_is_proved_and_not_understood_is_kept_and_counted(scenes):
    scene = scenes("sendgrid")
    before, rows = refused(scene, "sendgrid", "unread"), scene.count("where is_unread")
    for body in ("not JSON at all", '{"a":', '[{"event":"a new one","email":"a@example.org"}]',
                 '[{"event":"bounce"}]', "7"):
        assert scene.call("sendgrid", "none", [], body=body) == [200]
        assert scene.call("sendgrid", "none", [], body=body) == [200]  # comes again: kept once
        kept = scene.stack.postgres.sql(
            "select convert_from(raw, 'UTF8'), fold_at is null from callback_event"
            " where is_unread order by id desc limit 1")
        assert kept[0][0].strip("[]") == body.strip("[]") and kept[0][1] in (True, "t")
    assert scene.count("where is_unread") == rows + 5
    assert refused(scene, "sendgrid", "unread") == before + 10  # seen twice each


def test_whatsapp_shakes_hands(scenes):
    scene = scenes("whatsapp")
    assert scene.call("whatsapp", "x", ["verify"]) == [200]
    assert scene.call("whatsapp", "x", ["verify"], verify_token="guessed") == [401]


def test_an_sns_subscription_is_confirmed(scenes):
    scene = scenes("ses")
    seen = scene.stack.providers.control("GET", "/requests?provider=ses&fields=path,seq")["next"]
    assert scene.call("ses", "x", ["SubscriptionConfirmation"]) == [200]
    wait_until(lambda: any("/sns/confirm" in r["path"] for r in scene.stack.providers.control(
        "GET", "/requests?provider=ses&since=%d&fields=path,seq" % seen)["requests"]), 10,
        "the confirmation")


def announce(url, length):
    """What is answered to the mere announcement of a body."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    try:
        connection.putrequest("POST", parts.path)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def ask(url, method, body=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method),
                                    timeout=120) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_what_is_no_callback_at_all(scenes):
    scene = scenes("twilio")
    base = scene.stack.bridge.url + "/callbacks/"
    assert ask(base + "nobody", "POST", b"x") == 404
    assert ask(base, "POST", b"x") == 404
    assert ask(base + "twilio/more", "POST", b"x") == 404
    assert ask(base + "twilio", "GET") == 405
    assert ask(base + "twilio", "POST", b"") == 401
    assert announce(base + "twilio", 2 << 20) == 413
    assert ask(scene.stack.bridge.url + "/metrics", "POST", b"x") == 405


def test_many_at_once_are_all_kept(scenes):
    """SendGrid sends its events in one request, and more requests come while one is committed."""
    scene = scenes("sendgrid")
    sent = [scene.send("sendgrid") for _ in range(5)]
    events = [{"event": event, "sg_message_id": number + ".recvd-1"}
              for _, number in sent for event in ("open", "delivered", "processed")] * 20
    for _ in range(3):
        assert scene.call("sendgrid", "x", events) == [200]
    for request, _ in sent:
        scene.service.receipt(request, "read")
        assert scene.statuses(request)[2:] in (["read"], ["delivered", "read"])
    ids = ", ".join("'%s'" % number for _, number in sent)
    assert scene.count("where provider_id in (%s)" % ids) == 3 * len(events)


def test_while_the_database_is_away_a_provider_is_asked_to_try_again(scenes):
    scene = scenes("postmark")
    request, number = scene.send("postmark")
    scene.stack.postgres.kill()
    try:
        wait_until(lambda: scene.call("postmark", number, ["Delivery"]) == [503], 20, "503")
    finally:
        scene.stack.postgres.start()
    wait_until(lambda: scene.call("postmark", number, ["Delivery"]) == [200], 20, "200")
    scene.service.receipt(request, "delivered", 20)
    scene.stack.bridge.wait_ready()


def test_a_service_that_wants_none_gets_none(scenes):
    scene = scenes("twilio")
    scene.service.publish("up/request", {
        "id": "quiet", "type": "order.ready", "body": "x", "to": {"phone": probe.PHONE},
        "channels": ["sms"], "receipts": "none"})
    delivery = wait_until(lambda: [d for d in (scene.service.rpc(
        "request.status", {"id": "quiet"}).get("result") or {}).get("deliveries", ())
        if d["state"] == "sent"], 10, "it to be sent")[0]
    assert scene.call("twilio", delivery["provider_id"], ["delivered"]) == [200]
    scene.wait_state("quiet", "delivered")
    assert scene.statuses("quiet") == ["accepted"]
