# SPDX-License-Identifier: MIT
"""What comes in becomes no more than table.yaml says: the worst legal input of each kind, measured."""
import contextlib
import glob
import json
import os
import re
import time

import pytest
import yaml

import process
import servers
from client import Client
from limits import confined, factor, forget_peak, peak
from process import wait_until
from traffic import books

HERE = os.path.dirname(os.path.abspath(__file__))
LOG_LINES = 10  # a second, for one event


def table():
    with open(os.path.join(HERE, "table.yaml")) as file:
        return yaml.safe_load(file)


def source(pattern):
    for path in sorted(glob.glob(os.path.join(servers.ROOT, pattern), recursive=True)):
        with open(path) as file:
            yield file.read()


def inputs_of_the_contract():
    """Topics that clients publish to, and calls."""
    with open(os.path.join(servers.ROOT, "schemas", "asyncapi.yaml")) as file:
        channels = yaml.safe_load(file)["channels"]
    yield from (name for name in channels if "/up/" in name or name.startswith("$CONTROL"))
    for text in source("bridge/services/**/*.c"):
        for name in re.findall(r'\{"([a-z_]+(?:\.[a-z_]+)?)",\s*ASK_', text):
            yield "rpc " + name


def test_every_input_of_the_contract_has_a_line():
    known = [line["input"] for line in table()]
    assert sorted(set(known)) == sorted(known), "one line for each"
    missing = sorted(set(inputs_of_the_contract()) - set(known))
    assert not missing, "table.yaml says nothing of %s" % missing
    gone_calls = [name for name in known if name.startswith("rpc ")
                  and name not in set(inputs_of_the_contract())]
    assert not gone_calls, "there are no calls %s" % gone_calls


def test_every_line_has_a_bound_a_counter_and_a_case():
    names = set(re.findall(r'"(tocsin_[a-z_]+)"', "".join(source("bridge/**/*.c"))))
    for line in table():
        assert line["bound"] and line["becomes"], line
        assert line["case"] in CASES or line.get("why"), line
        if line["counts"].startswith("tocsin_"):
            assert line["counts"] in names, line


def short(number):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number // 1296 % 36] + digits[number // 36 % 36] + digits[number % 36]


def users(count, prefix=""):
    return [prefix + short(n) for n in range(count)]


def later():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))


def ask(client, body):
    text = json.dumps(body, separators=(",", ":"))
    client.publish("up/request", text)
    return len(text)


def request(name, to, channels=("in_app",), **more):
    return {"id": name, "type": "t", "title": "t", "to": to, "channels": list(channels),
            "receipts": "none", "at": later(), **more}


class Measured:
    """What one bridge did between start and stop, as its own log, tables and /proc say."""

    def __init__(self, stack):
        self.stack = stack
        self.log_from = os.path.getsize(stack.bridge.log)
        self.made_from = self.made()
        self.started = time.monotonic()
        forget_peak(stack.bridge.pid)

    def made(self):
        return int(self.stack.postgres.value(
            "select coalesce(sum(deliveries), 0) from notification"))

    def deliveries(self):
        return self.made() - self.made_from

    def peak(self):
        return peak(self.stack.bridge.pid) / factor(self.stack.bridge)

    def lines(self):
        with open(self.stack.bridge.log) as file:
            file.seek(self.log_from)
            return file.read().splitlines()

    def check_log(self):
        """No event has more lines than ten in each second that it took."""
        seconds = int(time.monotonic() - self.started) + 2
        events = {}
        for line in self.lines():
            event = line.split(" ")[2]
            if event != "log.suppressed":
                events[event] = events.get(event, 0) + 1
        over = {name: n for name, n in events.items() if n > LOG_LINES * seconds}
        assert not over, "in %d s: %s" % (seconds, over)


