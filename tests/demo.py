# SPDX-License-Identifier: MIT
"""The demonstration of `./run`: one service, one user and one admin, watched live.

Every line of the transcript is something that happened, printed by whoever saw it: what the
service published, what its receipts say, what reached the user's device, what the local
providers were asked.  run() returns the number of scenes that did not end as they should.
"""
import json
import sys
import threading
import time

import servers
from client import Client
from traffic import FINAL, books

COLOURS = {"service": "36", "user": "32", "admin": "35", "provider": "33", "bad": "31", "dim": "2"}


class Transcript:
    """Prints one line per event with the time since the start; thread-safe."""

    def __init__(self):
        self.lock = threading.Lock()
        self.start = time.monotonic()
        self.colour = sys.stdout.isatty()

    def paint(self, style, text):
        return "\033[%sm%s\033[0m" % (COLOURS[style], text) if self.colour else text

    def line(self, who, arrow, text, style=None):
        stamp = "%7.3f" % (time.monotonic() - self.start)
        with self.lock:
            print("%s  %s %s %s" % (self.paint("dim", stamp),
                                    self.paint(style or who.split()[0], "%-18s" % who), arrow,
                                    text), flush=True)

    def scene(self, text):
        with self.lock:
            print("\n%s" % text, flush=True)


class ProviderWatch:
    """Follows what the local providers record and prints each request."""

    def __init__(self, stack, transcript):
        self.providers = stack.providers
        self.transcript = transcript
        self.calls = []
        self.next = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        while not self.done.wait(0.005):
            try:
                answer = self.providers.control("GET", "/requests?since=%d" % self.next)
            except OSError:
                return  # they have ended: Ctrl-C reaches them as it reaches us
            self.next = answer["next"]
            for call in answer["requests"]:
                self.calls.append(call)
                if call.get("op") == "send":
                    self.show(call)

    def show(self, call):
        fault = "" if call["status"] and call["status"] < 300 else "  (%s)" % (
            call.get("why") or call["verdict"])
        self.transcript.line("provider " + call["provider"], "<-", "%s %s  to %s -> %s%s" % (
            call["method"], call["path"].split("?")[0], call.get("target"), call["status"],
            fault), "provider")

    def to(self, target):
        return [call for call in self.calls if call.get("target") == target]

    def stop(self):
        self.done.set()
        self.thread.join()


def short(body, *skip):
    return json.dumps({k: v for k, v in body.items() if k not in skip}, ensure_ascii=False)


