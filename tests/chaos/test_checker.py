# SPDX-License-Identifier: MIT
"""The checker must be able to say no: a recording with each kind of violation, and it is caught.

Each case starts from the same small truth, which passes, and changes one thing about it.
"""
import pytest

import checker

T = 1000.0  # when it all happens


def publish(name, at=T, service="shop", **expect):
    return {"at": at, "what": "publish", "service": service, "id": name, "number": 1,
            "request": {}, "spoilt": False,
            "expect": {"tag": name, "deliveries": 1, **expect}}


def receipt(name, status, at, **more):
    number = {"accepted": {"notification": "n-" + name}}.get(status, {})
    return {"at": at, "what": "receipt", "service": "shop",
            "receipt": {"id": name, "status": status, **number, **more}}


def call(name, at, provider="twilio", channel="sms", **more):
    return {"at": at + 0.5, "what": "call", "provider": provider, "channel": channel, "seq": 1,
            "tag": name, "target": "+1555", "dedupe": None, "verdict": "accepted", "why": None,
            "status": 201, "arrived": at, **more}


def shown(name, at, user="ann", number="d1"):
    return {"at": at, "what": "shown", "user": user, "device": "user/ann/phone", "id": number,
            "seq": 1, "tag": name}


def fault(name, component, begin, end):
    both = {"what": "fault", "name": name, "component": component, "params": {}}
    return [{"at": begin, "phase": "begin", **both}, {"at": end, "phase": "end", **both}]


class Story:
    """One sms and one in-app notification that went well, and everything that says so."""

    def __init__(self):
        self.notifications = [
            {"id": 1, "service": "shop", "request": "a", "deliveries": 1, "created": T + 1,
             "expires": None},
            {"id": 2, "service": "shop", "request": "b", "deliveries": 1, "created": T + 1,
             "expires": None}]
        self.attempts = [
            {"delivery": 11, "notification": 1, "epoch": 7, "number": 1, "channel": 2,
             "outcome": 1, "state": 3, "reason": 0, "recipient": "+1555", "at": T + 2},
            {"delivery": 12, "notification": 2, "epoch": 7, "number": 1, "channel": 0,
             "outcome": 0, "state": 4, "reason": 0, "recipient": "ann", "at": T + 2}]
        self.rows = {
            "dead_letter": [], "delivery": [], "scheduled": [], "inbox": [], "prepared": [],
            "request_key": [{"keys": 2, "notifications": 2}],
            "lane": [{"name": "requests", "epoch": 7}],
            "bridge": [{"epoch": 7, "name": "x", "node": 0, "is_alive": True}],
            "conservation": [{"in_flight": 0, "missing": 0}],
            "sessions": [{"application_name": "tocsind", "state": "idle", "count": 2}]}
        self.events = [
            {"at": T, "what": "run", "seed": 1},
            publish("a"), publish("b"),
            receipt("a", "accepted", T + 1), receipt("b", "accepted", T + 1),
            call("a", T + 1.5), shown("b", T + 1.5),
            receipt("a", "sent", T + 2, channel="sms", target="+1..."),
            receipt("b", "delivered", T + 2, channel="in_app", user="ann"),
            {"at": T + 3, "what": "books", "missing": 0, "in_flight": 1},
            self.sample(T + 1, 9000), self.sample(T + 50, 12000, phase="quiet")]

    @staticmethod
    def sample(at, rss_kb, fds=30, phase="busy"):
        return {"at": at, "what": "sample", "process": "tocsind", "pid": 5, "rss_kb": rss_kb,
                "fds": fds, "phase": phase}

    def check(self):
        tables = {"notification": self.notifications, "attempt": self.attempts, **self.rows}
        rows = [{"at": T + 60, "what": "rows", "table": name, "rows": found}
                for name, found in tables.items()]
        return checker.check(sorted(self.events, key=lambda e: e["at"]) + rows)

    def says(self):
        return [finding.text for finding in self.check().findings]

    def drop(self, what, **fields):
        def matches(event):
            inner = event.get("receipt", event)
            return event["what"] == what and all(inner.get(k) == v for k, v in fields.items())
        kept = [event for event in self.events if not matches(event)]
        assert len(kept) < len(self.events)
        self.events = kept


