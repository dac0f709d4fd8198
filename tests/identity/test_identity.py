# SPDX-License-Identifier: MIT
"""What fifteen identity providers send, through the configurations that are shipped for them.

Each *.yaml here describes one provider as its own documents and bug reports do: the key set with
its media type, tokens with what they must become, tokens that must be refused.  One broker holds
the shipped configurations of all providers at once, and its keys come from the bridge, which
fetches them from a server that answers as the providers do.
"""
import base64
import glob
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import gate_tokens as gt  # noqa: E402
import servers  # noqa: E402
import tokens  # noqa: E402
from gate_broker import GateBroker  # noqa: E402
from gate_mqtt import DENIED, Peer, REFUSED  # noqa: E402
from process import PATIENCE  # noqa: E402

CONF = os.path.join(servers.ROOT, "mosquitto-conf", "providers")
NAMES = sorted(os.path.basename(path)[:-5] for path in glob.glob(os.path.join(HERE, "*.yaml")))
UNUSABLE = [{"kty": "EC", "crv": "P-256", "kid": "short", "use": "sig", "alg": "ES256",
             "x": "A" * 42, "y": "A" * 43},
            {"kty": "RSA", "kid": "weak", "n": "s" * 171, "e": "AQAB"},
            {"kty": "RSA", "kid": "chain", "use": "sig", "x5c": ["MIIB"]}, None]


def conf_options(name):
    """The plugin_opt_ lines of a shipped configuration; a list given twice is one."""
    found = {}
    with open(os.path.join(CONF, name + ".conf")) as file:
        for line in file:
            if line.startswith("plugin_opt_"):
                key, value = line[len("plugin_opt_"):].rstrip("\n").split(None, 1)
                assert key not in found, key
                found[key] = value
    assert found and all("." in key for key in found), name
    return found


class Provider:
    """One provider's keys, the set that tells of them, and its tokens."""

    spare = rsa.generate_private_key(65537, 2048)  # a key that signs nothing here
    chain = base64.b64encode(b"a certificate").decode()

    def __init__(self, name):
        self.name = name
        with open(os.path.join(HERE, name + ".yaml")) as file:
            self.shape = yaml.safe_load(file)
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.options = conf_options(name)

    def fill(self, value):
        """`$n` and the like become numbers of the keys; `now+300` becomes a time."""
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, str):
            return value
        point = self.ec.public_key().public_numbers()
        words = {"$n": gt.number(self.rsa.public_key().public_numbers().n),
                 "$n2": gt.number(self.spare.public_key().public_numbers().n),
                 "$x": gt.number(point.x, 32), "$y": gt.number(point.y, 32), "$x5c": self.chain,
                 "$x5t": gt.b64(hashlib.sha1(self.chain.encode()).digest()),
                 "$x5t256": gt.b64(hashlib.sha256(self.chain.encode()).digest())}
        moment = re.fullmatch(r"now([+-]\d+)?", value)
        return int(time.time()) + int(moment[1] or 0) if moment else words.get(value, value)

    def jwks(self):
        return {"keys": self.fill(self.shape["jwks"]["keys"])}

    def mint(self, token, header=None, signer=None, **changes):
        """By python3-jwt, with claims changed, and those that are ... left out."""
        head = {**token["header"], **(header or {})}
        claims = {**self.fill(token["claims"]), **changes}
        claims = {key: value for key, value in claims.items() if value is not ...}
        if head.get("typ") == "...":
            head["typ"] = None  # python3-jwt leaves it out
        signer = signer or self
        key = signer.ec if head["alg"].startswith("ES") else signer.rsa
        return jwt.encode(claims, key, head["alg"],
                          {k: v for k, v in head.items() if k != "alg"})

    def all_tokens(self):
        return self.shape["tokens"]


PROVIDERS = {name: Provider(name) for name in NAMES}
TOKENS = [(name, number) for name in NAMES
          for number in range(len(PROVIDERS[name].shape["tokens"]))]


