# SPDX-License-Identifier: MIT
"""tocsin, the command line, against a real broker with the plugin.

The bridge's side of the topics is played by a script (Bridge below), so that
it can misbehave on purpose: answer late, twice, in arrays, or not at all.
"""
import csv
import fcntl
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import uuid

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import servers  # noqa: E402
from client import Client  # noqa: E402
from servers import wait_until  # noqa: E402

CLI = os.path.join(servers.build_dir(), "clients", "cli", "tocsin")
SOURCES = os.path.join(servers.ROOT, "clients", "cli")
SANITIZED = re.compile(r"ERROR: \w+Sanitizer|runtime error:")


class Bridge:
    """The bridge's side of topics.md: accepts, delivers, answers; and what a test adds."""

    def __init__(self, broker):
        self.lock = threading.RLock()
        self.payloads = []  # of requests
        self.requests = []  # (service, request) as they came, repeats included
        self.acks = []
        self.calls = []
        self.accepted = {}
        self.silent = 0        # ignore so many messages first
        self.hold = False      # collect, answer nothing
        self.answers = {}      # rpc method -> function(params) -> result
        self.receipts = lambda request: [{"status": "delivered"}]
        self.client = Client(broker, "bridge", servers.BRIDGE_SUBJECT, "cli-test",
                             on_message=self._on_message)

    def __enter__(self):
        self.client.connect()
        for kind in ("services", "users", "admins"):
            self.client.subscribe("notify/v1/%s/+/up/#" % kind)
        return self

    def __exit__(self, *_):
        self.client.close()

    def send(self, topic, body, retain=False):
        payload = body if isinstance(body, (bytes, str)) else json.dumps(body)
        self.client.mqtt.publish("notify/v1/" + topic, payload, 1, retain)

    def _on_message(self, _client, message):
        _, _, kind, owner, _, what = message.topic.split("/", 5)
        with self.lock:
            if what == "request":
                self.payloads.append(message.payload)
                self._on_request(owner, message.json)
            elif what == "ack":
                self.acks += message.json["ids"]
            elif what.startswith("rpc/"):
                self._on_rpc(kind, owner, what[4:], message.json)

    def _on_request(self, service, body):
        batch = body if isinstance(body, list) else [body]
        self.requests += [(service, request) for request in batch]
        if self.silent:
            self.silent -= 1
            return
        if not self.hold:
            self.answer(service, batch)

    def answer(self, service, batch):
        receipts = []
        for request in batch:
            first = self.accepted.get(request["id"])
            base = {"id": request["id"], "at": "2026-01-02T03:04:05Z"}
            if first is not None and first != request:
                receipts.append({**base, "status": "rejected", "reason": "id_reused"})
            elif request.get("title") == "bad":
                receipts.append({**base, "status": "rejected", "reason": "bad_value",
                                 "detail": "/title"})
            else:
                receipts.append({**base, "notification": 7, "status": "accepted"})
                if first is None:
                    self.accepted[request["id"]] = request
                    receipts += [{**base, "notification": 7, "channel": "in_app", **extra}
                                 for extra in self.receipts(request)]
        # One receipt alone, several as an array: both forms are in the contract.
        self.send("services/%s/down/receipt" % service,
                  receipts[0] if len(receipts) == 1 else receipts)

    def _on_rpc(self, kind, owner, method, call):
        self.calls.append((kind, owner, method, call["params"]))
        answer = self.answers.get(method)
        if answer is None:
            reply = {"error": {"code": "unknown_method", "message": "no such method"}}
        else:
            reply = {"result": answer(call["params"])}
            if "error" in (reply["result"] or {}):
                reply = reply["result"]
        self.send("%s/%s/down/reply" % (kind, owner), {"rpc": call["rpc"], **reply})


@pytest.fixture
def bridge(broker):
    with Bridge(broker) as made:
        yield made


