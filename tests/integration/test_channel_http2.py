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
    """(provider server's info, https base URL of a sink with its certificate)"""
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
            process.stdout.readline()
            port = process.stdout.readline().strip()
            if not port:
                process.wait(10)
                pytest.skip("this sink has no HTTP/2")
            yield server.info, "https://127.0.0.1:" + port
            process.terminate()


@pytest.mark.parametrize("adapter", ("apns", "webpush"))
def test_no_push_is_lost_on_a_long_connection(sink, adapter):
    info, base_url = sink
    keys, target = {"base_url": base_url}, probe.target(info, adapter)
    if adapter == "webpush":
        keys, target = {}, json.dumps({**json.loads(target), "endpoint": base_url + "/push/x"})
    (summary,) = probe.run(info, adapter, keys=keys, target=target, count=COUNT, concurrency=50,
                           connections=1, print="summary")
    assert summary["outcomes"] == {"accepted": COUNT}
