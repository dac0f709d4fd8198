// SPDX-License-Identifier: MIT
// Drives the provider server by the vendors' own libraries: they must understand its successes,
// throw their typed errors at its refusals, and verify its signatures. argv: providers.json.
// Prints one JSON object per step: {step, error?}. Run with NODE_PATH and NODE_EXTRA_CA_CERTS set.
'use strict';
const assert = require('assert');
const fs = require('fs');

const info = JSON.parse(fs.readFileSync(process.argv[2]));
const { pathToFileURL } = require('url');

const jose = () => import(pathToFileURL(require.resolve('jose')));
const read = (path) => fs.readFileSync(path, 'utf8');
const ca = read(info.ca_file);

async function control(method, path, body) {
  const answer = await fetch(info.control + path, {
    method, body: body && JSON.stringify(body), headers: { 'content-type': 'application/json' } });
  const value = await answer.json();
  assert(answer.ok, JSON.stringify(value));
  return value;
}
const script = (provider, ...answers) => control('POST', '/behaviour', { provider, answers });
const last = async (provider) => (await control('GET', `/requests?provider=${provider}`)).requests.pop();
const calls = async (provider, spec) => (await control('POST', '/callback', {
  provider, url: 'http://127.0.0.1:1/cb?x=1', dry_run: true, ...spec })).results;
const lower = (headers) => Object.fromEntries(
  Object.entries(headers).map(([k, v]) => [k.toLowerCase(), v]));

