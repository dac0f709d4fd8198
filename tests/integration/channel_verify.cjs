// SPDX-License-Identifier: MIT
// What our adapters sent, judged by the vendors' own libraries and by implementations by others.
// argv: a JSON file {info, ours, delivery, probe} where ours[name] is the provider server's record
// of our request. Prints one JSON object per step: {step, error?}.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const { spawn, spawnSync } = require('child_process');
const { pathToFileURL } = require('url');

const { info, ours, delivery, probe } = JSON.parse(fs.readFileSync(process.argv[2]));
const jose = () => import(pathToFileURL(require.resolve('jose')));
const read = (path) => fs.readFileSync(path, 'utf8').trim();
const ca = fs.readFileSync(info.ca_file);
const raw = (name) => Buffer.from(ours[name].raw, 'base64');
const json = (name) => JSON.parse(raw(name));
const FROM = 'Tocsin <noreply@mg.example.org>';
const TO = 'someone@example.com';
const SUBJECT = 'Your order';
const TEXT = 'It is ready at counter 4.';
const HTML = '<p>It is <b>ready</b>.</p>';

// What the vendor's library sent to the provider server for the same message.
async function theirs(provider, send) {
  const next = (await (await fetch(`${info.control}/requests?provider=${provider}`)).json()).next;
  await send();
  const found = (await (await fetch(
    `${info.control}/requests?provider=${provider}&since=${next}`)).json()).requests;
  return found.filter((r) => r.op === 'send').pop();
}

