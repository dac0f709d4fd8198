# SPDX-License-Identifier: MIT
"""The gate's configuration: what stops the broker, key rotation, SIGHUP, identity providers."""
import json
import os
import shutil
import time

import pytest

import gate_tokens as gt
import servers
import tokens
from gate_broker import GateBroker, peer
from gate_mqtt import Peer, REFUSED
from gate_tokens import AUDIENCE, ISSUER, local


@pytest.fixture(scope="module")
def idp():
    return gt.Idp()


def verdict(broker, token, client="user/alice", username=""):
    with Peer(broker) as made:
        return made.try_connect(client, token, username)


# What stops the broker, and the sentence that says what to mend

STOPS = {
    "no option at all": ({"secret_file": None, "issuer": None, "audience": None},
                         "no issuer is configured"),
    "R05 no key": ({"secret_file": None}, "there is no key"),
    "no issuer": ({"issuer": None}, "issuer is missing"),
    "no audience": ({"audience": None}, "audience is missing"),
    "R05 secret missing": ({"secret_file": "/nonexistent/secret"}, "cannot read"),
    "secret a directory": ({"secret_file": "/tmp"}, "not a regular file"),
    "secret a device": ({"secret_file": "/dev/zero"}, "not a regular file"),
    "R07 unknown option": ({"secert_file": "x"}, "plugin_opt_secert_file is unknown"),
    "R07 unknown option of an issuer": ({"idp.foo": "x"}, "plugin_opt_idp.foo is unknown"),
    "empty issuer name": ({".issuer": "x"}, "is unknown"),
    "half an issuer": ({"idp.issuer": "x"}, "plugin_opt_idp.audience is missing"),
    "number": ({"leeway": "soon"}, "must be a number from 0 to 300 seconds"),
    "number too big": ({"leeway": "1h"}, "must be a number from 0 to 300 seconds"),
    "negative number": ({"max_token": "-1"}, "must be a number"),
    "number overflow": ({"max_token": "99999999999999999999"}, "must be a number"),
    "unknown algorithm": ({"algorithms": "HS256 none"}, '"none" is unknown'),
    "algorithm of another key": ({"algorithms": "RS256"}, "none of the issuer's algorithms"),
    "unknown kind": ({"kinds": "root"}, "none of user service admin bridge"),
    "default kind admin": ({"default_kind": "admin"}, "default_kind must be user or service"),
    "rule without value": ({"admin_when": "roles"}, "must read claim=value"),
    "revocation file missing": ({"revocation_file": "/nonexistent/list"}, "cannot read"),
}


@pytest.mark.parametrize("name", STOPS)
def test_R05_R07_configuration_errors_stop_the_broker(tmp_path, name):
    options, sentence = STOPS[name]
    assert sentence in GateBroker(tmp_path, options).sentence()


def test_secret_open_to_others_stops_the_broker(tmp_path):
    for mode in (0o640, 0o604, 0o660):
        path = servers.write_file(str(tmp_path / "secret"), "x" * 32, mode)
        text = GateBroker(tmp_path / oct(mode), {"secret_file": path}).sentence()
        assert "group or others" in text and "chmod 600" in text
    path = servers.write_file(str(tmp_path / "short"), "x" * 31)
    assert "shorter than 32" in GateBroker(tmp_path / "short.d", {"secret_file": path}).sentence()


def test_option_given_twice_stops_the_broker(tmp_path):
    broker = GateBroker(tmp_path)
    prepare = broker.prepare

    def doubled():
        prepare()
        with open(broker.config) as file:
            text = file.read()
        line = "plugin_opt_issuer tocsin\n"
        servers.write_file(broker.config, text.replace(line, line + line))
    broker.prepare = doubled
    assert "given twice" in broker.sentence()


