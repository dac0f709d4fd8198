# SPDX-License-Identifier: MIT
"""The gate and hostile tokens: each case is a good token with one thing wrong with it."""
import base64
import hashlib
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import gate_tokens as gt
import servers
import tokens
from gate_broker import GateBroker
from gate_mqtt import Peer, REFUSED
from gate_tokens import AUDIENCE, ISSUER, b64, hs, join, local, rs


@pytest.fixture(scope="module")
def idp():
    return gt.Idp()


@pytest.fixture(scope="module")
def gate(tmp_path_factory, idp):
    place = tmp_path_factory.mktemp("gate")
    with GateBroker(place, gt.options(str(place), idp)) as broker:
        yield broker


def verdict(gate, token, version=5, client="user/alice", ws=False):
    with Peer(gate, version, ws) as peer:
        return peer.try_connect(client, token, "alice")


def refused(gate, token, version=5):
    code = verdict(gate, token, version)
    assert code == REFUSED[version], "CONNACK %s for %r" % (code, token[:300])
    assert verdict(gate, gate.token("user", "alice")) == 0, "the gate is shut for everyone"


# Good tokens, so that the refusals below mean something

@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
@pytest.mark.parametrize("version", [4, 5])
def test_every_algorithm_of_the_jwks_is_accepted(gate, idp, alg, version):
    assert verdict(gate, idp.mint(alg), version) == 0
    if alg == "RS256":
        assert verdict(gate, idp.mint(alg), version, ws=True) == 0


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "RS384", "RS512"])
def test_algorithms_that_must_be_asked_for(tmp_path, idp, alg):
    keyed = {"secret_file": str(tmp_path / "s")} if alg[0] == "H" else {
        "secret_file": None, "pem_file": str(tmp_path / "s")}
    servers.write_file(str(tmp_path / "s"), "x" * 64 if alg[0] == "H" else
                       gt.pem(idp.rsa).decode())
    key = "x" * 64 if alg[0] == "H" else idp.rsa
    for allowed in (True, False):
        names = {"algorithms": alg} if allowed else {}
        with GateBroker(tmp_path / str(allowed), {**keyed, **names}) as broker:
            token = jwt.encode(idp.claims(iss=tokens.ISSUER, aud=tokens.AUDIENCE), key, alg)
            want = 0 if allowed or alg == "HS256" else REFUSED[5]
            assert verdict(broker, token) == want, (alg, allowed)


# Algorithms and keys

def unsigned(alg):
    def make(idp, gate):
        return join({"alg": alg, "typ": "JWT"}, idp.claims(iss=tokens.ISSUER,
                                                           aud=tokens.AUDIENCE), lambda _: b"")
    return make


def confused(secret_of):
    """HS256 under a public key taken as a secret."""
    def make(idp, _gate):
        return join({"alg": "HS256", "kid": "r1"}, idp.claims(), hs(secret_of(idp)))
    return make


def spki(key, encoding):
    return key.public_key().public_bytes(encoding,
                                         serialization.PublicFormat.SubjectPublicKeyInfo)


def with_signature(signature):
    return lambda idp, _g: join({"alg": "ES256", "kid": "e1"}, idp.claims(),
                                lambda _: signature)


def embedded(field, value):
    def make(idp, _gate):
        return idp.sign({field: value(idp)}, key=idp.attacker)
    return make


def kid(value):
    return lambda idp, _g: idp.sign({"kid": value})


