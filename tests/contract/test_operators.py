# SPDX-License-Identifier: MIT
"""What operators see of a day: each part that goes away and comes back is a line in the log, once, and
what clients do is counted, each thing once."""
import pytest

import servers
from client import Client
from process import wait_until

SETTINGS = {"log.level": "debug", "bridge.lease": "3s", "channels.in_app.attempts": 1}


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    stack = servers.Stack(tmp_path_factory.mktemp("day"), settings=SETTINGS)
    with stack:
        yield stack
    stack.remove()


class Log:
    """What the bridge writes from here on."""

    def __init__(self, bridge):
        self.bridge = bridge
        with open(bridge.log, "rb") as file:
            self.begin = len(file.read())

    def lines(self):
        with open(self.bridge.log, "rb") as file:
            return file.read()[self.begin:].decode("utf-8", "replace").splitlines()

    def of(self, event):
        return [line for line in self.lines() if line.split(" ")[2:3] == [event]]

    def wait(self, *events):
        for event in events:
            wait_until(lambda e=event: self.of(e), 20, "%s in the log" % event)


def request(name, user="bob", **more):
    return {"id": name, "type": "t", "title": name, "body": "b", "to": {"user": user}, **more}


@pytest.fixture(scope="module")
def shop(day):
    with Client(day, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


LANES = ("ingest", "events", "admin")


def test_a_start_and_an_orderly_stop_are_told(day):
    log = Log(day.bridge)
    day.bridge.stop()
    assert len(log.of("bridge.stopping")) == 1 and len(log.of("bridge.stopped")) == 1
    assert not [line for line in log.lines() if " error " in line], log.lines()
    log = Log(day.bridge)
    day.bridge.start()
    log.wait("bridge.started", "store.up", "membership.joined", "membership.lane", "presence.up",
             "outbox.up", *(lane + ".up" for lane in LANES), "bridge.ready")
    for event in ("bridge.started", "bridge.ready", "membership.joined", "store.up"):
        assert len(log.of(event)) == 1, event
    assert " port=" in log.of("bridge.ready")[0] and " epoch=" in log.of("membership.joined")[0]
    assert len(log.of("membership.lane")) == len(LANES)
    assert not [line for line in log.lines() if " warn " in line or " error " in line], log.lines()


def test_a_database_that_goes_and_comes_is_told(day):
    log = Log(day.bridge)
    day.postgres.kill()
    log.wait("pg.lost", "store.down", "store.desk_down", "ingest.degraded")
    assert len(log.of("store.down")) == 1 and " error store.down " in log.of("store.down")[0]
    assert not log.of("store.up")
    day.postgres.start()
    log.wait("pg.up", "store.up")
    day.bridge.wait_ready()
    assert len(log.of("store.up")) == 1
    assert " failures=" in log.of("pg.up")[0] and " why=" in log.of("pg.lost")[0]


def test_a_broker_that_goes_and_comes_is_told(day):
    log = Log(day.bridge)
    day.broker.kill()
    log.wait("mqtt.lost", "outbox.down", "presence.down", *(lane + ".down" for lane in LANES))
    assert not log.of("outbox.up") and not log.of("mqtt.up")
    day.broker.start()
    log.wait("mqtt.up", "outbox.up", "presence.up", *(lane + ".up" for lane in LANES))
    day.bridge.wait_ready()
    for event in ("outbox.down", "outbox.up", *(lane + ".up" for lane in LANES)):
        assert len(log.of(event)) == 1, event


def test_a_bridge_whose_lease_ran_out_is_fenced_and_joins_again(day):
    log = Log(day.bridge)
    day.bridge.pause()
    # Nobody else is there to end its membership: so this does, as a second bridge would.
    wait_until(lambda: day.postgres.sql("delete from bridge returning epoch") or True, 5, "its end")
    day.bridge.resume()
    log.wait("membership.fenced", "membership.joined")
    day.bridge.wait_ready()
    assert " why=" in log.of("membership.fenced")[0]


def test_a_reload_that_cannot_be_is_refused_with_its_reason(day):
    log = Log(day.bridge)
    with open(day.bridge.config) as file:
        good = file.read()
    lines = good.split("\n")
    for place in (0, len(lines) - 1):  # the one line that is wrong, first and last
        bad = lines[:place] + ["nonsense: {a: 1}"] + lines[place:]
        servers.write_file(day.bridge.config, "\n".join(bad))
        wait_until(lambda n=place: (day.bridge.signal(1), len(log.of("reload.refused")) > bool(n))[1],
                   30, "the refusal", 0.5)
    assert "no such key" in log.of("reload.refused")[0]
    servers.write_file(day.bridge.config, good)
    wait_until(lambda: (day.bridge.signal(1), log.of("reload.done"))[1], 30, "the reload", 0.5)


class Counted:
    """How much each metric has grown since."""

    def __init__(self, bridge):
        self.bridge = bridge
        self.before = bridge.metrics()

    def grown(self, name):
        return sum(value - self.before.get(key, 0) for key, value in self.bridge.metrics().items()
                   if key.split("{")[0] == name)

    def wait(self, **expected):
        """Each by exactly as much."""
        for metric, much in expected.items():
            wait_until(lambda m=metric, n=much: self.grown(m) == n, 10,
                       "%s to grow by %s" % (metric, much))


def test_requests_and_their_fate_are_counted(day, shop):
    with Client(day, "user", "bob") as bob:
        bob.subscribe("down/#")
        counted = Counted(day.bridge)
        shop.publish("up/request", [request("one"), request("one"), request("two", title=7)])
        shop.receipt("one", "accepted", 20)
        shown = bob.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == "one")
        counted.wait(tocsin_request_messages_total=1, tocsin_requests_duplicate_total=1,
                     tocsin_requests_rejected_total=1, tocsin_ingest_commit_seconds_count=1)
        assert counted.grown("tocsin_requests_accepted_total") >= 1
        assert counted.grown("tocsin_active") == 1  # it waits for bob
        bob.publish("up/ack", {"ids": [shown.json["id"]]})
        shop.receipt("one", "delivered", 20)
        counted.wait(tocsin_acks_total=1, tocsin_attempt_seconds_count=1, tocsin_settled_total=1,
                     tocsin_active=0, tocsin_event_messages_total=1)
        assert counted.grown("tocsin_published_total") >= 3
        bob.publish("up/ack", "{")
        counted.wait(tocsin_events_malformed_total=1, tocsin_event_messages_total=2,
                     tocsin_publishes_refused_total=1)
        bob.publish("up/read", {"ids": [shown.json["id"]]})
        counted.wait(tocsin_inbox_marked_total=1, tocsin_event_messages_total=3)
        shop.rpc("request.retract", {"id": "one"})
        counted.wait(tocsin_inbox_removed_total=1, tocsin_rpc_total=1, tocsin_rpc_failed_total=0,
                     tocsin_rpc_running=0, tocsin_rpc_waiting=0)
        assert "error" in shop.rpc("request.status", {})
        counted.wait(tocsin_rpc_total=2, tocsin_rpc_failed_total=1, tocsin_log_dropped_total=0)


