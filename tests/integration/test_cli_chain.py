# SPDX-License-Identifier: MIT
"""The chain from a shell to the database, with `tocsin send --spool` at its head.

Every link of it is killed with SIGKILL while requests flow, the command line itself first.
What was handed to it must be in the database afterwards, once, and the books must balance.
"""
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import traffic  # noqa: E402
from servers import wait_until  # noqa: E402
from test_cli import Cli, lines, ready, spooled  # noqa: E402


def stored(stack):
    rows = stack.postgres.sql("select request, count(*) from notification "
                              "where service = 'orders' group by request")
    return {request: int(count) for request, count in rows}


def request(key):
    return {"id": key, "type": "order.ready", "to": {"user": "nobody"}, "channels": ["in_app"],
            "title": "T", "retry": {"attempts": 1}}


class Feeder:
    """Hands requests to one `tocsin send --spool` after another, each killed in its turn."""

    def __init__(self, cli, spool):
        self.cli, self.spool = cli, spool
        self.written, self.process = [], None

    def feed(self, count):
        self.process = self.cli.start("send", "--spool", str(self.spool), "--quiet",
                                      "--connect-timeout", "60s", stdin=subprocess.PIPE)
        try:
            for _ in range(count):
                self.written.append("c-%d" % len(self.written))
                self.process.stdin.write(lines(request(self.written[-1])))
                self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def kill(self):
        self.process.kill()
        out, _ = self.process.communicate()
        return {line.split()[1] for line in out.splitlines() if line.startswith("accepted")}


def test_nothing_is_lost_whatever_is_killed(new_stack, tmp_path):
    stack = new_stack(settings={"channels.in_app.attempts": 1})
    spool = tmp_path / "spool"
    cli = Cli(stack.broker, tmp_path, "service", "orders")
    feeder = Feeder(cli, spool)
    accepted, on_disk = set(), set()
    for victim in (stack.bridge, stack.broker, stack.postgres, stack.bridge):
        thread = threading.Thread(target=feeder.feed, args=(400,))
        thread.start()
        time.sleep(random.uniform(0.1, 0.6))  # the moment of the kill is the point
        victim.kill()
        time.sleep(random.uniform(0.0, 0.3))
        accepted |= feeder.kill()
        thread.join()
        on_disk |= set(spooled(spool))
        victim.start()
    cli.run("send", "--spool", str(spool), "--resend-after", "1s", text="", timeout=60)
    assert spooled(spool) == []
    found = stored(stack)
    assert accepted | on_disk <= set(found), "lost: %s" % sorted((accepted | on_disk) - set(found))
    assert set(found) <= set(feeder.written)
    assert {key: n for key, n in found.items() if n != 1} == {}
    wait_until(lambda: not traffic.books(stack)["in_flight"], 30, "everything to end")
    assert list(traffic.audit_database(stack)) == []


def test_send_and_watch_and_the_desk_on_a_whole_stack(stack, tmp_path):
    service = Cli(stack.broker, tmp_path, "service", "orders")
    user = Cli(stack.broker, tmp_path, "user", "alice")
    admin = Cli(stack.broker, tmp_path, "admin", "root")
    watching = ready(user.start("watch", "--count", "1", "--json"))
    sent = service.run("send", "--json", "--wait", "final", "--type", "order.ready", "--to-user",
                       "alice,bob", "--title", "Hi", "--id", "w-1",
                       "--retry", '{"attempts": 1}', want=6).lines
    assert [(r["status"], r.get("user")) for r in sent if r["status"] != "accepted"] in (
        [("delivered", "alice"), ("dead", "bob")], [("dead", "bob"), ("delivered", "alice")])
    shown, = [r["payload"] for r in user.finish(watching, 0).lines if r["topic"] == "inbox"]
    assert shown["title"] == "Hi"
    status, = service.run("status", "w-1", "--json").lines
    assert sorted(d["state"] for d in status["deliveries"]) == ["dead", "delivered"]
    assert "delivered" in service.run("status", "w-1").out
    dead, = admin.run("dlq", "list", "--json", "--user", "bob").lines
    assert (dead["reason"], dead["request"]) == ("user_offline", "w-1")
    assert "user_offline" in admin.run("dlq", "list", "--channel", "in_app", "--since", "1h").out
    assert admin.run("dlq", "list", "--channel", "sms").out == "no dead letters\n"
    # Before he is back: that brings it back by itself.
    assert admin.run("dlq", "retry", "--user", "bob").out == "1 retried\n"
    bob = ready(Cli(stack.broker, tmp_path, "user", "bob").start("watch", "--count", "1"))
    out, _ = bob.communicate(timeout=120)
    assert "    Hi\n" in out and bob.returncode == 0
    assert admin.run("dlq", "retry", dead["delivery"]).out == "0 retried, 1 skipped\n"
    service.run("send", "--to-user", "alice", "--type", "order.ready", "--title", "later", "--id",
                "w-2", "--at", "2099-01-01T00:00:00Z")
    assert service.run("cancel", "w-2").out == "1 cancelled\n"
    wrong = service.run("send", text=lines({"id": "w-3", "type": "a", "to": {"user": "alice"},
                                            "titel": "x"}), want=4)
    assert "rejected   w-3  unknown_field  /titel" in wrong.out
