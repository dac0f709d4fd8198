# SPDX-License-Identifier: MIT
"""How users are reached, and addresses that nothing is sent to."""
import itertools
import signal
import time

import pytest

from client import Client
from process import wait_until

SETTINGS = {"destinations.twilio.shut_min": "200ms", "destinations.twilio.shut_max": "400ms",
            "channels.sms.retry_base": "100ms", "channels.sms.retry_max": "200ms"}
NUMBER = itertools.count(1000)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    import servers
    with servers.Stack(tmp_path_factory.mktemp("stack"), settings=SETTINGS) as made:
        yield made
    made.remove()


@pytest.fixture
def shop(stack):
    stack.providers.control("POST", "/reset", {})
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client
    # Whatever happened above: nothing was lost.
    wait_until(lambda: stack.postgres.sql("select missing from conservation") == [["0"]], 10,
               "conservation")


def fresh(what):
    return "%s%d" % (what, next(NUMBER))


def phone():
    return "+1555010%04d" % next(NUMBER)


def token():
    return "%s:APA91b%s" % (fresh("device"), "x" * 30)


def ask(shop, to, channels=("sms",), **more):
    name = fresh("r-")
    shop.publish("up/request", {"id": name, "type": "order.ready", "title": "t", "body": "b",
                                "to": to, "channels": list(channels), "receipts": "all", **more})
    return name


def result(answer):
    assert "error" not in answer, answer
    return answer["result"]


def script(stack, provider, **rule):
    stack.providers.control("POST", "/behaviour", {"provider": provider, **rule})


def sent_to(stack, provider, target):
    return [r for r in stack.providers.control(
        "GET", "/requests?provider=%s&fields=target,verdict,op" % provider)["requests"]
        if r["target"] == target]


def finals(shop, name, count, timeout=10):
    """The receipts that end a request's deliveries."""
    def those():
        return [r for r in shop.receipts(name) if r["status"] not in ("accepted", "retrying")]
    shop._wait(lambda: len(those()) >= count, timeout, "%d endings of %s" % (count, name))
    return those()


def targets(shop, user):
    return result(shop.rpc("user.get", {"user": user}))["targets"]


def test_each_of_a_users_phones_gets_it(stack, shop):
    user, one, two = fresh("u"), phone(), phone()
    assert result(shop.rpc("user.upsert", {"user": user, "phones": [one, two]})) == {"targets": 2}
    name = ask(shop, {"user": user})
    assert [(r["status"], r["user"]) for r in finals(shop, name, 2)] == [("sent", user)] * 2
    assert len(sent_to(stack, "twilio", one)) == len(sent_to(stack, "twilio", two)) == 1
    status = result(shop.rpc("request.status", {"id": name}))
    assert [d["state"] for d in status["deliveries"]] == ["sent", "sent"]
    assert all(one not in d["target"] and d["user"] == user for d in status["deliveries"])


def test_an_address_that_the_request_names_is_nobodys(stack, shop):
    number = phone()
    result(shop.rpc("user.upsert", {"user": fresh("u"), "phones": [number]}))
    (ended,) = finals(shop, ask(shop, {"phone": number}), 1)
    assert ended["target"] and "user" not in ended


def test_a_dead_letter_says_whose_it_was_and_is_found_by_that(stack, shop):
    user, number = fresh("u"), phone()
    result(shop.rpc("user.upsert", {"user": user, "phones": [number]}))
    script(stack, "twilio", target=number, answers=["twilio:21211"])
    with Client(stack, "admin", "ops") as admin:
        admin.subscribe("down/#")
        admin.subscribe("notify/v1/dlq/#")
        name = ask(shop, {"user": user})
        (ended,) = finals(shop, name, 1)
        assert (ended["status"], ended["user"]) == ("dead", user)
        letter = admin.wait(lambda m: m.topic == "notify/v1/dlq/sms/target_invalid"
                            and m.json["request"] == name).json
        assert (letter["user"], letter["target"]) == (user, number)
        (entry,) = result(admin.rpc("dlq.list", {"user": user}))["entries"]
        assert (entry["user"], entry["request"]) == (user, name)
        # Once more from the dead letters: still theirs.
        stack.providers.control("POST", "/reset", {})
        assert result(admin.rpc("dlq.retry", {"filter": {"user": user}})) == {"retried": 1}
        shop._wait(lambda: [r for r in shop.receipts(name)
                            if (r["status"], r.get("user")) == ("sent", user)], 10, "sent again")