@pytest.mark.parametrize("raw, sentence", [
    ("", "is no JSON"), ("{", "is no JSON"), ("[]", "is no JWKS"), ("{}", "is no JWKS"),
    ('{"keys":[]}', "no key that can verify"), ('{"keys":{}}', "is no JWKS"),
    ('{"keys":[],"keys":[]}', "no key that can verify"),
    ('{"keys":[{"kty":"oct","kid":"a","k":"%s"}]}' % ("A" * 64), "no key that can verify"),
    ('{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}', "2048"),
    ('{"keys":[{"kty":"RSA","kid":"a","n":"!","e":"AQAB"}]}', "do not make a public key"),
    ('{"keys":[{"kty":"RSA","kid":"a","n":"%s","e":"Ag"}]}' % ("A" * 342 + "AQ"),
     "do not make a public key"),
    ('{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"%s","y":"%s"}]}' % ("A" * 43, "A" * 43),
     "do not make a public key"),
    ('{"keys":[{"kty":"EC","crv":"P-256","kid":"a","alg":"RS256","x":"A","y":"A"}]}',
     "do not make a public key"),
    ('{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AAAA"}]}', "do not make a public key"),
    ("x" * 1100000, "larger than"), ("private", "holds a private key"),
    ("weak", "2048 to 8192"),
], ids=lambda x: x[:24])
def test_bad_jwks_stops_the_broker(tmp_path, idp, raw, sentence):
    from cryptography.hazmat.primitives.asymmetric import rsa
    one = gt.jwk_rsa(idp.rsa, "a")
    made = {"private": [{**one, "d": "AQAB"}], "weak": [gt.jwk_rsa(rsa.generate_private_key(65537, 1024), "w")]}
    if raw in made:
        raw = json.dumps({"keys": made[raw]})
    path = servers.write_file(str(tmp_path / "jwks"), raw)
    text = GateBroker(tmp_path / "b", {"secret_file": None, "jwks_file": path}).sentence()
    assert sentence in text and path in text


def test_private_pem_stops_the_broker(tmp_path, idp):
    from cryptography.hazmat.primitives import serialization as s
    raw = idp.rsa.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    path = servers.write_file(str(tmp_path / "pem"), raw.decode())
    text = GateBroker(tmp_path / "b", {"secret_file": None, "pem_file": path}).sentence()
    assert "private key" in text


@pytest.mark.parametrize("how", ["plain", "one", "included"])
def test_R06_per_listener_settings_stops_the_broker(tmp_path, how):
    broker = GateBroker(tmp_path, **({} if how == "included" else
                                     {"per_listener_settings": "1" if how == "one"
                                      else "true"}))
    if how == "included":
        os.makedirs(str(tmp_path / "conf.d"))
        servers.write_file(str(tmp_path / "conf.d" / "x.conf"), "per_listener_settings true\n")
        del broker.settings["per_listener_settings"]
        prepare = broker.prepare

        def included():
            prepare()
            with open(broker.config) as file:
                text = file.read()
            servers.write_file(broker.config, "include_dir %s\n%s" % (tmp_path / "conf.d", text))
        broker.prepare = included
    assert "per_listener_settings" in broker.sentence()


def test_R06_loaded_twice_stops_the_broker(tmp_path):
    broker = GateBroker(tmp_path)
    broker.lines = ["plugin " + broker.plugin] + [
        "plugin_opt_%s %s" % pair for pair in broker.plugin_options.items()]
    assert "loaded twice" in broker.sentence()


# Keys that change under a running broker

def rotate(broker, path, text, mode=0o600):
    """Replaces a key file and waits until the broker has noticed."""
    def count():
        log = broker.log_text()
        return log.count("keys reloaded") + log.count("keys not reloaded")
    before = count()
    servers.write_file(path, text, mode)
    servers.wait_until(lambda: count() > before, 5, what="the reload")


@pytest.fixture
def rotating(tmp_path, idp):
    options = gt.options(str(tmp_path / "b"), idp)
    servers.write_file(options["idp.jwks_file"], json.dumps(idp.jwks("r1", "e1")))
    with GateBroker(tmp_path / "b", options) as broker:
        broker.jwks = options["idp.jwks_file"]
        yield broker


