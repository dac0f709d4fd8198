# SPDX-License-Identifier: MIT
"""tests/bench/sink, the provider of the benchmarks: delays, counts, both versions of HTTP."""

import http.client
import json
import os
import smtplib
import socket
import subprocess
import threading
import time

import pytest

from provider_server import http_call

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SINK = os.path.join(os.environ.get("TOCSIN_BUILD", os.path.join(ROOT, "build", "release")),
                    "tests", "bench", "sink")


class Sink:
    def __init__(self, *arguments):
        if not os.path.exists(SINK):
            pytest.skip("the sink is not built: " + SINK)
        self.process = subprocess.Popen([SINK, *arguments], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            pytest.skip(self.process.stderr.read().strip())
        self.port = int(line)
        self.url = f"http://127.0.0.1:{self.port}"

    def stats(self):
        return http_call(self.url + "/_sink/stats", "GET").json

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        assert self.process.wait(timeout=120) == 0, self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.mark.parametrize("path, status, shape", [
    ("/2010-04-01/Accounts/AC0/Messages.json", 201, "sid"),
    ("/v1/projects/p/messages:send", 200, "name"), ("/token", 200, "access_token"),
    ("/v3/mail/send", 202, None), ("/v3/mg.example.org/messages", 200, "id"),
    ("/v2/email/outbound-emails", 200, "MessageId"), ("/email", 200, "MessageID"),
    ("/v1/messages", 202, "message_uuid"), ("/v1/sms/messages", 202, "id"),
    ("/v23.0/1/messages", 200, "messages"), ("/push/x", 201, None), ("/hook", 204, None)])
def test_answers_have_the_providers_shape_and_ids_of_their_own(path, status, shape):
    with Sink() as sink:
        replies = [http_call(sink.url + path, body="{}") for _ in range(2)]
    assert [r.status for r in replies] == [status] * 2
    if shape:
        assert replies[0].json[shape] != replies[1].json[shape]
    if path == "/v3/mail/send":
        assert replies[0].headers["x-message-id"] != replies[1].headers["x-message-id"]


def test_delays_are_kept_and_the_slow_path_has_its_own():
    with Sink("--delay-ms", "60", "--slow-path-prefix", "/slow", "--slow-delay-ms", "250") as sink:
        def took(path):
            start = time.monotonic()
            assert http_call(sink.url + path, body="{}").status == 204
            return time.monotonic() - start
        assert took("/slow/hook") >= 0.25
        # The machine may be held up now and then, but not each time.
        assert 0.06 <= min(took("/hook") for _ in range(10)) < 0.25
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(
            http_call(sink.url + "/hook", body="{}").status)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [204] * 30 and sink.stats()["peak_in_flight"] > 1


def test_counts_tell_distinct_deliveries_from_repeats():
    with Sink() as sink:
        connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=120)

        def send(path, body, **headers):
            connection.request("POST", path, body, headers)
            connection.getresponse().read()
        for n in (1, 2, 2):
            send("/hook", "{}", **{"webhook-id": f"msg_{n}"})
        for n in (1, 2, 3):
            send("/2010-04-01/Accounts/AC0/Messages.json", f"From=x&To=%2B{n}&Body=b")
        stats = sink.stats()
        kinds = stats["kinds"]
        assert (kinds["webhook"]["distinct"], kinds["webhook"]["repeats"]) == (2, 1)
        assert (kinds["twilio"]["distinct"], kinds["twilio"]["distinct_bodies"]) == (3, 3)
        assert (stats["requests"], stats["connections"]) == (6, 2)
        send("/_sink/reset", "")
        assert sink.stats()["requests"] == 0
        connection.close()


def test_mail_is_taken_session_after_session_and_counted():
    with Sink("--smtp-port", "0", "--delay-ms", "20") as sink:
        port = int(sink.process.stdout.readline())
        for _ in range(2):
            with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
                for to in ("a@example.org", "b@example.org"):
                    start = time.monotonic()
                    assert client.sendmail("x@example.org", [to], "Subject: s\r\n\r\n.\r\nb") == {}
                    assert time.monotonic() - start >= 0.02
                assert client.noop()[0] == 250 and client.docmd("HELP")[0] == 502
        stats = sink.stats()
        assert (stats["kinds"]["smtp"]["requests"], stats["kinds"]["smtp"]["distinct"]) == (4, 2)
        assert stats["bad"] == 2


def test_what_is_not_http_is_refused_and_counted():
    with Sink() as sink:
        for text in (b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", sink.port), timeout=120) as sock:
                sock.sendall(text)
                assert sock.recv(4096).startswith(b"HTTP/1.1 400")
        assert sink.stats()["bad"] == 2


def test_pipelined_and_split_requests_are_answered_in_order():
    one = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with Sink("--delay-ms", "5") as sink, \
            socket.create_connection(("127.0.0.1", sink.port), timeout=120) as sock:
        data = one * 20
        for at in range(0, len(data), 7):
            sock.sendall(data[at:at + 7])
        got = b""
        while got.count(b"expires_in") < 20:
            got += sock.recv(65536)
        ids = [part[:40] for part in got.split(b"ya29.")[1:]]
        assert ids == sorted(ids) and len(set(ids)) == 20


def test_http2_over_tls(server):
    place = os.path.join(server.directory, "providers")
    with Sink("--delay-ms", "30", "--tls-port", "0", "--cert", os.path.join(place, "tls-good.pem"),
              "--key", os.path.join(place, "tls-good.key")) as sink:
        port = int(sink.process.stdout.readline())
        arguments = ["curl", "-sS", "--http2", "--parallel", "--cacert", server.info["ca_file"],
                     "-d", json.dumps({"message": {"token": "t"}}), "-w", "%{http_version} "]
        for _ in range(20):
            arguments += ["-o", "/dev/null",
                          f"https://localhost:{port}/v1/projects/p/messages:send"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.split() == ["2"] * 20
        stats = sink.stats()
        assert stats["kinds"]["fcm"]["requests"] == 20 and stats["in_flight"] == 0
        assert stats["peak_in_flight"] > 1