class Server:
    """The providers' key sets over HTTP; Kubernetes answers 406 to a client that cannot take its."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                provider = PROVIDERS[self.path[1:]]
                kind = provider.shape["jwks"]["type"]
                wanted = [part.split(";")[0].strip() for part in
                          self.headers.get("Accept", "*/*").split(",")]
                if kind.split(";")[0] not in wanted and kind == "application/jwk-set+json":
                    self.send_error(406)
                    return
                body = json.dumps(provider.jwks()).encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, name):
        return "http://127.0.0.1:%d/%s" % (self.server.server_port, name)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def verdict(broker, token, client):
    made = Peer(broker)
    code = made.try_connect(client, token, None)
    made.close()
    return code


def all_options(jwks_file):
    """All shipped configurations in one; jwks_file(name) replaces the path of each."""
    options = {}
    for name, provider in PROVIDERS.items():
        for key, value in provider.options.items():
            assert key not in options, key
            options[key] = jwks_file(name) if key.endswith(".jwks_file") else value
    return options


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """One stack: the broker starts without any provider's keys, the bridge fetches them."""
    place = tmp_path_factory.mktemp("identity")
    server = Server()
    files = {name: str(place / (name + ".jwks")) for name in NAMES}
    stack = servers.Stack(place / "stack", plugin_options=all_options(files.get), settings={
        "jwks.url": [server.url(name) for name in NAMES],
        "jwks.file": [files[name] for name in NAMES]})
    with stack:
        servers.wait_until(lambda: all(os.path.exists(path) for path in files.values()), 20,
                           "all key sets")
        for name in NAMES:
            token = PROVIDERS[name].all_tokens()[0]
            servers.wait_until(lambda: verdict(stack.broker, PROVIDERS[name].mint(token),
                                               token["is"]) == 0, 10, "the keys of " + name)
        yield stack.broker
    stack.remove()
    server.close()


def check(broker, token, raw):
    """It is who it should be, has the roles it should have, and no others."""
    kind, subject = token["is"].split("/", 1)
    with Peer(broker).connect(token["is"] + "/device", raw, None) as made:
        assert made.subscribe("notify/v1/%ss/%s/down/#" % (kind, subject)) == [1]
        for role in token.get("roles", []):
            assert made.subscribe("notify/v1/roles/%s/#" % tokens.encode_id(role)) == [1], role
        for role in ("root", "tocsin-ops", "Everyone", "Internal%2Feveryone"):
            if role not in token.get("roles", []):
                assert made.subscribe("notify/v1/roles/%s/#" % role) == [DENIED], role
        assert made.subscribe("notify/v1/dlq/#") == [1 if kind == "admin" else DENIED]


@pytest.mark.parametrize("name, number", TOKENS, ids=lambda value: str(value))
def test_a_token_is_who_it_says(broker, name, number):
    provider = PROVIDERS[name]
    token = provider.all_tokens()[number]
    check(broker, token, provider.mint(token))
    kind, subject = token["is"].split("/", 1)
    for other in {"user", "service", "admin", "bridge"} - {kind}:
        assert verdict(broker, provider.mint(token), "%s/%s" % (other, subject)) == REFUSED[5], \
            token["what"]
    for claim in ("kind", "tocsin_kind", "https://tocsin.example.org/kind"):
        raw = provider.mint(token, **{claim: "bridge"})
        assert verdict(broker, raw, "bridge/" + subject) == REFUSED[5], token["what"]


@pytest.mark.parametrize("name", [name for name in NAMES if PROVIDERS[name].shape.get("refused")])
def test_tokens_of_others_are_refused(broker, name):
    for token in PROVIDERS[name].shape["refused"]:
        assert verdict(broker, PROVIDERS[name].mint(token), token["is"]) == REFUSED[5], \
            token["what"]


SERVICES = [(name, number) for name, number in TOKENS
            if PROVIDERS[name].all_tokens()[number]["is"].startswith("service/")]


