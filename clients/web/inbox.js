/* SPDX-License-Identifier: MIT */
/*
 * A user's inbox in a browser, on MQTT.js over WebSocket and nothing else of ours.
 *
 *   const inbox = new Inbox(mqtt, {
 *     url: "wss://example.org/mqtt",
 *     user: "alice",
 *     token: async () => (await fetch("/tocsin-token")).text(),
 *     onNotification: (n) => show(n),       // may return a promise: acknowledged after it
 *     onHistory: (items) => list(items),    // optional: what was there before, the oldest first
 *     onBadge: (b) => count(b.unread),
 *   });
 *   await inbox.start();
 *   inbox.read([n.id]);
 *   inbox.stop();
 *
 * No stored session is needed: what nobody acknowledged the bridge sends again when the user
 * is back. A notification may therefore come twice; it is shown once and acknowledged twice.
 */
"use strict";

const SEEN_MAX = 256;
const HISTORY = 50; // entries of the inbox that are asked for once
const WAIT_MIN_MS = 500;
const WAIT_MAX_MS = 30000;
const REFUSED = new Set([0x84, 0x85, 0x86, 0x87, 0x8a, 0x8c]); // no use in trying again

/* One topic level, whatever characters an id has: UTF-8 bytes outside [A-Za-z0-9._~@|-] as %XX. */
function encodeId(id) {
  return Array.from(new TextEncoder().encode(id), (byte) => {
    const char = String.fromCharCode(byte);
    return /[A-Za-z0-9._~@|-]/.test(char)
      ? char
      : "%" + byte.toString(16).toUpperCase().padStart(2, "0");
  }).join("");
}

class Inbox {
  constructor(mqtt, options) {
    this.mqtt = mqtt;
    this.options = options;
    this.id = encodeId(options.user);
    this.root = `notify/v1/users/${this.id}`;
    this.clientId = `user/${this.id}/web-${Math.random().toString(36).slice(2, 10)}`;
    this.seen = new Set();
    this.wait = WAIT_MIN_MS;
    this.stopped = true;
  }

  async start() {
    this.stopped = false;
    await this._connect();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    if (this.client) this.client.end();
  }

  read(ids) {
    return this._publish("read", { ids });
  }

  click(ids, url) {
    return this._publish("click", { ids, url });
  }

  /* Connecting again is ours: MQTT.js waits the same time always, and with the same password. */
  async _connect() {
    let token;
    try {
      token = await this.options.token();
    } catch (error) {
      return this._later(error);
    }
    if (this.stopped) return;
    const client = this.mqtt.connect(this.options.url, {
      protocolVersion: 5,
      clientId: this.clientId,
      username: this.id, // not needed by Tocsin, but MQTT.js sends no password without one
      password: token,
      clean: true,
      keepalive: 30,
      reconnectPeriod: 0,
      connectTimeout: 10000,
    });
    let lastError;
    this.client = client;
    client.on("connect", () => this._subscribe(client));
    client.on("message", (topic, payload) => this._onMessage(topic, payload));
    client.on("error", (error) => {
      lastError = error;
    });
    client.on("close", () => {
      client.removeAllListeners("message");
      client.end(true);
      this._later(lastError);
    });
  }

  _later(error) {
    if (this.stopped) return;
    if (error && REFUSED.has(error.code)) {
      this.stopped = true;
      this._tell("refused", error);
      return;
    }
    this._tell("away", error);
    const wait = this.wait / 2 + (Math.random() * this.wait) / 2;
    this.wait = Math.min(this.wait * 2, WAIT_MAX_MS);
    this.timer = setTimeout(() => this._connect(), wait);
  }

  _subscribe(client) {
    const mine = {
      [`${this.root}/down/#`]: { qos: 1 },
      "notify/v1/broadcast/inbox": { qos: 1 },
    };
    client.subscribe(mine, (error) => {
      if (error) return; // the connection went; it will be made again
      this.wait = WAIT_MIN_MS;
      this._tell("here");
      if (this.options.onHistory && !this.hasHistory)
        this._publish("rpc/history", { rpc: "history", params: { limit: HISTORY } });
    });
  }

  async _onMessage(topic, payload) {
    let body;
    try {
      body = JSON.parse(payload.toString());
    } catch {
      return; // a badge that was cleared, or nothing for us
    }
    if (topic === `${this.root}/down/inbox`) {
      await this._show(body);
      this._publish("ack", { ids: [body.id] });
    } else if (topic === "notify/v1/broadcast/inbox") {
      await this._show(body);
    } else if (topic === `${this.root}/down/reply`) {
      this._onHistory(body);
    } else if (topic === `${this.root}/down/badge` && this.options.onBadge) {
      this.options.onBadge(body);
    } else if (topic === `${this.root}/down/changed` && this.options.onChanged) {
      this.options.onChanged(body);
    }
  }

  _onHistory(reply) {
    if (reply.rpc !== "history" || !reply.result || this.hasHistory) return;
    this.hasHistory = true;
    const items = reply.result.items.filter((item) => !this.seen.has(item.key || item.id));
    for (const item of items) this.seen.add(item.key || item.id);
    this.options.onHistory(items.reverse()); // the newest come first
  }

  async _show(notification) {
    const known = notification.key || notification.id; // urgent ones can change their id
    if (this.seen.has(known)) return;
    this.seen.add(known);
    if (this.seen.size > SEEN_MAX) this.seen.delete(this.seen.values().next().value);
    await this.options.onNotification(notification);
  }

  _publish(what, body) {
    if (this.client && this.client.connected)
      this.client.publish(`${this.root}/up/${what}`, JSON.stringify(body), { qos: 1 });
  }

  _tell(state, error) {
    if (this.options.onState) this.options.onState(state, error);
  }
}

if (typeof module !== "undefined") module.exports = { Inbox, encodeId };