class Demo:
    def __init__(self, stack):
        self.stack = stack
        self.out = Transcript()
        self.watch = ProviderWatch(stack, self.out)
        self.shop = Client(stack, "service", "shop", "demo", on_message=self.on_receipt)
        self.alice = Client(stack, "user", "alice", "phone", on_message=self.on_inbox)
        self.ops = Client(stack, "admin", "ops", "desk", on_message=self.on_dlq)
        self.failed = 0

    # What each of them sees.
    def on_receipt(self, _client, message):
        if not message.topic.endswith("/receipt"):
            return
        body = message.json
        for receipt in body if isinstance(body, list) else [body]:
            rest = short(receipt, "status", "at", "notification", "id")
            self.out.line("service shop", "<-", "%-9s %s" % (
                receipt["status"], rest if rest != "{}" else receipt.get("notification", "")))

    def on_inbox(self, client, message):
        if not message.topic.endswith("/inbox"):
            return
        body = message.json
        self.out.line("user alice", "<-", "inbox %s" % short(body, "created_at", "priority"))
        self.out.line("user alice", "->", "ack %s" % body["id"])
        client.publish("up/ack", {"ids": [body["id"]]}, timeout=None)

    def on_dlq(self, _client, message):
        self.out.line("admin ops", "<-", "%s %s" % (
            message.topic.split("/", 2)[2],
            short(message.json, "died_at", "content", "created_at", "status_code", "status")))

    # The scenes.
    def scene(self, title, request, status, check=None, **fields):
        """Publishes and waits for the receipt with that status, and for check() if there is one."""
        self.out.scene(title)
        request = {"receipts": "all", **request}
        self.out.line("service shop", "->", "up/request %s" % short(request, "receipts"))
        try:
            self.shop.publish("up/request", request)
            self.shop.receipt(request["id"], "accepted", 15)
            self.wait_end(request["id"], status, **fields)
            if check:
                servers.wait_until(check, 15, "the rest of this scene")
        except (TimeoutError, OSError) as error:
            self.failed += 1
            self.out.line("FAILED", "!!", str(error).split("; has")[0], "bad")

    def wait_end(self, name, status, **fields):
        """Waits for a status, but not past another end."""
        ends = {status, "rejected", *FINAL}
        servers.wait_until(lambda: [r for r in self.shop.receipts(name) if r["status"] in ends],
                           30, "%s of %s" % (status, name))
        self.shop.receipt(name, status, 0.5, **fields)

    def script(self, provider, target, *answers):
        self.stack.providers.control("POST", "/behaviour", {
            "provider": provider, "target": target, "answers": list(answers)})

    def inbox(self, request):
        return [m for m in self.alice.messages if m.topic.endswith("/inbox")
                and m.json.get("data", {}).get("request") == request]

    def play(self):
        hook = self.stack.providers.info["webhook"]["base_url"].rstrip("/") + "/orders"
        device = self.stack.providers.info["fcm"]["valid_tokens"][0]
        order = {"type": "order.ready", "title": "Your order is ready",
                 "body": "Number 42, counter 3"}

        first = {"id": "order-42", **order, "to": {"user": "alice"},
                 "data": {"request": "order-42"}}
        self.scene("A notification to a user who is online: in the app, acknowledged.",
                   first, "delivered", channel="in_app")
        self.again(first)
        for title, name, channel, to in (
                ("A text message.", "sms", "sms", {"phone": "+15550100042"}),
                ("A push notification.", "push", "push", {"push_token": device}),
                ("An email.", "email", "email", {"email": "alice@example.org"}),
                ("A webhook, signed.", "hook", "webhook", {"url": hook})):
            target = list(to.values())[0]
            self.scene(title, {"id": "order-42-" + name, **order, "channels": [channel], "to": to},
                       "delivered" if channel == "webhook" else "sent",
                       lambda t=target, c=channel: c == "webhook" or self.watch.to(t))
        self.script("twilio", "+15550100043", 503)
        self.scene("The provider fails once: tried again, and sent.",
                   {"id": "order-43", **order, "channels": ["sms"], "to": {"phone": "+15550100043"},
                    "retry": {"attempts": 3, "base": "1s", "jitter": False}}, "sent",
                   lambda: self.shop.receipts("order-43")
                   and any(r["status"] == "retrying" for r in self.shop.receipts("order-43")))
        self.script("twilio", "+15550100044", "21211")
        self.scene("The provider will never take it: a dead letter, for the service and the admins.",
                   {"id": "order-44", **order, "channels": ["sms"],
                    "to": {"phone": "+15550100044"}}, "dead",
                   lambda: any("/dlq/" in m.topic for m in self.ops.messages))

    def again(self, request):
        """The same request once more: the first receipt, no second effect."""
        def accepted():
            return [r for r in self.shop.receipts(request["id"]) if r["status"] == "accepted"]
        self.scene("The same request again: the same answer, no second effect.", request,
                   "accepted", lambda: len(accepted()) == 2)
        if len({r["notification"] for r in accepted()}) != 1 or len(
                {m.json["id"] for m in self.inbox(request["id"])}) != 1:
            self.failed += 1
            self.out.line("FAILED", "!!", "the repeat had an effect", "bad")

    def run(self):
        with self.shop, self.alice, self.ops:
            self.shop.subscribe("down/#")
            self.alice.subscribe("down/#")
            self.ops.subscribe("notify/v1/dlq/#")
            self.play()
            self.balance()
        self.watch.stop()
        return self.failed

    def balance(self):
        """The promise of conservation, asked of the database itself."""
        found = books(self.stack)
        self.out.scene("The books: %s" % "  ".join("%s %d" % pair for pair in found.items()))
        if found["missing"]:
            self.failed += 1


def run(stack):
    print("stack up in %s: Postgres, Mosquitto with tocsin_auth, tocsind, local providers"
          % stack.dir)
    failed = Demo(stack).run()
    print("\nthe demonstration %s" % ("succeeded" if not failed else
                                      "FAILED: %d scenes" % failed), flush=True)
    if failed:
        print(servers.read_tail(stack.bridge.log))
    return failed


def how_to_connect(stack):
    port = stack.broker.port
    token = "./run token --dir %s" % stack.dir
    print("""
Connect with any MQTT client; a client's password is its token.

  # a user's phone
  mosquitto_sub -V 5 -p {port} -i user/bob/phone -u bob -P "$({token} --kind user --id bob)" \\
    -q 1 -t 'notify/v1/users/bob/down/#' -v

  # a service: ask for a notification
  mosquitto_pub -V 5 -p {port} -i service/shop/1 -u shop -P "$({token} --kind service --id shop)" \\
    -q 1 -t notify/v1/services/shop/up/request \\
    -m '{{"id":"hello-1","type":"demo","to":{{"user":"bob"}},"title":"Hello","body":"from the shell"}}'

  browsers   {ws}
  health     {http}/readyz   {http}/metrics
  database   psql '{pg}'
  logs       {dir}/*.log

Ctrl-C stops everything and removes it.""".format(
        port=port, token=token, ws=stack.broker.ws_url, http=stack.bridge.url,
        pg=stack.postgres.url, dir=stack.dir), flush=True)