def test_the_truth_passes():
    assert Story().says() == []


def accepted_and_not_stored(story):
    story.notifications.pop(0)
    story.attempts.pop(0)
    story.rows["request_key"] = [{"keys": 1, "notifications": 1}]
    story.drop("receipt", id="a", status="sent")
    story.drop("call", tag="a")


def never_ended(story):
    story.attempts[0]["state"] = None
    story.rows["delivery"] = [{"id": 11, "notification": 1, "state": 0, "epoch": None}]
    story.drop("receipt", id="a", status="sent")


def fewer_deliveries(story):
    story.events[1]["expect"]["deliveries"] = 3


def never_answered(story):
    story.events.append(publish("c"))


def invalid_accepted(story):
    story.events[1]["expect"]["reject"] = True


def valid_rejected(story):
    story.events += [publish("c"), receipt("c", "rejected", T + 1, reason="bad_value")]


def stored_twice(story):
    story.notifications.append({**story.notifications[0], "id": 3})
    story.attempts.append({**story.attempts[0], "notification": 3, "delivery": 13})
    story.rows["request_key"] = [{"keys": 3, "notifications": 3}]


def two_notifications_told(story):
    story.events.append(receipt("a", "accepted", T + 9, notification="other"))


def ended_twice(story):
    story.attempts.append({**story.attempts[1], "at": T + 9})


def missing_in_the_books(story):
    story.events.append({"at": T + 5, "what": "books", "missing": 2, "in_flight": 1})


def own_sum_differs(story):
    story.notifications[0]["deliveries"] = 2


def sent_twice(story):
    story.events.append(call("a", T + 1.8))


def sent_after_recorded(story):
    story.events += [call("a", T + 9), *fault("bridge.kill", "bridge0", T + 1, T + 8)]


def careful_sent_twice(story):
    story.events[1]["expect"]["once"] = True
    story.events += [call("a", T + 1.8), *fault("bridge.kill", "bridge0", T + 1, T + 1.9)]


def receiver_got_two_ids(story):
    story.drop("call", tag="a")
    story.attempts[0]["channel"] = 5
    story.events += [call("a", T + 1.2, "webhook", "webhook", dedupe="x"),
                     call("a", T + 1.4, "webhook", "webhook", dedupe="y"),
                     *fault("bridge.kill", "bridge0", T + 1, T + 1.3)]


def unknown_effect(story):
    story.events.append(call("nobody", T + 2))


def two_inbox_ids(story):
    story.events.append(shown("b", T + 1.9, number="d2"))


def two_inbox_ids_and_keys(story):
    story.events += [*fault("postgres.kill", "postgres", T, T + 2),
                     {**shown("b", T + 1.9, number="d2"), "key": "other"}]


def two_inbox_ids_for_no_reason(story):
    for event in story.events:
        if event["what"] == "shown":
            event["key"] = "k"
    story.events.append({**shown("b", T + 1.9, number="d2"), "key": "k"})


def shown_long_after(story):
    story.events.append(shown("b", T + 40))


def shown_unasked(story):
    story.events.append(shown("nobody", T + 2))


def end_before_accepted(story):
    story.drop("receipt", id="a", status="accepted")
    story.events.append(receipt("a", "accepted", T + 4))


def contradicting_ends(story):
    story.events.append(receipt("b", "expired", T + 4, channel="in_app", user="ann"))
    story.attempts.append({**story.attempts[1], "state": 7, "at": T + 4})


def same_end_again(story):
    story.events.append(receipt("b", "delivered", T + 4, channel="in_app", user="ann"))


def untrue_end(story):
    story.attempts[0]["state"] = 5


def end_not_told(story):
    story.drop("receipt", id="a", status="sent")


def too_early(story):
    story.events[1]["expect"]["not_before"] = T + 5


def too_late(story):
    story.notifications[0]["expires"] = T - 10


def expired_early(story):
    story.notifications[0]["expires"] = T + 100
    story.attempts[0]["state"] = 7
    story.drop("receipt", id="a", status="sent")
    story.events.append(receipt("a", "expired", T + 3, channel="sms", target="+1..."))