KEYS = {
    "T01 alg none, empty signature": unsigned("none"),
    "T02 alg nOnE": unsigned("nOnE"), "T02 alg NONE": unsigned("NONE"),
    "T02 alg empty": unsigned(""),
    "T03 alg missing": lambda i, g: i.sign({"alg": ...}),
    "T03 alg null": lambda i, g: i.sign({"alg": None}),
    "T03 alg array": lambda i, g: i.sign({"alg": ["RS256"]}),
    "T03 alg lower case": lambda i, g: i.sign({"alg": "rs256"}),
    "T04 HS256 with the RSA key's PEM": confused(lambda i: gt.pem(i.rsa)),
    "T05 HS256 with its DER": confused(lambda i: spki(i.rsa, serialization.Encoding.DER)),
    "T05 HS256 with its modulus": confused(
        lambda i: i.rsa.public_key().public_numbers().n.to_bytes(256, "big")),
    "T05 HS256 with the JWK": confused(lambda i: json.dumps(i.jwks("r1")["keys"][0]).encode()),
    "T05 HS256 with the JWKS file": confused(lambda i: json.dumps(i.jwks()).encode()),
    "T06 RS256 header, EC kid": lambda i, g: i.sign({"kid": "e1"}),
    "T06 ES256 header, RSA kid": lambda i, g: join({"alg": "ES256", "kid": "r1"}, i.claims(),
                                                   gt.es(i.p256)),
    "T07 PS256 on an RS256 key": lambda i, g: join({"alg": "PS256", "kid": "r1"}, i.claims(),
                                                   rs(i.rsa, pss=True)),
    "T07 RS256 on a PS256 key": lambda i, g: join({"alg": "RS256", "kid": "p1"}, i.claims(),
                                                  rs(i.ps)),
    "T08 ES256 signature in DER": lambda i, g: join({"alg": "ES256", "kid": "e1"}, i.claims(),
                                                    gt.es(i.p256, der=True)),
    "T09 ES256 r = s = 0": with_signature(bytes(64)),
    "T09 ES256 r = s = n": with_signature(bytes.fromhex(
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2),
    "T10 signature of 0 bytes": with_signature(b""),
    "T10 signature of 63 bytes": with_signature(b"x" * 63),
    "T10 signature of 65 bytes": with_signature(b"x" * 65),
    "T10 signature of 4096 bytes": with_signature(b"x" * 4096),
    "T10 RS256 signature one byte short": lambda i, g: join(
        {"alg": "RS256", "kid": "r1"}, i.claims(), lambda s: rs(i.rsa)(s)[1:]),
    "T13 unknown kid": kid("zz"), "T13 kid of an encryption key": kid("enc1"),
    "T13 a kid where the key has none": lambda i, g: local(g, {"kid": "x"}),
    "T14 kid missing, several keys": kid(...),
    "T15 kid ../../etc/passwd": kid("../../etc/passwd"), "T15 kid /dev/null": kid("/dev/null"),
    "T15 kid a'--": kid("a'--"), "T15 kid empty": kid(""), "T15 kid number": kid(1),
    "T15 kid of 600 bytes": kid("r" * 600), "T15 kid with NUL": kid("r1\0"),
    "T16 header jwk": embedded("jwk", lambda i: gt.jwk_rsa(i.attacker, "r1")),
    "T16 header jku": embedded("jku", lambda i: "http://127.0.0.1:1/jwks"),
    "T16 header x5u": embedded("x5u", lambda i: "http://127.0.0.1:1/"),
    "T16 header x5c": embedded("x5c", lambda i: ["AAAA"]),
    "T16 header jwk, rightly signed": lambda i, g: i.sign({"jwk": {}}),
    "T16 header x5c, rightly signed": lambda i, g: i.sign({"x5c": ["AAAA"]}),
    "T16 header jku, rightly signed": lambda i, g: i.sign({"jku": "https://x.example/"}),
    "T17 crit": lambda i, g: i.sign({"crit": ["exp"]}),
    "T17 b64 false": lambda i, g: i.sign({"b64": False, "crit": ["b64"]}),
    "T17 zip": lambda i, g: i.sign({"zip": "DEF"}),
    "T18 typ at+jwt where JWT is wanted": lambda i, g: i.sign({"typ": "at+jwt"}),
    "T18 typ number": lambda i, g: i.sign({"typ": 1}),
    "foreign key, known kid": lambda i, g: i.sign(key=i.attacker),
    "HS256 with an empty secret": lambda i, g: local(g, secret=None, sign=hs(b"")),
    "HS256 with the secret and its newline": lambda i, g: local(
        g, sign=hs(tokens.read_secret(g.secret_file) + b"\n")),
    "HS512 on an HS256 key": lambda i, g: local(g, {"alg": "HS512"}, sign=hs(
        tokens.read_secret(g.secret_file), hashlib.sha512)),
    "the provider's issuer, our secret": lambda i, g: local(g, iss=ISSUER, aud=AUDIENCE),
    "our issuer, the provider's key": lambda i, g: i.mint(iss=tokens.ISSUER, aud=tokens.AUDIENCE),
    "ES384 signature on a P-256 key": lambda i, g: join(
        {"alg": "ES384", "kid": "e1"}, i.claims(), gt.es(i.p384, hashes.SHA384, 48)),
    "EdDSA of another key": lambda i, g: join(
        {"alg": "EdDSA", "kid": "d1"}, i.claims(), ed25519.Ed25519PrivateKey.generate().sign),
}


@pytest.mark.parametrize("name", KEYS)
def test_key_confusion(gate, idp, name):
    refused(gate, KEYS[name](idp, gate))


# The shape of the token

def mangle(change):
    return lambda idp, gate: change(idp.mint())


def non_canonical(token):
    """Another last character that decodes to the same bytes in a lenient decoder."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def part(index, change):
    def apply(token):
        parts = token.split(".")
        parts[index] = change(parts[index])
        return ".".join(parts)
    return apply


def payload(raw):
    return lambda idp, gate: idp.sign(payload=raw)


def doubled(idp, name, value):
    raw = json.dumps(idp.claims()).encode()
    return idp.sign(payload=raw[:-1] + b"," + name + b":" + value + b"}")


SHAPE = {
    "T19 five parts": mangle(lambda t: t + ".a.b"), "T19 four parts": mangle(lambda t: t + ".a"),
    "T19 two parts": mangle(lambda t: t.rsplit(".", 1)[0]), "T19 one part": lambda i, g: "abc",
    "T19 leading dot": mangle(lambda t: "." + t), "T19 trailing dot": mangle(lambda t: t + "."),
    "T19 only dots": lambda i, g: "..",
    "T19 JWE": lambda i, g: join({"alg": "dir", "enc": "A128GCM"}, b"", lambda s: b"x") + ".a.b",
    "T20 padding": mangle(part(1, lambda p: p + "=" * (-len(p) % 4 or 4))),
    "T20 space in front": mangle(lambda t: " " + t), "T20 newline behind": mangle(
        lambda t: t + "\n"),
    "T20 tab inside": mangle(part(1, lambda p: p[:9] + "\t" + p[9:])),
    "T20 plus": mangle(part(2, lambda p: "+" + p[1:])),
    "T20 slash": mangle(part(2, lambda p: "/" + p[1:])),
    "T20 Bearer in front": mangle(lambda t: "Bearer " + t),
    "T21 second spelling of the signature": mangle(non_canonical),
    "T22 alg twice": lambda i, g: join(b'{"alg":"none","alg":"RS256","kid":"r1"}', i.claims(),
                                       rs(i.rsa)),
    "T23 sub twice": lambda i, g: doubled(i, b'"sub"', b'"bob"'),
    "T24 sub twice by escape": lambda i, g: doubled(i, b'"\\u0073ub"', b'"bob"'),
    "T24 exp twice": lambda i, g: doubled(i, b'"exp"', b"9999999999"),
    "T25 trailing bytes": lambda i, g: i.sign(payload=json.dumps(i.claims()).encode() + b"x"),
    "T25 byte order mark": lambda i, g: i.sign(
        payload=b"\xef\xbb\xbf" + json.dumps(i.claims()).encode()),
    "T25 array": payload(b"[]"), "T25 null": payload(b"null"), "T25 number": payload(b"1"),
    "T25 string": payload(b'"x"'), "T25 empty": payload(b""), "T25 no JSON": payload(b"{"),
    "T25 header array": lambda i, g: join(b"[]", i.claims(), rs(i.rsa)),
    "T26 deep payload": payload(b"[" * 3000), "T26 deep object": payload(
        b'{"a":' * 800 + b"1" + b"}" * 800),
    "T26 deep header": lambda i, g: join(b"[" * 700, i.claims(), rs(i.rsa)),
    "header above 4 KiB": lambda i, g: i.sign({"pad": "x" * 4200}),
    "C05 empty": lambda i, g: "",
    "not ASCII": lambda i, g: "é.é.é",
}


@pytest.mark.parametrize("name", SHAPE)
def test_shape(gate, idp, name):
    refused(gate, SHAPE[name](idp, gate))


def padded(gate, size):
    """A good token of exactly this many bytes, or the nearest above."""
    pad = "x" * (size * 3 // 4 - 250)
    token = local(gate, pad=pad)
    while len(token) < size:
        pad += "x"
        token = local(gate, pad=pad)
    return token


def test_T27_length_limit(gate):
    at_limit = padded(gate, 32756)
    assert len(at_limit) <= 32768
    assert verdict(gate, at_limit) == 0
    refused(gate, padded(gate, 32769))
    refused(gate, padded(gate, 65000))
    assert verdict(gate, "a" * 65535) == REFUSED[5]


def test_T28_many_claims_take_bounded_time(gate):
    waits = []
    for more in range(3):  # the machine may be held up once
        token = local(gate, **{"c%d" % i: i + more for i in range(500)})
        begin = time.monotonic()
        assert verdict(gate, token) == 0
        waits.append(time.monotonic() - begin)
    assert min(waits) < 1


def test_T49_no_bit_may_flip(gate, idp):
    """One flip at every position (one bit each; every bit of each would take minutes)."""
    token = idp.mint("ES256")
    for at in range(len(token)):
        broken = token[:at] + chr(ord(token[at]) ^ (1 << at % 5)) + token[at + 1:]
        if broken[at] in "\r\n\0" or ord(broken[at]) < 32 or broken == token:
            broken = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1:]
        with Peer(gate) as peer:
            assert peer.try_connect("user/alice", broken) == REFUSED[5], (at, broken[at])


# Claims

def now(delta=0):
    return int(time.time()) + delta


CLAIMS = {
    "T29 exp missing": {"exp": None}, "T30 exp string": {"exp": "9999999999"},
    "T31 exp float in the past": {"exp": 999999999.5}, "T31 exp 1e9": b'"exp":1e9',
    "T32 exp 0": {"exp": 0}, "T32 exp negative": {"exp": -1},
    "T33 exp beyond 63 bits": b'"exp":9999999999999999999', "T33 exp 1e300": b'"exp":1e300',
    "T33 exp 1e400": b'"exp":1e400', "T33 exp 2^62": {"exp": 1 << 62},
    "T33 exp true": {"exp": True}, "T33 exp null": b'"exp":null',
    "T35 exp a second ago": lambda: {"exp": now(-1)}, "T35 exp now": lambda: {"exp": now()},
    "T36 nbf in ten minutes": lambda: {"nbf": now(600)},
    "T37 iat in ten minutes": lambda: {"iat": now(600)},
    "T38 nbf string": {"nbf": "0"}, "T38 iat string": {"iat": "0"}, "T38 nbf true": {"nbf": True},
    "T39 iss missing": {"iss": None}, "T39 iss in capitals": {"iss": "TOCSIN"},
    "T39 iss longer": {"iss": "tocsin.evil"}, "T39 iss with slash": {"iss": "tocsin/"},
    "T39 iss array": {"iss": ["tocsin"]}, "T39 iss empty": {"iss": ""},
    "T40 aud missing": {"aud": None}, "T40 aud wrong": {"aud": "other"},
    "T40 aud []": {"aud": []}, "T40 aud of others": {"aud": ["x"]},
    "T40 aud mixed": {"aud": [1, tokens.AUDIENCE]}, "T40 aud object": {"aud": {"a": tokens.AUDIENCE}},
    "T40 aud with space": {"aud": tokens.AUDIENCE + " "}, "T40 aud number": {"aud": 1},
    "T42 sub missing": {"sub": None}, "T42 sub empty": {"sub": ""}, "T42 sub number": {"sub": 7},
    "T42 sub null": b'"sub":null', "T42 sub array": {"sub": ["alice"]},
    "T42 sub of 129 bytes": {"sub": "a" * 129}, "T42 sub of 43 slashes": {"sub": "/" * 43},
    "T44 sub with NUL": {"sub": "alice\0bob"},
    "T46 raw overlong UTF-8": b'"sub":"\xc0\xaf"', "T46 lone surrogate": b'"sub":"\\ud800"',
    "T46 raw invalid UTF-8": b'"sub":"\xff"',
    "kind missing": {"kind": None}, "kind unknown": {"kind": "root"}, "kind number": {"kind": 1},
    "kind in capitals": {"kind": "User"}, "kind array": {"kind": ["user"]},
    "kind other than the client id's": {"kind": "service"},
}

# What is not read, or exceeds a bound, keeps nobody out; edge values are values.
HARMLESS = {
    "nbf 0": {"nbf": 0}, "iat 0": {"iat": 0}, "nbf null": b'"nbf":null', "iat negative": {"iat": -1},
    "exp with a fraction": lambda: {"exp": now(600) + 0.5},
    "iat with a fraction": lambda: {"iat": now() + 0.5},
    "exp as 2e9": b'"exp":2e9',
    "roles a number": {"roles": 1}, "roles of numbers": {"roles": [1]},
    "roles null": b'"roles":null', "roles an object": {"roles": {"ops": {"1": "x"}}},
    "33 roles": {"roles": ["r%d" % i for i in range(33)]},
    "200 roles": {"roles": ["grp-%03d" % i for i in range(200)]},
    "200 roles of 90 bytes": {"roles": ["CN=%03d," % i + "x" * 83 for i in range(200)]},
    "31 roles of 64 bytes": {"roles": ["%064d" % i for i in range(31)]},
    "a role of 65 bytes": {"roles": ["r" * 65]},
    "jti a number": {"jti": 1}, "jti of 256 bytes": {"jti": "j" * 256}, "jti null": b'"jti":null',
    "unread numbers": {"n": [1, 2.5, -3, 1 << 62]}, "an unread number beyond 64 bits": b'"n":' +
    b"9" * 30, "unread null": b'"n":null', "an unread NUL": {"n": "a\0b"},
    "unread, 500 deep": b'"n":' + b"[" * 500 + b"]" * 500,
    "unread, of 8 KiB": {"n": "x" * 8192},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_claims_keep_nobody_out(gate, name):
    change = HARMLESS[name]
    if isinstance(change, bytes):
        good = base64.urlsafe_b64decode(local(gate, exp=None if b'"exp"' in change else now(600))
                                        .split(".")[1] + "==")
        token = join({"alg": "HS256"}, good[:-1] + b"," + change + b"}",
                     hs(tokens.read_secret(gate.secret_file)))
    else:
        token = local(gate, **(change() if callable(change) else change))
    assert verdict(gate, token) == 0


@pytest.mark.parametrize("name", CLAIMS)
def test_claims(gate, name):
    change = CLAIMS[name]
    if isinstance(change, bytes):
        member = json.loads(b"{" + change.split(b":")[0] + b":0}").popitem()[0]
        good = json.dumps({k: v for k, v in json.loads(base64.urlsafe_b64decode(
            local(gate).split(".")[1] + "==")).items() if k != member}).encode()
        token = join({"alg": "HS256"}, good[:-1] + b"," + change + b"}",
                     hs(tokens.read_secret(gate.secret_file)))
    else:
        token = local(gate, **(change() if callable(change) else change))
    refused(gate, token)


def test_T41_audience_among_others(gate):
    assert verdict(gate, local(gate, aud=["x", tokens.AUDIENCE])) == 0


def test_T43_T45_strange_subjects_become_one_level(gate):
    """Ids are percent-encoded, so what would be dangerous in a topic is a plain level."""
    for sub in ("a/b", "+", "#", "a+b", "$SYS", "..", "\x01alice", "line\nbreak", "\x7f", "%2F",
                "a b", "ñandú", "alice\u200d", "\u202ealice"):
        level = tokens.encode_id(sub)
        assert not set(level) & set("/+#$ \x01\n"), level
        with Peer(gate) as peer:
            assert peer.try_connect("user/" + level, local(gate, sub=sub)) == 0, sub
            assert peer.subscribe("notify/v1/users/%s/down/#" % level) == [1]
            if sub != level and not set(sub) & set("\x01\n\x7f+#"):  # the broker closes on those
                assert peer.subscribe("notify/v1/users/%s/down/x" % sub) == [0x87]


def test_T47_T48_similar_subjects_are_different_users(gate):
    names = ["alice", "Alice", "alic\u0435", "ali\u0301ce", "al\u00edce", "alice\u200d"]
    levels = [tokens.encode_id(name) for name in names]
    assert len(set(levels)) == len(names)
    for name, own in zip(names, levels):
        with Peer(gate).connect("user/" + own, local(gate, sub=name)) as peer:
            for level in levels:
                assert peer.subscribe("notify/v1/users/%s/down/#" % level) == (
                    [1] if level == own else [0x87])


def test_T50_token_of_another_environment(gate, idp):
    refused(gate, idp.mint(aud="mqtt-staging"))
    refused(gate, idp.mint(iss="https://idp.example/staging"))


def test_T34_T35_lifetime_and_leeway(tmp_path):
    options = {"max_lifetime": "24h", "leeway": "30"}
    broker = servers.Broker(tmp_path, plugin_options=options)
    with broker:
        refused(broker, local(broker, exp=now(10 * 365 * 86400)))
        refused(broker, local(broker, iat=now(-3600), exp=now(86000)))
        assert verdict(broker, local(broker, exp=now(86000))) == 0
        assert verdict(broker, local(broker, exp=now(-1))) == 0
        refused(broker, local(broker, exp=now(-31)))


def test_T18_typ_as_configured(tmp_path):
    with GateBroker(tmp_path, {"typ": "at+jwt"}) as broker:
        for typ, want in (("at+jwt", 0), ("application/at+jwt", 0), ("AT+JWT", 0)):
            assert verdict(broker, local(broker, {"typ": typ})) == want
        for typ in ("JWT", "jwt+x", ""):
            assert verdict(broker, local(broker, {"typ": typ})) == REFUSED[5]


def test_T16_no_network_and_T15_no_files(gate, idp):
    """Nothing that the token names is opened: there is a listener and nobody calls."""
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = "http://127.0.0.1:%d/jwks.json" % server.getsockname()[1]
        for field in ("jku", "x5u"):
            refused(gate, idp.sign({field: url}, key=idp.attacker))
        server.settimeout(0.3)
        with pytest.raises(OSError):
            server.accept()


def test_R13_no_token_in_the_log(gate, idp):
    token = idp.mint()
    for client in ("user/alice", token[:60]):  # confused clients send it everywhere
        with Peer(gate) as peer:
            peer.try_connect(client, token, token)
    with open(gate.log, "rb") as file:
        log = file.read()
    ours = [line for line in log.splitlines() if b"tocsin:" in line]
    assert b"eyJ" not in b"".join(ours)  # newer brokers log a refused client id by themselves
    assert token.encode() not in log
    assert tokens.read_secret(gate.secret_file) not in log
    assert b"tocsin: refused" in log


def test_rsa_of_1024_bits_and_short_secrets_are_no_keys(tmp_path, idp):
    weak = rsa.generate_private_key(65537, 1024)
    k1 = ec.generate_private_key(ec.SECP256K1())
    for name, raw, option in (("T12 RSA 1024", gt.pem(weak), "pem_file"),
                              ("T12 HMAC 16", b"x" * 16, "secret_file"),
                              ("T11 secp256k1", gt.pem(k1), "pem_file"),
                              ("garbage", b"garbage", "pem_file")):
        path = servers.write_file(str(tmp_path / "key"), raw.decode())
        options = {"secret_file": None, option: path}
        assert path in GateBroker(tmp_path / name.replace(" ", ""), options).sentence()