def test_every_channel_has_its_own_targets(stack, shop):
    user, number, mail = fresh("u"), phone(), fresh("Mail") + "@example.org"
    url = "%s/%s" % (stack.providers.info["webhook"]["url"], fresh("hook-"))
    result(shop.rpc("user.upsert", {"user": user, "phones": [number], "emails": [mail],
                                    "webhooks": [url],
                                    "devices": [{"platform": "fcm", "token": token()}]}))
    name = ask(shop, {"user": user}, ("sms", "email", "push", "webhook"))
    ended = finals(shop, name, 4)
    assert {(r["channel"], r["status"]) for r in ended} == {
        ("sms", "sent"), ("email", "sent"), ("push", "sent"), ("webhook", "delivered")}
    assert {t["kind"] for t in targets(shop, user)} == {"phone", "email", "push_token", "url"}
    assert number not in str(targets(shop, user)) and mail not in str(targets(shop, user))


def test_a_list_that_is_given_replaces_and_one_that_is_not_stays(shop):
    user, number = fresh("u"), phone()
    result(shop.rpc("user.upsert", {"user": user, "phones": [phone(), phone()],
                                    "emails": ["a@example.org"]}))
    result(shop.rpc("user.upsert", {"user": user, "phones": [number]}))
    assert sorted(t["kind"] for t in targets(shop, user)) == ["email", "phone"]
    result(shop.rpc("user.upsert", {"user": user, "phones": []}))
    assert [t["kind"] for t in targets(shop, user)] == ["email"]
    assert result(shop.rpc("user.delete", {"user": user})) == {"deleted": 1}
    assert targets(shop, user) == []


@pytest.mark.parametrize("params,field", [
    ({"phones": ["0170 123"]}, "/params/phones"), ({"emails": ["nobody"]}, "/params/emails"),
    ({"webhooks": ["ftp://x"]}, "/params/webhooks"), ({"phones": ["+15550100001"] * 17},
                                                      "/params/phones"),
    ({"devices": [{"platform": "palm", "token": "x"}]}, "/params/devices/0/platform"),
    ({"devices": [{"platform": "webpush", "token": "https://push.example/1"}]},
     "/params/devices/0/keys"),
    ({"phons": []}, "/params/phons"),
])
def test_what_is_no_address_is_refused_by_name(shop, params, field):
    answer = shop.rpc("user.upsert", {"user": "u-bad", **params})
    assert answer["error"]["field"] == field, answer
    assert targets(shop, "u-bad") == []


def test_a_user_without_a_target_ends_as_no_target(shop):
    name = ask(shop, {"user": fresh("nobody")})
    (ending,) = finals(shop, name, 1)
    assert (ending["status"], ending["reason"]) == ("dead", "no_target")


def test_devices_come_and_go(stack, shop):
    user, one, two = fresh("u"), token(), token()
    with Client(stack, "user", user) as alice:
        alice.subscribe("down/reply")
        for device in (one, two, one):
            result(alice.rpc("device.register", {"platform": "fcm", "token": device}))
        assert len(targets(shop, user)) == 2
        assert len(finals(shop, ask(shop, {"user": user}, ("push",)), 2)) == 2
        assert result(alice.rpc("device.unregister", {"token": one})) == {"unregistered": 1}
        assert len(finals(shop, ask(shop, {"user": user}, ("push",)), 1)) == 1
        assert len(sent_to(stack, "fcm", one)) == 1
        assert len(sent_to(stack, "fcm", two)) == 2
        # No user may touch another's, and services have methods of their own.
        assert alice.rpc("user.get", {"user": user})["error"]["code"] == "unknown_method"
        assert shop.rpc("device.register", {})["error"]["code"] == "unknown_method"


