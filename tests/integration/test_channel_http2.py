# SPDX-License-Identifier: MIT
"""Thousands of pushes on one HTTP/2 connection, against libnghttp2's server (tests/bench/sink).

It closes a connection that resets more streams than about a thousand, which libcurl 7.88 would do
(bridge/io/http_reset.c); what was under way would then be lost after it was sent.
"""
import json
import os
import subprocess

import pytest

import channel_probe as probe
import servers

COUNT = 3000


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    """(provider server's info, https base URL of a sink with its certificate, its plain one)"""
    program = os.path.join(servers.build_dir(), "tests", "bench", "sink")
    if not os.path.exists(program) or not os.path.exists(probe.binary()):
        pytest.skip("tests/bench/sink or tests/spec/probe is not built")
    with probe.ProviderServer(tmp_path_factory.mktemp("http2")) as server:
        secrets = os.path.dirname(server.info["ca_file"])
        with subprocess.Popen(
                [program, "--delay-ms", "5", "--tls-port", "0",
                 "--cert", os.path.join(secrets, "tls-good.pem"),
                 "--key", os.path.join(secrets, "tls-good.key")],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            plain = process.stdout.readline().strip()
            port = process.stdout.readline().strip()
            if not port:
                process.wait(10)
                pytest.skip("this sink has no HTTP/2")
            yield server.info, "https://127.0.0.1:" + port, "http://127.0.0.1:" + plain
            process.terminate()


def push(sink, adapter, **more):
    info, base_url, _ = sink
    keys, target = {"base_url": base_url}, probe.target(info, adapter)
    if adapter == "webpush":
        keys, target = {}, json.dumps({**json.loads(target), "endpoint": base_url + "/push/x"})
    (summary,) = probe.run(info, adapter, keys=keys, target=target, count=COUNT,
                           print="summary", timeout="100s", **more)
    assert summary["outcomes"] == {"accepted": COUNT}


@pytest.mark.parametrize("adapter", ("apns", "webpush"))
def test_no_push_is_lost_on_a_long_connection(sink, adapter):
    push(sink, adapter, concurrency=50, connections=1)


def connections(sink):
    return servers.http("GET", sink[2] + "/_sink/stats")[1]["connections"]


@pytest.mark.parametrize("adapter", ("apns", "fcm", "webpush"))
def test_hundreds_at_once_need_few_connections(sink, adapter):
    before = connections(sink)
    push(sink, adapter, concurrency=500)
    assert connections(sink) - before - 1 <= 8  # one asked for the count
