# SPDX-License-Identifier: MIT
"""The gate and clients that nobody here wrote: MQTT.js, Chromium, jose, paho, mosquitto_*."""
import http.server
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

import npm
import servers
from client import Client
from gate_broker import GateBroker, peer
from gate_mqtt import Peer, REFUSED

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture(scope="module")
def modules():
    try:
        return npm.modules()
    except npm.Unavailable as why:
        pytest.skip("npm packages: %s" % why)


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with GateBroker(tmp_path_factory.mktemp("gate")) as broker:
        yield broker


def node(modules, what, **args):
    done = subprocess.run(["node", os.path.join(HERE, "gate_node.mjs"), modules, what,
                           json.dumps(args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tokens_and_jwks_by_jose(tmp_path, modules):
    """Every algorithm, keys and tokens by another implementation."""
    made = node(modules, "jose", issuer="https://jose.example", audience="mqtt")
    options = {"jose.issuer": "https://jose.example", "jose.audience": "mqtt",
               "jose.kind_claim": "kind",
               "jose.algorithms": "HS256 HS384 HS512 RS256 RS384 RS512 PS256 ES256 ES384 EdDSA",
               "jose.jwks_file": servers.write_file(str(tmp_path / "jwks"),
                                                    json.dumps(made["jwks"]))}
    with GateBroker(tmp_path / "b", options) as broker:
        assert len(made["tokens"]) == 10
        for alg, token in made["tokens"].items():
            with Peer(broker) as good:
                assert good.try_connect("user/alice", token) == 0, alg
            head, body, sig = token.split(".")
            other = made["tokens"]["ES256" if alg != "ES256" else "RS256"].split(".")
            for bad in (".".join((head, other[1], sig)), ".".join((other[0], body, sig)),
                        ".".join((head, body, other[2]))):
                with Peer(broker) as made_up:
                    assert made_up.try_connect("user/alice", bad) == REFUSED[5], alg


@pytest.mark.parametrize("scheme, version", [
    ("ws", 5), pytest.param("mqtt", 4, marks=pytest.mark.long),
    pytest.param("mqtt", 5, marks=pytest.mark.long), pytest.param("ws", 4, marks=pytest.mark.long)])
def test_mqtt_js(gate, modules, scheme, version):
    """Connect, subscribe, refresh, expiry, and no way back with the old token."""
    url = gate.url if scheme == "mqtt" else gate.ws_url
    ends = int(time.time()) + 8
    seen = node(modules, "mqtt", url=url, version=version, token=gate.token("user", "alice"),
                fresh=gate.token("user", "alice", exp=ends))
    assert seen["codes"][0] == 1 and seen["codes"][1:] != [1, 1]
    assert all(code not in (0, 1, 2) for code in seen["codes"][1:]), seen
    assert seen["messages"] and seen["messages"][0][0] == "notify/v1/users/alice/down/reply"
    assert json.loads(seen["messages"][0][1])["rpc"] == "n1"
    assert ends <= seen["closed"] / 1000 < ends + 60
    assert seen["disconnect"] == (0x98 if version == 5 else None)
    expired = gate.token("user", "alice", ttl=-1)
    assert node(modules, "refused", url=url, version=version,
                token=expired)["code"] == REFUSED[version]


PAGE = """<!doctype html><meta charset="utf-8"><script src="/mqtt.min.js"></script><script>
const args = %s, seen = {messages: [], disconnect: null};
const tell = (what) => fetch('/result', {method: 'POST', body: JSON.stringify(what)});
const client = mqtt.connect(args.url, {clientId: 'user/alice/browser', username: 'alice',
  password: args.token, protocolVersion: 5, reconnectPeriod: 0});
client.on('message', (topic, payload) => seen.messages.push([topic, payload.toString()]));
client.on('disconnect', (packet) => { seen.disconnect = packet.reasonCode; });
client.on('error', (error) => tell({error: String(error)}));
client.on('close', () => tell({...seen, agent: navigator.userAgent}));
client.on('connect', async () => {
  await client.subscribeAsync('notify/v1/users/alice/down/#', {qos: 1});
  await client.publishAsync('notify/v1/users/alice/up/ready', '{}', {qos: 1});
  await client.subscribeAsync('#').catch((error) => { seen.denied = error.code || 'denied'; });
  await client.publishAsync('$CONTROL/tocsin/v1', JSON.stringify(
    {rpc: 'b1', method: 'refresh', params: {token: args.fresh}}), {qos: 1});
});
</script>"""


def serve(make_page, script, results):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, kind, body):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):  # noqa: N802
            with open(script, "rb") as file:
                self.answer(*(("text/javascript", file.read()) if "mqtt" in self.path
                              else ("text/html", make_page().encode())))

        def do_POST(self):  # noqa: N802
            results.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer("text/plain", b"ok")

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.mark.long
def test_mqtt_js_in_chromium(gate, modules, tmp_path):
    """A real browser: WebSocket, refresh, the bridge's message, expiry."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium here (apt-get install chromium)")
    results = []
    server = serve(lambda: PAGE % json.dumps({
        "url": gate.ws_url, "token": gate.token("user", "alice", ttl=3),
        "fresh": gate.token("user", "alice", ttl=5)}), os.path.join(modules, "mqtt", "dist", "mqtt.min.js"), results)
    with peer(gate, "bridge", "w") as watch:
        watch.subscribe("notify/v1/presence/alice")
        run = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--user-data-dir=%s" % (tmp_path / "profile"),
             "http://127.0.0.1:%d/" % server.server_address[1]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            watch.wait(lambda m: b'"connections":1' in m.payload, 30)
            watch.subscribe("notify/v1/users/alice/up/#")
            watch.wait(lambda m: m.topic.endswith("/up/ready"), 10)
            watch.publish("notify/v1/users/alice/down/inbox", b'{"id":"1"}')
            servers.wait_until(lambda: results, 20, "the browser's word", 0.1)
        finally:
            run.terminate()
            run.wait(10)
            server.shutdown()
    seen = results[0]
    assert "Chrom" in seen["agent"] and seen["disconnect"] == 0x98 and seen["denied"]
    topics = [m[0].rsplit("/", 1)[1] for m in seen["messages"]]
    assert "reply" in topics and "inbox" in topics


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_paho_python(gate, version, transport):
    with Client(gate, "user", "alice", version=version, transport=transport) as alice, \
            Client(gate, "bridge", "b", version=version) as bridge:
        alice.subscribe("down/#")
        with pytest.raises(PermissionError):
            alice.subscribe("notify/v1/users/bob/down/#")
        bridge.publish("notify/v1/users/alice/down/inbox", {"id": "1"})
        assert alice.wait(lambda m: m.json.get("id") == "1")
        alice.publish("$CONTROL/tocsin/v1", {"rpc": "p", "method": "refresh", "params": {
            "token": gate.token("user", "alice")}})
        assert "result" in alice.wait(lambda m: m.json.get("rpc") == "p").json
    with pytest.raises(ConnectionError):
        Client(gate, "user", "bob", token=gate.token("user", "alice")).connect()


@pytest.mark.parametrize("version", ["311", "5"])
def test_mosquitto_clients(gate, version):
    base = ["-h", "127.0.0.1", "-p", str(gate.port), "-V", version]
    login = lambda kind, who: ["-i", "%s/%s" % (kind, who), "-u", who, "-P",  # noqa: E731
                               gate.token(kind, who)]
    sub = subprocess.Popen(["mosquitto_sub", *base, *login("user", "alice"), "-C", "1", "-W", "120",
                            "-t", "notify/v1/users/alice/down/#"], stdout=subprocess.PIPE)
    with peer(gate, "bridge", "w") as watch:
        watch.subscribe("notify/v1/presence/alice")
        watch.wait(lambda m: b'"connections":1' in m.payload, 10)
        end = time.monotonic() + 60
        while sub.poll() is None and time.monotonic() < end:  # until its SUBSCRIBE has arrived
            subprocess.check_call(["mosquitto_pub", *base, *login("bridge", "b"), "-q", "1", "-t",
                                   "notify/v1/users/alice/down/inbox", "-m", "hello"])
    assert sub.communicate(timeout=120)[0] == b"hello\n"
    bad = subprocess.run(["mosquitto_pub", *base, "-i", "user/alice", "-u", "alice", "-P", "x",
                          "-t", "a", "-m", "b"], capture_output=True)
    assert bad.returncode != 0 and b"not authori" in bad.stderr.lower()