@pytest.mark.parametrize("name, number", SERVICES, ids=lambda value: str(value))
def test_tocsin_send_works_with_it(broker, name, number):
    """The whole way: the command line, the broker, the bridge, and its receipt."""
    token = PROVIDERS[name].all_tokens()[number]
    done = subprocess.run(
        [os.path.join(servers.build_dir(), "clients", "cli", "tocsin"), "send", "--url", broker.url,
         "--kind", "service", "--as", urllib.parse.unquote(token["is"].split("/", 1)[1]), "--id",
         "hello", "--type", "order.ready", "--to-user", "alice", "--title", "Hello", "--wait",
         "accepted"], env={**os.environ, "TOCSIN_TOKEN": PROVIDERS[name].mint(token)},
        capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def more_roles(provider, token):
    """Two hundred groups beside those that the token has, where they stand in it."""
    claim = next(value for key, value in provider.options.items() if key.endswith(".roles_claim"))
    more = ["%08x-0000-4000-8000-%012x" % (n, n) for n in range(200)]
    name = claim.strip('"')
    if name.startswith("/"):
        outer, inner = name[1:].rsplit("/", 1)
        outer_value = provider.fill(token["claims"].get(outer, {}))
        have = outer_value.get(inner, [])
        have = have if isinstance(have, list) else [have]
        return {outer: {**outer_value, inner: have + more}}
    have = token["claims"].get(name, [])
    if isinstance(have, dict):
        return {name: {**have, **{role: {"1": "x"} for role in more}}}
    return {name: (have if isinstance(have, list) else [have]) + more}


def listed(token):
    aud = token["claims"].get("aud")
    return {} if aud is None else {
        "aud": ["https://other.example.org"] + (aud if isinstance(aud, list) else [aud])}


ODDITIES = {
    "nbf 0": lambda p, t: {"nbf": 0},
    "iat 0": lambda p, t: {"iat": 0},
    "no iat": lambda p, t: {"iat": ...},
    "fractions": lambda p, t: {"iat": time.time() - 0.25, "exp": time.time() + 299.75},
    "nulls": lambda p, t: {"nbf": None, "jti": None, "picture": None, "kind": None},
    "200 groups": more_roles,
    "aud as a list": lambda p, t: listed(t),
    "nested and huge": lambda p, t: {"x": [{"y": [[[[1.5, None]]]]}] * 20, "n": 10 ** 30},
    "a claim called kind": lambda p, t: {"kind": "customer"},
}


@pytest.mark.parametrize("odd", ODDITIES)
def test_oddities_keep_nobody_out(broker, odd):
    for name, provider in PROVIDERS.items():
        token = provider.all_tokens()[0]
        raw = provider.mint(token, **ODDITIES[odd](provider, token))
        if odd == "200 groups":
            assert len(raw) > 8000
        check(broker, token, raw)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_vouches_for_its_own_issuer_only(broker, name):
    """Every other provider's key, under its own name, below this one's claims."""
    token = PROVIDERS[name].all_tokens()[0]
    for other in NAMES:
        if other == name:
            continue
        theirs = PROVIDERS[other].all_tokens()[0]["header"]
        raw = PROVIDERS[name].mint(token, {"kid": theirs["kid"], "alg": theirs["alg"]},
                                   signer=PROVIDERS[other])
        assert verdict(broker, raw, token["is"]) == REFUSED[5], other


def test_all_providers_with_one_key_set_in_common(tmp_path):
    """All 105 pairs at once, the worst case: every section holds every key.

    The set is renewed with members that cannot be used in front, in the middle and at the end, and
    with key ids that have blanks.
    """
    keys = [key for provider in PROVIDERS.values() for key in provider.jwks()["keys"]]
    keys = [key for key in keys if key.get("use") == "sig"]
    odd = [{**provider.fill({"kty": "RSA", "n": "$n", "e": "AQAB"}), "kid": "key of " + name}
           for name, provider in PROVIDERS.items()]
    good = keys + odd
    assert len(good) <= 64
    path = str(tmp_path / "common.jwks")

    def write(members):
        servers.write_file(path + ".new", json.dumps({"keys": members}))
        os.rename(path + ".new", path)

    write(good)
    with GateBroker(tmp_path / "b", all_options(lambda _name: path)) as gate:
        middle = len(good) // 2
        for members in (good, UNUSABLE + good, good[:middle] + UNUSABLE + good[middle:],
                        good + UNUSABLE):
            seen = gate.log_text().count("keys reloaded")
            write(members)
            servers.wait_until(lambda: gate.log_text().count("keys reloaded") > seen, 10)
            for name, number in TOKENS:
                token = PROVIDERS[name].all_tokens()[number]
                assert verdict(gate, PROVIDERS[name].mint(token), token["is"]) == 0, token["what"]
        assert "passed over" in gate.log_text()
        for name, provider in PROVIDERS.items():
            token = next((t for t in provider.all_tokens() if t["header"]["alg"] == "RS256"), None)
            if token:
                raw = provider.mint(token, {"kid": "key of " + name})
                assert verdict(gate, raw, token["is"]) == 0, name
                check(gate, token, raw)


def test_every_provider_has_its_sources_and_its_page():
    with open(os.path.join(servers.ROOT, "docs", "identity.md")) as file:
        page = file.read()
    assert sorted(os.listdir(CONF)) == [name + ".conf" for name in NAMES]
    for name, provider in PROVIDERS.items():
        assert provider.shape["sources"], name
        assert "(../mosquitto-conf/providers/%s.conf)" % name in page, name
