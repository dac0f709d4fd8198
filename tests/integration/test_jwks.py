# SPDX-License-Identifier: MIT
"""The bridge keeps a copy of an identity provider's key set for the broker's plugin."""
import http.server
import json
import threading

import pytest

from process import ServerError, wait_until


class Issuer:
    """Serves a key set as an identity provider does, with an ETag."""

    def __init__(self):
        self.body, self.status, self.seen = b"", 200, []
        self.types = ("application/json",)  # what it has, if asked by name or for anything
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                tag = '"%d"' % hash(issuer.body)
                issuer.seen.append(self.headers.get("If-None-Match"))
                if not issuer.may_serve(self.headers.get("Accept", "")):
                    self.send_error(406)
                    return
                same = issuer.status == 200 and self.headers.get("If-None-Match") == tag
                self.send_response(304 if same else issuer.status)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", str(0 if same else len(issuer.body)))
                self.end_headers()
                if not same:
                    self.wfile.write(issuer.body)

            def log_message(self, *_args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def may_serve(self, accept):
        wanted = [part.split(";")[0].strip() for part in accept.split(",")]
        return not accept or "*/*" in wanted or any(kind in wanted for kind in self.types)

    def serve(self, kid):
        self.body = json.dumps({"keys": [{"kty": "oct", "kid": kid, "k": "AAAA"}]}).encode()


@pytest.fixture
def issuer():
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_set_is_fetched_renewed_and_never_replaced_by_something_worse(new_stack, issuer, tmp_path):
    file = tmp_path / "jwks.json"
    issuer.serve("one")
    stack = new_stack(settings={
        "jwks.url": "http://127.0.0.1:%d/keys" % issuer.server.server_port,
        "jwks.file": str(file), "jwks.every": "1s"})

    def kid():
        return json.loads(file.read_text())["keys"][0]["kid"] if file.exists() else None
    wait_until(lambda: kid() == "one", 10, "the first set")
    wait_until(lambda: len([tag for tag in issuer.seen if tag]) >= 1, 10, "a conditional request")
    before = file.stat().st_mtime_ns
    seen = len(issuer.seen)
    wait_until(lambda: len(issuer.seen) > seen + 1, 10, "two more")
    assert file.stat().st_mtime_ns == before  # unchanged is not written again
    issuer.serve("two")
    wait_until(lambda: kid() == "two", 10, "the second set")
    for status, body in ((500, b"down"), (200, b"<html>"), (200, b'{"keys": []}'),
                         (200, b'{"keys": [1]}'), (200, b"x" * 200000)):
        issuer.status, issuer.body, seen = status, body, len(issuer.seen)
        wait_until(lambda: len(issuer.seen) > seen, 15, "a look at %r" % body[:10])
        assert kid() == "two"
    issuer.status = 200
    issuer.serve("three")
    wait_until(lambda: kid() == "three", 15, "the third set")
    assert stack.bridge.metrics()["tocsin_jwks_failed_total"] >= 5


GOOD = {"kty": "RSA", "kid": "good", "n": "s" * 342, "e": "AQAB"}
UNUSABLE = [
    {"kty": "EC", "crv": "P-256", "kid": "short", "x": "A" * 42, "y": "A" * 43},
    {"kty": "RSA", "kid": "weak", "n": "s" * 171, "e": "AQAB"},
    {"kty": "RSA", "kid": "padded", "n": "s" * 342 + "==", "e": "AQAB"},
    {"kty": "RSA", "kid": "chain", "use": "sig", "x5c": ["MIIB"]},
    {"kty": "RSA", "kid": "enc", "use": "enc", "n": "s" * 342, "e": "AQAB"},
    {"kty": "AKP", "kid": "pq", "pub": "AAAA"}, {"kid": "no type"}, 1, None, [], "x",
    {"kty": "RSA", "kid": "\0", "deep": [[[[[[[[[[[[1]]]]]]]]]]]]},
]


def test_members_that_cannot_be_used_are_passed_over(new_stack, issuer, tmp_path):
    """One unusable key spoils nothing; a set of nothing else is not believed."""
    file = tmp_path / "jwks.json"
    sets = [{"keys": UNUSABLE[:at] + [{**GOOD, "kid": "good%d" % at}] + UNUSABLE[at:]}
            for at in (0, 6, len(UNUSABLE))]
    sets.append({"keys": [UNUSABLE[0]] * 100 + [{**GOOD, "kid": "last"}]})
    issuer.body = json.dumps(sets[0]).encode()
    stack = new_stack(settings={
        "jwks.url": "http://127.0.0.1:%d/keys" % issuer.server.server_port,
        "jwks.file": str(file), "jwks.every": "1s"})
    for keys in sets:
        issuer.body = json.dumps(keys).encode()
        wait_until(lambda: file.exists() and json.loads(file.read_text()) == keys, 15, "the set")
    failed = stack.bridge.metrics()["tocsin_jwks_failed_total"]
    issuer.body = json.dumps({"keys": UNUSABLE}).encode()
    wait_until(lambda: stack.bridge.metrics()["tocsin_jwks_failed_total"] > failed, 15, "a refusal")
    assert json.loads(file.read_text()) == sets[-1]
    # A file that was taken away comes back, though the set is the same.
    issuer.body = json.dumps(sets[0]).encode()
    wait_until(lambda: json.loads(file.read_text()) == sets[0], 15, "the first set again")
    file.unlink()
    wait_until(lambda: file.exists() and json.loads(file.read_text()) == sets[0], 15, "the file")


def test_a_provider_may_call_its_set_what_it_likes(new_stack, tmp_path):
    """Kubernetes answers 406 to anything but application/jwk-set+json."""
    issuers = [Issuer() for _ in range(3)]
    files = [tmp_path / ("%d.jwks" % n) for n in range(3)]
    for one, kind in zip(issuers, ("application/jwk-set+json", "application/json", "text/plain")):
        one.types = (kind,)
        one.serve("one")
    new_stack(settings={
        "jwks.url": ["http://127.0.0.1:%d/keys" % i.server.server_port for i in issuers],
        "jwks.file": [str(file) for file in files]})
    try:
        wait_until(lambda: all(file.exists() for file in files), 10, "all sets")
    finally:
        for one in issuers:
            one.server.shutdown()
            one.server.server_close()


def test_each_of_several_issuers_has_a_file_of_its_own(new_stack, issuer, tmp_path):
    other = Issuer()
    issuer.serve("one")
    other.serve("two")
    files = [tmp_path / "one.jwks", tmp_path / "two.jwks"]
    new_stack(settings={
        "jwks.url": ["http://127.0.0.1:%d/keys" % i.server.server_port for i in (issuer, other)],
        "jwks.file": [str(file) for file in files], "jwks.every": "1s"})

    def kids():
        return [json.loads(file.read_text())["keys"][0]["kid"] if file.exists() else None
                for file in files]
    wait_until(lambda: kids() == ["one", "two"], 10, "both sets")
    other.status = 500  # one that is down says nothing of the other
    issuer.serve("three")
    wait_until(lambda: kids() == ["three", "two"], 15, "the first one's new set")
    other.server.shutdown()
    other.server.server_close()


def test_as_many_files_as_urls_are_asked_for(new_stack):
    stack = new_stack(bridges=0, settings={"jwks.url": ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"],
                                           "jwks.file": ["/tmp/a"]})
    with pytest.raises(ServerError, match="one file for each URL"):
        stack.add_bridge()