def test_R03_keys_come_and_go_without_a_restart(rotating, idp):
    """A connection whose key is withdrawn ends; those of other keys stay."""
    r1 = peer(rotating, "user", "alice", "r", token=idp.mint("RS256"))
    e1 = peer(rotating, "user", "alice", "e", token=idp.mint("ES256"))
    assert verdict(rotating, idp.mint("EdDSA")) == REFUSED[5]
    rotate(rotating, rotating.jwks, json.dumps(idp.jwks("e1", "d1")))
    r1.wait_closed()
    assert e1.is_open()
    assert r1.disconnect_code == 0x98
    assert verdict(rotating, idp.mint("EdDSA")) == 0
    assert verdict(rotating, idp.mint("RS256")) == REFUSED[5]  # not out of the cache either
    e1.disconnect()


def test_a_key_that_changes_its_algorithm_is_withdrawn_from_the_other(rotating, idp):
    """Same kid, same numbers: RS256 first, then any RSA algorithm by default, then PS256."""
    made = peer(rotating, "user", "alice", "r", token=idp.mint("RS256"))
    key = gt.jwk_rsa(idp.rsa, "r1")
    rotate(rotating, rotating.jwks, json.dumps({"keys": [key]}))
    assert verdict(rotating, idp.mint("RS256"), "user/alice/2") == 0
    assert made.is_open(), "RS256 is what it can do still"
    rotate(rotating, rotating.jwks, json.dumps({"keys": [{**key, "alg": "PS256"}]}))
    made.wait_closed()
    assert verdict(rotating, idp.mint("RS256")) == REFUSED[5]
    assert "algorithm: the token's alg is not the one bound to its key" in rotating.log_text()


def test_a_key_without_a_kid_is_for_tokens_without_one(rotating, idp):
    bare = {name: value for name, value in gt.jwk_rsa(idp.rsa, "r1").items() if name != "kid"}
    named = idp.mint("RS256")
    nameless = idp.sign(header={"kid": ...})
    assert verdict(rotating, nameless) == REFUSED[5], "there are two keys"
    rotate(rotating, rotating.jwks, json.dumps(idp.jwks("r1")))
    assert [verdict(rotating, token) for token in (named, nameless)] == [0, 0]
    rotate(rotating, rotating.jwks, json.dumps({"keys": [bare]}))
    assert [verdict(rotating, token) for token in (named, nameless)] == [REFUSED[5], 0]
    assert "has no kid: tokens that name a kid are refused" in rotating.log_text()
    assert "a key without one is for tokens without one" in rotating.log_text()
    assert "can verify nothing" not in rotating.log_text()
    rotate(rotating, rotating.jwks, json.dumps({"keys": [bare, *idp.jwks("e1")["keys"]]}))
    assert [verdict(rotating, token) for token in (named, nameless)] == [REFUSED[5]] * 2
    assert "can verify nothing: give it a kid" in rotating.log_text()


def test_R04_a_broken_file_keeps_the_old_keys(rotating, idp):
    made = peer(rotating, "user", "alice", "r", token=idp.mint("RS256"))
    good = json.dumps(idp.jwks("r1", "e1"))
    for bad in ("", good[:200],
                json.dumps({"keys": [{**gt.jwk_rsa(idp.rsa, "r1"), "d": "AQAB"}]})):
        rotate(rotating, rotating.jwks, bad)
        assert made.is_open() and verdict(rotating, idp.mint("RS256"), "user/alice/2") == 0
    os.unlink(rotating.jwks)
    servers.wait_until(lambda: rotating.log_text().count("keys not reloaded") >= 4, 5)
    assert made.is_open() and verdict(rotating, idp.mint("RS256"), "user/alice/2") == 0
    rotate(rotating, rotating.jwks, good)
    assert "keys reloaded" in rotating.log_text()
    made.disconnect()