const steps = {
  async twilio_sends_and_types_errors() {
    const t = info.twilio;
    const client = require('twilio')(t.account_sid, read(t.auth_token_file), { autoRetry: false });
    client.api.baseUrl = t.base_url;
    const message = await client.messages.create({
      to: '+15005550010', from: t.from, body: 'hé', statusCallback: 'https://x.example/cb' });
    assert.match(message.sid, /^SM[0-9a-f]{32}$/);
    assert.strictEqual(message.status, 'queued');
    assert(message.dateCreated instanceof Date && !isNaN(message.dateCreated));
    assert.deepStrictEqual((await last('twilio')).warnings, null);
    const create = () => client.messages.create({ to: '+15005550010', from: t.from, body: 'x' });
    await script('twilio', 'twilio:21610', 429, 500);
    await assert.rejects(create, (e) => e.name === 'Error' && e.code === 21610 && e.status === 400
      && e.moreInfo.includes('21610'));
    await assert.rejects(create, (e) => e.code === 20429 && e.status === 429);
    await assert.rejects(create, (e) => e.status === 500);
    await assert.rejects(client.messages.create({ to: 'x', from: t.from, body: 'x' }),
      (e) => e.code === 21211);
  },
  async twilio_verifies_callbacks() {
    const twilio = require('twilio');
    const [call] = await calls('twilio', { id: 'SM1', events: ['delivered'] });
    const [bad] = await calls('twilio', { id: 'SM1', events: ['delivered'], tamper: 'signature' });
    const check = (c) => twilio.validateRequest(read(info.twilio.auth_token_file),
      c.headers['X-Twilio-Signature'], c.url, Object.fromEntries(new URLSearchParams(c.body)));
    assert(check(call));
    assert(!check(bad));
  },
  async sendgrid_sends_and_types_errors() {
    const sg = require('@sendgrid/mail');
    sg.setApiKey(read(info.sendgrid.api_key_file));
    sg.client.setDefaultRequest('baseUrl', info.sendgrid.base_url + '/');
    const mail = { to: 'a@b.org', from: 'f@b.org', subject: 's', text: 't', html: '<p>t</p>',
      customArgs: { k: 'v' }, headers: { 'List-Unsubscribe': '<https://x.example/u>' },
      attachments: [{ content: 'aGk=', filename: 'a.txt', type: 'text/plain',
        disposition: 'attachment' }] };
    const [answer] = await sg.send(mail);
    assert.strictEqual(answer.statusCode, 202);
    assert(answer.headers['x-message-id']);
    await assert.rejects(sg.send({ ...mail, from: 'nobody' }),
      (e) => e.code === 400 && e.response.body.errors[0].field === 'from.email');
  },
  async sendgrid_verifies_events() {
    const { EventWebhook } = require('@sendgrid/eventwebhook');
    const [call] = await calls('sendgrid', { id: 'x', events: ['delivered', 'open'] });
    const hook = new EventWebhook();
    const key = hook.convertPublicKeyToECDSA(info.sendgrid.webhook_public_key);
    const check = (body) => hook.verifySignature(key, body,
      call.headers['X-Twilio-Email-Event-Webhook-Signature'],
      call.headers['X-Twilio-Email-Event-Webhook-Timestamp']);
    assert(check(call.body));
    assert(!check(call.body.trimEnd()));
  },
  async fcm_grants_and_sends() {
    const { importPKCS8, SignJWT } = await jose();
    const { fcm } = require('@googleapis/fcm');
    const account = JSON.parse(read(info.fcm.service_account_file));
    const assertion = await new SignJWT({
      scope: 'https://www.googleapis.com/auth/firebase.messaging' })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: account.private_key_id })
      .setIssuer(account.client_email).setAudience(account.token_uri).setIssuedAt()
      .setExpirationTime('1h').sign(await importPKCS8(account.private_key, 'RS256'));
    const grant = await (await fetch(account.token_uri, { method: 'POST',
      body: new URLSearchParams({ assertion,
        grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer' }) })).json();
    assert.strictEqual(grant.token_type, 'Bearer');
    const client = fcm({ version: 'v1', rootUrl: info.fcm.base_url + '/',
      headers: { Authorization: 'Bearer ' + grant.access_token }, retry: false });
    const send = (token) => client.projects.messages.send({
      parent: 'projects/' + info.fcm.project_id,
      requestBody: { message: { token, notification: { title: 'a', body: 'b' },
        android: { priority: 'high', ttl: '60s', notification: { channelId: 'c' } } } } });
    const sent = await send(info.fcm.valid_tokens[0]);
    assert.match(sent.data.name, /^projects\/[^/]+\/messages\/0:/);
    await assert.rejects(send(info.fcm.dead_token), (e) => Number(e.code || e.status) === 404
      && JSON.stringify(e.response.data).includes('UNREGISTERED'));
  },
  async apns_pushes_and_reports_reasons() {
    const apn = require('@parse/node-apn');
    const a = info.apns;
    const provider = new apn.Provider({
      token: { key: a.key_file, keyId: a.key_id, teamId: a.team_id }, production: false,
      address: 'localhost', port: a.port, ca, rejectUnauthorized: true, connectionRetryLimit: 1 });
    const note = new apn.Notification({ alert: 'hi', topic: a.topic, pushType: 'alert' });
    note.collapseId = 'c';
    const result = await provider.send(note, [a.valid_tokens[0], a.unregistered_token]);
    await provider.shutdown();
    assert.strictEqual(result.sent.length, 1, JSON.stringify(result));
    assert.strictEqual(String(result.failed[0].status), '410', JSON.stringify(result));
    assert.strictEqual(result.failed[0].response.reason, 'Unregistered');
    assert(result.failed[0].response.timestamp > 1.6e12);
  },
  async webpush_sends_and_types_errors() {
    const webpush = require('web-push');
    const w = info.webpush;
    const options = { TTL: 60, urgency: 'high', topic: 't', vapidDetails: { subject: w.vapid_subject,
      publicKey: w.vapid_public_key, privateKey: read(w.vapid_private_key_raw_file) } };
    const sent = await webpush.sendNotification(w.tls_subscriptions[0], '{"a":"é"}', options);
    assert.strictEqual(sent.statusCode, 201);
    assert.deepStrictEqual((await last('webpush')).body, { a: 'é' });
    await assert.rejects(webpush.sendNotification(w.tls_gone_subscription, 'x', options),
      (e) => e.name === 'WebPushError' && e.statusCode === 410);
    const other = webpush.generateVAPIDKeys();
    await assert.rejects(webpush.sendNotification(w.tls_subscriptions[0], 'x', {
      vapidDetails: { subject: w.vapid_subject, ...other } }), (e) => e.statusCode === 403);
  },
  async webpush_bodies_by_http_ece_are_read() {
    const ece = require('http_ece');
    const crypto = require('crypto');
    const { importPKCS8, SignJWT } = await jose();
    const s = info.webpush.subscriptions[2];
    const key = crypto.createECDH('prime256v1');
    key.generateKeys();
    const body = ece.encrypt(Buffer.from('plain'), { version: 'aes128gcm', privateKey: key,
      dh: s.keys.p256dh, authSecret: s.keys.auth });
    const token = await new SignJWT({ sub: info.webpush.vapid_subject })
      .setProtectedHeader({ typ: 'JWT', alg: 'ES256' }).setAudience(new URL(s.endpoint).origin)
      .setExpirationTime('12h')
      .sign(await importPKCS8(read(info.webpush.vapid_private_key_file), 'ES256'));
    const answer = await fetch(s.endpoint, { method: 'POST', body, headers: { TTL: '0',
      'content-encoding': 'aes128gcm', 'content-type': 'application/octet-stream',
      authorization: `vapid t=${token}, k=${info.webpush.vapid_public_key}` } });
    assert.strictEqual(answer.status, 201, await answer.text());
    assert.strictEqual((await last('webpush')).body, 'plain');
  },
  async mailgun_sends_and_types_errors() {
    const Mailgun = require('mailgun.js');
    const make = (key) => new (Mailgun.default || Mailgun)(FormData).client({
      username: 'api', key, url: info.mailgun.base_url });
    const mail = { from: 'f@b.org', to: ['a@b.org'], subject: 's', text: 't', 'h:X-A': '1',
      'v:my': 'v', attachment: { data: Buffer.from('hi'), filename: 'a.txt' } };
    const sent = await make(read(info.mailgun.api_key_file)).messages.create(
      info.mailgun.domain, mail);
    assert.match(sent.id, /^<.+@.+>$/);
    assert.deepStrictEqual((await last('mailgun')).warnings, null);
    await assert.rejects(make('key-x').messages.create(info.mailgun.domain, mail),
      (e) => e.status === 401);
    await assert.rejects(make(read(info.mailgun.api_key_file)).messages.create(
      info.mailgun.domain, { ...mail, to: 'x' }), (e) => e.status === 400
        && /not a valid address/.test(e.details || e.message));
  },
  async mailgun_signs_webhooks() {
    const crypto = require('crypto');
    const [call] = await calls('mailgun', { id: '<x@y>', events: ['delivered'] });
    const { timestamp, token, signature } = JSON.parse(call.body).signature;
    assert.strictEqual(signature, crypto.createHmac('sha256',
      read(info.mailgun.webhook_signing_key_file)).update(timestamp + token).digest('hex'));
  },
  async ses_sends_and_types_errors() {
    const { SESv2Client, SendEmailCommand } = require('@aws-sdk/client-sesv2');
    const make = (secretAccessKey, accessKeyId = info.ses.access_key_id, sessionToken) =>
      new SESv2Client({ region: info.ses.region, endpoint: info.ses.base_url, maxAttempts: 1,
        credentials: { accessKeyId, secretAccessKey, sessionToken } });
    const command = (extra) => new SendEmailCommand({ FromEmailAddress: 'f@b.org',
      Destination: { ToAddresses: ['a@b.org'] }, Content: { Simple: { Subject: { Data: 'sé' },
        Body: { Text: { Data: 't' } }, Headers: [{ Name: 'X-A', Value: '1' }],
        Attachments: [{ FileName: 'a.txt', RawContent: Buffer.from('hi') }] } }, ...extra });
    const secret = read(info.ses.secret_access_key_file);
    const sent = await make(secret).send(command());
    assert(sent.MessageId);
    assert.deepStrictEqual((await last('ses')).warnings, null);
    const temporary = await make(secret, info.ses.temporary_access_key_id,
      read(info.ses.session_token_file)).send(command());
    assert(temporary.MessageId);
    await assert.rejects(make('wrong').send(command()),
      (e) => e.name === 'InvalidSignatureException' && e.$metadata.httpStatusCode === 403);
    await assert.rejects(make(secret).send(command({ ConfigurationSetName: 'x' })),
      (e) => e.name === 'NotFoundException');
    await script('ses', 'TooManyRequestsException', 'MessageRejected');
    await assert.rejects(make(secret).send(command()), (e) => e.name === 'TooManyRequestsException'
      && e.$metadata.httpStatusCode === 429);
    await assert.rejects(make(secret).send(command()), (e) => e.name === 'MessageRejected');
  },
  async sns_messages_validate() {
    const MessageValidator = require('sns-validator');
    const port = new URL(info.ses.tls_base_url).port;
    const validator = new MessageValidator(new RegExp(`^127\\.0\\.0\\.1:${port}$`));
    const validate = (message) => new Promise((resolve) => validator.validate(message,
      (error) => resolve(error)));
    for (const signature_version of [1, 2]) {
      for (const event of ['Bounce', 'SubscriptionConfirmation']) {
        const [call] = await calls('ses', { id: 'm', events: [event], signature_version });
        assert.strictEqual(await validate(JSON.parse(call.body)), null, event);
        const [bad] = await calls('ses', { id: 'm', events: [event], signature_version,
          bad_signature: true });
        assert(await validate(JSON.parse(bad.body)));
      }
    }
  },
  async postmark_sends_and_types_errors() {
    const { ServerClient, Errors } = require('postmark');
    const client = new ServerClient(read(info.postmark.server_token_file), {
      requestHost: new URL(info.postmark.base_url).host, useHttps: false });
    const mail = { From: 'f@b.org', To: 'a@b.org', Subject: 's', TextBody: 't',
      Metadata: { k: 'v' }, MessageStream: 'outbound', Headers: [{ Name: 'X-A', Value: '1' }],
      Attachments: [{ Name: 'a.txt', Content: 'aGk=', ContentType: 'text/plain', ContentID: '' }] };
    const sent = await client.sendEmail(mail);
    assert.strictEqual(sent.ErrorCode, 0);
    assert.deepStrictEqual((await last('postmark')).warnings, null);
    await script('postmark', '406', '10', 429, 500, '300');
    await assert.rejects(client.sendEmail(mail), (e) => e instanceof Errors.InactiveRecipientsError
      && e.recipients[0] === 'a@b.org');
    await assert.rejects(client.sendEmail(mail), (e) => e instanceof Errors.InvalidAPIKeyError);
    await assert.rejects(client.sendEmail(mail), (e) => e instanceof Errors.RateLimitExceededError);
    await assert.rejects(client.sendEmail(mail), (e) => e instanceof Errors.InternalServerError);
    await assert.rejects(client.sendEmail(mail), (e) => e instanceof Errors.InvalidEmailRequestError);
  },
  async vonage_sends_and_types_errors() {
    const { Messages } = require('@vonage/messages');
    const v = info.vonage;
    const message = { channel: 'sms', messageType: 'text', to: '447700900000', from: 'Acme',
      text: 'hi', clientRef: 'r', sms: { encodingType: 'auto' } };
    const byJwt = new Messages({ applicationId: v.application_id,
      privateKey: read(v.private_key_file) }, { apiHost: v.base_url });
    assert((await byJwt.send(message)).messageUUID);
    const byKey = new Messages({ apiKey: v.api_key, apiSecret: read(v.api_secret_file) },
      { apiHost: v.base_url });
    assert((await byKey.send(message)).messageUUID);
    await script('vonage', 429);
    await assert.rejects(byKey.send(message), (e) => e.response.status === 429);
  },
  async vonage_verifies_callbacks() {
    const { verifySignature } = require('@vonage/jwt');
    const [call] = await calls('vonage', { id: 'u', events: ['delivered'] });
    const token = call.headers.Authorization.split(' ')[1];
    assert(verifySignature(token, read(info.vonage.signature_secret_file)));
    const [bad] = await calls('vonage', { id: 'u', events: ['delivered'], tamper: 'signature' });
    let isBad = true;
    try {
      isBad = !verifySignature(bad.headers.Authorization.split(' ')[1],
        read(info.vonage.signature_secret_file));
    } catch (e) { /* refused, as it should be */ }
    assert(isBad);
  },
  async messagebird_verifies_callbacks() {
    const sign = require('messagebird/lib/webhook-signature-jwt');
    const [call] = await calls('messagebird', { id: 'a', reference: 'r', to: '31612345678' });
    const token = lower(call.headers)['messagebird-signature-jwt'];
    const key = Buffer.from(read(info.messagebird.signing_key_file));
    await sign.verify(call.url, Buffer.alloc(0), token, key);
    await assert.rejects(sign.verify(call.url + '1', Buffer.alloc(0), token, key));
  },
  async slack_posts_and_types_errors() {
    const { IncomingWebhook } = require('@slack/webhook');
    const sent = await new IncomingWebhook(info.slack.webhook_url).send({ text: 'hi', blocks: [] });
    assert.strictEqual(sent.text, 'ok');
    await assert.rejects(new IncomingWebhook(info.slack.dead_webhook_url).send({ text: 'hi' }),
      (e) => e.code === 'slack_webhook_http_error' && e.statusCode === 404 && e.body === 'no_service');
  },
  async webhooks_by_the_standard_library() {
    const { Webhook } = require('standardwebhooks');
    const hook = new Webhook(read(info.webhook.secret_file));
    const send = (body, signed = body) => {
      const now = new Date();
      return fetch(info.webhook.url, { method: 'POST', body, headers: {
        'content-type': 'application/json', 'webhook-id': 'msg_1',
        'webhook-timestamp': String(Math.floor(now / 1000)),
        'webhook-signature': hook.sign('msg_1', now, signed) } });
    };
    assert.strictEqual((await send('{"a":1}')).status, 204);
    assert.strictEqual((await send('{"a":1}', '{"a":2}')).status, 401);
    const [call] = await calls('bird', { id: 'sms_1', to: '+1', events: ['sms.delivered'] });
    new Webhook(read(info.bird.webhook_secret_file)).verify(call.body, call.headers);
  },
  async smtp_takes_mail_from_nodemailer() {
    const nodemailer = require('nodemailer');
    const s = info.smtp;
    const mail = { from: 'Æ <f@b.org>', to: 'a@b.org', subject: 'hé', text: 'line\n.dot\n',
      html: '<p>é</p>', attachments: [{ filename: 'ä.txt', content: 'hi' }],
      list: { unsubscribe: 'https://x.example/u' } };
    const password = { user: s.username, pass: read(s.password_file) };
    for (const options of [
      { port: s.port, requireTLS: true, auth: password },
      { port: s.tls_port, secure: true, auth: password },
      { port: s.plain_port, ignoreTLS: true },
      { port: s.port, requireTLS: true, auth: { type: 'OAuth2', user: s.username,
        accessToken: read(s.oauth_token_file) } }]) {
      const transport = nodemailer.createTransport({ host: '127.0.0.1', tls: { ca,
        servername: 'localhost' }, ...options });
      const sent = await transport.sendMail(mail);
      assert.match(sent.response, /^250 .*queued as/);
      const record = await last('smtp');
      assert.strictEqual(record.body.subject, 'hé');
      assert.strictEqual(record.body.parts[2].filename, 'ä.txt');
      assert.strictEqual(record.body.parts[0].text.replace(/\r/g, ''), 'line\n.dot\n');
      await assert.rejects(transport.sendMail({ ...mail, to: 'dead@b.org' }),
        (e) => e.code === 'EENVELOPE' && e.responseCode === 550);
      transport.close();
    }
    await assert.rejects(nodemailer.createTransport({ host: '127.0.0.1', port: s.port,
      tls: { ca, servername: 'localhost' }, auth: { user: s.username, pass: 'x' } }).sendMail(mail),
      (e) => e.code === 'EAUTH' && e.responseCode === 535);
  },
};

(async () => {
  for (const [step, run] of Object.entries(steps)) {
    let error;
    try {
      await control('POST', '/reset');
      await Promise.race([run(), new Promise((_, reject) => {
        setTimeout(() => reject(new Error('took more than 20 s')), 20000).unref(); })]);
    } catch (e) {
      error = String(e.stack || e).slice(0, 2000)
        + (e.response && e.response.data ? JSON.stringify(e.response.data) : '');
    }
    console.log(JSON.stringify({ step, error }));
  }
  process.exit(0);
})();