@contextlib.contextmanager
def unchecked_memory():
    """What AddressSanitizer keeps of freed memory, 256 MiB by default, is none of the bridge's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "ASAN_OPTIONS", process.ASAN_OPTIONS + ["quarantine_size_mb=16"])
        yield


@pytest.fixture(scope="module")
def confined_stack(tmp_path_factory):
    stack = servers.Stack(tmp_path_factory.mktemp("amplify"))
    try:
        with unchecked_memory():
            stack.start()
        with confined(stack.bridge):
            yield stack
        stack.stop()
    finally:
        stack.kill()
        stack.remove()


@pytest.fixture
def evil(confined_stack):
    with Client(confined_stack, "service", "evil") as client:
        client.subscribe("down/#")
        yield client


def settle(stack, evil, names):
    """Calls back what is still to be made, so that the next case begins with nothing."""
    for name in names:
        evil.rpc("request.cancel", {"id": name}, timeout=60)
    wait_until(lambda: int(stack.postgres.value("select count(*) from expansion")) == 0, 60,
               "no expansion")
    assert books(stack)["missing"] == 0


def bound(line, what):
    return next(l for l in table() if l["input"] == line)["becomes"][what]


def case_many_users(stack, evil):
    measured = Measured(stack)
    names = ["mu%d" % n for n in range(3)]
    for name in names:
        ask(evil, request(name, {"users": users(9500)}, ("in_app", "email", "sms", "push")))
        evil.receipt(name, "accepted", 60)
    wait_until(lambda: measured.deliveries() > 30000, 60, "slices")
    settle(stack, evil, names)
    assert measured.deliveries() <= 3 * bound("request users", "deliveries")
    assert measured.peak() <= bound("request users", "memory")


def case_many_targets(stack, evil):
    """As 225 KB once killed every bridge: 1,250 users with 16 targets on each of five channels."""
    stack.postgres.sql(
        "insert into target (user_id, channel, kind, platform, token, address) "
        "select u, c, case c when 3 then 4 when 2 then 5 else 6 end, '', c || u || n,"
        " case c when 3 then u || n || '@example.org' else '+49170' || abs(hashtext(u || n))"
        " %% 10000000 || n end "
        "from unnest('{%s}'::text[]) u, generate_series(1, 3) c, generate_series(1, 16) n"
        % ",".join(users(1250, "t")))
    measured = Measured(stack)
    names = ["mt%d" % n for n in range(20)]
    for name in names:
        ask(evil, request(name, {"users": users(1250, "t")}, ("in_app", "email", "sms", "push")))
    for name in names:
        wait_until(lambda: evil.receipts(name), 90, "an answer to " + name)
    wait_until(lambda: measured.deliveries() > 40000, 90, "slices")
    settle(stack, evil, [n for n in names if evil.receipts(n)[0]["status"] == "accepted"])
    assert measured.peak() <= bound("request targets", "memory")


def case_array(stack, evil):
    measured = Measured(stack)
    ask(evil, [request("a%d" % n, {"user": "bob"}) for n in range(500)])
    wait_until(lambda: len([r for r in evil.receipts() if r.get("id", "").startswith("a")]) >= 500,
               60, "answers")
    assert measured.deliveries() <= bound("request array", "deliveries")


def case_shared(stack, evil):
    measured = Measured(stack)
    ask(evil, request("all", {"broadcast": True}))
    ask(evil, request("some", {"role": "staff"}))
    evil.receipt("all", "accepted", 20)
    evil.receipt("some", "accepted", 20)
    assert measured.deliveries() == 2


def case_address(stack, evil):
    measured = Measured(stack)
    ask(evil, request("addr", {"email": "bob@example.org"}, ("email",)))
    evil.receipt("addr", "accepted", 20)
    assert measured.deliveries() == 1


def case_neighbour(stack, evil):
    """A neighbour's small request is accepted while the large ones are still being made."""
    names = ["n%d" % n for n in range(8)]
    measured = Measured(stack)
    with Client(stack, "service", "good") as good:
        good.subscribe("down/#")
        for name in names:
            ask(evil, request(name, {"users": users(9500)}, ("in_app", "email", "sms", "push")))
        ask(good, request("mine", {"user": "bob"}))
        good.receipt("mine", "accepted", 30)
        assert measured.deliveries() < 8 * 38000, "it waited until the others were made"
    for name in names:
        wait_until(lambda: evil.receipts(name), 60, "an answer to " + name)
    settle(stack, evil, names)


def case_mumble(stack, evil):
    """Valid messages that mean nothing: a tenth of their bytes in the log at most."""
    measured = Measured(stack)
    sent = 0
    with Client(stack, "user", "mallory") as mallory:
        for n in range(1500):
            body = {"note": "x" * 60, "n": n}
            sent += len(json.dumps(body))
            evil.publish("up/junk%d" % n, body, timeout=None)
            for event in ("ack", "read", "click") if n % 5 == 0 else ():
                mallory.publish("up/" + event, {"ids": ["%016x" % n], "x": n}, timeout=None)
            if n % 5 == 0:
                evil.publish("up/rpc/no.such%d" % n, {"id": n}, timeout=None)
        evil.rpc("request.status", {"id": "last"}, timeout=30)
    measured.check_log()
    assert sum(map(len, measured.lines())) < sent / 5


def case_forged_callbacks(stack, evil):
    measured = Measured(stack)
    for _ in range(300):
        servers.http("POST", stack.bridge.url + "/callbacks/twilio", {"MessageSid": 1})
        servers.http("POST", stack.bridge.url + "/callbacks/nobody", {})
    measured.check_log()
    assert measured.peak() <= bound("request users", "memory")


def case_dead(stack, evil):
    """Users without an address: each delivery dies, and the log does not list them."""
    measured = Measured(stack)
    ask(evil, {**request("dead", {"users": users(2500, "d")}, ("email",)), "at": "2026-01-01T00:00:00Z"})
    evil.receipt("dead", "accepted", 30)
    wait_until(lambda: int(stack.postgres.value(
        "select count(*) from dead_letter where request = 'dead'")) == 2500, 90, "all to die")
    measured.check_log()


def case_calls(stack, evil):
    measured = Measured(stack)
    calls = {"user.get": {"user": "t000"}, "user.upsert": {"user": "x", "emails": ["a@x.de"]},
             "suppression.add": {"channel": "email", "address": "a@x.de"},
             "suppression.list": {}, "suppression.remove": {"channel": "email", "address": "a@x.de"},
             "request.status": {"id": "all"}, "request.cancel": {"id": "all"},
             "request.retract": {"id": "some"}, "user.delete": {"user": "t001"}}
    for method, params in calls.items():
        for _ in range(20):
            answer = evil.rpc(method, params, timeout=30)
            assert len(json.dumps(answer)) < 262144
    with Client(stack, "user", "mallory") as mallory:
        mallory.subscribe("down/#")
        for method, params in (("history", {}), ("badge", {}),
                               ("device.register", {"platform": "fcm", "token": "t" * 40}),
                               ("device.unregister", {"token": "t" * 40})):
            for _ in range(20):
                mallory.rpc(method, params, timeout=30)
    measured.check_log()


CASES = {name[len("case_"):]: value for name, value in list(globals().items())
         if name.startswith("case_")}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_worst_of_its_kind_stays_within_its_bound(confined_stack, evil, name):
    CASES[name](confined_stack, evil)