def test_an_acknowledgement_of_what_is_over_or_of_another_is_counted_as_such(day, shop):
    with Client(day, "user", "ann") as ann, Client(day, "user", "eve") as eve:
        ann.subscribe("down/inbox")
        shop.publish("up/request", request("hers", "ann"))
        shown = ann.wait(lambda m: m.topic.endswith("/inbox"))
        ann.publish("up/ack", {"ids": [shown.json["id"]]})
        shop.receipt("hers", "delivered", 20)
        counted = Counted(day.bridge)
        eve.publish("up/ack", {"ids": [shown.json["id"], "%016x" % 1]})
        counted.wait(tocsin_event_messages_total=1, tocsin_acks_late_total=2)
        ann.publish("up/ack", {"ids": [shown.json["id"]]})
        counted.wait(tocsin_event_messages_total=2, tocsin_acks_late_total=3, tocsin_acks_total=0)


def test_the_next_channel_that_is_not_needed_any_more_is_counted(day, shop):
    shop.rpc("user.upsert", {"user": "cat", "phones": ["+15550177"]})
    with Client(day, "user", "cat") as cat:
        cat.subscribe("down/inbox")
        counted = Counted(day.bridge)
        shop.publish("up/request", request("chain", "cat", channels=["in_app", "sms"],
                                           route={"mode": "first", "escalate_after": "1h"}))
        shown = cat.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == "chain")
        cat.publish("up/ack", {"ids": [shown.json["id"]]})
        shop.receipt("chain", "cancelled", 20)
        counted.wait(tocsin_steps_called_off_total=1)


def test_large_requests_are_counted_by_their_slices(day, shop):
    counted = Counted(day.bridge)
    shop.publish("up/request", {**request("slices"), "to": {"users": ["s%d" % n for n in range(5000)]},
                                "at": "2099-01-01T00:00:00Z"})
    shop.receipt("slices", "accepted", 30)
    wait_until(lambda: day.postgres.value("select count(*) from expansion") == "0", 60, "the slices")
    assert counted.grown("tocsin_expansion_slices_total") >= 2
    assert shop.rpc("request.cancel", {"id": "slices"}, 30)["result"] == {"cancelled": 5000}
