# SPDX-License-Identifier: MIT
"""A certificate authority for one run, and the certificates that providers and tests need.

Everything lives in the state directory, keys with mode 0600; nothing is reused between runs.
"""

import datetime
import functools
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def write_private(path, data):
    """Write a file that nobody else may read, and return its path."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    return path


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


@functools.lru_cache(1)
def rsa_key():
    """The RSA key of everybody here who needs one: to make one takes a fifth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(subject, names, key, issuer, issuer_key, first, last, is_ca=False):
    alternatives = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    builder = (x509.CertificateBuilder()
               .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
               .issuer_name(issuer).public_key(key.public_key())
               .serial_number(x509.random_serial_number())
               .not_valid_before(first).not_valid_after(last)
               .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                   issuer_key.public_key()), False))
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
    if is_ca:
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
    else:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """Our CA and one TLS context per kind of certificate."""

    HOSTS = ("localhost", "127.0.0.1", "::1")

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tocsin test authority")])
        now = datetime.datetime.utcnow()
        self.root = certificate("Tocsin test authority", (), self.key, self.name, self.key,
                                now - DAY, now + 30 * DAY, is_ca=True)
        self.file = os.path.join(directory, "ca.pem")
        with open(self.file, "wb") as file:
            file.write(self.root.public_bytes(serialization.Encoding.PEM))
        self.now = now
        self._contexts = {}
        self._issued = {}

    def issue(self, kind):
        """Paths of (certificate chain, key). Kinds: good, expired, wrong_host, self_signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = ("wrong.invalid",) if kind == "wrong_host" else self.HOSTS
        first, last = self.now - DAY, self.now + 30 * DAY
        if kind == "expired":
            first, last = self.now - 3 * DAY, self.now - DAY
        issuer, issuer_key = self.name, self.key
        if kind == "self_signed":
            issuer, issuer_key = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")]), key
        leaf = certificate("self" if kind == "self_signed" else hosts[0], hosts, key, issuer,
                           issuer_key, first, last)
        chain = os.path.join(self.directory, f"tls-{kind}.pem")
        with open(chain, "wb") as file:
            file.write(leaf.public_bytes(serialization.Encoding.PEM))
        return chain, write_private(os.path.join(self.directory, f"tls-{kind}.key"),
                                    private_pem(key))

    def fresh_context(self, alpn=("h2", "http/1.1"), kind="good"):
        """A new server context of that kind."""
        if kind not in self._issued:
            self._issued[kind] = self.issue(kind)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._issued[kind])
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def context(self, kind="good", alpn=("h2", "http/1.1")):
        """A shared server context, made at its first use."""
        if (kind, alpn) not in self._contexts:
            self._contexts[kind, alpn] = self.fresh_context(alpn, kind)
        return self._contexts[kind, alpn]
