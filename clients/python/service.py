#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A service that asks for notifications and hears what became of them, in Python on paho-mqtt.

    pip install paho-mqtt           # 1.6 and 2.x both do
    python3 service.py --url mqtt://127.0.0.1:1883 --token-file orders.token --service orders \
        --to alice --title "Your order is ready"

What makes it correct, in any language:

* Every request has an id of its own making.  It is published again, with the same id, until its
  `accepted` receipt has come: after each reconnect, and when that is overdue.  The bridge takes
  an id once, so repeating is safe, and it is what makes the chain lossless.
* It subscribes to its receipts before it publishes, and again on every connect.
* A receipt message holds one receipt or an array of them.
* A program that must not lose requests when it dies itself writes them down first: keep `pending`
  in its own database, in the transaction that made the order.  Here it is a dictionary.
"""
import argparse
import json
import random
import sys
import threading
import time
import uuid
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

RESEND_S = 10.0
FINAL = {"rejected", "sent", "delivered", "dead", "suppressed", "expired", "cancelled"}
UNESCAPED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~@|-")


def encode_id(subject):
    """One topic level, whatever characters an id has."""
    return "".join(chr(b) if b in UNESCAPED else "%%%02X" % b for b in subject.encode("utf-8"))


class Service:
    """One connection of a service.  on_receipt(receipt) runs on the network thread."""

    def __init__(self, url, name, token_file, on_receipt):
        self.root = "notify/v1/services/" + encode_id(name)
        self.name = encode_id(name)
        self.token_file = token_file
        self.on_receipt = on_receipt
        self.lock = threading.Lock()
        self.pending = {}  # id -> request, until accepted or rejected
        self.refused = None
        self.ready = False
        client_id = "service/%s/py-%08x" % (encode_id(name), random.getrandbits(32))
        version = [mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []
        parts = urlsplit(url)
        is_ws = parts.scheme in ("ws", "wss")
        self.mqtt = mqtt.Client(*version, client_id=client_id, protocol=mqtt.MQTTv5,
                                transport="websockets" if is_ws else "tcp")
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_subscribe = self._on_subscribe
        self.mqtt.on_disconnect = self._on_disconnect
        self.mqtt.on_message = self._on_message
        self.mqtt.reconnect_delay_set(1, 30)  # doubling; paho adds no chance to it
        if parts.scheme in ("mqtts", "wss"):
            self.mqtt.tls_set()
        self._login()
        default = {"mqtts": 8883, "ws": 80, "wss": 443}.get(parts.scheme, 1883)
        self.mqtt.connect_async(parts.hostname, parts.port or default, keepalive=30)
        self.mqtt.loop_start()
        self.stopped = threading.Event()
        threading.Thread(target=self._resend, daemon=True).start()

    def send(self, request):
        """Hands a request over; returns its id.  It goes out now, or as soon as that is possible."""
        request = {"id": str(uuid.uuid4()), **request}
        with self.lock:
            self.pending[request["id"]] = request
        if self.ready:
            self._publish(request)
        return request["id"]

    def close(self):
        self.stopped.set()
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def _login(self):
        with open(self.token_file) as file:  # again before each connect: it may have been renewed
            self.mqtt.username_pw_set(self.name, file.read().strip())

    def _publish(self, request):
        self.mqtt.publish(self.root + "/up/request", json.dumps(request), qos=1)

    def _resend(self):
        while not self.stopped.wait(RESEND_S * random.uniform(0.5, 1.0)):
            self._publish_pending()

    def _publish_pending(self):
        with self.lock:
            overdue = list(self.pending.values()) if self.ready else []
        for request in overdue:
            self._publish(request)

    def _on_connect(self, _client, _data, _flags, reason, _properties=None):
        if reason != 0:
            self.refused = str(reason)
            self.mqtt.disconnect()
            return
        self.mqtt.subscribe(self.root + "/down/receipt", qos=1)

    def _on_subscribe(self, *_):
        self.ready = True  # only now can no receipt pass us by
        self._publish_pending()

    def _on_disconnect(self, *_):
        self.ready = False
        try:
            self._login()
        except OSError as error:
            print("token: %s" % error, file=sys.stderr)

    def _on_message(self, _client, _data, message):
        try:
            body = json.loads(message.payload)
        except ValueError:
            return
        for receipt in body if isinstance(body, list) else [body]:
            with self.lock:
                # Any receipt says that the request was stored, should `accepted` have been lost.
                self.pending.pop(receipt.get("id"), None)
            self.on_receipt(receipt)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--to", required=True, help="the user to notify")
    parser.add_argument("--title", required=True)
    parser.add_argument("--timeout", type=float, default=30.0)
    args = parser.parse_args()
    ended = threading.Event()
    wanted = []

    def on_receipt(receipt):
        if receipt.get("id") in wanted:
            print(json.dumps(receipt), flush=True)
            if receipt.get("status") in FINAL:
                ended.set()

    service = Service(args.url, args.service, args.token_file, on_receipt)
    wanted.append(str(uuid.uuid4()))
    service.send({"id": wanted[0], "type": "order.ready", "to": {"user": args.to},
                  "channels": ["in_app"], "title": args.title})
    deadline = time.monotonic() + args.timeout
    while not ended.wait(0.1) and not service.refused and time.monotonic() < deadline:
        pass
    service.close()
    if service.refused:
        sys.exit("refused: " + service.refused)
    if not ended.is_set():
        sys.exit("no final receipt within %g s" % args.timeout)


if __name__ == "__main__":
    main()