def queue_not_empty(story):
    story.rows["delivery"] = [{"id": 99, "notification": 1, "state": 0, "epoch": None}]


def stuck_lease(story):
    story.rows["delivery"] = [{"id": 99, "notification": 1, "state": 1, "epoch": 3}]


def dead_bridge_left(story):
    story.rows["bridge"].append({"epoch": 3, "name": "y", "node": 3, "is_alive": False})


def untold_left(story):
    story.rows["untold"] = [{"epoch": 3, "teller": 4}]


def lane_of_the_dead(story):
    story.rows["lane"][0]["epoch"] = 3


def attempt_without_notification(story):
    story.attempts.append({**story.attempts[0], "delivery": 77, "notification": 77,
                           "state": None})


def keys_left(story):
    story.rows["request_key"] = [{"keys": 5, "notifications": 5}]


def transaction_open(story):
    story.rows["sessions"][0]["state"] = "idle in transaction"


def inbox_number_twice(story):
    story.rows["inbox"] = [{"user_id": "ann", "seq": 1, "delivery": 12}] * 2


def ended_by_itself(story):
    story.events.append({"at": T + 5, "what": "exit", "process": "tocsind", "code": -6,
                         "expected": False, "text": "panic"})


def memory_grew(story):
    story.events.append(story.sample(T + 55, 900000, phase="quiet"))


def descriptors_left(story):
    story.events.append(story.sample(T + 55, 12000, fds=4000, phase="quiet"))


VIOLATIONS = {
    accepted_and_not_stored: "accepted and not stored",
    never_ended: "a delivery never ended",
    fewer_deliveries: "not as many deliveries",
    never_answered: "never answered",
    invalid_accepted: "invalid, and accepted",
    valid_rejected: "valid, and rejected",
    stored_twice: "stored twice",
    two_notifications_told: "two notifications told",
    ended_twice: "a delivery ended twice",
    missing_in_the_books: "something was missing",
    own_sum_differs: "our own sum",
    sent_twice: "no fault explains it",
    sent_after_recorded: "after its success was recorded",
    careful_sent_twice: "at_most_once",
    receiver_got_two_ids: "two ids at a receiver",
    unknown_effect: "no service published",
    two_inbox_ids: "under two ids",
    two_inbox_ids_and_keys: "under two ids",
    two_inbox_ids_for_no_reason: "under two ids",
    shown_long_after: "long after it was delivered",
    shown_unasked: "nobody had asked",
    end_before_accepted: "before `accepted`",
    contradicting_ends: "cannot follow each other",
    same_end_again: "the same end again",
    untrue_end: "the database does not know",
    end_not_told: "never told",
    too_early: "before its time",
    too_late: "after it had expired",
    expired_early: "expired before its time",
    queue_not_empty: "left in the queue",
    stuck_lease: "leased by a bridge that is gone",
    dead_bridge_left: "not alive",
    untold_left: "nobody has told their last",
    lane_of_the_dead: "lanes of a bridge",
    attempt_without_notification: "without a notification",
    keys_left: "not as many",
    transaction_open: "left open",
    inbox_number_twice: "given twice",
    ended_by_itself: "ended by itself",
    memory_grew: "memory has grown",
    descriptors_left: "descriptors",
}


@pytest.mark.parametrize("change", VIOLATIONS, ids=lambda change: change.__name__)
def test_a_violation_is_caught(change):
    story = Story()
    change(story)
    said = story.says()
    assert any(VIOLATIONS[change] in text for text in said), said


def allowed(story):
    report = story.check()
    assert report.findings == [], [str(finding) for finding in report.findings]
    return list(report.allowed)


def test_another_bridge_may_tell_the_end_just_before_accepted():
    def story_of(at, node):
        story = Story()
        story.drop("receipt", id="a", status="accepted")
        ended = min(event["at"] for event in story.events
                    if event["what"] == "receipt" and event["receipt"]["id"] == "a")
        story.events.append(receipt("a", "accepted", ended + at))
        story.rows["bridge"][0]["node"] = node  # that of the attempts; the notification's is 0
        return story
    assert allowed(story_of(0.5, 1)) == ["told the end just before `accepted`, by another bridge"]
    assert any("before `accepted`" in text for text in story_of(0.5, 0).says())
    assert any("before `accepted`" in text for text in story_of(1.5, 1).says())


