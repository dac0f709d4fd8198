# SPDX-License-Identifier: MIT
"""Rules of the push services that reach beyond one attempt: floors of retries, dead tokens."""
import time

import pytest

from client import Client
from process import wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    import servers
    with servers.Stack(tmp_path_factory.mktemp("stack"), bridges=0) as made:
        own = made.providers.info["apns"]
        made.settings += [("destinations.apns.adapter", "apns"),
                          ("destinations.apns.base_url", own["tls_base_url"]),
                          ("destinations.apns.ca_file", made.providers.info["ca_file"])]
        made.settings += [("destinations.apns." + key, own[key])
                          for key in ("key_file", "key_id", "team_id", "topic")]
        made.settings += [("channels.push.retry_base", "100ms"),
                          ("channels.push.retry_max", "200ms")]
        made.add_bridge()
        yield made
    made.remove()


@pytest.fixture
def shop(stack):
    stack.providers.control("POST", "/reset", {})
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


def push(shop, name, user):
    shop.publish("up/request", {"id": name, "type": "t", "title": "t", "body": "b",
                                "to": {"user": user}, "channels": ["push"], "receipts": "all"})


def register(shop, user, platform, token):
    answer = shop.rpc("user.upsert", {"user": user,
                                      "devices": [{"platform": platform, "token": token}]})
    assert "error" not in answer, answer


def is_active(shop, user):
    (target,) = shop.rpc("user.get", {"user": user})["result"]["targets"]
    return target["active"]


def ending_of_410(stack, shop, user, token, **answer):
    """Sends a push to a user whose one device is answered 410; the ending, and what is left."""
    register(shop, user, "apns", token)
    stack.providers.control("POST", "/behaviour", {
        "provider": "apns", "target": token, "answers": [{"error": "Unregistered", **answer}]})
    push(shop, "r-" + user, user)
    ending = shop.receipt("r-" + user, "dead", 15)
    assert ending["reason"] == "target_dead"
    return is_active(shop, user)


def test_a_token_that_died_before_it_was_registered_again_lives(stack, shop):
    tokens = stack.providers.info["apns"]["valid_tokens"]
    an_hour_ago = int((time.time() - 3600) * 1000)
    soon = int((time.time() + 3600) * 1000)
    assert ending_of_410(stack, shop, "reborn", tokens[0], timestamp=an_hour_ago)
    assert not ending_of_410(stack, shop, "gone", tokens[1], timestamp=soon)
    assert not ending_of_410(stack, shop, "unsaid", tokens[2], timestamp=None)
    # It is the last registration that counts, not the first.
    stack.postgres.sql("update target set created_at = now() - interval '1 day',"
                       " last_seen = now() - interval '2 hours' where user_id = 'reborn'")
    stack.providers.control("POST", "/behaviour", {
        "provider": "apns", "target": tokens[0],
        "answers": [{"error": "Unregistered", "timestamp": an_hour_ago}]})
    push(shop, "r-again", "reborn")
    shop.receipt("r-again", "dead", 15)
    assert not is_active(shop, "reborn")


@pytest.mark.parametrize("platform,error,floor_s", [
    ("fcm", "UNAVAILABLE", 10), ("fcm", "INTERNAL", 10), ("apns", "InternalServerError", 900)])
def test_no_retry_comes_before_the_providers_floor(stack, shop, platform, error, floor_s):
    user = "%s-%s" % (platform, error)
    register(shop, user, platform, stack.providers.info[platform]["valid_tokens"][5])
    stack.providers.control("POST", "/behaviour", {"provider": platform, "answers": [error]})
    push(shop, "r-" + user, user)
    shop.receipt("r-" + user, "retrying", 15)

    def waits():
        return stack.postgres.sql(
            "select extract(epoch from d.due_at - a.at) from delivery d join attempt a"
            " on a.delivery = d.id join notification n on n.id = d.notification"
            " where n.request = 'r-%s' and d.state = 0" % user)
    ((wait,),) = wait_until(waits, 10, "the attempt")
    assert floor_s - 0.5 < float(wait) < floor_s + 2
