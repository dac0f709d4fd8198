# SPDX-License-Identifier: MIT
"""The stack under fault: two bridges, a pair of Postgres, every link through the proxy.

What faults.py does to it, and what watches it meanwhile: samples of memory and descriptors, the
books, what the providers got, and the supervisor that starts a bridge which ended by itself, as
an operator's would.
"""
import collections
import json
import os
import re
import shutil
import subprocess
import threading
import time

import servers
from cluster import Cluster
from faults import LINKS, PROVIDERS
from postgres import postgres_bin
from proxy import Proxy

BRIDGES = 2
CHANNEL_OF = {"twilio": "sms", "fcm": "push", "sendgrid": "email", "webhook": "webhook",
              "slack": "chat"}
TAG = re.compile(r"zq[a-z]+\d+q")
LEASE_S = 5.0
SETTINGS = {
    "bridge.lease": "5s", "bridge.drain": "8s", "mqtt.keepalive": "5s",
    "channels.in_app.ack_timeout": "2s",
    "types.careful.unknown": "at_most_once",
    **{"channels.%s.%s" % (channel, key): value
       for channel in ("push", "sms", "email", "chat", "webhook")
       for key, value in (("attempts", 6), ("retry_base", "300ms"), ("retry_max", "3s"))},
}
BROKER = {"autosave_interval": 10}


