# SPDX-License-Identifier: MIT
"""The load generator against a real broker: what it calls lost and doubled really is.

A few lines of Python stand in for the bridge, so that the test decides what goes wrong.
"""
import json
import os
import subprocess
import sys
import threading
import xml.etree.ElementTree

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench  # noqa: E402
import document  # noqa: E402
import flat  # noqa: E402
import measure  # noqa: E402
import scenarios  # noqa: E402
import servers  # noqa: E402
import svg  # noqa: E402

paho = pytest.importorskip("paho.mqtt.client")
LOAD = os.path.join(servers.build_dir(), "tests", "bench", "load")


class Responder:
    """Answers requests as the bridge would, but `lose` and `double` name those it spoils."""

    def __init__(self, broker, lose=(), double=(), bury=()):
        self.lose, self.double, self.bury = set(lose), set(double), set(bury)
        self.count, self.waiting, self.ready = 0, {}, threading.Event()
        api = [paho.CallbackAPIVersion.VERSION1] if hasattr(paho, "CallbackAPIVersion") else []
        self.client = paho.Client(*api, client_id="bridge/%s/bench" % servers.BRIDGE_SUBJECT,
                                  protocol=paho.MQTTv311)
        self.client.username_pw_set(servers.BRIDGE_SUBJECT,
                                    broker.token("bridge", servers.BRIDGE_SUBJECT))
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe([("notify/v1/services/+/up/#", 1), ("notify/v1/users/+/up/#", 1)])
        self.client.loop_start()
        assert self.ready.wait(10)

    def publish(self, topic, payload):
        self.client.publish("notify/v1/" + topic, json.dumps(payload), 1)

    def receipt(self, service, request, status):
        self.publish("services/%s/down/receipt" % service, {"id": request, "status": status})

    def on_message(self, _client, _data, message):
        kind, name = message.topic.split("/")[2:4]
        payload = json.loads(message.payload)
        if kind == "users":
            for number in payload["ids"]:
                self.receipt(*self.waiting[number], "delivered")
            return
        for request in payload if isinstance(payload, list) else [payload]:
            self.on_request(name, request)

    def on_request(self, service, request):
        self.count += 1
        number = "%016x" % self.count
        self.waiting[number] = (service, request["id"])
        self.receipt(service, request["id"], "accepted")
        if self.count in self.bury:
            self.receipt(service, request["id"], "dead")
        elif self.count not in self.lose:
            for _ in range(2 if self.count in self.double else 1):
                self.publish("users/%s/down/inbox" % request["to"]["user"],
                             {"id": number, "data": request["data"], "body": request["body"]})

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def run_load(broker, *options, **faults):
    responder = Responder(broker, **faults)
    try:
        done = subprocess.run(
            [LOAD, "notify", "--url", broker.url, "--secret-file", broker.secret_file, "--users",
             "20", "--services", "2", "--drain", "1", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, check=False)
    finally:
        responder.close()
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("options", [
    ("--count", "200"), ("--count", "200", "--batch", "7"), ("--count", "200", "--flood"),
    ("--count", "200", "--user-level", "4", "--ack-qos", "0"), ("--count", "60", "--rate", "200"),
    ("--seconds", "0.5", "--warmup", "0.2", "--window", "20")], ids=" ".join)
def test_all_that_was_sent_is_counted_as_settled(broker, options):
    code, figures = run_load(broker, *options)
    assert code == 0, figures
    assert figures["sent"] == figures["accepted"] == figures["arrived"] == figures["settled"] > 0
    assert figures["lost"] == figures["duplicates"] == figures["unarrived"] == 0
    assert figures["latency_ms"]["settled"]["p50"] > 0


def test_what_never_arrives_is_lost_and_fails_the_run(broker):
    code, figures = run_load(broker, "--count", "100", lose={5, 50})
    assert code == 1
    assert (figures["lost"], figures["settled"], figures["accepted"]) == (2, 98, 100)


def test_what_arrives_twice_is_a_duplicate_and_not_a_second_success(broker):
    code, figures = run_load(broker, "--count", "100", double={7, 8, 9})
    assert code == 0
    assert (figures["duplicates"], figures["settled"]) == (3, 100)


def test_what_ends_dead_fails_the_run_and_says_why(broker):
    code, figures = run_load(broker, "--count", "50", bury={10})
    assert code == 1
    assert (figures["dead"], figures["lost"]) == (1, 0)
    assert figures["first_reason"].startswith("dead")


def test_latency_counts_from_when_the_request_was_due(broker):
    """A stopped broker makes all that was due meanwhile late, not only the one under way."""
    timer = threading.Timer(1.5, broker.pause)
    resume = threading.Timer(2.5, broker.resume)
    timer.start()
    resume.start()
    try:
        code, figures = run_load(broker, "--rate", "200", "--warmup", "0", "--seconds", "4",
                                 "--drain", "5")
    finally:
        timer.join()
        resume.join()
        broker.resume()
    assert code == 0, figures
    late = figures["latency_ms"]["settled"]
    assert late["max"] > 800
    assert late["p95"] > 500  # a quarter of all was due in that second


def test_cpu_of_a_tree_includes_children_that_are_gone():
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', %r]);"
         "print(flush=True); sys.stdin.read()" % burn],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    parent.stdout.readline()
    assert measure.cpu_seconds(parent.pid) >= 0.29
    parent.communicate()