const steps = {
  async twilio_request() {
    const t = info.twilio;
    const client = require('twilio')(t.account_sid, read(t.auth_token_file));
    client.api.baseUrl = t.base_url;
    const sdk = await theirs('twilio', () => client.messages.create({
      to: '+15005550010', from: t.from, body: TEXT }));
    assert.deepStrictEqual(ours.twilio.body, sdk.body);
    assert.strictEqual(ours.twilio.path, sdk.path);
    assert.strictEqual(ours.twilio.headers.authorization, sdk.headers.authorization);
    assert.strictEqual(ours.twilio.headers['content-type'].split(';')[0],
      sdk.headers['content-type'].split(';')[0]);
  },
  async sendgrid_request() {
    const sg = require('@sendgrid/mail');
    sg.setApiKey(read(info.sendgrid.api_key_file));
    sg.client.setDefaultRequest('baseUrl', info.sendgrid.base_url + '/');
    const sdk = await theirs('sendgrid', () => sg.send({ to: TO, from: FROM, subject: SUBJECT,
      text: TEXT, html: HTML, customArgs: { tocsin_delivery: delivery },
      headers: { 'Message-ID': `<${delivery}.tocsin@mg.example.org>`,
        'List-Unsubscribe': '<https://example.org/u/1>',
        'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' },
      attachments: [{ content: 'aGk=', filename: 'a.txt', type: 'text/plain',
        disposition: 'attachment' }] }));
    const mine = json('sendgrid');
    // The library writes each personalization's custom_args at the top.
    mine.custom_args = mine.personalizations[0].custom_args;
    delete mine.personalizations[0].custom_args;
    assert.deepStrictEqual(mine, sdk.body);
    assert.strictEqual(ours.sendgrid.headers.authorization, sdk.headers.authorization);
  },
  async mailgun_request() {
    const Mailgun = require('mailgun.js');
    const client = new (Mailgun.default || Mailgun)(FormData).client({
      username: 'api', key: read(info.mailgun.api_key_file), url: info.mailgun.base_url });
    const sdk = await theirs('mailgun', () => client.messages.create(info.mailgun.domain, {
      from: '"Tocsin" <noreply@mg.example.org>', to: [TO], subject: SUBJECT, text: TEXT, html: HTML,
      'h:Message-Id': `<${delivery}.tocsin@mg.example.org>`,
      'h:List-Unsubscribe': '<https://example.org/u/1>',
      'h:List-Unsubscribe-Post': 'List-Unsubscribe=One-Click', 'v:tocsin_delivery': delivery,
      attachment: { data: Buffer.from('hi'), filename: 'a.txt', contentType: 'text/plain' } }));
    // The library gives a file from memory no type of its own.
    const untyped = (parts) => parts.map((part) => ({ ...part, content_type: null }));
    assert.deepStrictEqual(untyped(ours.mailgun.body), untyped(sdk.body));
    assert.strictEqual(ours.mailgun.path, sdk.path);
    assert.strictEqual(ours.mailgun.headers.authorization, sdk.headers.authorization);
  },
  async ses_request_and_signature() {
    const { SESv2Client, SendEmailCommand } = require('@aws-sdk/client-sesv2');
    const credentials = { accessKeyId: info.ses.access_key_id,
      secretAccessKey: read(info.ses.secret_access_key_file) };
    const client = new SESv2Client({ region: info.ses.region, endpoint: info.ses.base_url,
      credentials });
    const data = (text) => ({ Data: text, Charset: 'UTF-8' });
    const sdk = await theirs('ses', () => client.send(new SendEmailCommand({
      FromEmailAddress: '"Tocsin" <noreply@mg.example.org>', Destination: { ToAddresses: [TO] },
      Content: { Simple: { Subject: data(SUBJECT), Body: { Text: data(TEXT), Html: data(HTML) },
        Headers: [{ Name: 'List-Unsubscribe', Value: '<https://example.org/u/1>' },
          { Name: 'List-Unsubscribe-Post', Value: 'List-Unsubscribe=One-Click' }],
        Attachments: [{ FileName: 'a.txt', ContentType: 'text/plain',
          ContentDisposition: 'ATTACHMENT', ContentTransferEncoding: 'BASE64',
          RawContent: Buffer.from('hi') }] } },
      EmailTags: [{ Name: 'tocsin_delivery', Value: delivery }],
      ConfigurationSetName: info.ses.configuration_set })));
    assert.deepStrictEqual(json('ses'), sdk.body);
    // Sign again what we signed.
    const { SignatureV4 } = require('@smithy/signature-v4');
    class Sha256 {
      constructor(key) { this.h = key ? crypto.createHmac('sha256', key) : crypto.createHash('sha256'); }
      update(chunk) { this.h.update(chunk); }
      digest() { return Promise.resolve(this.h.digest()); }
    }
    const { headers } = ours.ses;
    const signed = headers.authorization.match(/SignedHeaders=([^,]+)/)[1].split(';');
    const signer = new SignatureV4({ service: 'ses', region: info.ses.region, credentials,
      sha256: Sha256, applyChecksum: false });
    const at = headers['x-amz-date'].replace(
      /(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/, '$1-$2-$3T$4:$5:$6Z');
    const again = await signer.sign({ method: 'POST', protocol: 'http:', hostname: '127.0.0.1',
      path: ours.ses.path, query: {}, body: raw('ses'),
      headers: Object.fromEntries(signed.filter((k) => k !== 'x-amz-date')
        .map((k) => [k, headers[k]])) }, { signingDate: new Date(at) });
    assert.strictEqual(headers.authorization, again.headers.authorization);
  },
  async postmark_request() {
    const { ServerClient } = require('postmark');
    const client = new ServerClient(read(info.postmark.server_token_file), {
      requestHost: new URL(info.postmark.base_url).host, useHttps: false });
    const sdk = await theirs('postmark', () => client.sendEmail({
      From: '"Tocsin" <noreply@mg.example.org>', To: TO, Subject: SUBJECT, TextBody: TEXT,
      HtmlBody: HTML, MessageStream: 'outbound', Metadata: { tocsin_delivery: delivery },
      Headers: [{ Name: 'List-Unsubscribe', Value: '<https://example.org/u/1>' },
        { Name: 'List-Unsubscribe-Post', Value: 'List-Unsubscribe=One-Click' }],
      Attachments: [{ Name: 'a.txt', Content: 'aGk=', ContentType: 'text/plain' }] }));
    assert.deepStrictEqual(json('postmark'), sdk.body);
    assert.strictEqual(ours.postmark.headers['x-postmark-server-token'],
      sdk.headers['x-postmark-server-token']);
  },
  async vonage_request_and_token() {
    const { Messages } = require('@vonage/messages');
    const client = new Messages({ applicationId: info.vonage.application_id,
      privateKey: read(info.vonage.private_key_file) }, { apiHost: info.vonage.base_url });
    const sdk = await theirs('vonage', () => client.send({ channel: 'sms', messageType: 'text',
      to: '15005550010', from: info.vonage.from, text: TEXT, clientRef: delivery,
      sms: { encodingType: 'text' } }));
    assert.deepStrictEqual(json('vonage'), sdk.body);
    const { jwtVerify } = await jose();
    const key = crypto.createPublicKey(read(info.vonage.private_key_file));
    const { payload, protectedHeader } = await jwtVerify(
      ours.vonage.headers.authorization.split(' ')[1], key, { algorithms: ['RS256'],
        maxTokenAge: '15m', requiredClaims: ['jti', 'exp'] });
    assert.strictEqual(payload.application_id, info.vonage.application_id);
    assert.strictEqual(protectedHeader.typ, 'JWT');
  },
  async bird_request_and_key() {
    const { BirdClient } = await import(require.resolve('@messagebird/sdk'));
    const client = new BirdClient({ apiKey: read(info.bird.api_key_file),
      baseUrl: info.bird.base_url });
    const sdk = await theirs('bird', () => client.sms.send({ to: '+15005550010',
      from: info.bird.from, text: TEXT, category: 'transactional' }, { idempotencyKey: delivery }));
    assert.deepStrictEqual(json('bird'), sdk.body);
    assert.strictEqual(ours.bird.path, sdk.path);
    for (const name of ['authorization', 'content-type', 'idempotency-key'])
      assert.strictEqual(ours.bird.headers[name], sdk.headers[name], name);
  },
  async messagebird_request() {
    // The library's host is fixed, so only its body can be compared: what it would write.
    const mine = json('messagebird');
    assert.deepStrictEqual(mine, { originator: info.messagebird.from, recipients: ['15005550010'],
      body: TEXT, datacoding: 'plain', reference: delivery });
  },
  async slack_request() {
    const { IncomingWebhook } = require('@slack/webhook');
    const sdk = await theirs('slack', () => new IncomingWebhook(info.slack.webhook_url).send({
      text: `*${SUBJECT}*\n${TEXT}` }));
    assert.deepStrictEqual(json('slack'), sdk.body);
    assert.strictEqual(ours.slack.path, sdk.path);
  },
  async fcm_request_and_assertion() {
    const { jwtVerify } = await jose();
    const account = JSON.parse(read(info.fcm.service_account_file));
    const form = new URLSearchParams(raw('fcm_token').toString());
    assert.strictEqual(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer');
    const { payload, protectedHeader } = await jwtVerify(form.get('assertion'),
      crypto.createPublicKey(account.private_key), { algorithms: ['RS256'],
        issuer: account.client_email, audience: account.token_uri, maxTokenAge: '5m' });
    assert.strictEqual(protectedHeader.kid, account.private_key_id);
    assert.strictEqual(payload.exp - payload.iat, 3600);
    assert.strictEqual(payload.scope, 'https://www.googleapis.com/auth/firebase.messaging');
    const { fcm } = require('@googleapis/fcm');
    const client = fcm({ version: 'v1', rootUrl: info.fcm.base_url + '/',
      headers: { Authorization: ours.fcm.headers.authorization }, retry: false });
    const sdk = await theirs('fcm', () => client.projects.messages.send({
      parent: 'projects/' + info.fcm.project_id, requestBody: { message: {
        token: info.fcm.valid_tokens[0], notification: { title: SUBJECT, body: TEXT },
        data: { tocsin_id: delivery }, android: { priority: 'normal' },
        apns: { headers: { 'apns-priority': '10' } } } } }));
    assert.deepStrictEqual(json('fcm'), sdk.body);
    assert.strictEqual(ours.fcm.path, sdk.path.split('?')[0]);
  },
  async apns_request_and_token() {
    const { jwtVerify } = await jose();
    const a = info.apns;
    const { payload, protectedHeader } = await jwtVerify(
      ours.apns.headers.authorization.replace(/^bearer /i, ''),
      crypto.createPublicKey(read(a.key_file)), { algorithms: ['ES256'], issuer: a.team_id,
        maxTokenAge: '60m' });
    assert.strictEqual(protectedHeader.kid, a.key_id);
    assert.deepStrictEqual(Object.keys(payload).sort(), ['iat', 'iss']);
    const apn = require('@parse/node-apn');
    const provider = new apn.Provider({
      token: { key: a.key_file, keyId: a.key_id, teamId: a.team_id }, production: false,
      address: 'localhost', port: a.port, ca, rejectUnauthorized: true, connectionRetryLimit: 1 });
    const note = new apn.Notification({ topic: a.topic, pushType: 'alert', priority: 10,
      payload: { tocsin_id: delivery } });
    note.alert = { title: SUBJECT, body: TEXT };
    note.id = ours.apns.headers['apns-id'];
    const sdk = await theirs('apns', () => provider.send(note, [a.valid_tokens[0]]));
    await provider.shutdown();
    assert.deepStrictEqual(json('apns'), sdk.body);
    for (const name of ['apns-topic', 'apns-push-type', 'apns-priority', 'apns-id'])
      assert.strictEqual(ours.apns.headers[name], sdk.headers[name], name);
    assert.strictEqual(ours.apns.path, sdk.path);
  },
  async webpush_headers_and_token() {
    const { jwtVerify, importJWK } = await jose();
    const webpush = require('web-push');
    const w = info.webpush;
    const subscription = w.subscriptions[0];
    const { headers } = ours.webpush;
    const details = webpush.generateRequestDetails(subscription, 'x', { TTL: 2419200,
      urgency: 'normal', vapidDetails: { subject: w.vapid_subject, publicKey: w.vapid_public_key,
        privateKey: read(w.vapid_private_key_raw_file) } });
    for (const [name, value] of Object.entries(details.headers)) {
      if (name === 'Authorization' || name === 'Content-Length')
        assert(headers[name.toLowerCase()], name);
      else
        assert.strictEqual(headers[name.toLowerCase()], String(value), name);
    }
    const [, token, k] = headers.authorization.match(/^vapid t=([^,]+), k=(.+)$/);
    assert.strictEqual(k, w.vapid_public_key);
    const point = Buffer.from(k, 'base64url');
    const key = await importJWK({ kty: 'EC', crv: 'P-256',
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url') }, 'ES256');
    const { payload } = await jwtVerify(token, key, { algorithms: ['ES256'],
      audience: new URL(subscription.endpoint).origin });
    assert(payload.exp * 1000 - Date.now() <= 24 * 3600 * 1000);
    assert.strictEqual(payload.sub, w.vapid_subject);
  },
  async webpush_body_by_http_ece() {
    const ece = require('http_ece');
    const key = crypto.createECDH('prime256v1');
    key.setPrivateKey(Buffer.from(ours.webpush_own.private, 'base64url'));
    const plain = ece.decrypt(Buffer.from(ours.webpush_own.raw, 'base64'), {
      version: 'aes128gcm', privateKey: key, authSecret: ours.webpush_own.auth });
    assert.deepStrictEqual(JSON.parse(plain), { tocsin_id: delivery, title: SUBJECT, body: TEXT });
  },
  async webhook_by_the_standard_library() {
    const { Webhook } = require('standardwebhooks');
    const hook = new Webhook(read(info.webhook.secret_file));
    const payload = hook.verify(raw('webhook').toString(), ours.webhook.headers);
    assert.strictEqual(payload.data.title, SUBJECT);
    assert.strictEqual(ours.webhook.headers['webhook-id'], delivery);
    assert.throws(() => hook.verify(raw('webhook').toString() + ' ', ours.webhook.headers));
  },
  async sms_segments_by_the_calculator() {
    const { SegmentedMessage } = require('sms-segments-calculator');
    const gsm = 'abc XYZ 019 @£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!"#¤%&()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà^{}[~]|€\\';
    const wide = ' 日本語Жщçâ`“”–…\u00a0😀🔔';
    let seed = 7;
    const below = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % n; };
    const texts = [];
    for (let i = 0; i < 2000; i++) {
      const from = [...(i % 3 ? gsm : gsm + wide)];
      // Most near the borders of one, two and three parts.
      const length = [60, 63, 66, 130, 150, 155, 300, 455][below(8)] + below(14);
      texts.push(Array.from({ length }, () => from[below(from.length)]).join(''));
    }
    const out = spawnSync(probe.binary, ['--segments'], { input: texts.join('\n') + '\n' });
    const ours = out.stdout.toString().trimEnd().split('\n');
    assert.strictEqual(ours.length, texts.length);
    const wrong = [];
    texts.forEach((text, i) => {
      const message = new SegmentedMessage(text);
      const want = `${message.encodingName} ${message.segmentsCount}`;
      if (want !== ours[i])
        wrong.push({ text, want, got: ours[i] });
    });
    assert.deepStrictEqual(wrong.slice(0, 3), []);
  },
  async smtp_by_smtp_server_and_mailparser() {
    const { SMTPServer } = require('smtp-server');
    const { simpleParser } = require('mailparser');
    for (const [tls, method, password] of [['starttls', 'PLAIN', 'pw'], ['tls', 'LOGIN', 'pw'],
      ['starttls', 'XOAUTH2', 'at']]) {
      let mail;
      const server = new SMTPServer({ secure: tls === 'tls', authMethods: [method],
        key: fs.readFileSync(probe.tls_key), cert: fs.readFileSync(probe.tls_cert),
        onAuth: (auth, session, done) => done(auth.method === method && session.secure
          && (auth.password || auth.accessToken) === password ? null : new Error('bad'), { user: 1 }),
        onData: async (stream, session, done) => {
          mail = { parsed: await simpleParser(stream), envelope: session.envelope };
          done(null, '2.0.0 queued as ABC123');
        } });
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
      const port = server.server.address().port;
      fs.writeFileSync(probe.password_file, password, { mode: 0o600 });
      const out = await new Promise((resolve) => {
        const child = spawn(probe.binary, ['smtp', 'host=127.0.0.1', `port=${port}`, `tls=${tls}`,
          `ca_file=${info.ca_file}`, 'username=u', `password_file=${probe.password_file}`,
          `auth=${method === 'XOAUTH2' ? 'xoauth2' : 'password'}`, `from=${FROM}`, `@target=${TO}`,
          `@content=${JSON.stringify(probe.rich)}`]);
        let text = '';
        child.stdout.on('data', (chunk) => { text += chunk; });
        child.on('exit', () => resolve(text));
      });
      server.close(() => {});
      const outcome = JSON.parse(out);
      assert.strictEqual(outcome.outcome, 'accepted', out);
      assert.strictEqual(outcome.provider_id, 'ABC123');
      const { parsed, envelope } = mail;
      assert.strictEqual(envelope.mailFrom.address, 'noreply@mg.example.org');
      assert.deepStrictEqual(envelope.rcptTo.map((r) => r.address), [TO]);
      assert.strictEqual(parsed.subject, probe.rich.title);
      assert.strictEqual(parsed.from.value[0].name, 'Tocsin');
      assert.strictEqual(parsed.replyTo.value[0].name, 'Antwort Ä');
      assert.strictEqual(parsed.messageId, `<${delivery}.tocsin@mg.example.org>`);
      assert.strictEqual(parsed.headers.get('list').unsubscribe.url, 'https://example.org/u/abc');
      assert.strictEqual(parsed.headerLines.find((l) => l.key === 'list-unsubscribe-post').line,
        'List-Unsubscribe-Post: List-Unsubscribe=One-Click');
      assert.strictEqual(parsed.text.trimEnd(), probe.rich.body.trimEnd());
      assert.strictEqual(parsed.attachments.length, 2);
      assert.strictEqual(parsed.attachments[0].filename, 'résumé.txt');
      assert.strictEqual(parsed.attachments[1].contentId, '<logo>');
    }
  },
  async smtp_to_an_address_beyond_ascii() {
    const { SMTPServer } = require('smtp-server');
    const { simpleParser } = require('mailparser');
    for (const offered of [true, false]) {
      let mail;
      const server = new SMTPServer({ authOptional: true, hideSMTPUTF8: !offered,
        disabledCommands: ['STARTTLS'],
        onData: async (stream, session, done) => {
          mail = { parsed: await simpleParser(stream), envelope: session.envelope };
          done();
        } });
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
      const out = await new Promise((resolve) => {
        const child = spawn(probe.binary, ['smtp', 'host=127.0.0.1',
          `port=${server.server.address().port}`, 'tls=none', `from=Bücher <info@bücher.example>`,
          '@target=jürgen@bücher.example', `@content=${JSON.stringify(probe.rich)}`]);
        let text = '';
        child.stdout.on('data', (chunk) => { text += chunk; });
        child.on('exit', () => resolve(text));
      });
      server.close(() => {});
      const outcome = JSON.parse(out);
      if (!offered) {
        assert.deepStrictEqual([outcome.outcome, outcome.reason, outcome.status],
          ['permanent', 'target_invalid', 553]);
        assert.strictEqual(mail, undefined);
        continue;
      }
      assert.strictEqual(outcome.outcome, 'accepted', out);
      const { parsed, envelope } = mail;
      // The server reads the xn-- form back.
      assert.strictEqual(envelope.mailFrom.address, 'info@bücher.example');
      assert.strictEqual(envelope.rcptTo[0].address, 'jürgen@bücher.example');
      assert.match(parsed.headerLines.find((l) => l.key === 'from').line, /<info@xn--bcher-kva\./);
      assert.strictEqual(envelope.mailFrom.args.SMTPUTF8, true);
      assert.strictEqual(parsed.to.value[0].address.split('@')[0], 'jürgen');
      assert.strictEqual(parsed.from.value[0].name, 'Bücher');
      assert.strictEqual(parsed.subject, probe.rich.title);
    }
  },
};

(async () => {
  for (const [step, run] of Object.entries(steps)) {
    let error;
    try {
      await run();
    } catch (e) {
      error = String(e.stack || e).slice(0, 3000);
    }
    console.log(JSON.stringify({ step, error }));
  }
  process.exit(0);
})();