class Rig(servers.Stack):
    def __init__(self, directory, recording, small_disks, standby=True):
        super().__init__(directory, bridges=BRIDGES, settings=SETTINGS, broker=BROKER)
        shutil.rmtree(self.postgres.place)  # one node is not enough
        self.postgres = Cluster(self.dir, self.ports, small_disks)
        self.recording = recording
        self.with_standby = standby
        self.proxy = None
        self.links = {}
        self.wanted = [True] * BRIDGES   # whether the supervisor keeps it alive
        self.excused = [False] * BRIDGES  # it may end by itself now
        self.leaving = [False] * BRIDGES  # it was asked to end
        self.sessions = {}
        self.connections = []
        self.binary = os.path.join(self.build, "bridge", "tocsind")
        self.is_sanitized = servers.instrumented(self.binary)

    # Start
    def start(self):
        try:
            for server in (self.postgres, self.broker, self.providers):
                server.start(wait=False)
            for server in (self.postgres, self.broker, self.providers):
                server.wait_ready()
            self.open_links()
            if self.with_standby:
                self.postgres.attach_standby()
            for _ in range(BRIDGES):
                self.add_bridge(start=False)
            for bridge in self.bridges:
                bridge.own_clock()
                bridge.start(wait=False)
            for bridge in self.bridges:
                bridge.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def open_links(self):
        def link(name, port):
            self.links[name] = (self.ports.take(), "127.0.0.1", port)
        for n in range(BRIDGES):
            for node in self.postgres.nodes:
                link("bridge%d-postgres-%s" % (n, node.letter), node.port)
            link("bridge%d-broker" % n, self.broker.port)
        link("services-broker", self.broker.port)
        for name in PROVIDERS:
            info = self.providers.info[name]
            url = info["tls_base_url"] if name == "sendgrid" else info["base_url"]
            link(name, int(url.rsplit(":", 1)[1]))
        self.proxy = Proxy(self.dir, self.links).start()

    def port(self, link):
        return self.links[link][0]

    def descriptors(self, pid):
        """What a process has open, less its connections to providers: libcurl keeps those, up to
        the concurrency of each provider, and how many depends on the traffic before."""
        kept = self.provider_sockets(pid)
        found = []
        for name in os.listdir("/proc/%d/fd" % pid):
            try:
                target = os.readlink("/proc/%d/fd/%s" % (pid, name))
            except OSError:
                continue  # closed since
            if target not in kept:
                found.append(target)
        return found

    def provider_sockets(self, pid):
        ports = {self.links[name][0] for name in PROVIDERS if name in self.links}
        with open("/proc/%d/net/tcp" % pid) as file:
            rows = [line.split() for line in file.readlines()[1:]]
        return {"socket:[%s]" % row[9] for row in rows if int(row[2].split(":")[1], 16) in ports}

    def through(self, url, link):
        """The same URL, by way of the proxy."""
        return re.sub(r"(//[^/:]+):\d+", r"\1:%d" % self.port(link), url, count=1)

    def bridge_config(self):
        number = len(self.bridges)
        tree = super().bridge_config()
        hosts = ",".join("127.0.0.1:%d" % self.port("bridge%d-postgres-%s" % (number, node.letter))
                         for node in self.postgres.nodes)
        password = self.postgres.nodes[0].password
        tree["postgres"]["url"] = "postgresql://tocsin:%s@%s/tocsin?target_session_attrs=%s" % (
            password, hosts, "read-write")
        tree["mqtt"]["url"] = "mqtt://127.0.0.1:%d" % self.port("bridge%d-broker" % number)
        tree["destinations"] = self.destinations()
        return tree

    def destinations(self):
        found = servers.destinations(self.providers.info)
        info = self.providers.info
        found.pop("smtp", None)
        found["slack"] = {"adapter": "slack", "allow_private": True}
        found["sendgrid"].update(ca_file=info["ca_file"],
                                 base_url=info["sendgrid"]["tls_base_url"])
        for name, settings in found.items():
            if "base_url" in settings:
                settings["base_url"] = self.through(settings["base_url"], name)
            settings.update(timeout="3s", shut_min="300ms", shut_max="3s")
        return found

    # Bridges
    def kill_bridge(self, number):
        self.wanted[number] = False
        self.bridges[number].kill()

    def stop_bridge(self, number):
        """SIGTERM; its drain may outlast the fault."""
        self.wanted[number], self.leaving[number] = False, True
        if self.bridges[number].running:
            self.bridges[number].signal(servers.Server.stop_signal)

    def start_bridge(self, number):
        """Wanted again: supervise() starts it as soon as it has ended, if it has not yet."""
        self.wanted[number] = True
        if self.bridges[number].process is None:
            self.begin_again(self.bridges[number])

    def begin_again(self, bridge):
        bridge._forget()
        bridge.start(wait=False)
        self.excused[bridge.index] = self.leaving[bridge.index] = False

    def may_exit(self, number):
        self.excused[number] = True

    def note_exit(self, bridge, code, expected, text=""):
        self.recording.add("exit", process=bridge.name, code=code, expected=expected,
                           text=text or servers.read_tail(bridge.log, 1500))

    def supervise(self):
        """Starts what ended by itself; an end that no fault explains is recorded as one."""
        for bridge in self.bridges:
            if not self.wanted[bridge.index] or bridge.running:
                continue
            code = bridge.process.returncode if bridge.process else None
            if not (self.leaving[bridge.index] and code == 0):
                self.note_exit(bridge, code, self.excused[bridge.index])
            try:
                bridge.check_log()
            except servers.ServerError as error:
                self.note_exit(bridge, code, False, str(error))
            self.begin_again(bridge)

    # Postgres
    def answers(self, node):
        try:
            return node.is_ready()
        except (subprocess.TimeoutExpired, OSError):
            return False

    def hold(self, name, statement):
        """A session that does this and then nothing, until release()."""
        self.release(name)
        node = self.postgres.primary
        self.sessions[name] = session = subprocess.Popen(
            [os.path.join(postgres_bin(), "psql"), "-X", "-q", "-h", node.place, "-p",
             str(node.port), "-U", "tocsin", "-d", "tocsin"], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PGAPPNAME": "chaos"})
        session.stdin.write("set idle_in_transaction_session_timeout = 0; %s;\n" % statement)
        session.stdin.flush()

    def release(self, name):
        session = self.sessions.pop(name, None)
        if session:
            session.kill()
            session.wait()

    def take_connections(self, victims):
        """All that are left; then those of `victims` are ended, and theirs are taken as well."""
        import psycopg2
        node = self.postgres.primary
        self.take_all(psycopg2, node)
        if self.connections:
            with self.connections[0].cursor() as cursor:
                cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where"
                               " application_name like %s", (victims + "%",))
        self.take_all(psycopg2, node)

    def take_all(self, psycopg2, node):
        while len(self.connections) < 500:
            try:
                self.connections.append(psycopg2.connect(
                    host=node.place, port=node.port, user="tocsin", dbname="tocsin",
                    application_name="chaos"))
            except psycopg2.OperationalError:
                return

    def give_connections(self):
        while self.connections:
            self.connections.pop().close()

    # Providers and network
    def script(self, provider, **rule):
        self.providers.control("POST", "/behaviour", {"provider": provider, **rule})

    def unscript(self, provider):
        self.providers.control("DELETE", "/behaviour?provider=" + provider)
        self.standing_rules(provider)

    def standing_rules(self, provider):
        """What a provider always does: some numbers and addresses are refused for good."""
        if provider == "twilio":
            self.script("twilio", target="+1555666*", error="twilio:21211")

    def members(self, link):
        """A link of the schedule, as links of the proxy: a bridge's Postgres is two."""
        return [name for name in self.links if name == link or name.startswith(link + "-")]

    def net(self, link, **weather):
        self.proxy.set(*self.members(link), **weather)

    def net_reset(self, link):
        self.proxy.reset(*self.members(link))

    # The end
    def stop(self, check=True):
        for name in list(self.sessions):
            self.release(name)
        self.give_connections()
        try:
            super().stop(check)
        finally:
            if self.proxy:
                self.proxy.stop()

    def kill(self):
        super().kill()
        if self.proxy:
            self.proxy.stop()

    def remove(self):
        self.postgres.remove()
        super().remove()