def test_a_channel_has_sixteen_targets_and_the_oldest_device_makes_room(stack, shop):
    user = fresh("crowded-")
    refused = shop.rpc("user.upsert", {"user": user, "phones": [phone() for _ in range(17)]})
    assert refused["error"]["field"] == "/params/phones"
    result(shop.rpc("user.upsert", {"user": user, "phones": [phone() for _ in range(16)]}))
    tokens = [token() for _ in range(18)]
    with Client(stack, "user", user) as device:
        device.subscribe("down/reply")
        for one in tokens:
            result(device.rpc("device.register", {"platform": "fcm", "token": one}))
    kept = stack.postgres.sql("select token from target where user_id = '%s' and channel = 1"
                              " order by last_seen" % user)
    assert [row[0] for row in kept] == tokens[2:]


def test_targets_are_those_of_the_moment_of_acceptance(stack, shop):
    user, then, later = fresh("mover-"), phone(), phone()
    result(shop.rpc("user.upsert", {"user": user, "phones": [then]}))
    name = ask(shop, {"user": user}, at="2099-01-01T00:00:00Z")
    shop.receipt(name, "accepted")
    result(shop.rpc("user.upsert", {"user": user, "phones": [later]}))
    stack.postgres.sql("update scheduled set due_at = now() where user_id = '%s'" % user)
    shop.receipt(name, "sent")
    asked = stack.providers.control("GET", "/requests?provider=twilio&fields=target")["requests"]
    assert [r["target"] for r in asked] == [then]


def test_a_device_belongs_to_who_registered_it_last(stack, shop):
    first, second, device = fresh("u"), fresh("u"), token()
    for user in (first, second):
        with Client(stack, "user", user) as client:
            client.subscribe("down/reply")
            result(client.rpc("device.register", {"platform": "fcm", "token": device}))
    assert targets(shop, first) == []
    assert len(targets(shop, second)) == 1


def test_a_device_of_a_platform_without_an_account_is_as_good_as_none(stack, shop):
    user = fresh("u")
    result(shop.rpc("user.upsert", {"user": user, "devices": [
        {"platform": "apns", "token": "ab" * 32}, {"platform": "fcm", "token": token()}]}))
    (ending,) = finals(shop, ask(shop, {"user": user}, ("push",)), 1)
    assert (ending["status"], ending["provider"]) == ("sent", "fcm")


def test_a_dead_token_is_put_out_of_use_with_its_reason_and_not_tried_again(stack, shop):
    user, dead, good = fresh("u"), token(), token()
    result(shop.rpc("user.upsert", {"user": user, "devices": [
        {"platform": "fcm", "token": dead}, {"platform": "fcm", "token": good}]}))
    script(stack, "fcm", target=dead, answers=["fcm:UNREGISTERED"], repeat=True)
    endings = {r["status"]: r for r in finals(shop, ask(shop, {"user": user}, ("push",)), 2)}
    assert endings["dead"]["reason"] == "target_dead"
    wait_until(lambda: [t.get("reason") for t in targets(shop, user) if not t["active"]]
               == ["target_dead"], 10, "the token to be put out of use")
    assert [r["status"] for r in finals(shop, ask(shop, {"user": user}, ("push",)), 1)] == ["sent"]
    time.sleep(0.2)
    assert len(sent_to(stack, "fcm", dead)) == 1
    with Client(stack, "user", user) as alice:  # the app is there again
        alice.subscribe("down/reply")
        result(alice.rpc("device.register", {"platform": "fcm", "token": dead}))
    assert [t["active"] for t in targets(shop, user)] == [True, True]


def test_a_suppressed_address_is_never_sent_to_and_it_is_reported(stack, shop):
    user, number, other = fresh("u"), phone(), phone()
    result(shop.rpc("user.upsert", {"user": user, "phones": [number, other]}))
    added = shop.rpc("suppression.add", {"channel": "sms", "address": number,
                                         "reason": "complained"})
    assert result(added) == {"added": 1}
    (direct,) = finals(shop, ask(shop, {"phone": number}), 1)
    assert (direct["status"], direct["reason"]) == ("suppressed", "complained")
    by_status = {r["status"]: r for r in finals(shop, ask(shop, {"user": user}), 2)}
    assert by_status["suppressed"]["reason"] == "complained"
    assert by_status["sent"]
    assert sent_to(stack, "twilio", number) == []
    (entry,) = result(shop.rpc("suppression.list", {"channel": "sms", "address": number}))["entries"]
    assert (entry["reason"], entry["source"]) == ("complained", "service/shop")
    assert number not in str(entry)
    assert result(shop.rpc("suppression.remove",
                           {"channel": "sms", "address": number})) == {"removed": 1}
    assert [r["status"] for r in finals(shop, ask(shop, {"phone": number}), 1)] == ["sent"]


