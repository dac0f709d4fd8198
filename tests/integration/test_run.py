# SPDX-License-Identifier: MIT
"""The contract of `./run`: up, status, token, down; stacks side by side; --set."""
import json
import os
import socket
import subprocess

import pytest

import servers
from client import Client

RUN = os.path.join(servers.ROOT, "run")
KEYS = {"dir", "mqtt", "mqtt_socket", "ws", "http", "postgres", "providers", "jwt", "pids", "logs"}


def call(*arguments, code=0):
    done = subprocess.run([RUN, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=300, check=False)
    assert done.returncode == code, done.stdout
    return done.stdout


class Up:
    """A stack started by `./run up`, looked at from outside."""

    def __init__(self, directory, *arguments):
        self.dir = directory
        call("up", "--dir", directory, *arguments)
        with open(os.path.join(directory, "stack.json")) as file:
            self.info = json.load(file)
        self.port = int(self.info["mqtt"].rsplit(":", 1)[1])
        self.ws_port = int(self.info["ws"].rsplit(":", 1)[1])

    def client(self, kind, subject, **more):
        token = call("token", "--kind", kind, "--id", subject, "--dir", self.dir).strip()
        return Client(self, kind, subject, token=token, **more)

    def accepted(self, name):
        with self.client("service", "shop") as shop:
            shop.subscribe("down/receipt")
            shop.publish("up/request", {"id": name, "type": "run.test", "title": "t",
                                        "body": "b", "to": {"user": "alice"}})
            return shop.receipt(name, "accepted")

    def down(self, *arguments):
        return call("down", "--dir", self.dir, *arguments)

    def is_stored(self, name):
        done = subprocess.run(["psql", "-XAtq", self.info["postgres"], "-c",
                               "select count(*) from notification where request = '%s'" % name],
                              stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip() == "1"


@pytest.fixture
def up(tmp_path):
    made = []

    def start(*arguments, name="one"):
        made.append(Up(tmp_path / name, *arguments))
        return made[-1]
    yield start
    for stack in made:
        if os.path.exists(os.path.join(stack.dir, "stack.json")):
            stack.down("--purge")


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_up_status_token_down(up):
    stack = up()
    assert KEYS <= set(stack.info)
    assert {"postgres", "mosquitto", "providers", "bridge"} <= set(stack.info["pids"])
    assert stack.info["jwt"]["alg"] == "HS256"
    for log in stack.info["logs"].values():
        assert os.path.exists(log)
    assert os.stat(os.path.join(stack.dir, "stack.json")).st_mode & 0o077 == 0
    call("status", "--dir", stack.dir)
    stack.accepted("first")
    with stack.client("user", "bob", transport="websockets") as bob:
        bob.subscribe("down/#")
        with pytest.raises(PermissionError):
            bob.subscribe("notify/v1/users/alice/down/#")
    assert "is running" in call("up", "--dir", stack.dir, code=1)
    stack.down()
    assert all(servers.gone(pid) for pid in stack.info["pids"].values())
    assert not is_listening(stack.port)
    call("status", "--dir", stack.dir, code=1)

    again = Up(stack.dir)  # the same data, after down
    try:
        assert again.is_stored("first")
    finally:
        again.down()
        again.down("--purge")
    assert not os.path.exists(stack.dir)


def test_stacks_side_by_side_know_nothing_of_each_other(up):
    one = up("--set", "queue.active_limit=100")
    two = up("--bridges", "2", name="two")
    assert "bridge1" in two.info["pids"] and "bridge1" not in one.info["pids"]
    one.accepted("in-one")
    two.accepted("in-two")
    assert one.is_stored("in-one") and not one.is_stored("in-two")
    assert two.is_stored("in-two") and not two.is_stored("in-one")
    with open(os.path.join(one.dir, "tocsind.yaml")) as file:
        assert "active_limit: 100" in file.read()
    one.down()
    call("status", "--dir", two.dir)
    two.accepted("still-there")


def test_status_sees_a_dead_bridge(up):
    stack = up()
    os.kill(stack.info["pids"]["bridge"], 9)
    servers.wait_until(lambda: servers.gone(stack.info["pids"]["bridge"]), 5, "its end")
    assert "dead" in call("status", "--dir", stack.dir, code=1)


def test_ports_from_a_base(up, tmp_path):
    stack = up("--port-base", "23710")
    assert stack.port == 23710 and stack.ws_port == 23711
    assert "23710" in call("up", "--dir", tmp_path / "two", "--port-base", "23710", code=1)


def test_a_bad_setting_starts_nothing(tmp_path):
    said = call("up", "--dir", tmp_path, "--set", "queue.no_such_key=1", code=1)
    assert "no_such_key" in said
    assert not os.path.exists(tmp_path / "stack.json")


def test_misuse_is_explained(tmp_path):
    assert "no stack" in call("status", "--dir", tmp_path, code=1)
    assert "unknown arguments" in call("up", "--nonsense", code=2)
    assert "key=value" in call("up", "--dir", tmp_path, "--set", "nonsense", code=1)
