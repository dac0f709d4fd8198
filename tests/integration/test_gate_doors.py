# SPDX-License-Identifier: MIT
"""Ways into the broker that do not ask for a token: refused at the start, and worth nothing.

A listener can take a client's name from its certificate or from its pre-shared key and ask nobody.
The gate refuses to start beside such a listener; where it cannot read the broker's configuration it
starts, and a name that it did not seal itself may still do nothing.
"""
import datetime
import os
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

import servers
from gate_broker import GateBroker, peer
from gate_mqtt import DENIED, Peer, REFUSED

# What the broker stores for a principal, and what looks like it.
FORGED = ["=a:root:", "\x01a:root:", "=b:tocsin:", "\x01b:tocsin:", "=a:root:ops:" + "0" * 32,
          "\x01a:root::" + "f" * 32, "admin/root", "root"]
SECRETS = ["notify/v1/admins/root/down/#", "notify/v1/dlq/#", "notify/v1/presence/#", "$SYS/#",
           "notify/v1/users/+/up/#", "notify/v1/broadcast/#", "notify/v1/roles/ops/#"]


class Authority:
    """Certificates for a listener and its clients."""

    def __init__(self, place):
        self.place = str(place)
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.ca = self.write("ca.crt", self.sign(self.name, self.key, True))
        self.server = self.issue("localhost", "server")

    def write(self, name, thing):
        path = os.path.join(self.place, name)
        pem = (thing.private_bytes(serialization.Encoding.PEM,
                                   serialization.PrivateFormat.PKCS8,
                                   serialization.NoEncryption())
               if name.endswith(".key") else thing.public_bytes(serialization.Encoding.PEM))
        with open(path, "wb") as file:
            file.write(pem)
        return path

    def sign(self, subject, key, is_ca=False):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(is_ca, None), True)
                .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
                .sign(self.key, hashes.SHA256()))

    def issue(self, common_name, file):
        """Paths of a certificate and its key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        key = rsa.generate_private_key(65537, 2048)
        return self.write(file + ".crt", self.sign(subject, key)), self.write(file + ".key", key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


class Unreadable(GateBroker):
    """A broker whose configuration comes by a pipe: the gate cannot read it again."""

    def command(self):
        program = GateBroker.command(self)[0]
        return ["bash", "-c", "exec %s -c /dev/stdin < <(cat %s)" % (program, self.config)]


def tls_listener(authority, port, *more):
    cert, key = authority.server
    return ["listener %d 127.0.0.1" % port, "cafile %s" % authority.ca, "certfile %s" % cert,
            "keyfile %s" % key, *more]


def broker_with(kind, place, authority, *more):
    made = kind(place)
    made.tls_port = made.ports.take(0)
    made.lines += tls_listener(authority, made.tls_port, *more)
    return made


# What can be seen is refused

@pytest.mark.parametrize("setting", ["use_identity_as_username", "use_subject_as_username",
                                     "use_username_as_clientid"])
@pytest.mark.parametrize("included", [False, True], ids=["here", "included"])
def test_a_listener_that_asks_for_no_token_stops_the_broker(tmp_path, authority, setting, included):
    made = broker_with(GateBroker, tmp_path / "b", authority, "require_certificate true")
    line = setting + " true"
    if included:
        os.makedirs(str(tmp_path / "conf.d"))
        servers.write_file(str(tmp_path / "conf.d" / "more.conf"), line + "\n")
        line = "include_dir %s" % (tmp_path / "conf.d")
    made.lines.append(line)
    sentence = made.sentence()
    assert setting in sentence and "set it to false" in sentence


def test_a_psk_listener_that_asks_for_no_token_stops_the_broker(tmp_path):
    made = GateBroker(tmp_path)
    keys = servers.write_file(str(tmp_path / "psk"), "=a:root::0123\n")
    made.lines += ["psk_file %s" % keys, "listener %d 127.0.0.1" % made.ports.take(0),
                   "psk_hint tocsin", "use_identity_as_username true"]
    assert "use_identity_as_username" in made.sentence()


class TwoFiles(GateBroker):
    """A broker that is given a second configuration file, which it reads as well."""

    def command(self):
        return super().command() + ["-c", self.dir + "/second.conf"]


def test_every_configuration_file_is_read(tmp_path, authority):
    made = TwoFiles(tmp_path / "b")
    lines = tls_listener(authority, made.ports.take(0), "require_certificate true",
                         "use_identity_as_username true")
    servers.write_file(made.dir + "/second.conf", "\n".join(lines) + "\n")
    assert "use_identity_as_username" in made.sentence()


# Certificates beside tokens are welcome

def test_a_certificate_alone_is_no_login(tmp_path, authority):
    with broker_with(GateBroker, tmp_path / "b", authority, "require_certificate true",
                     "use_identity_as_username false") as gate:
        for number, name in enumerate(FORGED):
            cert = authority.issue(name, "plain%d" % number)
            with Peer(gate, port=gate.tls_port, ca_file=authority.ca, cert=cert) as made:
                assert made.try_connect("admin/root", None, None) == REFUSED[5], name
            with Peer(gate, port=gate.tls_port, ca_file=authority.ca, cert=cert) as made:
                assert made.try_connect("user/alice", gate.token("user", "alice"), "alice") == 0
                assert made.subscribe("notify/v1/users/alice/down/#") == [1]
                assert made.subscribe("notify/v1/dlq/#") == [DENIED]


@pytest.mark.parametrize("version", [4, 5])
def test_anonymous_is_no_login(tmp_path, version):
    with GateBroker(tmp_path, allow_anonymous="true") as gate:
        for name in [None, ""] + FORGED:
            with Peer(gate, version) as made:
                try:
                    assert made.try_connect("admin/root", None, name) == REFUSED[version], name
                except Exception as error:  # the broker itself closes on byte 0x01
                    assert name and name[0] == "\x01", (name, error)


# What cannot be seen is worth nothing

@pytest.fixture(scope="module")
def open_door(tmp_path_factory, authority):
    """A listener that lets certificates in, in a configuration that the gate cannot read."""
    place = tmp_path_factory.mktemp("open")
    with broker_with(Unreadable, place, authority, "require_certificate true",
                     "use_identity_as_username true") as gate:
        assert "cannot read all of the broker's configuration" in gate.log_text()
        yield gate


@pytest.mark.parametrize("name", FORGED, ids=repr)
def test_a_forged_name_may_do_nothing(open_door, authority, name):
    cert = authority.issue(name, "forged%d" % FORGED.index(name))
    with peer(open_door, "admin", "root") as real, \
            Peer(open_door, port=open_door.tls_port, ca_file=authority.ca, cert=cert) as made:
        assert made.try_connect("admin/root/forged", None, None) == 0  # the broker asks nobody
        assert real.subscribe("notify/v1/admins/root/down/#") == [1]
        for topic in SECRETS:
            assert made.subscribe(topic) == [DENIED], topic
        for topic in ("notify/v1/admins/root/up/rpc/x", "notify/v1/users/bob/down/inbox",
                      "notify/v1/broadcast/inbox", "$CONTROL/tocsin/v1"):
            assert made.publish(topic, b"{}") == DENIED, topic
        assert not made.messages


def test_a_forged_name_in_the_database_may_do_nothing(tmp_path, authority):
    """Names that were stored under another key, as if somebody had written into the database."""
    place = tmp_path / "b"
    topic = "notify/v1/users/alice/down/inbox"
    with GateBroker(place) as gate:
        with peer(gate, "user", "alice", clean=False, expiry=3600) as alice:
            assert alice.subscribe(topic) == [1]
        gate.stop()
        servers.write_file(gate.secret_file, "another secret of more than 32 bytes\n")
        gate.start()
        with peer(gate, "bridge", "tocsin") as bridge:
            bridge.publish(topic, b"before", qos=1)
        with peer(gate, "user", "alice", clean=False, expiry=3600) as alice:
            assert alice.session_present
            with peer(gate, "bridge", "tocsin") as bridge:
                bridge.publish(topic, b"after", qos=1)
            alice.wait(lambda m: m.payload == b"after")


def test_a_seal_file_outlives_the_secret(tmp_path):
    """With seal_file the issuers' secrets may change and sessions restored keep their access."""
    seal = servers.write_file(str(tmp_path / "seal"), "s" * 40)
    topic = "notify/v1/users/alice/down/inbox"
    with GateBroker(tmp_path / "b", {"seal_file": seal}) as gate:
        with peer(gate, "user", "alice", clean=False, expiry=3600) as alice:
            assert alice.subscribe(topic) == [1]
        gate.stop()
        servers.write_file(gate.secret_file, "another secret of more than 32 bytes\n")
        gate.start()
        with peer(gate, "bridge", "tocsin") as bridge:
            bridge.publish(topic, b"kept", qos=1)
        with peer(gate, "user", "alice", clean=False, expiry=3600) as alice:
            alice.wait(lambda m: m.payload == b"kept")