def test_email_addresses_are_compared_without_case_and_a_type_can_be_meant_alone(stack, shop):
    mail = fresh("Some.One") + "@Example.ORG"
    result(shop.rpc("suppression.add", {"channel": "email", "address": mail.lower(),
                                        "type": "order.ready"}))
    (ending,) = finals(shop, ask(shop, {"email": mail}, ("email",)), 1)
    assert (ending["status"], ending["reason"]) == ("suppressed", "opted_out")
    (ending,) = finals(shop, ask(shop, {"email": mail}, ("email",), type="invoice"), 1)
    assert ending["status"] == "sent"


def test_one_mailbox_in_all_its_spellings_is_one_address(stack, shop):
    """Whatever spelling is suppressed or kept, whatever spelling is asked for."""
    local = fresh("jörg").replace("jörg", "jo\u0308rg")
    spellings = [local + "@bücher.example", local + "@xn--bcher-kva.example",
                 local.upper() + "@BÜCHER.example", local + "@bu\u0308cher.example",
                 local.replace("o\u0308", "ö") + "@XN--BCHER-KVA.Example"]
    for k, kept in enumerate(spellings):
        assert result(shop.rpc("suppression.add",
                               {"channel": "email", "address": kept})) == {"added": 1}
        for spelling in (spellings[k - 1], spellings[k - 2]):
            assert result(shop.rpc("suppression.add",
                                   {"channel": "email", "address": spelling})) == {"added": 0}
            (ending,) = finals(shop, ask(shop, {"email": spelling}, ("email",)), 1)
            assert (ending["status"], ending["reason"]) == ("suppressed", "opted_out")
            (entry,) = result(shop.rpc("suppression.list", {
                "channel": "email", "address": spelling}))["entries"]
        assert result(shop.rpc("suppression.remove", {
            "channel": "email", "address": spellings[k - 3]})) == {"removed": 1}
    user = fresh("u")
    result(shop.rpc("user.upsert", {"user": user, "emails": spellings}))
    (target,) = result(shop.rpc("user.get", {"user": user}))["targets"]
    assert target["channel"] == "email"


def test_a_collapse_key_holds_for_a_mailbox_in_any_case(shop):
    mail, more = fresh("Kim") + "@example.org", {"collapse_key": "k", "at": "2099-01-01T00:00:00Z"}
    first = ask(shop, {"email": mail}, ("email",), **more)
    shop.receipt(first, "accepted")
    second = ask(shop, {"email": mail.lower()}, ("email",), **more)
    assert shop.receipt(first, "suppressed")["reason"] == "collapsed"
    assert result(shop.rpc("request.cancel", {"id": second}))["cancelled"] == 1


def test_what_waited_is_looked_at_again_before_it_is_sent(stack, shop):
    number = phone()
    script(stack, "twilio", target=number, answers=[{"status": 503, "retry_after": 2}])
    name = ask(shop, {"phone": number})
    shop.receipt(name, "retrying")
    result(shop.rpc("suppression.add", {"channel": "sms", "address": number}))
    (ending,) = finals(shop, name, 1)
    assert (ending["status"], ending["reason"]) == ("suppressed", "opted_out")
    assert len(sent_to(stack, "twilio", number)) == 1


def two_looks(stack):
    """Until the bridge has asked once for all what is suppressed, and has dealt with the answer.

    Whoever wants to read the table waits for our lock, and so we see them ask.  The second look
    comes after the first is done with.
    """
    lock = stack.postgres.session()
    try:
        for _ in range(2):
            lock("begin")
            lock("lock table suppression in access exclusive mode")
            wait_until(lambda: stack.postgres.value(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
                "and query like 'SELECT%max(id) FROM suppression%'") == "1",
                20, "a look")
            lock("commit")
    finally:
        lock(None)