def test_memory_of_its_own_leaves_out_what_a_process_shares():
    code = ("import mmap; own = bytearray(b'x') * (8 << 20); shared = mmap.mmap(-1, 64 << 20);"
            "shared.write(b'x' * (64 << 20)); print(flush=True); input()")
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    assert 8 <= measure.own_mb(process.pid) < 64
    assert measure.descriptors(process.pid) >= 3
    process.communicate(b"\n")
    assert measure.own_mb(process.pid) == 0


LATENCY = {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0, "count": 0}


def figures(**more):
    return {"settled_per_s": 12345.6, "sent": 1, "duplicates": 0, "latency_ms": {
        "accepted": LATENCY, "inbox": LATENCY, "settled": LATENCY}, **more}


def test_tables_survive_figures_that_were_not_measured():
    lines = list(document.terminal({"scenario": "http", "phases": {"slow": figures()}}))
    assert any("12,346" in line for line in lines)


def test_cost_is_told_per_million():
    cost = document.cost_rows({"x": figures(cpu_per_10k={"broker": 0.31, "sink": 0.5},
                                            bytes_each={"wal": 1650, "stored": 900})})
    told = dict(zip(cost[0], cost[1]))
    assert (told["broker CPU s"], told["sink CPU s"], told["bridge CPU s"]) == ("31.0", "50.0", "-")
    assert (told["WAL GB"], told["tables GB"]) == ("1.65", "0.90")


def test_repeated_runs_become_medians_of_every_leaf():
    runs = [{"phases": {"a": {"settled_per_s": n, "curve": [[0, n], [1, 2 * n]]}}, "name": "x",
             "gone": None} for n in (3, 1, 2)]
    assert bench.median(runs) == {"phases": {"a": {"settled_per_s": 2, "curve": [[0, 2], [1, 4]]}},
                                  "name": "x", "gone": None}
    assert bench.spread(runs) == {"a": [1, 3]}


SAWTOOTH = [(x, 100 + 30 * (x % 3)) for x in range(1, 25)]


@pytest.mark.parametrize("points, is_flat", [
    (SAWTOOTH, True), ([(x, 100) for x in range(1, 25)], True),
    ([(x, min(100, 20 * x)) for x in range(1, 25)], True),                # until it is full
    ([(x, 1000 if x == 20 else 100) for x in range(1, 25)], True),        # once
    ([(x, 200 - x) for x in range(1, 25)], True),
    ([(x, y + 2 * x) for x, y in SAWTOOTH], False),
    ([(x, 100 + max(0, 4 * (x - 12))) for x in range(1, 25)], False),     # from noon on
    ([(x, 2 ** (x / 4)) for x in range(1, 25)], False)])
