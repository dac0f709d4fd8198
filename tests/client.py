# SPDX-License-Identifier: MIT
"""MQTT clients for tests, on paho-mqtt: a stack that shares no code with the bridge.

    with Client(stack, "user", "alice") as alice:
        alice.subscribe("down/#")                       # inside its own subtree
        alice.publish("up/ack", {"ids": [...]})
        message = alice.wait(lambda m: m.topic.endswith("/inbox"))
"""
import json
import socket
import threading
import time

import paho.mqtt.client as mqtt

import tokens
from process import PATIENCE

ROOT_TOPIC = "notify/v1"


def without_delay(_client, _data, sock):
    """Small packets at once: paho leaves Nagle's algorithm on, which costs 40 ms now and then."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Message:
    """One message as it arrived."""

    def __init__(self, raw):
        self.topic = raw.topic
        self.payload = raw.payload
        self.retain = bool(raw.retain)
        # MQTT 5 Message Expiry Interval: seconds that are left; None when there is none.
        self.expiry_s = getattr(getattr(raw, "properties", None), "MessageExpiryInterval", None)
        self.at = time.monotonic()

    @property
    def json(self):
        return json.loads(self.payload)

    def __repr__(self):
        return "%s %s" % (self.topic, self.payload[:300].decode("utf-8", "replace"))


class Client:
    """One connected principal.  Everything received is kept, in order, in `messages`.

    Timeouts are in seconds of a quiet machine (process.PATIENCE).
    """

    def __init__(self, stack, kind, subject, device="test", roles=(), version=5, clean=True,
                 transport="tcp", token=None, on_message=None, keepalive=60):
        broker = getattr(stack, "broker", stack)
        self.kind, self.subject = kind, subject
        self.id = tokens.encode_id(subject)
        self.root = "%s/%ss/%s" % (ROOT_TOPIC, kind, self.id)
        self.client_id = "%s/%s%s" % (kind, self.id, "/" + device if device else "")
        self.messages = []
        self.changed = threading.Condition()
        self.connects = 0
        self.connect_code = None
        self.filters = []
        self.callback = on_message
        protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        more = {} if version == 5 else {"clean_session": clean}
        # paho 2 wants to be told whose callbacks these are: those of paho 1.
        api = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
        self.mqtt = mqtt.Client(*api, client_id=self.client_id, protocol=protocol,
                                transport=transport, **more)
        self.mqtt.username_pw_set(self.id, token or broker.token(kind, subject, roles))
        self.mqtt.max_inflight_messages_set(1000)
        self.mqtt.max_queued_messages_set(0)
        self.mqtt.reconnect_delay_set(1, 1)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_socket_open = without_delay
        self.mqtt.on_message = self._on_message
        self.mqtt.on_subscribe = self._on_subscribe
        self.granted = {}
        self.options = {}
        if version == 5:
            from paho.mqtt.properties import Properties
            from paho.mqtt.packettypes import PacketTypes
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            self.options = {"clean_start": clean, "properties": properties}
        self.port = broker.ws_port if transport == "websockets" else broker.port
        self.keepalive = keepalive

    def connect(self, timeout=10.0):
        self.mqtt.connect("127.0.0.1", self.port, self.keepalive, **self.options)
        self.mqtt.loop_start()
        self._wait(lambda: self.connect_code is not None, timeout, "CONNACK")
        if self.connect_code != 0:
            self.close()
            raise ConnectionError("refused: %s" % self.connect_code)
        return self

    def _on_connect(self, _client, _data, _flags, code, _properties=None):
        with self.changed:
            self.connect_code = getattr(code, "value", code)
            self.connects += 1
            self.changed.notify_all()
        if self.connects > 1:
            for topic in self.filters:  # a broker killed meanwhile may have forgotten them
                self.mqtt.subscribe(topic, 1)

    def _on_message(self, _client, _data, raw):
        message = Message(raw)
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()
        if self.callback:
            self.callback(self, message)

    def _on_subscribe(self, _client, _data, mid, codes, _properties=None):
        with self.changed:
            self.granted[mid] = [getattr(code, "value", code) for code in codes]
            self.changed.notify_all()

    def _wait(self, predicate, timeout, what):
        timeout *= PATIENCE
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise TimeoutError("%s waited %.1f s for %s; has %r" % (
                    self.client_id, timeout, what, self.messages[-8:]))

    def topic(self, tail):
        """A topic inside our own subtree; one that starts with notify/ or $ stays as it is."""
        return tail if tail.startswith((ROOT_TOPIC, "$")) else "%s/%s" % (self.root, tail)

    def subscribe(self, tail, timeout=10.0):
        """Subscribes and waits for the SUBACK; raises when the broker refuses."""
        topic = self.topic(tail)
        _, mid = self.mqtt.subscribe(topic, 1)
        self._wait(lambda: mid in self.granted, timeout, "SUBACK")
        if self.granted[mid][0] >= 0x80:
            raise PermissionError("%s: subscription refused: %s" % (topic, self.granted[mid]))
        self.filters.append(topic)
        return self

    def publish(self, tail, body, qos=1, timeout=10.0):
        """Publishes and, at QoS 1, waits until the broker has it; timeout None does not wait."""
        payload = body if isinstance(body, (bytes, str)) else json.dumps(body)
        info = self.mqtt.publish(self.topic(tail), payload, qos)
        if timeout is not None and qos:
            try:
                info.wait_for_publish(timeout * PATIENCE)
            except RuntimeError as error:  # what paho raises when the connection is lost
                raise ConnectionError("no PUBACK for %s: %s" % (tail, error)) from error
            if not info.is_published():
                raise TimeoutError("no PUBACK for %s within %.1f s" % (tail, timeout * PATIENCE))
        return info

    def wait(self, match, timeout=10.0, what="a message"):
        """The first message kept for which match(message) is true."""
        found = []

        def look():
            found[:] = [m for m in self.messages if match(m)][:1]
            return bool(found)
        self._wait(look, timeout, what)
        return found[0]

    def receipt(self, request, status, timeout=10.0, **fields):
        """Waits for a service's receipt; receipts may come one by one or in arrays."""
        found = []

        def look():
            found[:] = [r for r in self.receipts(request)
                        if r["status"] == status
                        and all(r.get(k) == v for k, v in fields.items())][:1]
            return bool(found)
        self._wait(look, timeout, "receipt %s of %s" % (status, request))
        return found[0]

    def receipts(self, request=None):
        found = []
        for message in list(self.messages):
            if message.topic.endswith("/down/receipt"):
                body = message.json
                found += body if isinstance(body, list) else [body]
        return [r for r in found if request is None or r.get("id") == request]

    def rpc(self, method, params=None, timeout=10.0):
        """Calls a method and returns its answer: {rpc, result} or {rpc, error}."""
        call = "c%d-%d" % (id(self) & 0xFFFF, len(self.messages) + time.monotonic_ns())
        self.publish("up/rpc/" + method, {"rpc": call, "params": params or {}})
        answer = self.wait(lambda m: m.topic.endswith("/down/reply")
                           and m.json.get("rpc") == call, timeout, "the answer to " + method)
        return answer.json

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def __enter__(self):
        return self.connect()

    def __exit__(self, *_exc):
        self.close()