def test_a_repeat_over_a_crash_is_allowed_and_named():
    story = Story()
    story.events += [call("a", T + 2.5), *fault("bridge.kill", "bridge0", T + 1.6, T + 2.2)]
    story.attempts[0]["at"] = T + 2.8
    assert ["crash" in name for name in allowed(story)] == [True]


def test_a_repeat_after_a_lost_answer_is_allowed_and_named():
    story = Story()
    story.drop("call", tag="a")
    story.events += [call("a", T + 1.2, why="fault:drop"), call("a", T + 1.7)]
    assert ["lost on the way" in name for name in allowed(story)] == [True]


def test_a_fault_elsewhere_allows_nothing():
    story = Story()
    story.events += [call("a", T + 1.8), *fault("provider.slow", "provider-fcm", T, T + 9)]
    assert any("no fault explains it" in text for text in story.says())


def test_an_end_that_the_broker_lost_is_allowed():
    story = Story()
    story.drop("receipt", id="a", status="sent")
    story.events += fault("broker.kill", "broker", T + 3, T + 4)
    assert ["broker died" in name for name in allowed(story)] == [True]


def test_the_dead_may_come_back_and_die_again():
    story = Story()
    story.drop("receipt", id="b", status="delivered")
    story.attempts[1].update(state=5)
    story.attempts.append({**story.attempts[1], "at": T + 30})
    for at in (T + 2, T + 30):
        story.events.append(receipt("b", "dead", at, channel="in_app", user="ann",
                                    reason="ack_timeout"))
    assert allowed(story) == ["brought back for its user, and dead again"]


def test_the_dead_may_come_back_in_app():
    story = Story()
    story.events.append(receipt("b", "dead", T + 1.6, channel="in_app", user="ann",
                                reason="user_offline"))
    story.attempts.insert(0, {**story.attempts[1], "state": 5, "at": T + 1.6})
    assert allowed(story) == []


def test_a_client_that_fills_the_log_is_found():
    story = Story()
    story.events.append({"what": "cost", "at": T + 9, "character": "mumbler", "sent": 5000000,
                         "log": 400000})
    assert story.says() == []
    story.events[-1]["log"] = 800000
    assert any("of what was sent is in the log" in text for text in story.says())


def cost(**more):
    return {"what": "cost", "at": T + 9, "character": "hoarder", "sent": 10, "log": 0,
            "before": {"bridge0": [7, 40000, 60]}, "peak": {"bridge0": 90000}, **more}


def test_a_client_that_takes_the_memory_of_a_bridge_is_found():
    story = Story()
    story.events.append(cost())
    assert story.says() == []
    story.events[-1]["peak"]["bridge0"] = 40000 + 131073
    assert any("one client may cost" in text for text in story.says())


def test_a_neighbour_who_waits_is_found_unless_something_else_is_wrong():
    story = Story()
    story.events.append({"what": "canary", "at": T + 30, "character": "caller", "kind": "user",
                         "took": 9.0})
    assert story.says() == []
    story.events[-1]["took"] = 11.0
    story.events += fault("hostile.caller", "hostile-caller", T + 25, T + 45)
    assert any("waited too long" in text for text in story.says())
    story.events += fault("postgres.stop", "postgres", T + 29, T + 40)
    assert not any("waited too long" in text for text in story.says())


def test_what_a_client_does_not_give_back_is_found():
    story = Story()
    quiet = {"what": "sample", "at": T + 60, "process": "bridge0", "pid": 7, "rss_kb": 50000,
             "fds": 100, "phase": "quiet"}
    story.events += [cost(), quiet]
    assert story.says() == []
    quiet["fds"] = 300
    assert any("not given back" in text for text in story.says())
    quiet["pid"] = 8  # another process since: nothing is known of it
    assert not any("not given back" in text for text in story.says())
