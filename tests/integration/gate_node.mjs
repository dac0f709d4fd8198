// SPDX-License-Identifier: MIT
// What MQTT.js and jose make of the gate; prints one JSON line.  Run by test_gate_clients.py.
//   node gate_node.mjs DIR mqtt '{"url":..., "token":..., "fresh":..., "version":4}'
//   node gate_node.mjs DIR jose '{"issuer":..., "audience":...}'
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [place, what, text] = process.argv.slice(2);
const args = JSON.parse(text);
const require = createRequire(pathToFileURL(join(place, 'x.js')));

async function tokens() {
  const jose = await import(pathToFileURL(require.resolve('jose')).href);
  const out = { jwks: { keys: [] }, tokens: {} };
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'ES256', 'ES384', 'EdDSA']) {
    const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
    const kid = 'jose-' + alg;
    out.jwks.keys.push({ ...(await jose.exportJWK(publicKey)), kid, alg, use: 'sig' });
    out.tokens[alg] = await new jose.SignJWT({ kind: 'user', roles: ['ops'] })
      .setProtectedHeader({ alg, kid, typ: 'JWT' }).setSubject('alice')
      .setIssuer(args.issuer).setAudience(args.audience).setIssuedAt()
      .setExpirationTime('10m').setJti('jose-' + alg).sign(privateKey);
  }
  for (const [alg, size] of [['HS256', 32], ['HS384', 48], ['HS512', 64]]) {
    const secret = new Uint8Array(size).fill(size);
    out.jwks.keys.push({ kty: 'oct', k: jose.base64url.encode(secret), kid: 'jose-' + alg, alg });
    out.tokens[alg] = await new jose.SignJWT({ kind: 'user' })
      .setProtectedHeader({ alg, kid: 'jose-' + alg }).setSubject('alice')
      .setIssuer(args.issuer).setAudience(args.audience).setIssuedAt()
      .setExpirationTime('10m').sign(secret);
  }
  return out;
}

// Connect, subscribe in and out of bounds, refresh, and stay until the fresh token's end.
async function session() {
  const mqtt = require('mqtt');
  const seen = { codes: [], messages: [], disconnect: null };
  const client = mqtt.connect(args.url, {
    clientId: 'user/alice/node', username: 'alice', password: args.token,
    protocolVersion: args.version, reconnectPeriod: 0 });
  const once = (name) => new Promise((done, fail) => {
    client.once(name, done);
    if (name !== 'close') client.once('error', fail);
  });
  client.on('message', (topic, payload) => seen.messages.push([topic, payload.toString()]));
  client.on('disconnect', (packet) => { seen.disconnect = packet.reasonCode; });
  await once('connect');
  for (const topic of ['notify/v1/users/alice/down/#', '#', 'notify/v1/users/bob/down/#']) {
    seen.codes.push(await client.subscribeAsync(topic, { qos: 1 })
      .then((granted) => granted[0].qos, (error) => error.code ?? error.message));
  }
  await client.publishAsync('$CONTROL/tocsin/v1', JSON.stringify(
    { rpc: 'n1', method: 'refresh', params: { token: args.fresh } }), { qos: 1 });
  await once('close');
  seen.closed = Date.now();
  return seen;
}

const refused = () => new Promise((done) => {
  const client = require('mqtt').connect(args.url, {
    clientId: 'user/alice/node', username: 'alice', password: args.token,
    protocolVersion: args.version, reconnectPeriod: 0 });
  client.on('error', (error) => { client.end(true); done({ code: error.code }); });
  client.on('connect', () => { client.end(true); done({ code: 0 }); });
});

// Connects to each URL as a client of that version of MQTT would.
const connectOnce = ({ url, version }) => new Promise((done) => {
  const client = require('mqtt').connect(url, {
    clientId: 'user/alice/node', username: 'alice', password: args.token, reconnectPeriod: 0,
    protocolVersion: version, ...(version === 3 ? { protocolId: 'MQIsdp' } : {}) });
  for (const [event, said] of [['connect', 'connected'], ['error', 'refused'], ['close', 'closed']]) {
    client.on(event, () => { done(said); client.end(true); });
  }
});

async function connected() {
  const seen = [];
  for (const one of args.cases) seen.push(await connectOnce(one));
  return seen;
}

const result = await { jose: tokens, mqtt: session, refused, connected }[what]();
console.log(JSON.stringify(result));
process.exit(0);