class Cli:
    """Runs tocsin as one principal and checks what every run must hold."""

    def __init__(self, broker, directory, kind, subject, **token):
        self.broker = broker
        self.token_file = os.path.join(directory, "token-%s" % uuid.uuid4().hex)
        servers.write_file(self.token_file, broker.token(kind, subject, **token) + "\n")

    def command(self, *args):
        words = [a for a in args[:2] if not a.startswith("-")]
        split = 2 if words[:1] in (["dlq"], ["provider"], ["channel"]) else 1
        return [CLI, *args[:split], "--url", self.broker.url, "--token-file", self.token_file,
                *args[split:]]

    def start(self, *args, **popen):
        return subprocess.Popen(self.command(*args), stdin=popen.pop("stdin", subprocess.DEVNULL),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)

    def finish(self, process, want, text=None, timeout=120):
        try:
            out, err = process.communicate(text, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail("%s did not end in %d s\n%s%s" % (process.args, timeout, out, err))
        token = open(self.token_file).read().strip()
        assert not SANITIZED.search(err), err
        assert token not in out + err
        assert process.returncode == want, (process.returncode, out, err)
        return Result(out, err)

    def run(self, *args, want=0, text=None, timeout=120):
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        return self.finish(self.start(*args, stdin=stdin), want, text, timeout)


class Result:
    def __init__(self, out, err):
        self.out, self.err = out, err

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def service(broker, tmp_path):
    return Cli(broker, tmp_path, "service", "orders")


@pytest.fixture
def admin(broker, tmp_path):
    return Cli(broker, tmp_path, "admin", "root")


@pytest.fixture
def user(broker, tmp_path):
    return Cli(broker, tmp_path, "user", "alice", roles=["ops"])


def lines(*requests):
    return "".join(json.dumps(r) + "\n" for r in requests)


def request(n=0, **more):
    return {"id": "r-%d" % n, "type": "order.ready", "to": {"user": "alice"}, **more}


# ---- send

NUMBERS = ('{"price":29.95,"n":1.10,"e":1e2,"z":-0.0,"m":-0,"i":7,"big":12345678901234567890,'
           '"s":"\\u0001x","a":[0.1,{"b":19.99}],"\\u0001":"\\u00011.5"}')


def test_numbers_go_through_as_they_were_written(bridge, service):
    """By option, by line, and through the spool's files."""
    service.run("send", "--type", "t", "--to-user", "alice", "--data", NUMBERS)
    service.run("send", text='{"id":"r-1","type":"t","to":{"user":"alice"},"data":%s}\n' % NUMBERS)
    for payload in bridge.payloads[-2:]:
        assert '"data":' + NUMBERS in payload.decode()


def test_send_by_options_waits_for_accepted(bridge, service):
    result = service.run("send", "--type", "order.ready", "--to-user", "alice", "--title", "Hi",
                         "--channels", "in_app,email", "--data", '{"n": 1}', "--ttl", "5m")
    (owner, sent), = bridge.requests
    assert owner == "orders"
    key = uuid.UUID(sent.pop("id"))
    assert key.version == 7 and abs((key.int >> 80) / 1000 - time.time()) < 60
    assert sent == {"type": "order.ready", "to": {"user": "alice"}, "title": "Hi",
                    "channels": ["in_app", "email"], "data": {"n": 1}, "ttl": "5m"}
    assert result.out.split() == ["accepted", str(key)]


def test_bad_lines_are_named_and_the_others_go_out(bridge, service):
    text = (lines(request(1)) + "{oops\n\n[]\n" + json.dumps([request(2), 5, request(3)]) + "\n"
            + '{"id": 7}\n' + '{"id":"d","id":"d"}\n' + "x" * (5 << 20) + "\n" + lines(request(4)))
    result = service.run("send", text=text, want=7)
    assert sorted(r["id"] for _, r in bridge.requests) == ["r-1", "r-2", "r-3", "r-4"]
    for part in ("line 2: ", "line 4: not a JSON object", "line 5, item 2: not a JSON object",
                 "line 6: 'id' must be a string", "line 7: duplicate object key",
                 "line 8: longer than", "4 accepted, 0 rejected, 6 unreadable, 0 unanswered"):
        assert part in result.err, (part, result.err)
    invalid = service.run("send", "--json", text="{oops\n", want=7).lines
    assert [(r["status"], r["line"]) for r in invalid] == [("invalid", 1)]


def test_a_file_may_be_one_pretty_printed_document(bridge, service, tmp_path):
    path = tmp_path / "requests.json"
    path.write_text(json.dumps([request(n) for n in range(700)], indent=2))
    result = service.run("send", "--batch", "500", "--window", "1000", str(path))
    assert len(result.out.splitlines()) == 700
    assert [r["id"] for _, r in bridge.requests] == ["r-%d" % n for n in range(700)]
    path.write_text("\ufeff" + lines(request(701)) + json.dumps(request(702)))  # BOM, no newline
    assert len(service.run("send", "--file", str(path)).out.splitlines()) == 2


def test_large_requests_are_split_over_messages_and_too_large_ones_refused(bridge, service):
    fits = request(1, body="x" * 65400)
    result = service.run("send", "--batch", "3", want=7,
                         text=lines(request(0), fits, request(2), request(3, body="x" * 65600)))
    assert {r["id"] for _, r in bridge.requests} == {"r-0", "r-1", "r-2"}
    assert "line 4: " in result.err and "at most 65536 fit" in result.err


def test_rejected_is_told_and_sets_the_status(bridge, service):
    result = service.run("send", text=lines(request(1), request(2, title="bad")), want=4)
    assert "rejected   r-2  bad_value  /title" in result.out
    assert "line 2: rejected" in result.err
    found = service.run("send", "--json", text=lines(request(3, title="bad")), want=4).lines
    assert found[0]["reason"] == "bad_value"


def test_the_same_id_twice_waits_for_the_first(bridge, service):
    same, other = request(1), request(1, title="other")
    result = service.run("send", text=lines(same, same, other), want=4)
    assert result.out.splitlines() == ["accepted   r-1", "accepted   r-1",
                                       "rejected   r-1  id_reused"]
    assert [r for _, r in bridge.requests] == [same, same, other]


def test_input_of_any_size_goes_through_a_window(bridge, service):
    bridge.hold = True
    process = service.start("send", "--window", "50", stdin=subprocess.PIPE)
    feeder = threading.Thread(target=lambda: (process.stdin.write(
        lines(*[request(n) for n in range(1000)])), process.stdin.close()))
    feeder.start()
    wait_until(lambda: len(bridge.requests) >= 50)
    service.run("send", "--timeout", "200ms", text=lines(request(-1)), want=5)  # time for more
    bridge.requests.pop()
    with bridge.lock:
        assert len(bridge.requests) == 50
        bridge.hold = False
        bridge.answer("orders", [r for _, r in bridge.requests])
    feeder.join()
    process.stdin = None
    service.finish(process, 0)
    assert len(bridge.accepted) == 1000


# ---- send --wait final

def test_wait_final_ends_with_the_delivery(bridge, service):
    result = service.run("send", "--json", "--wait", "final", text=lines(request(
        1, channels=["in_app"])))
    assert [r["status"] for r in result.lines] == ["accepted", "delivered"]
    bridge.receipts = lambda _: [{"status": "dead", "reason": "user_offline", "user": "alice"}]
    result = service.run("send", "--wait", "final", text=lines(request(2, channels=["in_app"])),
                         want=6)
    assert "dead       r-2  in_app  alice  user_offline" in result.out


def test_wait_final_asks_until_every_delivery_has_ended(bridge, service):
    looks = []

    def status(params):
        looks.append(params["id"])
        second = "delivered" if len(looks) > 1 else "leased"
        return {"id": params["id"], "deliveries": [
            {"channel": "in_app", "user": "alice", "state": "delivered"},
            {"channel": "sms", "user": "alice", "state": "sent"},
            {"channel": "email", "user": "alice", "state": second}]}
    bridge.answers["request.status"] = status
    bridge.receipts = lambda _: [{"status": "delivered", "user": "alice"},
                                 {"status": "delivered", "user": "alice"},
                                 {"status": "sent", "channel": "sms", "user": "alice"}]
    result = service.run("send", "--json", "--wait", "final", text=lines(request(1)))
    shown = [(r["status"], r.get("channel"), r.get("from")) for r in result.lines]
    # The repeat is dropped, and the e-mail's end, whose receipt never came, is still told.
    assert shown == [("accepted", None, None), ("delivered", "in_app", None),
                     ("sent", "sms", None), ("delivered", "email", "status")]
    assert len(looks) == 2


def test_wait_final_reads_every_page_of_the_status(bridge, service):
    """One page that has ended is not the request: the next has a delivery under way, then more come."""
    looks = []

    def status(params):
        looks.append(params.get("after"))
        if "after" not in params:
            return {"deliveries": [{"channel": "in_app", "user": "a", "state": "delivered"}], "next": "0a"}
        late = {"channel": "in_app", "user": "b", "state": "delivered" if len(looks) > 2 else "leased"}
        dead = {"channel": "in_app", "user": "c", "state": "dead", "reason": "user_offline"}
        if len(looks) > 3:
            return {"deliveries": [late, dead]}
        return {"deliveries": [late], "is_expanding": True}
    bridge.answers["request.status"] = status
    bridge.receipts = lambda _: [{"status": "delivered", "user": "a", "channel": "in_app"}]
    result = service.run("send", "--json", "--wait", "final", want=6, text=lines(request(1)))
    shown = [(r["status"], r.get("user"), r.get("from")) for r in result.lines]
    assert shown == [("accepted", None, None), ("delivered", "a", None),
                     ("delivered", "b", "status"), ("dead", "c", "status")]
    assert looks == [None, "0a", "0a", "0a"]


def test_wait_final_of_route_first_counts_across_pages(bridge, service):
    """The channel that reached them is on another page than the one that did not."""
    ends = {None: ("a", "dead", "1"), "1": ("b", "sent", "2"), "2": ("a", "delivered", "3"), "3": ("b", "dead", None)}

    def status(params):
        user, state, following = ends[params.get("after")]
        return {"deliveries": [{"channel": "sms", "user": user, "state": state}],
                **({"next": following} if following else {})}
    bridge.answers["request.status"] = status
    bridge.receipts = lambda _: [{"status": "sent", "user": "b", "channel": "sms"}]
    first = {"type": "t", "title": "t", "channels": ["in_app", "sms"], "to": {"users": ["a", "b"]}, "route": "first",
             "receipts": "final"}
    service.run("send", "--wait", "final", text=lines(first), want=0)
    ends["2"] = ("a", "dead", "3")
    service.run("send", "--wait", "final", text=lines(first), want=6)


def test_with_receipts_all_sent_is_not_the_end(bridge, service):
    bridge.receipts = lambda _: [{"status": "retrying", "attempt": 1, "channel": "sms"},
                                 {"status": "sent", "attempt": 2, "channel": "sms"}]
    process = service.start("send", "--json", "--wait", "final", stdin=subprocess.PIPE)
    process.stdin.write(lines({"id": "r-1", "type": "a", "to": {"phone": "+15550100"},
                               "receipts": "all"}))
    process.stdin.flush()
    seen = [json.loads(process.stdout.readline())["status"] for _ in range(3)]
    assert seen == ["accepted", "retrying", "sent"] and process.poll() is None
    bridge.send("services/orders/down/receipt", {"id": "r-1", "status": "delivered"})
    assert service.finish(process, 0, "").lines == [{"id": "r-1", "status": "delivered"}]


def test_wait_final_without_status_takes_the_first_end(bridge, service):
    result = service.run("send", "--wait", "final", text=lines(request(1)))
    assert "cannot ask for the status (no such method)" in result.err


# ---- losing and sending again

def test_what_is_not_accepted_is_published_again(bridge, service):
    bridge.silent = 2
    service.run("send", "--resend-after", "200ms", text=lines(request(1)))
    assert [r["id"] for _, r in bridge.requests] == ["r-1"] * 3


def test_no_answer_times_out_and_says_which(bridge, service):
    bridge.hold = True
    result = service.run("send", "--timeout", "500ms", text=lines(request(1)), want=5)
    assert result.out == "unanswered r-1\n" and "no answer in 0.5 s: is the bridge running?" in result.err
    assert service.run("send", "--json", "--timeout", "500ms", text=lines(request(2)),
                       want=5).lines == [{"status": "unanswered", "id": "r-2"}]


def test_without_a_bridge_it_says_so(broker, service):
    result = service.run("send", "--timeout", "500ms", text=lines(request(1)), want=5)
    assert "is the bridge running?" in result.err
    assert "is the bridge running?" in service.run("status", "x", "--timeout", "500ms",
                                                   want=5).err


def spooled(directory):
    """The ids of the requests on disk."""
    return [json.loads(line)["id"] for path in sorted(directory.glob("*.jsonl"))
            for line in path.read_text().splitlines()]


def test_spool_keeps_what_is_not_accepted_for_the_next_run(bridge, service, tmp_path):
    spool = tmp_path / "spool"
    bridge.hold = True
    result = service.run("send", "--spool", str(spool), "--timeout", "500ms", want=5,
                         text=lines(request(1), request(2, title="bad"), request(3)))
    assert "3 kept in the spool" in result.err
    assert spooled(spool) == ["r-1", "r-2", "r-3"]
    (spool / "0000000000000001.jsonl").write_text("half a req")  # damaged by somebody
    bridge.hold = False
    result = service.run("send", "--spool", str(spool), want=4, text="")
    assert re.findall("accepted   (r-.)", result.out) == ["r-1", "r-3"]
    assert "that is no request was moved" in result.err
    assert list(spool.glob("*.jsonl")) == []
    kept = sorted(path.read_text() for path in (spool / "rejected").iterdir())
    assert kept[0] == "half a req" and json.loads(kept[1]) == request(2, title="bad")


def test_spool_of_another_service_is_refused(broker, service, tmp_path):
    spool = str(tmp_path / "spool")
    service.run("send", "--spool", spool, "--timeout", "300ms", text=lines(request(1)), want=5)
    other = Cli(broker, tmp_path, "service", "billing")
    result = other.run("send", "--spool", spool, text=lines(request(2)), want=1)
    assert "belongs to service/orders" in result.err


def test_spool_takes_all_input_while_the_broker_is_away(bridge, service, tmp_path):
    spool = tmp_path / "spool"
    text = lines(*[request(n) for n in range(300)])
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = "mqtt://127.0.0.1:%d" % nobody.getsockname()[1]
        process = service.start("send", "--spool", str(spool), "--window", "10", "--url", away,
                                "--connect-timeout", "300ms", stdin=subprocess.PIPE)
        given_up = time.monotonic() + 0.6
        process.stdin.write(text[:len(text) // 2])
        process.stdin.flush()
        wait_until(lambda: time.monotonic() > given_up)  # it goes on as long as input comes
        result = service.finish(process, 5, text[len(text) // 2:])
    assert "cannot reach the broker" in result.err and len(spooled(spool)) == 300
    service.run("send", "--spool", str(spool), text="")
    assert set(bridge.accepted) == {"r-%d" % n for n in range(300)}
    assert spooled(spool) == []


def test_spool_survives_kill_at_any_moment(bridge, service, tmp_path):
    spool = tmp_path / "spool"
    fed = 0
    for delay in (0.05, 0.12, 0.25):
        process = service.start("send", "--spool", str(spool), stdin=subprocess.PIPE)
        threading.Timer(delay, process.kill).start()
        try:
            for fed in range(fed, fed + 2000):
                process.stdin.write(lines(request(fed)))
        except BrokenPipeError:
            pass
        process.wait()
    on_disk = set(spooled(spool))
    service.run("send", "--spool", str(spool), text="", timeout=120)
    # Everything on disk at the kill went out, and nothing went out under a new identity.
    assert on_disk <= set(bridge.accepted) and spooled(spool) == []
    assert all(re.fullmatch(r"r-\d+", key) for key in bridge.accepted)


def test_spool_keeps_what_was_only_rate_limited(bridge, service, tmp_path):
    told = []

    def answer(owner, batch):
        told.append(batch[0]["id"])
        limited = {"id": "r-1", "status": "rejected", "reason": "rate_limited"}
        bridge.send("services/orders/down/receipt",
                    limited if len(told) == 1 else {"id": "r-1", "status": "accepted"})
    bridge.answer = answer
    result = service.run("send", "--spool", str(tmp_path / "spool"), text=lines(request(1)))
    assert told == ["r-1", "r-1"] and result.out == "accepted   r-1\n"


def test_two_runs_may_share_a_spool(bridge, service, tmp_path):
    spool = tmp_path / "spool"
    first = service.start("send", "--spool", str(spool), stdin=subprocess.PIPE)
    first.stdin.write(lines(request(1)))
    first.stdin.flush()
    wait_until(lambda: "r-1" in bridge.accepted)
    result = service.run("send", "--spool", str(spool), text=lines(request(2)))
    assert "is in use" in result.err and "accepted   r-2" in result.out
    service.finish(first, 0, "")
    assert spooled(spool) == []


def test_requests_survive_a_killed_broker(tmp_path):
    with servers.Broker(tmp_path / "broker") as broker, Bridge(broker) as bridge:
        service = Cli(broker, tmp_path, "service", "orders")
        process = service.start("send", "--window", "20", stdin=subprocess.PIPE)
        process.stdin.write(lines(*[request(n) for n in range(100)]))
        process.stdin.flush()
        wait_until(lambda: len(bridge.accepted) >= 20)
        connects = bridge.client.connects
        broker.kill()
        broker.start()
        wait_until(lambda: bridge.client.connects > connects, 10, "the bridge to come back")
        process.stdin.write(lines(*[request(n) for n in range(100, 200)]))
        result = service.finish(process, 0, "")
        assert "connection lost" in result.err and "connected again" in result.err
        assert len(bridge.accepted) == 200

        bridge.hold = True  # and what had reached the bridge only, which forgot it
        process = service.start("send", "--resend-after", "1h", stdin=subprocess.PIPE)
        process.stdin.write(lines(request(500)))
        process.stdin.flush()
        wait_until(lambda: bridge.requests[-1][1]["id"] == "r-500")
        connects = bridge.client.connects
        broker.kill()
        broker.start()
        wait_until(lambda: bridge.client.connects > connects, 10, "the bridge to come back")
        bridge.hold = False
        service.finish(process, 0, "")


# ---- refusals and ends

def test_a_refused_login_is_told_at_once(broker, service, tmp_path):
    forged = Cli(broker, tmp_path, "service", "orders")
    servers.write_file(forged.token_file, servers.tokens.mint(b"k" * 32, "service", "orders"))
    assert "refused the login: Not authorized" in forged.run("send", text=lines(request(1)), want=3).err
    expired = Cli(broker, tmp_path, "service", "orders", ttl=-600)
    assert re.search(r"the token expired \d+ s ago", expired.run("send", text=lines(request(1)), want=3).err)


def test_a_wrong_or_missing_token_is_a_usage_error(broker, user, admin, tmp_path):
    assert "the token of a service" in user.run("send", text="", want=2).err
    assert "the token of a user" in admin.run("watch", want=2).err
    for text in ("", "nonsense", "a.b.c", "e30.e30.x"):
        servers.write_file(user.token_file, text)
        process = subprocess.run(user.command("watch"), capture_output=True, text=True, timeout=120)
        assert process.returncode == 2 and process.stderr
    env = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_TOKEN")}
    process = subprocess.run([CLI, "watch", "--url", broker.url], env=env, capture_output=True,
                             text=True, timeout=120)
    assert process.returncode == 2 and "no token" in process.stderr
    env["TOCSIN_TOKEN"] = broker.token("user", "alice")
    process = subprocess.run([CLI, "watch", "--url", broker.url, "--timeout", "100ms"], env=env,
                             capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("args, message", [
    (["sned"], "no command 'sned'; is 'send' meant?"),
    (["dlq", "rety"], "no command 'dlq rety'; is 'dlq retry' meant?"),
    (["versoin"], "is 'version' meant?"), (["provider", "puase"], "is 'provider pause' meant?"),
    (["send", "--tpye", "x"], "unknown option --tpye; is --type meant?"),
    (["send", "--prioritty=high"], "is --priority meant?"), (["send", "--zebra"], "unknown option --zebra\n"),
    (["send", "--priority", "hihg"], "is not one of urgent|high|normal|low; is high meant?"),
    (["send", "--kind", "bridge"], "is not one of user|service|admin"),
    (["send", "--tile", "x"], "unknown option --tile"), (["send", "-v"], "options are long"),
    (["send", "--window", "0"], "--window is 1 to 10000"),
    (["send", "--timeout", "soon"], "is not a duration"),
    (["send", "--priority", "high|low"], "is not one of urgent|high|normal|low"),
    (["send", "--to-user", "a"], "--type is required"),
    (["send", "--type", "a"], "say whom to notify"),
    (["send", "--type", "a", "--to-user", "a", "--to-role", "b"], "once only"),
    (["send", "--type", "a", "--to-user", "a", "x.json"], "not both"),
    (["send", "/nonexistent"], "No such file"),
    (["status"], "usage: tocsin status [OPTIONS] ID"),
])
def test_usage_errors(service, args, message):
    assert message in service.run(*args, want=2).err


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_times_are_told_by_their_option(admin, option):
    for command in (["dlq", "list"], ["dlq", "retry"], ["dlq", "export"], ["audit"]):
        error = admin.run(*command, option, "yesterday", want=2).err
        assert "%s: 'yesterday' must be a time such as" % option in error and "2h" in error


def test_an_answers_error_is_told_by_its_option(bridge, admin):
    for field, told in (("/params/since", "bad_value: --since: wrong\n"), ("/params/id", "bad_value: ID: wrong\n"),
                        ("/params/filter/user", "bad_value: --user: wrong\n"),
                        ("/params/else", "bad_value: wrong /params/else\n")):
        bridge.answers["dlq.get"] = bridge.answers["dlq.list"] = lambda _, field=field: {
            "error": {"code": "bad_value", "message": "wrong", "field": field}}
        command = ["dlq", "show", "00"] if field.endswith("/id") else ["dlq", "list"]
        assert told in admin.run(*command, want=4).err
    bridge.answers["dlq.list"] = lambda _: {"error": {
        "code": "bad_value", "message": "there is no such reason", "field": "/params/reason"}}
    error = admin.run("dlq", "list", "--reason", "ofline", want=4).err
    assert "--reason: there is no such reason" in error
    source = open(os.path.join(servers.ROOT, "bridge", "core", "outcome.c")).read()
    names = re.findall(r'\[REASON_\w+\] = "(\w+)"', source)
    last = names.index("internal") + 1  # those behind it suppress, and make no dead letter
    assert last > 15 and all(name in error for name in names[:last])


def test_help_is_where_it_is_looked_for():
    def told(*args):
        done = subprocess.run([CLI, *args], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout
    assert told("dlq", "--help") == told("help", "dlq") == (0, told("dlq")[1])
    assert "dlq export" in told("dlq")[1] and told("dlq")[0] == 2
    for group in ("provider", "channel"):
        assert "%s pause" % group in told(group, "--help")[1]
    assert told("help", "send") == told("send", "--help") and "--to-user" in told("send", "--help")[1]
    assert told("help", "dlq", "retry") == told("dlq", "retry", "--help")
    assert told("version") == told("--version")
    for name in ("--template", "--schedule", "--group", "--to-topic"):
        assert name not in told("send", "--help")[1], "offered, and not served"


def unsigned(claims):
    body = servers.tokens.b64(json.dumps(claims).encode())
    return "e30.%s.x" % (body.decode() if isinstance(body, bytes) else body)


FULL = [["--help"], ["version"], ["help", "send"], ["dlq", "list"], ["dlq", "count"], ["dlq", "export"],
        ["dlq", "export", "--format", "csv"], ["dlq", "retry", "--all"], ["audit"], ["stats", "--once"],
        ["provider", "list"], ["provider", "pause", "x"], ["rpc", "any.call"], ["stats"]]


@pytest.mark.parametrize("args", FULL, ids=" ".join)
def test_output_that_cannot_be_written_is_an_error(bridge, admin, args):
    one = {"entries": [dead(1)], "next": None, "count": 1, "retried": 1, "providers": [
        {"channel": "sms", "provider": "x"}], "total": {}, "provider": "x", "changed": True}
    for method in ("dlq.list", "dlq.count", "dlq.export", "dlq.retry", "audit.list", "queue.stats",
                   "provider.list", "provider.pause", "any.call"):
        bridge.answers[method] = lambda _: one
    command = [CLI, *args] if args[0] in ("--help", "version", "help") else admin.command(*args)
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stderr


def test_sending_watching_and_following_on_a_full_disk_is_an_error(bridge, service, user):
    with open("/dev/full", "w") as full:
        for cli, args in ((service, ["send", "--wait", "final"]), (user, ["watch"]), (service, ["receipts"])):
            process = subprocess.Popen(cli.command(*args), stdout=full, stderr=subprocess.PIPE, text=True,
                                       stdin=subprocess.PIPE)
            if args[0] == "send":
                process.stdin.write(lines(request(1)))
            else:
                process.stderr.readline()  # it is there
                bridge.send("users/alice/down/inbox", {"id": "00ff", "type": "t", "title": "x"})
                bridge.send("services/orders/down/receipt", {"id": "r", "status": "sent"})
            _, error = process.communicate(timeout=120)
            assert process.returncode == 1 and "could not be written" in error, (args, error)


@pytest.mark.parametrize("claims, options, env, kind, subject", [
    ({"sub": "u1", "azp": "web"}, [], {}, "user", "u1"),                           # Keycloak, a person
    ({"sub": "x", "azp": "orders", "gty": "client-credentials"}, [], {}, "service", "orders"),  # Auth0, Keycloak
    ({"sub": "x", "client_id": "orders", "token_use": "access"}, [], {}, "service", "orders"),  # Cognito
    ({"sub": "f1", "tocsin_kind": "admin"}, [], {}, "admin", "f1"),                # Firebase
    ({"sub": "s1", "app_metadata": {"tocsin_kind": "user"}}, [], {}, "user", "s1"),  # Supabase
    ({"sub": "orders"}, [], {}, "service", "orders"),
    ({"sub": "x", "azp": "web"}, ["--as", "billing"], {}, "service", "billing"),
    ({"sub": "x"}, [], {"TOCSIN_ID": "f:1f2e:jdoe"}, "user", "f:1f2e:jdoe"),
    ({"kind": "user", "sub": "x"}, ["--kind", "admin"], {}, "admin", "x"),
    ({"kind": "person", "sub": "x"}, [], {"TOCSIN_KIND": "user"}, "user", "x"),
    ({"email": "no sub"}, ["--as", "root"], {}, "admin", "root"),
    ({"kind": "service", "sub": "orders", "azp": "web"}, [], {}, "service", "orders"),
])
def test_a_providers_token_works_or_can_be_told_what_it_is(broker, tmp_path, claims, options, env, kind, subject):
    """Refused by this broker, which knows nothing of the issuer: as whom it tried is what is looked at."""
    file = str(tmp_path / "token")
    servers.write_file(file, unsigned(claims))
    command = {"user": ["watch"], "service": ["send"], "admin": ["audit"]}[kind]
    done = subprocess.run([CLI, *command, "--url", broker.url, "--token-file", file, *options], text=True,
                          env={**os.environ, **env}, capture_output=True, timeout=120, input=lines(request(1)))
    encoded = servers.tokens.encode_id(subject)
    assert done.returncode == 3 and "(as %s/%s;" % (kind, encoded) in done.stderr, done.stderr


def test_a_token_that_says_no_kind_is_asked_about_where_any_will_do(broker, tmp_path):
    file = str(tmp_path / "token")
    servers.write_file(file, unsigned({"sub": "x"}))
    done = subprocess.run([CLI, "rpc", "x.y", "--url", broker.url, "--token-file", file], text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 2 and "give --kind" in done.stderr


def test_wait_final_of_route_first_is_about_whom_nothing_reached(bridge, service):
    ends = {"a": [("in_app", "dead"), ("sms", "sent")], "b": [("in_app", "dead"), ("sms", "dead")]}
    bridge.receipts = lambda request: [
        {"status": state, "user": user, "channel": channel, "reason": "x"}
        for user in request["to"].get("users", [request["to"].get("user")]) for channel, state in ends[user]]
    bridge.answers["request.status"] = lambda params: {"deliveries": [
        {"channel": channel, "state": state, "user": user}
        for user in bridge.accepted[params["id"]]["to"].get(
            "users", [bridge.accepted[params["id"]]["to"].get("user")]) for channel, state in ends[user]]}
    first = {"type": "t", "title": "t", "channels": ["in_app", "sms"]}
    def ended(want, to, route):
        return service.run("send", "--wait", "final", text=lines({**first, "to": to, "route": route}), want=want)
    ended(0, {"user": "a"}, "first")
    ended(0, {"user": "a"}, {"mode": "first"})
    ended(6, {"user": "b"}, "first")
    ended(6, {"users": ["a", "b"]}, "first")
    ended(6, {"user": "a"}, "all")


def test_signals_end_it(bridge, service):
    bridge.hold = True
    for number, want in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = service.start("send", stdin=subprocess.PIPE)
        process.stdin.write(lines(request(number)))
        process.stdin.flush()
        wait_until(lambda: bridge.requests and bridge.requests[-1][1]["id"] == "r-%d" % number)
        process.send_signal(number)
        assert "unanswered" in service.finish(process, want).out


def ready(process):
    """Waits for the line on stderr that says it is connected and subscribed."""
    line = process.stderr.readline()
    assert "following" in line or "watching" in line, line
    return process


def test_a_reader_that_goes_away_ends_it(bridge, service):
    process = ready(service.start("receipts"))
    bridge.send("services/orders/down/receipt", {"id": "a", "status": "accepted"})
    assert process.stdout.readline() == "accepted   a\n"
    process.stdout.close()
    bridge.send("services/orders/down/receipt", {"id": "b", "status": "accepted"})
    assert process.wait(10) == 141
    process.stderr.close()


def bytes_in(pipe):
    number = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, number)
    return int.from_bytes(number, sys.byteorder)


def test_a_signal_ends_it_even_while_nobody_reads_its_output(bridge, service):
    process = ready(service.start("receipts"))
    for _ in range(200):  # more than a pipe holds
        bridge.send("services/orders/down/receipt", {"id": "x" * 1000, "status": "dead"})
    # How many bytes fill a pipe depends on how they were written; that no more come tells.
    last = [-1, -2, -3]
    wait_until(lambda: last.append(bytes_in(process.stdout)) or (
        last[-1] > 20000 and len(set(last[-4:])) == 1), 10, "the pipe to be full", 0.1)
    process.terminate()
    assert process.wait(10) == 143
    process.stdout.close()
    process.stderr.close()


def test_receipts_can_be_filtered_and_kept_by_the_broker(bridge, service):
    args = ("receipts", "--session", "t1", "--json")
    process = ready(service.start(*args))
    process.terminate()
    service.finish(process, 143)
    bridge.send("services/orders/down/receipt", [
        {"id": "a", "status": "delivered"}, {"id": "b", "status": "dead", "reason": "poison"},
        {"id": "c", "status": "dead"}])
    found = service.run(*args, "--status", "dead,expired", "--count", "2").lines
    assert [r["id"] for r in found] == ["b", "c"]
    service.run(*args, "--count", "1", "--timeout", "200ms", want=5)


# ---- watch

def inbox(n, **more):
    return {"id": "%016x" % n, "seq": n, "type": "order.ready", "title": "T%d" % n, "body": "",
            "data": {}, "priority": "normal", "created_at": "2026-01-02T03:04:05Z", **more}


def test_watch_shows_and_acknowledges_once_shown(bridge, user):
    bridge.send("users/alice/down/badge", {"unread": 3, "unseen": 1}, retain=True)
    process = ready(user.start("watch", "--count", "4"))
    bridge.send("users/alice/down/inbox", inbox(1, priority="urgent", data={"n": 1}))
    bridge.send("users/alice/down/inbox", inbox(1, replay=True))  # a repeat: acknowledged again
    bridge.send("users/alice/down/inbox", inbox(3, title="\x1b[2J\u202eevil", body="b"))
    bridge.send("broadcast/inbox", inbox(8, title="To all"))
    bridge.send("roles/ops/inbox", inbox(9, title="To ops"))
    result = user.finish(process, 0)
    bridge.send("users/alice/down/badge", b"", retain=True)
    assert "badge: 3 unread, 1 unseen\n" in result.out
    assert "0000000000000001  order.ready  urgent\n    T1\n    {\"n\":1}\n" in result.out
    assert result.out.count("T1") == 1
    assert "    \\u001b[2J\\u202eevil\n    b\n" in result.out
    assert "order.ready  to everybody\n    To all\n" in result.out
    assert "order.ready  to role ops\n    To ops\n" in result.out
    assert "1 not seen here, from number 2 on" in result.err
    wait_until(lambda: len(bridge.acks) >= 3)
    assert sorted(bridge.acks) == ["%016x" % n for n in (1, 1, 3)]  # broadcasts are not ours


def test_watch_without_ack_and_as_json(bridge, user):
    process = ready(user.start("watch", "--count", "1", "--no-ack", "--json"))
    bridge.send("users/alice/down/changed", {"ids": ["a"], "state": "read"})
    bridge.send("users/alice/down/inbox", b"no json")
    bridge.send("users/alice/down/inbox", inbox(1))
    result = user.finish(process, 0)
    assert [r["topic"] for r in result.lines] == ["changed", "inbox"]
    assert result.lines[1]["payload"] == inbox(1)
    assert bridge.acks == []


def test_ids_are_encoded_into_one_topic_level(bridge, broker, tmp_path):
    subject = "a/b +#%é~@|-._"
    strange = Cli(broker, tmp_path, "user", subject)
    process = ready(strange.start("watch", "--count", "1"))
    bridge.send("users/a%2Fb%20%2B%23%25%C3%A9~@|-._/down/inbox", inbox(1))
    assert "T1" in strange.finish(process, 0).out
    wait_until(lambda: bridge.acks)
    for bad in ("", "x" * 129, "é" * 22):  # 22 * 6 bytes
        servers.write_file(strange.token_file, broker.token("user", bad))
        assert "'sub'" in strange.run("watch", want=2).err


def test_a_renewed_token_is_used_when_the_old_one_ends(tmp_path):
    with servers.Broker(tmp_path / "broker") as broker, Bridge(broker) as bridge:
        user = Cli(broker, tmp_path, "user", "alice")
        process = ready(user.start("watch", "--count", "2"))
        bridge.send("users/alice/down/inbox", inbox(1))
        wait_until(lambda: bridge.acks)
        bridge.client.close()
        broker.stop()
        servers.write_file(broker.secret_file, "n" * 40)  # the old token is worth nothing now
        servers.write_file(user.token_file, broker.token("user", "alice"))
        broker.start()
        with Bridge(broker) as after:
            assert "connection lost" in process.stderr.readline()
            assert "connected again" in process.stderr.readline()
            after.send("users/alice/down/inbox", inbox(2))
            user.finish(process, 0)


# ---- the desk

def test_status_shows_every_attempt(bridge, service):
    answer = {"id": "r-1", "notification": 7, "type": "order.ready",
              "accepted_at": "2026-01-02T03:04:05Z", "deliveries": [
                  {"delivery": 1, "channel": "in_app", "user": "alice", "state": "delivered",
                   "attempts": 1, "history": []},
                  {"delivery": 2, "channel": "sms", "target": "+1***00", "state": "ready",
                   "due_at": "2026-01-02T03:04:09Z", "reason": "provider_unavailable",
                   "history": [{"attempt": 1, "at": "2026-01-02T03:04:05Z", "outcome": "retry",
                                "reason": "provider_unavailable", "detail": "503",
                                "provider": "twilio"}]}]}
    bridge.answers["request.status"] = lambda params: answer
    out = service.run("status", "r-1").out
    assert bridge.calls == [("services", "orders", "request.status", {"id": "r-1"})]
    assert out == ("r-1  order.ready  accepted 2026-01-02T03:04:05Z\n"
                   "  in_app  alice  delivered\n"
                   "  sms  +1***00  ready  provider_unavailable  due 2026-01-02T03:04:09Z\n"
                   "    attempt 1  2026-01-02T03:04:05Z  retry  by twilio  "
                   "provider_unavailable: 503\n")
    assert service.run("status", "r-1", "--json").lines == [answer]
    bridge.answers["request.status"] = lambda params: {
        **answer, "deliveries": answer["deliveries"][bool("after" in params):][:1], "total": 2,
        **({} if "after" in params else {"next": "0a"})}
    cut = service.run("status", "r-1", "--limit", "1")
    assert "in_app" in cut.out and "there are more: --after '0a', or --pages for all" in cut.err
    whole = service.run("status", "r-1", "--pages", "--json").lines
    assert [page["deliveries"] for page in whole] == [[d] for d in answer["deliveries"]]
    bridge.answers["request.status"] = lambda _: {
        "error": {"code": "not_found", "message": "no such request", "field": "/id"}}
    assert "not_found: no such request /id" in service.run("status", "x", want=4).err
    bridge.answers["request.cancel"] = lambda _: {"cancelled": 2}
    assert service.run("cancel", "r-1").out == "2 cancelled\n"


def dead(n):
    return {"delivery": n, "channel": "sms", "reason": "provider_rejected", "type": "order.ready",
            "service": "orders", "request": "r-%d" % n, "target": "+1***00", "attempts": 3,
            "died_at": "2026-01-02T03:04:05Z", "status": "pending_review"}


def test_dlq_list_filters_and_pages(bridge, admin):
    def answer(params):
        after = int(params.get("after", 0))
        return {"entries": [dead(after + 1), dead(after + 2)],
                **({"next": str(after + 2)} if after < 4 else {})}
    bridge.answers["dlq.list"] = answer
    result = admin.run("dlq", "list", "--channel", "sms", "--since", "2h", "--limit", "2")
    kind, owner, method, params = bridge.calls[0]
    assert (kind, owner, method) == ("admins", "root", "dlq.list")
    since = time.mktime(time.strptime(params.pop("since"), "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(time.time() - 7200 - since) < 60
    assert params == {"channel": "sms", "limit": 2}
    table = result.out.splitlines()
    assert table[0].split() == ["DELIVERY", "CHANNEL", "REASON", "TYPE", "SERVICE", "TO", "TRIES",
                                "DIED", "AT", "STATUS"]
    assert table[1].split() == ["1", "sms", "provider_rejected", "order.ready", "orders",
                                "+1***00", "3", "2026-01-02T03:04:05Z", "pending_review"]
    assert "--after '2'" in result.err
    found = admin.run("dlq", "list", "--json", "--pages").lines
    assert [e["delivery"] for e in found] == [1, 2, 3, 4, 5, 6]
    bridge.answers["dlq.list"] = lambda _: {"entries": []}
    assert admin.run("dlq", "list").out == "no dead letters\n"


def test_dlq_retry_wants_a_choice(bridge, admin):
    bridge.answers["dlq.retry"] = lambda _: {"retried": 2}
    assert admin.run("dlq", "retry", "12", "13").out == "2 retried\n"
    admin.run("dlq", "retry", "--reason", "user_offline", "--user", "alice")
    admin.run("dlq", "retry", "--all", "--json")
    assert [params for _, _, _, params in bridge.calls] == [
        {"ids": ["12", "13"]}, {"filter": {"reason": "user_offline", "user": "alice"}},
        {"filter": {}}]
    assert "which ones?" in admin.run("dlq", "retry", want=2).err
    assert "not both" in admin.run("dlq", "retry", "12", "--user", "a", want=2).err
    admin.run("dlq", "retry", "12", "--all", want=2)


def test_dlq_verdicts_and_retries_say_more(bridge, admin):
    bridge.answers["dlq.resolve"] = lambda _: {"resolved": 1, "skipped": 2}
    bridge.answers["dlq.ignore"] = lambda _: {"ignored": 3}
    bridge.answers["dlq.retry"] = lambda _: {"retried": 1}
    assert admin.run("dlq", "resolve", "1", "2", "3", "--note", "done").out == (
        "1 resolved, 2 skipped\n")
    assert admin.run("dlq", "ignore", "--status", "resolved").out == "3 ignored\n"
    admin.run("dlq", "retry", "1", "--destination", "backup", "--content", '{"type": "t"}')
    assert [params for _, _, _, params in bridge.calls] == [
        {"ids": ["1", "2", "3"], "note": "done"}, {"filter": {"status": "resolved"}},
        {"ids": ["1"], "destination": "backup", "content": {"type": "t"}}]
    assert "not one of" in admin.run("dlq", "ignore", "--status", "lost", want=2).err
    assert "JSON" in admin.run("dlq", "retry", "1", "--content", "{", want=2).err
    assert "which ones?" in admin.run("dlq", "resolve", want=2).err


def test_dlq_shows_counts_statistics_and_one_entry(bridge, admin):
    bridge.answers["dlq.count"] = lambda _: {"count": 7}
    assert admin.run("dlq", "count", "--user", "alice").out == "7\n"
    bridge.answers["dlq.stats"] = lambda _: {
        "count": 3, "pending_review": 2, "statuses": {"pending_review": 2, "ignored": 1},
        "reasons": [{"channel": "sms", "reason": "no_target", "count": 3, "pending_review": 2}],
        "days": [{"day": "2026-01-02", "count": 3, "pending_review": 2}]}
    out = admin.run("dlq", "stats").out.splitlines()
    assert out[0] == "3 dead letters  2 pending_review  1 ignored"
    assert [line.split() for line in out[2:4]] == [["CHANNEL", "REASON", "DEAD", "PENDING"],
                                                   ["sms", "no_target", "3", "2"]]
    assert out[6].split() == ["2026-01-02", "3", "2"]
    entry = {**dead(1), "delivery": "00", "note": "a\x1b[31m note", "content": {"title": "T"},
             "history": [{"attempt": 1, "outcome": "permanent", "at": "T1", "destination": "twilio",
                          "reason": "provider_rejected", "detail": "no", "state": "dead"}]}
    bridge.answers["dlq.get"] = lambda _: entry
    out = admin.run("dlq", "show", "00").out
    assert "\x1b" not in out and '{"title":"T"}' in out
    assert "attempt 1    T1  permanent  by twilio  provider_rejected: no  -> dead" in out
    assert admin.run("dlq", "show", "00", "--json").lines == [entry]


def test_dlq_export_pages_through_everything(bridge, admin):
    def answer(params):
        assert params["limit"] == 100
        page = int(params.get("after", "0"))
        entry = {**dead(page), "note": "=cmd()", "content": {
            "title": 'a "quoted", one', "body": "two\nlines", "data": {"n": page}}}
        return {"entries": [entry], **({"next": str(page + 1)} if page < 2 else {})}
    bridge.answers["dlq.export"] = answer
    result = admin.run("dlq", "export", "--reason", "provider_rejected")
    assert [json.loads(line)["delivery"] for line in result.out.splitlines()] == [0, 1, 2]
    assert "3 dead letters" in result.err
    process = subprocess.run(admin.command("dlq", "export", "--format", "csv", "--quiet"),
                             capture_output=True, timeout=120, check=True)
    assert process.stderr == b"" and process.stdout.count(b"\r\n") == 4
    rows = list(csv.DictReader(io.StringIO(process.stdout.decode(), newline="")))
    assert [row["delivery"] for row in rows] == ["0", "1", "2"]
    assert rows[1]["title"] == 'a "quoted", one' and rows[1]["body"] == "two\nlines"
    assert rows[1]["note"] == "'=cmd()" and rows[1]["target"] == "'+1***00"
    assert json.loads(rows[2]["content"])["data"] == {"n": 2}
    bridge.answers["dlq.export"] = lambda params: (
        {"error": {"code": "unavailable", "message": "away"}} if "after" in params
        else {"entries": [dead(1)], "next": "1"})
    assert "cut short after 1: go on with --after '1'" in admin.run("dlq", "export", want=4).err


HOSTILE = {"target": "=HYPERLINK(\"http://evil.example/\")", "user": "@SUM(1)", "service": "-1+1",
           "changed_by": "+cmd|' /C calc'!A0", "type": "=1", "destination": "\t=1", "request": "\r=1",
           "code": "\uff1d1", "detail": "  =1", "note": "\n=1", "status": "retrying"}


def test_no_cell_of_an_export_is_a_formula_or_a_command_to_a_terminal(bridge, admin):
    entry = {**dead(1), **HOSTILE, "content": {"title": "=1+1", "body": "\x1b]0;x\x07 a;=1", "x": "\x9b2J"}}
    bridge.answers["dlq.export"] = lambda _: {"entries": [entry], "next": None}
    out = subprocess.run(admin.command("dlq", "export", "--format", "csv", "--quiet"),
                         capture_output=True, timeout=120, check=True).stdout
    row = next(csv.DictReader(io.StringIO(out.decode(), newline="")))
    for name, value in row.items():
        assert not re.match(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]", value), (name, value)
    assert all(row[name] == "'" + HOSTILE[name] for name in HOSTILE if name != "status")
    assert b"\x1b" not in out and b"\x07" not in out and b"\xc2\x9b" not in out
    told = subprocess.run(admin.command("dlq", "export", "--quiet"), capture_output=True, timeout=120,
                          check=True).stdout
    assert b"\x1b" not in told and b"\xc2\x9b" not in told and json.loads(told) == entry


def test_a_bulk_change_can_be_tried_first(bridge, admin):
    bridge.answers["dlq.count"] = lambda _: {"count": 10001}
    assert "10001 dead letters, and nothing was changed" in admin.run(
        "dlq", "retry", "--reason", "user_offline", "--dry-run").out
    admin.run("dlq", "ignore", "--all", "--dry-run")
    admin.run("dlq", "resolve", "00ff", "--dry-run")
    assert [call[2:] for call in bridge.calls] == [
        ("dlq.count", {"reason": "user_offline", "status": "pending_review"}),
        ("dlq.count", {"status": "pending_review"}), ("dlq.count", {"ids": ["00ff"], "status": "any"})]


@pytest.mark.parametrize("columns", [80, 100])
def test_tables_fit_into_the_terminal(bridge, admin, columns):
    entry = {**dead(1), "user": "somebody.with.a.long.name@example.org", "type": "order.ready.for.collection",
             "delivery": "0123456789abcdef", "died_at": "2026-01-02T03:04:05.678Z"}
    change = {"id": "0123456789abcdef", "at": "2026-01-02T03:04:05.678Z", "admin": "root", "action": "dlq.retry",
              "params": {"filter": {"reason": "provider_unavailable"}}, "before": {"a": 1}, "result": {"n": 1}}
    line = {"channel": "sms", "provider": "messagebird", "waiting": 1000000, "success_rate": 0.5}
    bridge.answers.update({"dlq.list": lambda _: {"entries": [entry], "next": None},
                           "audit.list": lambda _: {"entries": [change], "next": None},
                           "queue.stats": lambda _: {"bridges": 1, "providers": [line], "total": line},
                           "provider.list": lambda _: {"providers": [{**line, "adapter": "messagebird"}]}})
    for command, kept in ((["dlq", "list"], "0123456789abcdef"), (["audit"], "dlq.retry"),
                          (["stats", "--once"], "1000000"), (["provider", "list"], "messagebird")):
        out = subprocess.run(admin.command(*command), capture_output=True, text=True, timeout=120, check=True,
                             env={**os.environ, "COLUMNS": str(columns)}).stdout
        assert kept in out and max(map(len, out.splitlines())) <= columns, out
    assert "1 bridge " in subprocess.run(admin.command("stats", "--once"), capture_output=True, text=True).stdout


def test_audit_lists_what_admins_did(bridge, admin):
    bridge.answers["audit.list"] = lambda _: {"entries": [
        {"id": "01", "at": "T", "admin": "eve", "action": "dlq.ignore", "params": {"ids": ["1"]},
         "before": {"pending_review": 1}, "after": {"ignored": 1}, "result": {"ignored": 1}}]}
    out = admin.run("audit", "--admin", "eve", "--since", "1h", "--limit", "5").out.splitlines()
    assert out[1].split() == ["01", "T", "eve", "dlq.ignore", '{"ids":["1"]}',
                              '{"pending_review":1}', '{"ignored":1}', '{"ignored":1}']
    params = bridge.calls[0][3]
    assert params.pop("since") and params == {"admin": "eve", "limit": 5}


def numbers(**more):
    return {"waiting": 3, "active": 1, "scheduled": 2, "completed": 90, "failed": 10, "stalled": 0,
            "dead": 7, "per_minute": 100, "success_rate": 0.9, "retry_rate": 0.25,
            "dead_rate": None, "average_attempts": 1.5, "oldest_waiting_s": 93.4,
            "paused": False, **more}


def test_stats_is_a_table_that_refreshes_or_json(bridge, admin):
    bridge.answers["queue.stats"] = lambda _: {
        "at": "2026-01-02T03:04:05.000Z", "counted_at": "2026-01-02T03:04:05.000Z",
        "window_s": 3600, "bridges": 2, "total": numbers(),
        "channels": [{"channel": "sms", **numbers()}],
        "providers": [{"channel": "sms", "provider": "twilio", "open_breakers": 1, **numbers()},
                      {"channel": "sms", "provider": "vonage", "open_breakers": 0,
                       **numbers(paused=True, oldest_waiting_s=None)}]}
    lines = admin.run("stats", "--once").out.splitlines()
    assert lines[0].startswith("2026-01-02T03:04:05.000Z  2 bridges")
    assert lines[1].split()[:4] == ["CHANNEL", "PROVIDER", "WAITING", "ACTIVE"]
    assert lines[2].split() == ["sms", "twilio", "3", "1", "2", "90", "10", "0", "7", "100",
                                "90.0%", "25.0%", "-", "1.50", "1m33s", "breaker"]
    assert lines[3].split()[-2:] == ["-", "paused"]
    assert lines[4].split()[:3] == ["total", "-", "3"]
    assert admin.run("stats", "--once", "--json").lines[0]["bridges"] == 2
    process = admin.start("stats", "--json", "--every", "100ms")
    for _ in range(3):
        assert json.loads(process.stdout.readline())["total"]["dead"] == 7
    process.terminate()
    admin.finish(process, 143)


def test_providers_and_channels_are_paused_and_resumed(bridge, admin):
    bridge.answers["provider.pause"] = lambda _: {"provider": "twilio", "paused": True,
                                                  "changed": True}
    bridge.answers["channel.resume"] = lambda _: {"channel": "sms", "paused": False,
                                                  "changed": False}
    assert admin.run("provider", "pause", "twilio", "--note", "x").out == "twilio paused\n"
    assert admin.run("channel", "resume", "sms").out == "sms resumed (it was before)\n"
    assert admin.run("channel", "resume", "sms", "--json").lines == [
        {"channel": "sms", "paused": False, "changed": False}]
    assert [(method, params) for _, _, method, params in bridge.calls] == [
        ("provider.pause", {"provider": "twilio", "note": "x"}),
        ("channel.resume", {"channel": "sms"}), ("channel.resume", {"channel": "sms"})]
    bridge.answers["provider.list"] = lambda _: {"providers": [
        {"provider": "twilio", "channel": "sms", "adapter": "twilio", "paused": True,
         "provider_pause": {"by": "root", "at": "2026-01-02T03:04:05Z", "note": "x"}},
        {"provider": "vonage", "channel": "sms", "adapter": "vonage", "paused": False}]}
    table = admin.run("provider", "list").out.splitlines()
    assert table[1].split() == ["sms", "twilio", "twilio", "paused", "root",
                                "2026-01-02T03:04:05Z", "x"]
    assert table[2].split() == ["sms", "vonage", "vonage", "running", "-", "-", "-"]
    admin.run("provider", "pause", want=2)


def test_any_call_can_be_made(bridge, service, user):
    bridge.answers["preferences.get"] = lambda params: {"got": params}
    out = user.run("rpc", "preferences.get", '{"a": [1]}').out
    assert json.loads(out) == {"got": {"a": [1]}}
    assert "unknown_method" in service.run("rpc", "x.y", want=4).err
    assert "no JSON object" in service.run("rpc", "x.y", "[]", want=2).err
    assert "not the name of a method" in service.run("rpc", "../x", want=2).err


# ---- ways to connect

def test_over_websocket_and_from_a_stack_file(bridge, broker, service, tmp_path):
    (tmp_path / "stack.json").write_text(json.dumps({"mqtt": broker.url, "ws": broker.ws_url}))
    for extra in ([], ["--ws"]):
        command = [CLI, "send", "--stack", str(tmp_path), "--token-file", service.token_file,
                   *extra]
        done = subprocess.run(command, input=lines(request(len(extra))), capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert len(bridge.accepted) == 2
    for url, message in (("http://x", "the URL must be"), ("mqtt://a:b@x", "without credentials")):
        assert message in service.run("send", "--url", url, text="", want=2).err


def openssl(directory, *args):
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)


class TlsBroker(servers.Broker):
    """The broker with two more listeners, for mqtts and wss."""

    def prepare(self):
        super().prepare()
        # Mosquitto 2.0.11 frees no TLS context of a listener; the plugin's own leaks are looked
        # for everywhere else.
        self.env["ASAN_OPTIONS"] = "detect_leaks=0"
        self.ports = servers.Ports()
        self.tls_port, self.wss_port = self.ports.take(), self.ports.take()
        openssl(self.dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj",
                "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        with open(self.config, "a") as config:
            for port, more in ((self.tls_port, ""),
                               (self.wss_port, "protocol websockets\nsocket_domain ipv4\n")):
                config.write("listener %d 127.0.0.1\ncertfile %s/cert.pem\nkeyfile %s/key.pem\n%s"
                             % (port, self.dir, self.dir, more))


def test_over_tls_only_with_a_certificate_that_is_right(tmp_path):
    with TlsBroker(tmp_path / "broker") as broker, Bridge(broker) as bridge:
        service = Cli(broker, tmp_path, "service", "orders")
        url = "mqtts://localhost:%d" % broker.tls_port
        ca = os.path.join(broker.dir, "cert.pem")
        service.run("send", "--url", url, "--ca-file", ca, text=lines(request(1)))
        service.run("send", "--url", "wss://localhost:%d" % broker.wss_port, "--ca-file", ca,
                    text=lines(request(4)))
        assert set(bridge.accepted) == {"r-1", "r-4"}
        result = service.run("send", "--url", url, text=lines(request(2)), want=3)
        assert "certificate is not trusted" in result.err
        wrong_name = url.replace("localhost", "127.0.0.1")
        result = service.run("send", "--url", wrong_name, "--ca-file", ca, "--connect-timeout",
                             "1s", text=lines(request(3)), want=5)
        assert "its certificate is for another host" in result.err
        assert set(bridge.accepted) == {"r-1", "r-4"}


# ---- the manual

def commands():
    out = subprocess.run([CLI, "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  (\w+(?: \w+)?)  ", out, re.M)


def test_the_manual_is_valid_and_names_everything():
    manual = os.path.join(SOURCES, "tocsin.1")
    checked = subprocess.run(["man", "--warnings", "-l", manual], capture_output=True, text=True,
                             env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
    assert checked.returncode == 0 and checked.stderr == "", checked.stderr
    text = open(manual).read().replace("\\-", "-")
    assert len(commands()) >= 8
    for name in commands():
        assert name in text, name
        help_text = subprocess.run([CLI, *name.split(), "--help"], capture_output=True, text=True,
                                   check=True).stdout
        for option in re.findall(r"^  (--[a-z-]+)", help_text, re.M):
            assert option in text, (name, option)
    header = open(os.path.join(SOURCES, "exits.h")).read()
    for status in re.findall(r"CLI_\w+ = (\d+)", header):
        assert re.search(r"^\.B %s$" % status, text, re.M), status


@pytest.mark.parametrize("words, want", [
    (["wa"], ["watch"]), (["d"], ["dlq"]), (["dlq", ""], ["list", "count", "stats", "show", "retry", "resolve", "ignore", "export"]),
    (["dlq", "list", "--re"], ["--reason"]), (["send", "--sp"], ["--spool"]),
    (["send", "--priority", ""], ["urgent", "high", "normal", "low"]),
    (["dlq", "list", "--status", "re"], ["retrying", "resolved"]), (["send", "--sched"], []),
    (["status", "--js"], ["--json"]), (["send", "--to-u"], ["--to-user", "--to-url"])])
def test_bash_completes(words, want):
    script = """. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
                _tocsin; printf '%s\\n' "${COMPREPLY[@]}" """
    done = subprocess.run(["bash", "-c", script, "bash", os.path.join(SOURCES, "tocsin.bash"), CLI,
                           *words], capture_output=True, text=True, timeout=120)
    assert (done.stdout.split(), done.stderr) == (want, "")