@pytest.mark.parametrize("text, sentence", [("short", "at least 32 bytes"), (None, "cannot read")])
def test_a_bad_seal_file_stops_the_broker(tmp_path, text, sentence):
    path = str(tmp_path / "seal")
    if text:
        servers.write_file(path, text)
    assert sentence in GateBroker(tmp_path / "b", {"seal_file": path}).sentence()


def psk(gate, port, identity):
    """What mosquitto_sub says about its connection and its subscriptions."""
    command = ["mosquitto_sub", "-V", "5", "-h", "127.0.0.1", "-p", str(port), "--psk", "0123",
               "--psk-identity", identity, "-i", "admin/root/psk", "-d", "-E"]
    for topic in SECRETS:
        command += ["-t", topic]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def test_a_forged_psk_identity_may_do_nothing(tmp_path):
    names = [name for name in FORGED if name[0] == "="]
    made = Unreadable(tmp_path)
    # The identity ends at the first colon, so such a name is the identity of a key of its own.
    keys = servers.write_file(str(tmp_path / "psk"), "".join("%s:0123\n" % name.split(":")[0]
                                                             for name in names))
    port = made.ports.take(0)
    made.lines += ["psk_file %s" % keys, "listener %d 127.0.0.1" % port, "psk_hint tocsin",
                   "use_identity_as_username true"]
    with made as gate:
        for name in names:
            said = psk(gate, port, name.split(":")[0])
            assert "CONNACK (0)" in said, said  # the broker asks nobody
            assert ", ".join(["135"] * len(SECRETS)) in said, said
