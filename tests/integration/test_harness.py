# SPDX-License-Identifier: MIT
"""The harness itself: a test that leans on it must be able to fail."""
import os
import signal
import subprocess
import sys

import pytest

import servers
from servers import Ports, Server, ServerError


class Script(Server):
    """A few lines of Python as a server: ready once it has printed `ready`."""

    name = "script"
    ready_timeout = 5.0

    def __init__(self, directory, text):
        super().__init__(directory)
        self.text = text

    def command(self):
        return [sys.executable, "-u", "-c", self.text]

    def is_ready(self):
        return "ready" in servers.read_tail(self.log)


SERVE = "import signal,sys,time\n" \
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(%d))\n" \
        "print('ready')\n%s\nwhile True: time.sleep(60)\n"


def test_a_clean_end_passes(tmp_path):
    with Script(tmp_path, SERVE % (0, "")) as script:
        assert script.running
    assert not script.running


def test_an_exit_code_is_a_fault(tmp_path):
    script = Script(tmp_path, SERVE % (3, "")).start()
    with pytest.raises(ServerError, match="exited with 3"):
        script.stop()


@pytest.mark.parametrize("line", [
    "==7==ERROR: AddressSanitizer: heap-use-after-free",
    "==7==ERROR: LeakSanitizer: detected memory leaks",
    "core/id.c:7:3: runtime error: signed integer overflow",
    "==7== ERROR SUMMARY: 2 errors from 2 contexts",
])
def test_a_sanitizer_report_is_a_fault(tmp_path, line):
    script = Script(tmp_path, SERVE % (0, "print(%r)" % line)).start()
    servers.wait_until(lambda: line in servers.read_tail(script.log), 5, "the report")
    with pytest.raises(ServerError, match="sanitizer report"):
        script.stop()


def test_an_early_end_shows_the_log(tmp_path):
    with pytest.raises(ServerError, match="no such thing"):
        Script(tmp_path, "import sys; sys.exit('no such thing')").start()


def test_a_server_that_never_answers_is_a_fault(tmp_path):
    script = Script(tmp_path, "import time; print('silent'); time.sleep(60)")
    script.ready_timeout = 0.3
    with pytest.raises(ServerError, match="silent"):
        script.start()
    script.kill()


def test_kill_takes_the_children_too(tmp_path):
    script = Script(tmp_path, "import subprocess\n"
                    "p = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
                    "print('ready', p.pid, flush=True); p.wait()").start()
    child = int(servers.read_tail(script.log).split()[1])
    assert not servers.gone(child)
    script.kill()
    assert servers.gone(child)


def test_a_stopped_server_can_still_be_stopped(tmp_path):
    script = Script(tmp_path, SERVE % (0, "")).start()
    script.pause()
    servers.wait_until(lambda: servers.proc_stat(script.pid)[2] == "T", 5, "SIGSTOP")
    script.stop()


def test_servers_die_with_their_test(tmp_path):
    code = ("import sys; sys.path.insert(0, %r); sys.path.insert(0, %r)\n"
            "from test_harness import Script, SERVE\n"
            "s = Script(%r, SERVE %% (0, '')).start(); print(s.pid, flush=True)\n"
            "import time; time.sleep(60)" % (
                os.path.dirname(servers.__file__), os.path.dirname(__file__), str(tmp_path)))
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(owner.stdout.readline())
    assert not servers.gone(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    servers.wait_until(lambda: servers.gone(pid), 5, "the server to end")


def test_two_processes_never_get_the_same_port():
    here = Ports()
    mine = {here.take() for _ in range(50)}
    code = ("import sys; sys.path.insert(0, %r)\nfrom servers import Ports\np = Ports()\n"
            "for port in %r:\n  assert not p._reserve(port), port\n" % (
                os.path.dirname(servers.__file__), sorted(mine)))
    assert len(mine) == 50
    subprocess.run([sys.executable, "-c", code], check=True)
    here.close()


def test_a_port_base_that_is_taken_is_refused():
    one, two = Ports(24000), Ports(24000)
    assert one.take(0) == 24000
    with pytest.raises(ServerError, match="24000"):
        two.take(0)
    one.close()


def test_set_paths():
    tree = {}
    servers.set_path(tree, *servers.parse_set("queue.active_limit=100"))
    servers.set_path(tree, *servers.parse_set("bridge.lease=15s"))
    assert tree == {"queue": {"active_limit": 100}, "bridge": {"lease": "15s"}}
    assert servers.to_yaml(tree) == 'queue:\n  active_limit: 100\nbridge:\n  lease: "15s"\n'
    with pytest.raises(ServerError):
        servers.set_path(tree, "bridge.lease.x", 1)


def test_postgres_survives_being_killed(postgres):
    postgres.sql("create table if not exists kept (n int)")
    postgres.sql("insert into kept values (1)")
    postgres.kill()
    postgres.start()
    assert postgres.value("select count(*) from kept") == "1"
    assert postgres.value("show fsync") == "on"