def test_what_waits_in_memory_is_looked_at_again_before_it_is_sent(tmp_path):
    """Behind a rate: asked about when it came, and again when its turn comes."""
    import servers
    rates = ["destinations.%s.rate_per_hour" % name for name in ("twilio", "sendgrid")]
    with servers.Stack(tmp_path, settings={rate: 1 for rate in rates}) as stack, \
            Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        mail = fresh("Some.One") + "@Example.org"  # compared without case, and for one type alone
        number = phone()
        for name in (ask(shop, {"phone": phone()}),
                     ask(shop, {"email": fresh("x") + "@example.org"}, ("email",))):
            shop.receipt(name, "sent")  # and with that the hour is used up
        texts = [ask(shop, {"phone": number}), ask(shop, {"phone": phone()})]
        mails = [ask(shop, {"email": mail}, ("email",), type="news"),
                 ask(shop, {"email": mail}, ("email",), type="invoice")]
        for destination in (("sms", "twilio"), ("email", "sendgrid")):
            queued = 'tocsin_destination_queued{channel="%s",destination="%s"}' % destination
            wait_until(lambda: stack.bridge.metrics()[queued] == 2, 10, "two to wait")
        result(shop.rpc("suppression.add", {"channel": "sms", "address": number}))
        result(shop.rpc("suppression.add", {"channel": "email", "address": mail.lower(),
                                            "type": "news"}))
        two_looks(stack)
        for rate in rates:
            stack.bridge.set(rate, 0)
        stack.bridge.prepare()
        stack.bridge.signal(signal.SIGHUP)  # and now it is their turn
        for names in (texts, mails):
            assert shop.receipt(names[0], "suppressed", 20)["reason"] == "opted_out"
            shop.receipt(names[1], "sent", 20)
        assert sent_to(stack, "twilio", number) == []


def test_an_opt_out_that_the_provider_knows_of_is_learnt(stack, shop):
    user, number = fresh("u"), phone()
    result(shop.rpc("user.upsert", {"user": user, "phones": [number]}))
    script(stack, "twilio", target=number, answers=["twilio:21610"], repeat=True)
    (ending,) = finals(shop, ask(shop, {"user": user}), 1)
    assert (ending["status"], ending["reason"]) == ("suppressed", "opted_out")
    for to in ({"user": user}, {"phone": number}):
        (ending,) = finals(shop, ask(shop, to), 1)
        assert (ending["status"], ending["reason"]) == ("suppressed", "opted_out")
    assert len(sent_to(stack, "twilio", number)) == 1
    (entry,) = result(shop.rpc("suppression.list", {"address": number}))["entries"]
    assert entry["source"] == "provider"
    assert [t["active"] for t in targets(shop, user)] == [False]
    stack.providers.control("POST", "/reset", {})
    removal = {"channel": "sms", "address": number}
    assert shop.rpc("suppression.remove", removal)["error"]["code"] == "not_allowed"
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/reply")
        result(ops.rpc("suppression.remove", removal))
    assert [r["status"] for r in finals(shop, ask(shop, {"user": user}), 1)] == ["sent"]


def test_an_admin_sees_addresses_whole_and_what_it_changes_is_written_down(stack, shop):
    number, user = phone(), fresh("audited-")
    with Client(stack, "admin", "auditor") as ops:
        ops.subscribe("down/reply")
        result(ops.rpc("suppression.add", {"channel": "sms", "address": number}))
        (entry,) = result(ops.rpc("suppression.list", {"address": number}))["entries"]
        assert (entry["target"], entry["source"]) == (number, "admin/auditor")
        result(ops.rpc("suppression.remove", {"channel": "sms", "address": number}))
        result(ops.rpc("user.upsert", {"user": user, "phones": [number]}))
        result(ops.rpc("user.delete", {"user": user}))
        found = wait_until(lambda: (lambda e: e if len(e) == 4 else None)(
            result(ops.rpc("audit.list", {"admin": "auditor"}))["entries"]), 10, "the audit")
    deleted, put, removed, added = found
    assert [e["action"] for e in (added, removed, put, deleted)] == [
        "suppression.add", "suppression.remove", "user.upsert", "user.delete"]
    assert (added["result"], removed["result"]) == ({"added": 1}, {"removed": 1})
    assert put["before"] == [] and deleted["after"] == []
    assert put["after"] == deleted["before"]
    assert [(t["channel"], t["active"]) for t in put["after"]] == [("sms", True)]
    assert put["params"]["user"] == user
    # The audit is for ever: it has no address in the clear.
    masked = put["params"]["phones"][0]
    assert masked == added["params"]["address"] == put["after"][0]["target"] and "*" in masked
    assert number not in str(found)


