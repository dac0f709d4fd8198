# SPDX-License-Identifier: MIT
"""Running it: migrations, configuration, health, metrics, logs, drain and reload."""
import base64
import concurrent.futures
import os
import shutil
import signal
import subprocess
import time

import pytest

import servers
from client import Client
from postgres import postgres_bin
from process import sanitizer_env, wait_until


def tocsind(build, *args, env=None):
    return subprocess.run([os.path.join(build, "bridge", "tocsind"), *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=60, env={**os.environ, **(env or {})})


def write(path, text):
    path.write_text(text)
    return str(path)


GOOD = """mqtt:
  url: mqtt://127.0.0.1:1
postgres:
  url: postgresql://127.0.0.1:1/none
"""

BAD_FILES = [
    ("bridg:\n  node: 1\n" + GOOD, 2, "there is no such key"),
    (GOOD + "queue:\n  active_limt: 5\n", 6, "there is no such key"),
    (GOOD + "bridge:\n  lease: 15\n", 6, "duration with a unit between 1s and 5m"),
    (GOOD + "queue:\n  active_limit: 5\n", 6, "between 10 and 1000000"),
    (GOOD + "bridge:\n  node: one\n", 6, "give a number"),
    ("mqtt:\n  url: x\n", 0, "postgres.url: is required"),
    (GOOD + "destinations:\n  d:\n    concurrency: 1\n", 7, "needs the key adapter"),
    (GOOD + "destinations:\n  d:\n    adapter: twillio\n", 7, "there is no such adapter"),
    (GOOD + "channels:\n  sms:\n    jitter: maybe\n", 7, "true or false"),
    (GOOD + "log:\n  level: ${NOT_SET_ANYWHERE}\n", 6, "variable is not set"),
    (GOOD + "requests:\n  broadcast:\n", 6, "needs a value"),
    (GOOD + "types:\n  a:\n    unknown:\n", 7, "needs a value"),
    (GOOD + "bridge: {node: 1}\nbridge: {node: 2}\n", 6, "twice"),
    (GOOD + "bridge: [1\n", 6, ""),
    ("- a\n", 1, "mapping"),
    # A setting that could never do anything.
    ("mqtt:\n  url: localhost:1883\npostgres:\n  url: dbname=x\n", 2, "give mqtt://host:port"),
    ("mqtt:\n  url: http://a:1\npostgres:\n  url: dbname=x\n", 2, "give mqtt://host:port"),
    ("mqtt:\n  url: mqtt://a:99999\npostgres:\n  url: dbname=x\n", 2, "give mqtt://host:port"),
    ("mqtt:\n  url: mqtt://a\npostgres:\n  url: db.example.org\n", 4, "not understood"),
    (GOOD + "http:\n  listen: 8080\n", 6, "give an address and a port"),
    (GOOD + "http:\n  listen: 'localhost:http'\n", 6, "give an address and a port"),
    (GOOD + "http:\n  health_listen: '127.0.0.1:8080'\n", 6, "must differ from http.listen"),
    (GOOD + "http:\n  public_url: notify.example.org\n", 6, "give https://host"),
    (GOOD + "jwks: {url: 'id.example.org/keys', file: /x}\n", 5, "is not an http:// or https:// URL"),
    (GOOD + "jwks:\n  ca_file: /etc/ca.pem\n", 6, "is of no use without jwks.url"),
    (GOOD + "types:\n  order.ready:\n    channels: [fax]\n", 7, "there is no channel \"fax\""),
    (GOOD + "types:\n  order.ready:\n    channels: [in_app, sms]\n", 7, "no destination serves"),
    (GOOD + "types:\n  Order:\n    attempts: 2\n", 0, "no request can have this type"),
    (GOOD + "types:\n  a:\n    escalate_after: 5m\n", 7, "needs offline: next_channel"),
    (GOOD + "types:\n  a:\n    tracking: [opens]\n", 7, "needs a destination for email"),
    (GOOD + "destinations:\n  a/b:\n    adapter: log_sms\n", 7, "letters, digits"),
    (GOOD + "destinations:\n  in_app:\n    adapter: log_sms\n", 7, "is taken by the channel"),
    (GOOD + "destinations:\n  d:\n    adapter: log_sms\n    types: [Order.*]\n", 8, "matches no type"),
    (GOOD + "destinations:\n  d:\n    adapter: log_sms\n    prefixes: ['49']\n", 8, "beginning of no number"),
    (GOOD + "requests:\n  broadcast: shop *\n", 6, "stand alone"),
    (GOOD + "alerts:\n  to: ['email:a@example.org']\n", 6, "no destination serves what email: needs"),
    # What is nearly right is named.
    ("mqt: {url: 'mqtt://a'}\n" + GOOD, 1, "is \"mqtt\" meant?"),
    (GOOD + "queue:\n  active_limt: 5\n", 6, "is \"active_limit\" meant?"),
    (GOOD + "channels:\n  sns:\n    attempts: 2\n", 7, "is \"sms\" meant?"),
    (GOOD + "types:\n  a:\n    atempts: 2\n", 7, "is \"attempts\" meant?"),
    (GOOD + "destinations:\n  d:\n    adapter: twilio\n    acount_sid: x\n", 8, "is \"account_sid\" meant?"),
]

SMS = """destinations:
  sms:
    adapter: twilio
    account_sid: AC1
    auth_token_file: %s
    from: "%s"
"""


@pytest.mark.parametrize("text,line,sentence", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_bad_configuration_stops_the_start_and_says_what_to_mend(tmp_path, text, line, sentence):
    file = write(tmp_path / "c.yaml", text)
    done = tocsind(servers.build_dir(), "--config", file, "--check-config")
    assert done.returncode == 1
    assert sentence in done.stderr
    if line:
        assert "%s:%d:" % (file, line) in done.stderr


def check(file):
    return tocsind(servers.build_dir(), "--config", file, "--check-config")


def test_all_faults_of_a_configuration_are_told_at_once(tmp_path):
    file = write(tmp_path / "c.yaml", "mqtt:\n  url: localhost:1883\nqueue:\n  nonsense: 1\n"
                 "  poll_min: 5\nlog:\n  level: ${NOT_SET_ANYWHERE}\ntypes:\n  a:\n"
                 "    channels: [fax, pigeon]\n    unknown: perhaps\nlog2: 1\nlog2: 2\n")
    done = check(file)
    assert done.returncode == 1 and not done.stdout
    faults = done.stderr.splitlines()
    assert all(line.startswith("tocsind: %s:" % file) for line in faults)
    for fault in (":2: mqtt.url", "postgres.url: is required", ":4: queue.nonsense",
                  ":5: queue.poll_min", ":7: NOT_SET_ANYWHERE", "\"fax\"", "\"pigeon\"",
                  "unknown must be", ":13: log2", ":12: log2"):
        assert [line for line in faults if fault in line], (fault, faults)
    assert len(faults) == 10


def test_check_config_looks_at_the_files_too(tmp_path):
    """Each that is named and could not be read later, and all of them at once."""
    secret = write(tmp_path / "secret", "x" * 40)
    os.chmod(secret, 0o600)
    opened = write(tmp_path / "open", "x" * 40)
    os.chmod(opened, 0o644)
    file = write(tmp_path / "c.yaml", """mqtt:
  url: mqtts://127.0.0.1:1
  token_file: /nothing/token
  ca_file: /nothing/ca
postgres:
  url: dbname=x
  password_file: %s
jwks: {url: 'https://a.example/keys', file: /nothing/keys}
tracking: {key_file: /nothing/key}
%s""" % (opened, SMS % ("/nothing/auth", "015")))
    done = check(file)
    assert done.returncode == 1
    for fault in ("mqtt.token_file: cannot open /nothing/token", "mqtt.ca_file: /nothing/ca",
                  "chmod 600", "cannot write into the folder /nothing", "/nothing/key",
                  "from must be a number", "auth_token_file: cannot open /nothing/auth"):
        assert fault in done.stderr, (fault, done.stderr)
    assert len(done.stderr.splitlines()) == 7
    claims = base64.urlsafe_b64encode(b'{"sub":"tocsin","x":{"exp":9e9},"exp": 1}').decode()
    token = write(tmp_path / "token", "e30.%s.x" % claims.rstrip("="))
    os.chmod(token, 0o600)
    done = check(write(tmp_path / "c.yaml", GOOD.replace("mqtt:\n", "mqtt:\n  token_file: %s\n" % token)))
    assert done.returncode == 1 and "expired" in done.stderr
    good = write(tmp_path / "c.yaml", GOOD + SMS % (secret, "+15550100"))
    assert check(good).stdout == "%s: ok\n" % good


@pytest.mark.parametrize("sender, is_good", [
    ("+15550100", True), ("15550100", True), ("12345", True), ("Tocsin", True), ("Tocsin AG", True),
    ("whatsapp:+15550100", True), ("015", False), ("+015550100", False), ("12", False),
    ("Tocsin Messages", False), ("+4915112345678901", False), ("...", False)])
def test_a_sender_that_no_message_can_have_is_refused(tmp_path, sender, is_good):
    secret = write(tmp_path / "secret", "x" * 40)
    os.chmod(secret, 0o600)
    done = check(write(tmp_path / "c.yaml", GOOD + SMS % (secret, sender)))
    assert (done.returncode == 0) == is_good, done.stderr


def test_a_good_configuration_is_printed_as_it_is_in_force(tmp_path):
    file = write(tmp_path / "c.yaml", GOOD + "bridge:\n  lease: ${LEASE:-20s}\n")
    build = servers.build_dir()
    assert "lease: 20s" in tocsind(build, "--config", file, "--print-config").stdout
    printed = tocsind(build, "--config", file, "--print-config", env={"LEASE": "30s"}).stdout
    assert "lease: 30s" in printed
    again = write(tmp_path / "again.yaml", printed)
    assert tocsind(build, "--config", again, "--print-config").stdout == printed


def test_the_reference_in_docs_is_the_one_in_the_program():
    with open(os.path.join(servers.ROOT, "docs", "config.md")) as file:
        assert file.read() == tocsind(servers.build_dir(), "--config-reference").stdout


@pytest.fixture
def database(postgres, tmp_path, request):
    name = "m%d" % time.monotonic_ns()
    postgres.sql("create database %s" % name)
    url = postgres.socket_url.replace("/tocsin?", "/%s?" % name)
    assert name in url
    return url, write(tmp_path / "c.yaml", "mqtt:\n  url: mqtt://127.0.0.1:1\npostgres:\n"
                                           "  url: '%s'\n" % url)


def test_migrating_twice_and_at_once_is_safe(database):
    _, file = database
    build = servers.build_dir()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: tocsind(build, "--config", file, "--migrate"), range(4)))
    assert [d.returncode for d in done] == [0] * 4, [d.stderr for d in done]
    assert len([d for d in done if "nothing to do" in d.stdout]) == 3
    assert "nothing to do" in tocsind(build, "--config", file, "--migrate").stdout


