// What the client scripts share: where the service is, how the person decides in dev mode, how a case is reported.
import assert from 'node:assert/strict';
import { X509Certificate, createHash } from 'node:crypto';
import { createServer } from 'node:http';
import * as jose from 'jose';
import { Agent, fetch as fetchBy } from 'undici';

const {
  ISSUER, AGENT_ID, AGENT_SECRET, BASIC_ID, BASIC_SECRET, KEY_ID, SIGNED_ID, BOUND_ID, NONCE_ID, PINGED_ID, SHOWN_ID,
  RETURNING_ID, KEY, CERTIFICATE, PING_PORT,
} = process.env;

export const issuer = new URL(ISSUER);
export const agent = { id: AGENT_ID, secret: AGENT_SECRET };
export const basicAgent = { id: BASIC_ID, secret: BASIC_SECRET }; // registered for client_secret_basic
export const keyAgent = { id: KEY_ID, pem: KEY }; // registered for private_key_jwt
export const signedAgent = { id: SIGNED_ID, pem: KEY }; // and for signed requests
export const boundAgent = { id: BOUND_ID, pem: KEY }; // and for tokens that are bound by DPoP
export const nonceAgent = { id: NONCE_ID, pem: KEY }; // that, and proofs must have a nonce
export const pingedAgent = { id: PINGED_ID, pem: KEY }; // for ping mode
export const shownAgent = { id: SHOWN_ID }; // for self_signed_tls_client_auth, and tokens that are bound to the certificate
export const returningAgent = { id: RETURNING_ID, pem: KEY }; // for refresh tokens
export const person = { hint: 'ann', sub: 'u_ann' };
export const payment = [{
  type: 'payment_initiation',
  instructedAmount: { currency: 'EUR', amount: '480.00' },
  creditorName: 'Example Travel',
}];

// The agents' key, as Web Crypto has it.
export const key = {
  kid: 'k1',
  key: await crypto.subtle.importKey('pkcs8', Buffer.from(KEY.replace(/-----.*-----/g, ''), 'base64'),
    { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']),
};

const dev = async (path, body) => {
  const answer = await fetch(new URL(path, issuer), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
};

export const approve = (id) => dev('/dev/approve', { auth_req_id: id, user: person.hint });
export const deny = (id) => dev('/dev/deny', { auth_req_id: id, user: person.hint });
export const advance = (duration) => dev('/dev/clock', { advance: duration });

// An access token as an API sees it, after the checks that every API makes.
const published = jose.createRemoteJWKSet(new URL('/.well-known/jwks.json', issuer));
export const verified = async (token) =>
  (await jose.jwtVerify(token, published, { issuer: ISSUER, typ: 'at+jwt', algorithms: ['ES256'] })).payload;

// What the token is bound to, once it is known to be this key or the agents' certificate.
export const boundTo = async (token, publicKey) => {
  const jkt = publicKey && await jose.calculateJwkThumbprint(await jose.exportJWK(publicKey));
  const x5t = createHash('sha256').update(new X509Certificate(CERTIFICATE).raw).digest('base64url');
  const { cnf } = await verified(token);
  assert.deepEqual(cnf, publicKey ? { jkt } : { 'x5t#S256': x5t });
  return Object.keys(cnf)[0];
};

// A request object made without the help of a client library.
export const requestObject = (id, parameters) => new jose.SignJWT({ ...parameters, jti: crypto.randomUUID() })
  .setProtectedHeader({ alg: 'ES256', kid: key.kid }).setIssuer(id).setAudience(ISSUER)
  .setIssuedAt().setNotBefore('0s').setExpirationTime('60s').sign(key.key);

// fetch over connections that show the agents' certificate.
const showing = new Agent({ connect: { key: KEY, cert: CERTIFICATE } });
export const fetchShowing = (url, options) => fetchBy(url, { ...options, dispatcher: showing });

// Runs act while a notification endpoint listens, and returns the first ping that it gets.
export const pingAfter = (act) => new Promise((done, fail) => {
  const server = createServer(async (request, answer) => {
    const body = (await request.toArray()).join('');
    answer.writeHead(204, { connection: 'close' }).end();
    server.close();
    const { authorization, 'content-type': type } = request.headers;
    done({ method: request.method, authorization, type, body: JSON.parse(body) });
  });
  server.listen(Number(PING_PORT), '127.0.0.1', () => act().catch(fail));
});

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// OAuth's word for what went wrong.
export const code = (err) => err.error ?? err.code ?? err.name;

// Waits for an error and returns OAuth's word for it.
export const refused = async (promise) => {
  try {
    await promise;
  } catch (err) {
    assert.ok(err.error, err.stack);
    return code(err);
  }
  return assert.fail('it was not refused');
};

// Waits for the challenge of a 401 answer. The library reads it before the body, so there is no word of OAuth's.
export const challenged = async (promise) => {
  const err = await promise.then(() => assert.fail('it was not refused'), (err) => err);
  assert.ok(Array.isArray(err.cause), err.stack);
  return [err.status, err.cause[0].scheme, err.code];
};

// Polls without a pause until the answer is told to be too early. A busy machine makes a pause of its own now and then.
export const hurry = async (poll, early) => {
  for (let left = 5; left > 0; left--) {
    const answer = await poll();
    if (early(answer)) {
      return answer;
    }
  }
  return assert.fail('it was never too early');
};

// Prints a line of JSON: what came of a case.
const report = async ([name, act]) => {
  let result;
  try {
    result = await act();
  } catch (err) {
    result = `failed: ${err.stack}${err.cause ? `\ncause: ${err.cause.stack ?? JSON.stringify(err.cause)}` : ''}`;
  }
  console.log(JSON.stringify({ case: name, result }));
};

// Runs every case in turn.
export const run = async (cases) => {
  for (const entry of Object.entries(cases)) {
    await report(entry);
  }
};

// Runs the cases side by side: those that share nothing and wait a lot.
export const runTogether = (cases) => Promise.all(Object.entries(cases).map(report));
