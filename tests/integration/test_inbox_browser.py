# SPDX-License-Identifier: MIT
"""A user's app as others would write it: MQTT.js in a headless browser over WebSocket, paho as a service.

Nothing of ours runs in the page but what a page's author writes after reading docs/inbox.md.
"""
import json
import os
import shutil
import subprocess

import pytest

import npm
import servers
from client import Client
from test_gate_clients import serve
from test_inbox import conforms, history, told

PAGE = """<!doctype html><meta charset="utf-8"><script src="/mqtt.min.js"></script><script>
const args = %s, root = 'notify/v1/users/' + args.user;
const seen = {agent: navigator.userAgent, inbox: [], changed: [], badge: [], shared: [], replies: {}};
const tell = (what) => fetch('/result', {method: 'POST', body: JSON.stringify(what)});
const client = mqtt.connect(args.url, {clientId: 'user/' + args.user + '/browser',
  username: args.user, password: args.token, protocolVersion: args.version, reconnectPeriod: 0});
const waiting = [];
const until = (check) => new Promise((done) => { waiting.push([check, done]); look(); });
const look = () => waiting.forEach(([check, done]) => check() && done());
const send = (leaf, body) =>
  client.publishAsync(root + '/up/' + leaf, JSON.stringify(body), {qos: 1});
let calls = 0;
const call = async (method, params) => {
  const rpc = 'c' + ++calls;
  await send('rpc/' + method, {rpc, params});
  await until(() => rpc in seen.replies);
  return seen.replies[rpc].result;
};
client.on('message', (topic, payload) => {
  const body = JSON.parse(payload.toString()), leaf = topic.split('/').pop();
  if (topic === 'notify/v1/broadcast/inbox') seen.shared.push(body);
  else if (leaf === 'reply') seen.replies[body.rpc] = body;
  else if (leaf in seen) seen[leaf].push(body);
  if (leaf === 'inbox' && topic.startsWith(root)) send('ack', {ids: [body.id]});
  look();
});
client.on('error', (error) => tell({error: String(error)}));
client.on('connect', async () => {
  await client.subscribeAsync([root + '/down/#', 'notify/v1/broadcast/#'], {qos: 1});
  const missed = await call('history', {since_seq: 0});
  await send('seen', {all: true});
  await tell({ready: true});
  await until(() => seen.inbox.some((one) => one.title === 'live') && seen.shared.length);
  const live = seen.inbox.find((one) => one.title === 'live');
  await send('read', {ids: [live.id, seen.shared[0].id]});
  await until(() => seen.changed.some((one) => one.state === 'read' && one.ids.includes(live.id)) &&
    seen.changed.some((one) => one.state === 'archived') &&
    seen.badge.length && seen.badge[seen.badge.length - 1].unread === 0);
  const all = await call('history', {});
  const badge = await call('badge', {});
  await tell({...seen, missed, all, last: badge});
});
</script>"""


@pytest.fixture(scope="module")
def modules():
    try:
        return npm.modules()
    except npm.Unavailable as why:
        pytest.skip("npm packages: %s" % why)


def titles(page):
    return [(item["title"], item["state"]) for item in page["items"]]


@pytest.mark.long
@pytest.mark.parametrize("version", [4, 5])
def test_an_inbox_in_a_browser(stack, modules, tmp_path, version):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium here (apt-get install chromium)")
    name, results = "surfer-%d" % version, []
    page = PAGE % json.dumps({
        "url": "ws://127.0.0.1:%d" % stack.broker.ws_port, "user": name, "version": version,
        "token": stack.broker.token("user", name)})
    server = serve(lambda: page, os.path.join(modules, "mqtt", "dist", "mqtt.min.js"), results)
    with Client(stack, "service", "shop") as shop, Client(stack, "user", name, "phone") as phone:
        shop.subscribe("down/#")
        phone.subscribe("down/#")
        shop.publish("up/request", {"id": name + "-missed", "type": "browser.test",
                                    "title": "missed", "to": {"user": name}})
        missed = phone.wait(lambda m: m.topic.endswith("/inbox")).json["id"]
        phone.publish("up/ack", {"ids": [missed]})
        shop.receipt(name + "-missed", "delivered")
        run = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--user-data-dir=%s" % (tmp_path / "profile"),
             "http://127.0.0.1:%d/" % server.server_address[1]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            servers.wait_until(lambda: results, 60, "the browser to be ready", 0.1)
            assert results == [{"ready": True}]
            told(phone, [missed], "seen")
            shop.publish("up/request", [
                {"id": name + "-live", "type": "browser.test", "title": "live", "receipts": "all",
                 "to": {"user": name}, "data": {"n": [1, 2.5, "ü"]}},
                {"id": name + "-all", "type": "browser.test", "title": "to all",
                 "to": {"broadcast": True}}])
            live = phone.wait(lambda m: m.json.get("title") == "live").json
            told(phone, [live["id"]], "read", 60)
            shop.receipt(name + "-live", "delivered")
            assert shop.receipt(name + "-live", "read")["user"] == name
            phone.publish("up/archive", {"ids": [missed]})
            servers.wait_until(lambda: len(results) > 1, 60, "the browser's word", 0.1)
        finally:
            run.terminate()
            run.wait(10)
            server.shutdown()
        seen = results[1]
        assert "error" not in seen and "Chrom" in seen["agent"]
        assert titles(seen["missed"]) == [("missed", "unread")] and seen["missed"]["complete"]
        assert [one for one in seen["inbox"] if one["title"] == "live"][0] == live
        assert seen["shared"][0]["title"] == "to all"
        assert ("live", "read") in titles(seen["all"]) and ("missed", "archived") in titles(seen["all"])
        assert ("to all", "read") in titles(seen["all"])
        assert titles(history(phone)) == titles(seen["all"])
        assert seen["last"] == {"unread": 0, "unseen": 0}
        for kind in ("inbox", "changed", "badge"):
            for body in seen[kind]:
                conforms(kind, body)
        assert shop.rpc("request.retract", {"id": name + "-all"})["result"]["retracted"] == 1