def test_a_database_newer_than_the_program_is_refused(database, postgres):
    url, file = database
    build = servers.build_dir()
    assert tocsind(build, "--config", file, "--migrate").returncode == 0
    subprocess.run(["psql", url, "-qc", "insert into schema_version values (999, 'later')"],
                   check=True)
    done = tocsind(build, "--config", file, "--migrate")
    assert done.returncode == 1
    assert "newer" in done.stderr


def test_health_and_metrics(stack):
    url = stack.bridge.url
    assert servers.http("GET", url + "/healthz")[0] == 200
    assert servers.http("GET", url + "/readyz")[0] == 200
    assert servers.http("GET", url + "/nothing")[0] == 404
    assert servers.http("POST", url + "/healthz", {})[0] == 405
    status, text = servers.http("GET", url + "/metrics")[:2]
    assert status == 200
    assert stack.bridge.metrics()['tocsin_up{part="postgres"}'] == 1
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                             capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("page", ["database.md", "operations.md"])
def test_what_the_pages_ask_the_database_can_be_asked(stack, page):
    with open(os.path.join(servers.ROOT, "docs", page)) as file:
        asked = [line.strip() for line in file if line.startswith("    select ")]
    assert asked
    for statement in asked:
        rows = stack.postgres.sql(statement.split(" -- ")[0])
        if "conservation" in statement:
            assert rows[0][-1] == "0"