def test_R03_the_secret_may_change_too(tmp_path):
    with GateBroker(tmp_path) as broker:
        old = broker.token("user", "alice")
        made = peer(broker, "user", "alice", token=old)
        rotate(broker, broker.secret_file, "y" * 64 + "\n")
        made.wait_closed(3)
        assert verdict(broker, old) == REFUSED[5]
        assert verdict(broker, broker.token("user", "alice")) == 0
        rotate(broker, broker.secret_file, "z" * 64, 0o644)  # refused: the old one stays
        servers.write_file(broker.secret_file, "y" * 64)
        assert verdict(broker, broker.token("user", "alice")) == 0


def test_R01_sighup_drops_nobody(tmp_path, idp):
    """Online, refreshed, offline and restored sessions, through many SIGHUPs."""
    more = {"clean": False, "expiry": 600}
    broker = GateBroker(tmp_path, autosave_interval=1)
    with broker:
        peer(broker, "user", "restored", **more).disconnect()
    with broker:
        online = peer(broker, "user", "online")
        refreshed = peer(broker, "user", "fresh", ttl=2)
        refreshed.publish("$CONTROL/tocsin/v1", broker.token("user", "fresh"))
        refreshed.wait(lambda m: b"expires" in m.payload)
        peer(broker, "user", "offline", ttl=1, **more).disconnect()
        v4 = peer(broker, "user", "four", version=4, ws=True)
        time.sleep(2.3)
        for _ in range(20):
            broker.signal(1)
            time.sleep(0.05)
        assert online.is_open() and refreshed.is_open() and v4.is_open()
        for who in ("offline", "restored"):
            with peer(broker, "user", who, **more) as made:
                assert made.session_present
        assert broker.log_text().count("keys reloaded") >= 1
        for made in (online, refreshed, v4):
            made.close()


@pytest.mark.long
def test_R02_sighup_with_many_expiring_sessions(tmp_path):
    """What corrupted the broker's memory when a plugin refused in the re-check."""
    with GateBroker(tmp_path) as broker:
        for i in range(100):
            peer(broker, "user", "u%d" % i, ttl=1, clean=False, expiry=2).disconnect()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            broker.signal(1)
            time.sleep(0.05)
        with peer(broker, "user", "u1") as made:
            assert not made.session_present


def test_R08_access_holds_after_a_kill(tmp_path):
    own = "notify/v1/users/alice/down/#"
    broker = GateBroker(tmp_path, autosave_on_changes="true", autosave_interval=1)
    more = {"clean": False, "expiry": 600}
    with broker:
        with peer(broker, "user", "alice", **more) as made:
            made.subscribe(own)
        with peer(broker, "bridge", "b") as bridge:
            bridge.publish("notify/v1/users/alice/down/x", b"1")
        time.sleep(1.5)
        broker.kill()
        broker.start()
        with peer(broker, "user", "alice", **more) as made:
            assert made.session_present and made.wait(lambda m: m.payload == b"1")
            assert made.subscribe("notify/v1/users/bob/down/#") == [0x87]


# Identity providers, as their examples under mosquitto-conf/ configure them

EXAMPLES = os.path.join(servers.ROOT, "mosquitto-conf", "providers")


def example(name):
    """The plugin_opt_ lines of an example as a dict; the unnamed issuer stays the harness's."""
    found = {}
    with open(os.path.join(EXAMPLES, name + ".conf")) as file:
        for line in file:
            if line.startswith("plugin_opt_"):
                key, value = line[len("plugin_opt_"):].split(None, 1)
                if "." in key:
                    found[key] = (found[key] + " " if key in found else "") + value.strip()
    return found


def jwt_of(idp, claims, alg="RS256", **header):
    import jwt
    now = int(time.time())
    key, kid = idp.keys[alg]
    return jwt.encode({"iat": now, "exp": now + 300, **claims}, key, alg,
                      {"kid": kid, **header})


