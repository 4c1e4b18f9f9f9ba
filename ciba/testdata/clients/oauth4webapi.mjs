// oauth4webapi: every request and every check by hand.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import {
  advance, agent, approve, basicAgent, boundAgent, boundTo, challenged, deny, fetchShowing, hurry, issuer, key, keyAgent, nonceAgent,
  payment, person, pingAfter, pingedAgent, refused, returningAgent, run, shownAgent, signedAgent,
} from './cases.mjs';

const discover = async (algorithm) =>
  oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm }));

const server = await discover('oidc');
const client = { client_id: agent.id };
const post = oauth.ClientSecretPost(agent.secret);

const ask = async (more, by = client, auth = post, options = {}) => {
  const answer = await oauth.backchannelAuthenticationRequest(server, by, auth, {
    scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', ...more,
  }, options);
  return oauth.processBackchannelAuthenticationResponse(server, by, answer);
};

// An access token as an API checks it that gets a call with it: signature, claims, and the proof if it is bound to a key.
const shown = async (token, { DPoP }) => {
  const { aud } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  let call;
  const send = async (url, options) => {
    call = new Request(url, options);
    return new Response();
  };
  await oauth.protectedResourceRequest(token, 'GET', new URL(aud), undefined, undefined, { DPoP, [oauth.customFetch]: send });
  return oauth.validateJwtAccessToken(server, call, aud, { signingAlgorithms: ['ES256'], requireDPoP: Boolean(DPoP) });
};

// One poll. What comes is verified with the published keys: the ID token, and the access token unless it is bound to a
// certificate, which this library does not check.
const poll = async (asked, by = client, auth = post, options = {}) => {
  const answer = await oauth.backchannelAuthenticationGrantRequest(server, by, auth, asked.auth_req_id, options);
  const tokens = await oauth.processBackchannelAuthenticationGrantResponse(server, by, answer);
  await oauth.validateApplicationLevelSignature(server, answer);
  assert.equal(oauth.getValidatedIdTokenClaims(tokens).sub, person.sub);
  if (options[oauth.customFetch]) {
    return tokens;
  }
  const claims = await shown(tokens.access_token, options);
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

const jwt = oauth.PrivateKeyJwt(key);

// Tokens that are bound to a key of their own, which the access token names. The library says when a nonce is wanted, and
// knows it then.
const proven = async (who) => {
  const by = { client_id: who.id };
  const keys = await oauth.generateKeyPair('ES256');
  const DPoP = oauth.DPoP(by, keys);
  const asked = await ask({}, by, jwt);
  await approve(asked.auth_req_id);
  let retried = false;
  const tokens = await poll(asked, by, jwt, { DPoP }).catch((err) => {
    assert.ok(oauth.isDPoPNonceError(err), err.stack);
    retried = true;
    return poll(asked, by, jwt, { DPoP });
  });
  return [tokens.token_type, await boundTo(tokens.access_token, keys.publicKey), retried];
};

await run({
  approve: () => approved(client, post),
  basic: () => approved({ client_id: basicAgent.id }, oauth.ClientSecretBasic(basicAgent.secret)),
  private_key_jwt: () => approved({ client_id: keyAgent.id }, jwt),

  dpop: () => proven(boundAgent),
  dpop_nonce: () => proven(nonceAgent),
  dpop_missing: async () => {
    const by = { client_id: boundAgent.id };
    const asked = await ask({}, by, jwt);
    await approve(asked.auth_req_id);
    return refused(poll(asked, by, jwt));
  },

  // The listener for certificates, found by its aliases.
  certificate: async () => {
    const by = { client_id: shownAgent.id, use_mtls_endpoint_aliases: true };
    const options = { [oauth.customFetch]: fetchShowing };
    const asked = await ask({}, by, oauth.TlsClientAuth(), options);
    await approve(asked.auth_req_id);
    const tokens = await poll(asked, by, oauth.TlsClientAuth(), options);
    return [tokens.token_type, await boundTo(tokens.access_token)];
  },

  // Nothing is polled before the ping has come.
  ping: async () => {
    const by = { client_id: pingedAgent.id };
    const token = crypto.randomUUID();
    let asked;
    const ping = await pingAfter(async () => {
      asked = await ask({ client_notification_token: token }, by, jwt);
      await approve(asked.auth_req_id);
    });
    assert.equal(ping.authorization, `Bearer ${token}`);
    assert.deepEqual(ping.body, { auth_req_id: asked.auth_req_id });
    return (await poll(asked, by, jwt)).token_type;
  },

  // Every parameter in a signed request object, and the client's own name beside it.
  signed: async () => {
    const by = { client_id: signedAgent.id };
    const request = await oauth.issueRequestObject(server, by, {
      scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', authorization_details: JSON.stringify(payment),
    }, key);
    const answer = await oauth.backchannelAuthenticationRequest(server, by, jwt, { request });
    const asked = await oauth.processBackchannelAuthenticationResponse(server, by, answer);
    await approve(asked.auth_req_id);
    return (await poll(asked, by, jwt)).authorization_details;
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

  // What can be done with tokens, by the library's own functions.
  userinfo: async () => {
    const asked = await ask({ scope: 'openid profile email' });
    await approve(asked.auth_req_id);
    const { access_token } = await poll(asked);
    return oauth.processUserInfoResponse(server, client, person.sub, await oauth.userInfoRequest(server, client, access_token));
  },
  introspect_revoke: async () => {
    const asked = await ask();
    await approve(asked.auth_req_id);
    const { access_token } = await poll(asked);
    const look = async () =>
      oauth.processIntrospectionResponse(server, client, await oauth.introspectionRequest(server, client, post, access_token));
    const before = await look();
    await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, post, access_token));
    return [before.active, before.sub, await look()];
  },
  refresh: async () => {
    const by = { client_id: returningAgent.id };
    const asked = await ask({ scope: 'openid offline_access' }, by, jwt);
    await approve(asked.auth_req_id);
    const refresh = async ({ refresh_token }) =>
      oauth.processRefreshTokenResponse(server, by, await oauth.refreshTokenGrantRequest(server, by, jwt, refresh_token));
    const first = await poll(asked, by, jwt);
    const third = await refresh(await refresh(first));
    assert.equal((await shown(third.access_token, {})).sub, person.sub);
    return [first.scope, third.token_type, await refused(refresh(first)), await refused(refresh(third))];
  },

  wrong_basic: () => challenged(ask({}, { client_id: basicAgent.id }, oauth.ClientSecretBasic('wrong'))),
  exchange: async () => {
    const answer = await oauth.genericTokenEndpointRequest(server, client, post, 'urn:ietf:params:oauth:grant-type:token-exchange', {
      subject_token: 'x', subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    });
    return refused(oauth.processGenericTokenEndpointResponse(server, client, answer));
  },

  // The first poll is free, the next one too early; who then waits as told is not told again.
  slow_down: async () => {
    const asked = await ask();
    const [first] = await wait(asked);
    const [hurried, after] = await hurry(() => wait(asked), ([said]) => said === 'slow_down');
    await advance(`${after}s`);
    return [first, hurried, after, await refused(poll(asked))];
  },

  expiry: async () => {
    const asked = await ask({ request_expiry: '60', requested_expiry: '60' }); // older Auth0 SDKs send both
    assert.equal(asked.expires_in, 60);
    await advance('60s');
    return refused(poll(asked));
  },
});
