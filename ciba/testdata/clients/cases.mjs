// What the client scripts share: where the service is, how the person decides in dev mode, how a case is reported.
import assert from 'node:assert/strict';

const { ISSUER, AGENT_ID, AGENT_SECRET, BASIC_ID, BASIC_SECRET, KEY_ID, SIGNED_ID, KEY } = process.env;

export const issuer = new URL(ISSUER);
export const agent = { id: AGENT_ID, secret: AGENT_SECRET };
export const basicAgent = { id: BASIC_ID, secret: BASIC_SECRET }; // registered for client_secret_basic
export const keyAgent = { id: KEY_ID, pem: KEY }; // registered for private_key_jwt
export const signedAgent = { id: SIGNED_ID, pem: KEY }; // and for signed requests
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

// Runs every case in turn and prints a line of JSON for each: what came of it.
export const run = async (cases) => {
  for (const [name, act] of Object.entries(cases)) {
    let result;
    try {
      result = await act();
    } catch (err) {
      result = `failed: ${err.stack}${err.cause ? `\ncause: ${err.cause.stack ?? JSON.stringify(err.cause)}` : ''}`;
    }
    console.log(JSON.stringify({ case: name, result }));
  }
};