def test_only_what_keeps_growing_is_called_growing(points, is_flat):
    assert flat.Verdict("it", points, flat.Bound(0.15, 1)).is_flat is is_flat


def test_a_curve_is_judged_where_it_is_full_and_only_with_enough_of_it():
    filling = [(x, 10 * min(x, 17)) for x in range(1, 25)]
    assert not flat.Verdict("it", filling, flat.Bound(0.15, 1)).is_flat
    assert flat.Verdict("it", filling, flat.Bound(0.15, 1), full_from=17).is_flat
    short = flat.Verdict("it", filling[:6], flat.Bound(0.15, 1), full_from=4)
    assert not short.is_judged and short.is_flat and short.row()[-1] == "not judged"


def aged(**last):
    """An endurance run whose last hours are as given."""
    def hour(at):
        return {"settled_per_s": 9000, "sent": 1, "duplicates": 0, "others_cores": 0.1,
                "tables": {"inbox": {"table_mb": 20.0, "index_mb": 10.0, "dead": 5000, "rows": 9}},
                "wal_mb": 200, "wal_kb_each": 1.7, "bridge_mb": 15, "broker_mb": 20,
                "sessions_mb": 30, "sessions": 4, "bridge_fds": 38, "broker_fds": 26,
                "bridge_cpu": 20, "postgres_cpu": 40, "broker_cpu": 30, "p50_ms": 1, "p95_ms": 2,
                "p99_ms": 3, **{key: value(at) for key, value in last.items()}}
    return {"scenario": "endurance", "hours": [hour(at) for at in range(24)], "left_behind": 0,
            "others": 7}


def test_endurance_fails_for_what_grows_and_says_what():
    endurance = scenarios.ALL["endurance"]
    assert not list(endurance.failures(aged()))
    (line,) = endurance.failures(aged(bridge_fds=lambda at: 38 + at))
    assert line.startswith("bridge, descriptors grows")
    (line,) = endurance.failures(aged(tables=lambda at: {"inbox": {
        "table_mb": 20.0 + at, "index_mb": 10.0, "dead": 5000, "rows": 9}}))
    assert line.startswith("inbox, table grows")
    (line,) = endurance.failures({**aged(), "left_behind": 3})
    assert line.startswith("3 deliveries")
    told = "\n".join(document.terminal(aged(bridge_fds=lambda at: 38 + at)))
    assert "GROWS" in told and "| inbox, table" in told
    assert all(plot.svg() for plot in endurance.plots(aged()))


@pytest.mark.parametrize("module", scenarios.ALL.values(), ids=lambda module: module.NAME)
def test_every_scenario_says_what_it_measures(module):
    assert module.__doc__ and module.GOAL and callable(module.run)


def test_a_plot_is_well_formed_and_inside_its_frame():
    plot = svg.Plot("p", "a < b & c", "x", "y", [("one", [(10, 0.5), (1000, 700)]), ("none", []),
                                                 ("two", [(100, None), (200, 3)])], log_x=True,
                    log_y=True)
    tree = xml.etree.ElementTree.fromstring(plot.svg())
    circles = tree.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3
    for circle in circles:
        assert svg.LEFT <= float(circle.get("cx")) <= svg.WIDTH - svg.RIGHT
        assert svg.TOP <= float(circle.get("cy")) <= svg.HEIGHT - svg.BOTTOM


@pytest.mark.parametrize("values", [[0], [5, 5], [1, 2, 3], [0.001, 90000], [-3, 7]])
def test_an_axis_holds_all_its_values_between_round_ticks(values):
    for log in (False, True) if min(values) > 0 else (False,):
        axis = svg.Axis(values, log, False, 0, 100)
        assert 2 <= len(axis.ticks()) <= 30
        assert all(0 <= axis.at(value) <= 100 for value in values)
