# SPDX-License-Identifier: MIT
"""Brokers for tests of the gate: servers.Broker with other keys, extra lines, valgrind."""
import os
import socket

import servers
import tokens
from gate_mqtt import Peer


class GateBroker(servers.Broker):
    """A broker that may refuse the harness's own token: it is ready when it listens."""

    def __init__(self, directory, plugin_options=None, lines=(), wrapper=(), **settings):
        self.ports = servers.Ports()  # one may take more of them
        super().__init__(directory, self.ports, plugin_options=plugin_options, **settings)
        self.lines = list(lines)
        self.wrapper = list(wrapper)

    def prepare(self):
        super().prepare()
        with open(self.config, "a") as file:
            file.write("".join(line + "\n" for line in self.lines))

    def command(self):
        return self.wrapper + super().command()

    def is_ready(self):
        more = [int(line.split()[1]) for line in self.lines if line.startswith("listener ")]
        try:
            for port in [self.port] + more:
                with socket.create_connection(("127.0.0.1", port), 1):
                    pass
            return os.path.exists(self.socket)
        except OSError:
            return False

    def log_text(self):
        with open(self.log, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def sentence(self):
        """Starts a broker that must not start; what the plugin said about it."""
        try:
            self.start()
        except servers.ServerError:
            pass
        else:
            self.stop()
            raise AssertionError("the broker started")
        finally:
            if self.process:
                self.kill()
        lines = [x for x in self.log_text().splitlines() if "tocsin: not starting" in x]
        assert lines, self.log_text()
        return lines[-1].split("tocsin: not starting: ", 1)[1]

    def rss_kib(self):
        with open("/proc/%d/status" % self.pid) as file:
            return int(next(x for x in file if x.startswith("VmRSS")).split()[1])


def peer(broker, kind, subject, device="", version=5, ws=False, roles=(), ttl=3600, token=None,
         **more):
    """A connected peer.  Its token lasts ttl seconds, a second more where that is short."""
    client = "%s/%s%s" % (kind, tokens.encode_id(subject), "/" + device if device else "")
    made = Peer(broker, version, ws)
    ttl += ttl < 2  # exp counts whole seconds: one of 1 may be gone before it is used
    return made.connect(client, token or broker.token(kind, subject, roles, ttl), subject, **more)