def test_what_an_admin_changes_and_its_line_in_the_audit_are_one_transaction(stack, shop):
    """Where the line cannot be written nothing is changed: a crash between the two loses neither."""
    kept, new, user = phone(), phone(), fresh("atomic-")
    result(shop.rpc("user.upsert", {"user": user, "phones": [kept], "emails": ["a@example.com"]}))
    result(shop.rpc("suppression.add", {"channel": "sms", "address": kept}))
    stack.postgres.sql("create function no_audit() returns trigger language plpgsql as"
                       " $$ begin raise exception 'no'; end $$;"
                       "create trigger no_audit before insert on audit"
                       " for each row execute function no_audit()")
    try:
        with Client(stack, "admin", "atomic") as ops:
            ops.subscribe("down/reply")
            for method, params in (
                    ("suppression.add", {"channel": "sms", "address": new}),
                    ("suppression.remove", {"channel": "sms", "address": kept}),
                    ("user.upsert", {"user": user, "phones": [new]}), ("user.delete", {"user": user})):
                assert "error" in ops.rpc(method, params), method
        assert "error" in shop.rpc("suppression.add", {"channel": "sms", "address": phone()})
    finally:
        stack.postgres.sql("drop trigger no_audit on audit; drop function no_audit")

    def suppressed(number):
        return len(result(shop.rpc("suppression.list", {"address": number}))["entries"])
    assert (suppressed(kept), suppressed(new)) == (1, 0)
    assert stack.postgres.sql("select address from target where user_id = '%s' order by 1" % user) \
        == [[kept], ["a@example.com"]]
    with Client(stack, "admin", "atomic") as ops:  # and what stays is in the line as well
        ops.subscribe("down/reply")
        result(ops.rpc("user.upsert", {"user": user, "phones": [new, new]}))
        (entry,) = result(ops.rpc("audit.list", {"admin": "atomic"}))["entries"]
    assert [t["channel"] for t in entry["before"]] == ["sms", "email"]
    assert sorted(t["channel"] for t in entry["after"]) == ["email", "sms"]


def test_a_long_list_comes_in_pages(shop):
    for _ in range(5):
        result(shop.rpc("suppression.add", {"channel": "webhook", "address": "https://x.example/"
                                            + fresh("")}))
    seen, after = 0, {}
    while True:
        page = result(shop.rpc("suppression.list", {"channel": "webhook", "limit": 2, **after}))
        seen += len(page["entries"])
        if "next" not in page:
            break
        after = {"after": page["next"]}
    assert seen == 5


def test_a_thousand_users_at_once(stack, shop):
    users = [fresh("many") for _ in range(1000)]
    numbers = ["+1556%07d" % n for n in range(1000)]
    stack.postgres.sql(
        "insert into target (user_id, channel, kind, token, address)"
        " select 'many' || (%d + n), 2, 5, '+1556' || lpad(n::text, 7, '0'),"
        " '+1556' || lpad(n::text, 7, '0') from generate_series(0, 999) n" % int(users[0][4:]))
    name = ask(shop, {"users": users}, ("in_app", "sms"))
    shop._wait(lambda: len([r for r in shop.receipts(name) if r["status"] == "sent"]) >= 1000, 60,
               "a thousand sent")
    got = {r["target"] for r in stack.providers.control(
        "GET", "/requests?provider=twilio&fields=target")["requests"]}
    assert got >= set(numbers)
    shop.rpc("request.cancel", {"id": name})