def test_no_address_token_or_content_reaches_the_log(new_stack):
    stack = new_stack(settings={"log.level": "debug"})
    secrets = ["+15550133377", "carol.secret@example.org", "the body is private",
               open(stack.providers.info["twilio"]["auth_token_file"]).read().strip()]
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        for name, to in (("p", {"phone": secrets[0]}), ("e", {"email": secrets[1]})):
            stack.providers.control("POST", "/behaviour", {
                "provider": "twilio" if name == "p" else "sendgrid", "answers": [400]})
            shop.publish("up/request", {"id": name, "type": "t", "title": "x", "body": secrets[2],
                                        "to": to})
            shop.receipt(name, "dead", 15)
    with open(stack.bridge.log) as file:
        log = file.read()
    assert "delivery.dead" in log
    for secret in secrets:
        assert secret not in log
    assert "eyJ" not in log


def test_sigterm_finishes_what_is_under_way_and_hands_back_the_rest(new_stack):
    stack = new_stack(settings={"destinations.twilio.concurrency": 5})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "delay_ms": 700,
                                                   "answers": ["ok"], "repeat": True})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        names = ["d%d" % n for n in range(40)]
        shop.publish("up/request", [{"id": name, "type": "t", "title": "t", "body": "b",
                                     "to": {"phone": "+1555014%04d" % n}}
                                    for n, name in enumerate(names)])
        shop.receipt(names[-1], "accepted")
        wait_until(lambda: stack.providers.control("GET", "/stats?provider=twilio")["in_flight"] or None,
                   10, "a call under way")
        stack.bridge.stop()
        assert stack.postgres.sql("select count(*) from delivery where state <> 0") == [["0"]]
        assert stack.postgres.sql("select count(*) from bridge") == [["0"]]
        stack.providers.control("POST", "/reset", {})
        before = stack.postgres.sql("select sent from conservation")[0][0]
        assert 0 < int(before) < 40
        stack.bridge.start()
        for name in names:
            shop.receipt(name, "sent", 20)
        assert len([r for r in shop.receipts() if r["status"] == "sent"]) == 40
        assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_sigterm_waits_for_a_sweep_that_is_under_way_and_repeats_no_receipt(new_stack):
    """As on a loaded machine, where a sweep of inboxes takes long: it might end deliveries."""
    stack = new_stack()
    stack.postgres.sql(
        "create function nap() returns trigger language plpgsql as "
        "'begin perform pg_sleep(1.5); return null; end';"
        "create trigger nap before update on collapse for each statement execute function nap()")
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        names = ["r%d" % n for n in range(20)]
        shop.publish("up/request", [{"id": name, "type": "t", "title": "t", "body": "b",
                                     "to": {"phone": "+1555015%04d" % n}}
                                    for n, name in enumerate(names)])
        for name in names:
            shop.receipt(name, "sent", 20)
        wait_until(lambda: stack.postgres.sql("select 1 from pg_stat_activity where "
                                              "wait_event = 'PgSleep'") or None, 10, "a sweep")
        stack.bridge.stop()
        assert stack.postgres.sql("select count(*) from bridge") == [["0"]]
        assert stack.postgres.sql("select count(*) from untold") == [["0"]]
        stack.postgres.sql("drop trigger nap on collapse")
        stack.bridge.start()
        shop.publish("up/request", {"id": "last", "type": "t", "title": "t", "body": "b",
                                    "to": {"phone": "+15550159999"}})
        shop.receipt("last", "sent", 20)  # behind all that would come again
        assert len([r for r in shop.receipts() if r["status"] == "sent"]) == 21


