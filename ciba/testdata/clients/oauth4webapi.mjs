// oauth4webapi: every request and every check by hand.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import { advance, agent, approve, basicAgent, deny, hurry, issuer, key, keyAgent, payment, person, refused, run, signedAgent } from './cases.mjs';

const discover = async (algorithm) =>
  oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm }));

const server = await discover('oidc');
const client = { client_id: agent.id };
const post = oauth.ClientSecretPost(agent.secret);

const ask = async (more, by = client, auth = post) => {
  const answer = await oauth.backchannelAuthenticationRequest(server, by, auth, {
    scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', ...more,
  });
  return oauth.processBackchannelAuthenticationResponse(server, by, answer);
};

// One poll. What comes is verified with the published keys: the ID token, and the access token as an API would.
const poll = async (asked, by = client, auth = post) => {
  const answer = await oauth.backchannelAuthenticationGrantRequest(server, by, auth, asked.auth_req_id);
  const tokens = await oauth.processBackchannelAuthenticationGrantResponse(server, by, answer);
  await oauth.validateApplicationLevelSignature(server, answer);
  assert.equal(oauth.getValidatedIdTokenClaims(tokens).sub, person.sub);
  const { aud } = JSON.parse(Buffer.from(tokens.access_token.split('.')[1], 'base64url'));
  const call = new Request(aud, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  const claims = await oauth.validateJwtAccessToken(server, call, aud, { signingAlgorithms: ['ES256'] });
  assert.equal(claims.client_id, by.client_id);
  return { ...tokens, claims };
};

const approved = async (by, auth) => {
  const asked = await ask({}, by, auth);
  await approve(asked.auth_req_id);
  return (await poll(asked, by, auth)).token_type;
};

// A poll that is refused, and how long its answer says to wait.
const wait = async (asked) => {
  const answer = await oauth.backchannelAuthenticationGrantRequest(server, client, post, asked.auth_req_id);
  const after = answer.headers.get('retry-after');
  return [await refused(oauth.processBackchannelAuthenticationGrantResponse(server, client, answer)), after];
};

await run({
  approve: () => approved(client, post),
  basic: () => approved({ client_id: basicAgent.id }, oauth.ClientSecretBasic(basicAgent.secret)),
  private_key_jwt: () => approved({ client_id: keyAgent.id }, oauth.PrivateKeyJwt(key)),

  // Every parameter in a signed request object, and the client's own name beside it.
  signed: async () => {
    const by = { client_id: signedAgent.id };
    const auth = oauth.PrivateKeyJwt(key);
    const request = await oauth.issueRequestObject(server, by, {
      scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', authorization_details: JSON.stringify(payment),
    }, key);
    const answer = await oauth.backchannelAuthenticationRequest(server, by, auth, { request });
    const asked = await oauth.processBackchannelAuthenticationResponse(server, by, answer);
    await approve(asked.auth_req_id);
    return (await poll(asked, by, auth)).authorization_details;
  },

  oauth2: async () => assert.deepEqual(await discover('oauth2'), server) ?? 'the same document',

  details: async () => {
    const asked = await ask({ authorization_details: JSON.stringify(payment) });
    await approve(asked.auth_req_id);
    const tokens = await poll(asked);
    assert.deepEqual(tokens.claims.authorization_details, tokens.authorization_details);
    return tokens.authorization_details;
  },

  deny: async () => {
    const asked = await ask();
    await deny(asked.auth_req_id);
    return refused(poll(asked));
  },

  used: async () => {
    const asked = await ask();
    await approve(asked.auth_req_id);
    await poll(asked);
    return refused(poll(asked));
  },

  unknown_user: () => refused(ask({ login_hint: 'nobody' })),
  wrong_secret: () => refused(ask({}, client, oauth.ClientSecretPost('wrong'))),

  // The first poll is free, the next one too early; who then waits as told is not told again.
  slow_down: async () => {
    const asked = await ask();
    const [first] = await wait(asked);
    const [hurried, after] = await hurry(() => wait(asked), ([said]) => said === 'slow_down');
    await advance(`${after}s`);
    return [first, hurried, after, await refused(poll(asked))];
  },

  expiry: async () => {
    const asked = await ask({ requested_expiry: '60' });
    assert.equal(asked.expires_in, 60);
    await advance('60s');
    return refused(poll(asked));
  },
});