class Watch(threading.Thread):
    """Samples, books and the providers' records, until close()."""

    def __init__(self, rig, recording, every=0.5):
        super().__init__(daemon=True)
        self.rig, self.recording, self.every = rig, recording, every
        self.next = 0
        self.phase = "busy"
        self.done = threading.Event()
        self.counts = collections.Counter()

    def run(self):
        turn = 0
        while not self.done.wait(self.every):
            turn += 1
            for look in (self.calls, self.books if turn % 2 else self.sample):
                try:
                    look()
                except (servers.ServerError, OSError, IndexError, ValueError, KeyError,
                        subprocess.TimeoutExpired):
                    continue  # who was asked is the one that is down

    def calls(self):
        fields = "seq,provider,op,at_ns,target,dedupe,verdict,why,status,body,headers"
        while True:
            answer = self.rig.providers.control(
                "GET", "/requests?since=%d&limit=2000&fields=%s" % (self.next, fields))
            for call in answer["requests"]:
                if call["op"] == "send":
                    self.note(call)
            self.next = answer["next"]
            if len(answer["requests"]) < 2000:
                return

    def note(self, call):
        found = TAG.search(json.dumps(call["body"], ensure_ascii=False))
        self.counts[call["provider"]] += 1
        self.recording.add("call", provider=call["provider"],
                           channel=CHANNEL_OF.get(call["provider"]), seq=call["seq"],
                           tag=found.group(0) if found else None, target=call["target"],
                           dedupe=call["dedupe"], verdict=call["verdict"], why=call["why"],
                           status=call["status"], arrived=call["at_ns"] / 1e9)

    def books(self):
        text = self.rig.postgres.value("select row_to_json(c)::text from conservation c")
        self.recording.add("books", **json.loads(text))

    def sample(self):
        for bridge in self.rig.bridges:
            if bridge.running:
                self.recording.add("sample", process=bridge.name, pid=bridge.pid,
                                   rss_kb=bridge.rss_kb(),
                                   fds=len(self.rig.descriptors(bridge.pid)), phase=self.phase)

    def close(self):
        self.done.set()
        self.join(10)
        self.calls()
