# SPDX-License-Identifier: MIT
"""Bad messages among good ones, for each kind of provider: the good go out, the bad end."""
import collections
import json

import pytest

import servers
from channel_probe import KEYS
from client import Client
from process import wait_until

BAD, GOOD = 11, 100
PUSH = ("fcm", "apns", "webpush")
OTHERS = {"ses": {"from": "Tocsin <noreply@mg.example.org>"}, "whatsapp": {}, "apns": {},
          "webpush": {"allow_private": "true"}}
RETRIES = {"retry_base": "100ms", "retry_max": "500ms"}

Lane = collections.namedtuple("Lane", "channel good bad targets answers")


def address(kind, pattern):
    return lambda info, n: {kind: pattern % n}


def token(n):
    return "bad%02d" % n + "0" * 59


def of(provider, place):
    """The provider's own valid addresses, in turn: the second half of them is the bad ones'."""
    def make(info, n):
        own = info[provider]["valid_tokens" if place else "subscriptions"]
        half = len(own) // 2
        one = own[n % half]
        return {"push_token": one if place else json.dumps(one, separators=(",", ":"))}
    return make


def bad_subscription(info, n):
    own = info["webpush"]["subscriptions"]
    return {"push_token": json.dumps(own[len(own) // 2 + n % (len(own) // 2)],
                                     separators=(",", ":"))}


def hook(path):
    return lambda info, n: {"url": "%s/%s-%d" % (info["webhook"]["url"], path, n)}


def plain(pattern):
    return lambda info: [pattern]


def subscriptions(info):
    own = info["webpush"]["subscriptions"]
    return [one["endpoint"] for one in own[len(own) // 2:]] + \
        ["*" + one["endpoint"].rsplit("/", 1)[1] for one in own[len(own) // 2:]]


def fcm(code, name):
    return {"status": code, "body": {"error": {"code": code, "message": "m", "status": name}}}


# One answer that is the message's own fault by the provider's word, one that blames our settings.
LANES = {
    "twilio": Lane("sms", address("phone", "+1555010%04d"), address("phone", "+1999010%04d"),
                   plain("+1999*"), [{"error": "21408"}, {"error": "21606"}]),
    "ses": Lane("email", address("email", "ann%d@example.com"), address("email", "bad%d@example.com"),
                plain("bad*"), [
                    {"error": "NotVerified", "text": "Email address is not verified. x@example.org"},
                    {"error": "AccessDeniedException"}]),
    "whatsapp": Lane("chat", address("phone", "+1555010%04d"), address("phone", "+1999010%04d"),
                     plain("*1999*"), [{"error": "132001"}, {"error": "131042"}]),
    "fcm": Lane("push", of("fcm", True), address("push_token", "bad%02dx:APA91b" + "x" * 20),
                plain("bad*"), [fcm(404, "NOT_FOUND"), fcm(403, "PERMISSION_DENIED")]),
    "apns": Lane("push", of("apns", True), lambda info, n: {"push_token": token(n)},
                 plain("bad*"), [{"error": "BadDeviceToken"}, {"error": "InvalidProviderToken"}]),
    "webpush": Lane("push", of("webpush", False), bad_subscription, subscriptions,
                    [{"status": 403, "body": "VapidPkHashMismatch"}, {"status": 401}]),
    "webhook": Lane("webhook", hook("good"), hook("bad"), plain("*/bad-*"),
                    [{"status": 429}, {"status": 403}]),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with servers.Stack(tmp_path_factory.mktemp("stack"), bridges=0) as made:
        info = made.providers.info
        for name, more in OTHERS.items():
            keys = {key: info[name][key] for key in KEYS[name] if key in info[name]}
            if name == "apns":
                keys["base_url"] = info[name]["tls_base_url"]
            made.settings += [("destinations.%s.%s" % (name, key), value) for key, value in {
                "adapter": name, "ca_file": info["ca_file"], **keys, **more}.items()]
        made.settings += [("destinations.%s.types" % name, "lane.%s" % name)
                          for name in PUSH + ("ses",)]
        made.settings += [("destinations.%s.types" % name, "other") for name in ("sendgrid", "smtp")]
        made.settings += [("channels.%s.%s" % (channel, key), value) for key, value in RETRIES.items()
                          for channel in ("sms", "email", "chat", "push", "webhook")]
        made.add_bridge()
        yield made
    made.remove()


def ask(shop, name, kind, lane, to, numbers):
    for first in range(0, len(numbers), 50):
        shop.publish("up/request", [
            {"id": "%s-%s-%d" % (name, kind, n), "type": "lane." + name, "title": "t",
             "body": "%s number %d" % (kind, n), "to": to(n), "channels": [lane.channel],
             "receipts": "all"} for n in numbers[first:first + 50]])


def ends(shop, prefix, statuses):
    return {r["id"] for r in shop.receipts()
            if r["id"].startswith(prefix) and r["status"] in statuses}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in ("fcm", "ses") else [pytest.mark.long])
    for name in sorted(LANES)])
def test_eleven_bad_messages_stop_no_lane_and_end(stack, name):
    lane, info = LANES[name], stack.providers.info
    stack.providers.control("POST", "/reset", {})
    with Client(stack, "service", "shop-" + name) as shop:
        shop.subscribe("down/#")
        for turn, answer in enumerate(lane.answers):
            for target in lane.targets(info):
                stack.providers.control("POST", "/behaviour", {
                    "provider": name, "target": target, "answers": [answer], "repeat": True})
            bad, good = "bad%d" % turn, "good%d" % turn
            ask(shop, name, bad, lane, lambda n: lane.bad(info, n), range(BAD))
            ask(shop, name, good, lane, lambda n: lane.good(info, n), range(GOOD))
            shop._wait(lambda: len(ends(shop, "%s-%s-" % (name, good),
                                        ("sent", "delivered"))) == GOOD,
                       35, "%s: the good ones" % name)
            # Whose fault it is shows by what else is taken: the lane stays in use.
            later = iter(range(GOOD, 10 * GOOD))

            def are_over():
                ask(shop, name, "late%d" % turn, lane, lambda n: lane.good(info, n), [next(later)])
                return len(ends(shop, "%s-%s-" % (name, bad), ("dead",))) == BAD

            wait_until(are_over, 35, "%s: the end of the bad ones" % name, 0.5)
            last = "%s-late%d-%d" % (name, turn, next(later) - 1)
            shop._wait(lambda: ends(shop, last, ("sent", "delivered")), 35, last)
            assert not ends(shop, "%s-%s-" % (name, good), ("dead", "suppressed", "expired"))
            stack.providers.control("POST", "/reset", {})
        assert stack.postgres.value("SELECT count(*) FROM delivery") == "0"
        if lane.channel in ("sms", "email"):
            listed = shop.rpc("suppression.list", {"channel": lane.channel})["result"]["entries"]
            assert listed == []