PROVIDERS = {
    # name: [(claims, client id, roles to subscribe)] as the providers' documents show them
    "keycloak": [
        ({"iss": "https://id.example.org/realms/main", "aud": ["account", "tocsin"],
          "typ": "Bearer", "azp": "web", "sub": "f3a1c2d4-0000-4000-8000-000000000001",
          "preferred_username": "alice", "scope": "openid",
          "realm_access": {"roles": ["offline_access", "default-roles-main", "tocsin-ops"]}},
         "user/f3a1c2d4-0000-4000-8000-000000000001", ["ops"]),
        ({"iss": "https://id.example.org/realms/main", "aud": "tocsin", "azp": "orders",
          "sub": "f3a1c2d4-0000-4000-8000-000000000002", "client_id": "orders",
          "preferred_username": "service-account-orders",
          "realm_access": {"roles": ["tocsin-service"]}}, "service/orders", []),
        ({"iss": "https://id.example.org/realms/main", "aud": "tocsin",
          "sub": "f3a1c2d4-0000-4000-8000-000000000003",
          "realm_access": {"roles": ["tocsin-admin"]}},
         "admin/f3a1c2d4-0000-4000-8000-000000000003", ["admin"]),
    ],
    "auth0": [
        ({"iss": "https://example.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
          "aud": ["https://tocsin.example.org", "https://example.eu.auth0.com/userinfo"],
          "azp": "my_client_id", "scope": "openid profile",
          "https://tocsin.example.org/roles": ["ops"]},
         "user/auth0|5f7c8ec7c33c6c004bbafe82", ["ops"]),
        ({"iss": "https://example.eu.auth0.com/", "sub": "orders_client@clients",
          "aud": "https://tocsin.example.org", "azp": "orders_client",
          "gty": "client-credentials"}, "service/orders_client", []),
        ({"iss": "https://example.eu.auth0.com/", "sub": "auth0|1",
          "aud": "https://tocsin.example.org", "https://tocsin.example.org/roles": ["admin"]},
         "admin/auth0|1", []),
    ],
    "cognito": [
        ({"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_EXAMPLE",
          "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "token_use": "access",
          "client_id": "webclientid", "username": "alice", "scope": "aws.cognito.signin.user.admin",
          "cognito:groups": ["ops"], "jti": "x"},
         "user/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", ["ops"]),
        ({"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_EXAMPLE",
          "sub": "ordersclientid", "token_use": "access", "client_id": "ordersclientid",
          "scope": "tocsin/service"}, "service/ordersclientid", []),
    ],
    "firebase": [
        ({"iss": "https://securetoken.google.com/my-project", "aud": "my-project",
          "auth_time": 1700000000, "user_id": "uid1", "sub": "uid1", "email": "a@example.org",
          "roles": ["ops"], "firebase": {"identities": {}, "sign_in_provider": "password"}},
         "user/uid1", ["ops"]),
        ({"iss": "https://securetoken.google.com/my-project", "aud": "my-project", "sub": "uid2",
          "tocsin_kind": "admin"}, "admin/uid2", []),
    ],
    "supabase": [
        ({"iss": "https://abcdefgh.supabase.co/auth/v1", "aud": "authenticated",
          "sub": "11111111-2222-3333-4444-555555555555", "role": "authenticated",
          "email": "a@example.org", "session_id": "x",
          "app_metadata": {"provider": "email", "roles": ["ops"]},
          "user_metadata": {"roles": ["root"], "kind": "admin"}},
         "user/11111111-2222-3333-4444-555555555555", ["ops"]),
        ({"iss": "https://abcdefgh.supabase.co/auth/v1", "aud": "authenticated", "sub": "2",
          "role": "authenticated", "app_metadata": {"roles": ["tocsin-admin"]}}, "admin/2", []),
    ],
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_identity_providers(tmp_path, idp, name):
    options = example(name)
    label = next(iter(options)).split(".")[0]
    alg = {"supabase": "ES256"}.get(name, "RS256")
    jwks = servers.write_file(str(tmp_path / "jwks"), json.dumps(idp.jwks("r1", "e1")))
    options[label + ".jwks_file"] = jwks
    with GateBroker(tmp_path / "b", options) as broker:
        for claims, client, roles in PROVIDERS[name]:
            token = jwt_of(idp, claims, alg)
            with Peer(broker).connect(client, token) as made:
                for role in roles:
                    assert made.subscribe("notify/v1/roles/%s/#" % role) == [1]
                assert made.subscribe("notify/v1/roles/root/#") == [0x87]
            for wrong in ("admin/" if not client.startswith("admin") else "user/", "bridge/"):
                assert verdict(broker, token, wrong + client.split("/")[1]) == REFUSED[5]
            # a provider that is not ours may not name a bridge, whatever its claims say
            for field in ("kind", "tocsin_kind"):
                forged = jwt_of(idp, {**claims, field: "bridge"}, alg)
                assert verdict(broker, forged, "bridge/" + client.split("/")[1]) == REFUSED[5]
        with peer(broker, "bridge", "b") as bridge:  # our own issuer stands beside it
            assert bridge.is_open()


def test_id_prefix_keeps_providers_apart(tmp_path, idp):
    options = gt.options(str(tmp_path / "b"), idp, **{"idp.id_prefix": "idp|"})
    with GateBroker(tmp_path / "b", options) as broker:
        assert verdict(broker, idp.mint(), "user/alice") == REFUSED[5]
        assert verdict(broker, idp.mint(), "user/idp|alice") == 0
        assert verdict(broker, local(broker), "user/alice") == 0


OVERLAPS = {
    "both have none": ({}, {}, True),
    "the same": ({"id_prefix": "x:"}, {"id_prefix": "x:"}, True),
    "one begins with the other": ({"id_prefix": "x:"}, {"id_prefix": "x:y:"}, True),
    "one has none": ({}, {"id_prefix": "x:"}, True),
    "each its own": ({"id_prefix": "x:"}, {"id_prefix": "y:"}, False),
    "no kind in common": ({"kinds": "user"}, {"kinds": "service admin"}, False),
    "one provider under two names": ({}, {"jwks_file": None}, False),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_prefixes_that_overlap_are_warned_of(tmp_path, idp, name):
    one, two, is_warned = OVERLAPS[name]
    options = gt.options(str(tmp_path / "b"), idp)
    other = servers.write_file(str(tmp_path / "b" / "other.jwks"), json.dumps(idp.jwks("e1")))
    if "jwks_file" in two:
        two, other = {}, options["idp.jwks_file"]
    options.update({"sso.issuer": "https://sso.example", "sso.audience": AUDIENCE,
                    "sso.jwks_file": other})
    options.update({"idp." + key: value for key, value in one.items()})
    options.update({"sso." + key: value for key, value in two.items()})
    with GateBroker(tmp_path / "b", options) as broker:
        assert ("the same id of both is one principal" in broker.log_text()) == is_warned


def test_blanks_at_the_end_of_an_option_do_not_count(tmp_path, idp):
    """Text, lists, numbers and paths; what is quoted keeps its blanks."""
    options = gt.options(str(tmp_path / "b"), idp)
    options = {key: value + " \t " for key, value in options.items()}
    options.update({"idp.leeway": "5s  ", "idp.id_prefix": "i:\t", "idp.typ": "JWT \t"})
    with GateBroker(tmp_path / "b", options) as broker:
        assert verdict(broker, idp.mint(), "user/i%3Aalice") == 0
    options.update({"idp.id_prefix": '"i: "  '})
    with GateBroker(tmp_path / "c", options) as broker:
        assert verdict(broker, idp.mint(), "user/i%3A%20alice") == 0


def certificate(key, name, issuer=None, issuer_key=None):
    """A certificate in PEM, self-signed unless an issuer is given."""
    import datetime
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    now = datetime.datetime.utcnow()
    made = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer or name)) \
        .public_key(key.public_key()).serial_number(7).not_valid_before(now) \
        .not_valid_after(now + datetime.timedelta(days=1)) \
        .add_extension(x509.BasicConstraints(True, None), True) \
        .sign(issuer_key or key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def test_a_pem_file_has_one_key(tmp_path, idp):
    leaf = certificate(idp.p256, "leaf", "root", idp.rsa)
    root, stranger = certificate(idp.rsa, "root"), certificate(idp.p384, "other")
    one, two = gt.pem(idp.rsa).decode(), gt.pem(idp.p256).decode()
    bad = {"two keys": (one + two, "holds 2 public keys"), "twice": (one + one, "holds 2 public"),
           "key and certificate": (two + root, "holds 2 public keys"),
           "two certificates": (leaf + stranger, "that are no chain"),
           "wrong way round": (root + leaf, "that are no chain")}
    for number, (name, (text, sentence)) in enumerate(bad.items()):
        path = servers.write_file(str(tmp_path / ("%d.pem" % number)), text)
        options = {"idp.issuer": ISSUER, "idp.audience": AUDIENCE, "idp.pem_file": path}
        said = GateBroker(tmp_path / str(number), options).sentence()
        assert sentence in said and path in said, name
    chain = servers.write_file(str(tmp_path / "chain.pem"), leaf + root)
    options = {"idp.issuer": ISSUER, "idp.audience": AUDIENCE, "idp.kind_claim": "kind",
               "idp.key_id": "e1", "idp.pem_file": chain}
    with GateBroker(tmp_path / "chain", options) as broker:
        assert verdict(broker, idp.mint("ES256")) == 0
        rotate(broker, chain, leaf + stranger)
        assert "no chain" in broker.log_text() and verdict(broker, idp.mint("ES256")) == 0


def test_symmetric_keys_in_a_jwks_only_from_a_secret_file(tmp_path):
    import jwt
    secrets = {"h1": os.urandom(32), "h2": os.urandom(48)}
    raw = json.dumps({"keys": [{"kty": "oct", "kid": kid, "k": gt.b64(k), "alg": alg} for
                               (kid, k), alg in zip(secrets.items(), ("HS256", "HS384"))]})
    options = {"idp.issuer": ISSUER, "idp.audience": AUDIENCE, "idp.algorithms": "HS256 HS384",
               "idp.kind_claim": "kind",
               "idp.jwks_file": servers.write_file(str(tmp_path / "jwks"), raw, 0o644)}
    assert "group or others" in GateBroker(tmp_path / "a", options).sentence()
    os.chmod(options["idp.jwks_file"], 0o600)
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "kind": "user", "exp": now + 60}
    with GateBroker(tmp_path / "b", options) as broker:
        for kid, alg, want in (("h1", "HS256", 0), ("h2", "HS384", 0), ("h2", "HS256", 0x87),
                               ("h1", "HS384", 0x87)):
            token = jwt.encode(claims, secrets[kid], alg, {"kid": kid})
            assert verdict(broker, token) == want, (kid, alg)


def test_pem_files_with_kids_and_certificates(tmp_path, idp):
    import subprocess
    import jwt
    pem = servers.write_file(str(tmp_path / "rsa.pem"), gt.pem(idp.rsa).decode())
    crt = str(tmp_path / "crt.pem")
    subprocess.check_call(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                           "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                           str(tmp_path / "crt.key"), "-out", crt, "-subj", "/CN=x"],
                          stderr=subprocess.DEVNULL)
    options = {"idp.issuer": ISSUER, "idp.audience": AUDIENCE, "idp.kind_claim": "kind",
               "idp.pem_file": "one=%s two=%s" % (pem, crt)}
    with GateBroker(tmp_path / "b", options) as broker:
        key = open(str(tmp_path / "crt.key")).read()
        for alg, with_key, kid, want in (("RS256", idp.rsa, "one", 0), ("ES256", key, "two", 0),
                                         ("RS256", idp.rsa, "two", 0x87),
                                         ("RS256", idp.rsa, None, 0x87)):
            token = jwt.encode(idp.claims(), with_key, alg, {"kid": kid} if kid else None)
            assert verdict(broker, token) == want, (alg, kid)
    assert shutil and tokens
