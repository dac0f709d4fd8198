# SPDX-License-Identifier: MIT
"""The example clients in clients/c, clients/web and clients/python, as a reader would run them.

The bridge is played by the script of test_cli.py; the broker and the plugin are real.
"""
import json
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import npm  # noqa: E402
import servers  # noqa: E402
from servers import wait_until  # noqa: E402
from test_cli import Bridge, inbox  # noqa: E402

CLIENTS = os.path.join(servers.ROOT, "clients")
DRIVER = """
const { Inbox, encodeId } = require(process.argv[2]);
const mqtt = require(process.argv[3]);
const fs = require("fs");
const [url, user, file] = process.argv.slice(4);
const say = (event, value) => console.log(JSON.stringify({ event, value }));
say("id", encodeId("a/b +é~"));
const inbox = new Inbox(mqtt, {
  url, user,
  token: async () => fs.readFileSync(file, "utf8").trim(),
  onNotification: (n) => { say("shown", n.id); if (n.seq === 2) inbox.read([n.id]); },
  onBadge: (b) => say("badge", b.unread),
  onState: (state) => { say("state", state); if (state === "refused") process.exit(3); },
});
inbox.start();
"""


class Lines:
    """A running example and what it has printed so far."""

    def __init__(self, command, directory):
        self.path = os.path.join(directory, "out")
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    @property
    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def wait(self, part, count=1, timeout=15):
        wait_until(lambda: self.text.count(part) >= count, timeout,
                   "%r %d times in %r" % (part, count, self.text))


@pytest.fixture
def own_broker(tmp_path):
    """One that may be killed."""
    with servers.Broker(tmp_path / "broker") as broker:
        yield broker


def token(broker, directory, kind, subject):
    return servers.write_file(os.path.join(directory, "token"), broker.token(kind, subject))


def is_acknowledged(bridge, *ids):
    wait_until(lambda: len(bridge.acks) >= len(ids), 10, "acks, has %r" % bridge.acks)
    assert sorted(bridge.acks) == sorted(ids)


def a_life(own_broker, example, here):
    """What every user's client must do; `here` is what it prints when it is connected."""
    with Bridge(own_broker) as bridge:
        example.wait(here)
        for n in (1, 1, 2):
            bridge.send("users/alice/down/inbox", inbox(n))
        is_acknowledged(bridge, inbox(1)["id"], inbox(1)["id"], inbox(2)["id"])
    own_broker.kill()
    own_broker.start()
    example.wait(here, 2)
    with Bridge(own_broker) as bridge:
        for n in (2, 3):
            bridge.send("users/alice/down/inbox", inbox(n))
        is_acknowledged(bridge, inbox(2)["id"], inbox(3)["id"])


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c_example(own_broker, tmp_path, compiler):
    if not shutil.which(compiler):
        pytest.skip("%s is not installed" % compiler)
    program = str(tmp_path / "inbox")
    subprocess.run([compiler, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wconversion",
                    "-Wshadow", "-Werror", "-g", "-fsanitize=address,undefined", "-o", program,
                    os.path.join(CLIENTS, "c", "inbox.c"), "-lpaho-mqtt3cs", "-ljansson"],
                   check=True)
    file = token(own_broker, tmp_path, "user", "alice")
    with Lines([program, own_broker.url, "alice", file], tmp_path) as example:
        a_life(own_broker, example, "connected")
        assert [line for line in example.text.splitlines() if line.startswith("T")] == [
            "T1: ", "T2: ", "T3: "]
        assert "Sanitizer" not in example.text and "runtime error" not in example.text
    servers.write_file(file, "nonsense")
    refused = subprocess.run([program, own_broker.url, "alice", file], capture_output=True,
                             text=True, timeout=120)
    assert refused.returncode == 1 and "refused: Not authorized" in refused.stderr


def test_web_example(own_broker, tmp_path):
    try:
        modules = npm.modules()
    except npm.Unavailable as reason:
        pytest.skip(str(reason))
    driver = servers.write_file(str(tmp_path / "driver.js"), DRIVER)
    command = ["node", driver, os.path.join(CLIENTS, "web", "inbox.js"),
               os.path.join(modules, "mqtt"), own_broker.ws_url, "alice"]
    file = token(own_broker, tmp_path, "user", "alice")
    with Lines([*command, file], tmp_path) as example:
        a_life(own_broker, example, '"here"')
        events = [json.loads(line) for line in example.text.splitlines()]
    assert events[0]["value"] == "a%2Fb%20%2B%C3%A9~"
    assert [e["value"] for e in events if e["event"] == "shown"] == [
        inbox(n)["id"] for n in (1, 2, 3)]
    servers.write_file(file, "nonsense")
    assert subprocess.run([*command, file], capture_output=True, timeout=120).returncode == 3


def test_python_example(own_broker, tmp_path):
    file = token(own_broker, tmp_path, "service", "orders")
    command = [servers.PYTHON, os.path.join(CLIENTS, "python", "service.py"), "--token-file", file,
               "--service", "orders", "--to", "alice", "--title", "T"]
    for url in (own_broker.url, own_broker.ws_url):
        with Bridge(own_broker):
            done = subprocess.run([*command, "--url", url], capture_output=True, text=True,
                                  timeout=120)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [
            "accepted", "delivered"]
    with Bridge(own_broker) as bridge, Lines([*command, "--url", own_broker.url],
                                             tmp_path) as example:
        bridge.hold = True  # the bridge gets it and forgets it, and then the broker dies
        wait_until(lambda: bridge.requests)
        connects = bridge.client.connects
        own_broker.kill()
        own_broker.start()
        wait_until(lambda: bridge.client.connects > connects, 10, "the bridge to come back")
        bridge.hold = False
        example.wait("delivered")
        assert example.process.wait(10) == 0
    servers.write_file(file, "nonsense")
    done = subprocess.run([*command, "--url", own_broker.url], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 1 and "refused: Not authorized" in done.stderr