def test_an_acknowledgement_that_is_being_recorded_at_sigterm_is_told(new_stack):
    """Its commit is under way when the bridge is asked to end: whoever reads it again finds nothing."""
    stack = new_stack(settings={"channels.in_app.ack_timeout": "300ms",
                                "channels.in_app.retry_base": "20s",
                                "channels.in_app.retry_max": "20s"})
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "ann") as ann:
        shop.subscribe("down/receipt")
        ann.subscribe("down/inbox")
        shop.publish("up/request", {"id": "one", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "ann"}, "receipts": "all"})
        shown = ann.wait(lambda m: m.topic.endswith("/inbox"))
        shop.receipt("one", "retrying")  # it waits in the database, and nothing is under way
        locked = subprocess.Popen(
            [os.path.join(postgres_bin(), "psql"), "-X", "-q", stack.postgres.socket_url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        locked.stdin.write("begin; select 'locked' from delivery for update;\n")
        locked.stdin.flush()
        wait_until(lambda: "locked" in locked.stdout.readline(), 10, "the row to be locked")
        ann.publish("up/ack", {"ids": [shown.json["id"]]})
        wait_until(lambda: stack.postgres.sql("select 1 from pg_locks where not granted") or None,
                   10, "the acknowledgement to wait for it")
        stack.bridge.signal(signal.SIGTERM)
        wait_until(lambda: "bridge.stopping" in servers.read_tail(stack.bridge.log), 5, "SIGTERM")
        time.sleep(0.3)  # what should not end now would end now
        locked.communicate("rollback;\n", timeout=120)
        assert stack.bridge.process.wait(120) == 0
        shop.receipt("one", "delivered", 5)
        stack.bridge.stop()


def test_the_end_of_the_bridges_token_is_told_and_a_new_one_is_taken(new_stack):
    stack = new_stack()
    bridge, file = stack.bridge, stack.bridge.tree_config["mqtt"]["token_file"]
    name = "tocsin_token_expires_seconds"
    assert bridge.metrics()[name] > 0
    bridge.stop()
    servers.write_file(file, stack.token("bridge", "tocsin", ttl=-5))
    bridge.start(wait=False)
    wait_until(lambda: "has expired: put a new one" in servers.read_tail(bridge.log), 20, "mqtt.lost")
    assert "token.expired" in servers.read_tail(bridge.log)
    assert wait_until(lambda: bridge.metrics()[name], 10, "the metric") < 0
    servers.write_file(file, stack.token("bridge", "tocsin", ttl=600))
    wait_until(bridge.is_ready, 30, "the bridge to be connected")


def test_sighup_takes_the_new_settings_and_keeps_the_old_ones_when_they_are_bad(new_stack):
    stack = new_stack()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")

        def tries(name):
            shop.publish("up/request", {"id": name, "type": "t", "title": "t", "body": "b",
                                        "to": {"user": "nobody"}})
            return shop.receipt(name, "dead", 20)["attempt"]
        stack.bridge.set("channels.in_app.attempts", 1)
        stack.bridge.prepare()
        os.kill(stack.bridge.pid, signal.SIGHUP)
        wait_until(lambda: "reload.done" in open(stack.bridge.log).read() or None, 10, "reload")
        assert tries("one") == 1
        with open(stack.bridge.config, "a") as file:
            file.write("nonsense: {a: 1}\n")
        wait_until(lambda: (os.kill(stack.bridge.pid, signal.SIGHUP),
                            "no such key" in open(stack.bridge.log).read() or None)[1],
                   30, "the refusal", 0.5)
        assert tries("still one") == 1


def test_after_a_reload_the_connections_come_back_as_before(new_stack):
    """They are made anew with what they were opened with, when that configuration is long gone."""
    stack = new_stack(settings={"bridge.lease": "1s"})

    def reloaded():
        return open(stack.bridge.log).read().count("reload.done")
    # Refused until nothing borrows from the one before: then that has been freed.
    for times in (1, 2, 3):
        wait_until(lambda: (stack.bridge.signal(signal.SIGHUP), reloaded() >= times)[1], 30,
                   "reload %d" % times, 0.2)
    stack.postgres.kill()
    stack.postgres.start()
    stack.broker.stop()
    stack.broker.start()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", {"id": "one", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "nobody"}})
        shop.receipt("one", "accepted", 30)


def test_who_may_address_all_and_roles_is_configured(new_stack):
    stack = new_stack(settings={"requests.broadcast": "ops news", "requests.roles": "-"})
    with Client(stack, "service", "shop") as shop, Client(stack, "service", "news") as news, \
            Client(stack, "service", "new") as new:
        for client in (shop, news, new):
            client.subscribe("down/#")
            client.publish("up/request", [
                {"id": "all", "type": "a.b", "to": {"broadcast": True}, "title": "t"},
                {"id": "role", "type": "a.b", "to": {"role": "ops"}, "title": "t"}])
        news.receipt("all", "accepted")
        for client in (shop, new):
            refused = client.receipt("all", "rejected")
            assert (refused["reason"], refused["field"]) == ("not_allowed", "/to/broadcast")
        for client in (shop, news, new):
            refused = client.receipt("role", "rejected")
            assert (refused["reason"], refused["field"]) == ("not_allowed", "/to/role")


def test_an_end_by_a_signal_is_logged(new_stack):
    stack = new_stack()
    bridge = stack.bridge
    bridge.stop()
    bridge.env.update(sanitizer_env("handle_abort=0"))  # else the sanitizer has the signal
    bridge.start()
    bridge.exit_codes = {-signal.SIGABRT}
    bridge.signal(signal.SIGABRT)
    wait_until(lambda: not bridge.running, 10, "the end of the bridge")
    bridge.stop()
    bridge.exit_codes = {0}
    with open(bridge.log) as file:
        lines = [line for line in file if " process.crashed " in line]
    assert len(lines) == 1
    assert " error process.crashed signal=SIGABRT why=\"another process sent the signal" in lines[0]
    bridge.start()
