// openid-client: discovery, and its own loop around the token endpoint.
import assert from 'node:assert/strict';
import * as oidc from 'openid-client';
import {
  advance, agent, approve, basicAgent, boundAgent, boundTo, challenged, deny, fetchShowing, hurry, issuer, key, keyAgent, nonceAgent,
  pause, payment, person, pingAfter, pingedAgent, refused, requestObject, returningAgent, run, runTogether, shownAgent, signedAgent,
  verified,
} from './cases.mjs';

const discover = async (who, authenticate, options, metadata) => {
  const config = await oidc.discovery(issuer, who.id, metadata, authenticate(who.secret), options);
  oidc.enableNonRepudiationChecks(config); // verify ID tokens with the published keys
  return config;
};

const config = await discover(agent, oidc.ClientSecretPost);

const ask = (more, by = config) => oidc.initiateBackchannelAuthentication(by, {
  scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', ...more,
});

const collect = async (asked, by = config, options = {}) => {
  const tokens = await oidc.pollBackchannelAuthenticationGrant(by, asked, {}, options);
  assert.equal(tokens.claims().sub, person.sub);
  assert.equal(tokens.scope, 'openid');
  assert.ok(tokens.expiresIn() > 0);
  return tokens;
};

const approved = async (by) => {
  const asked = await ask({}, by);
  await approve(asked.auth_req_id);
  return (await collect(asked, by)).token_type;
};

const byKey = (who) => discover(who, () => oidc.PrivateKeyJwt(key));

// Tokens that are bound to a key of their own, which the access token names.
const proven = async (who) => {
  const by = await byKey(who);
  const keys = await oidc.randomDPoPKeyPair('ES256');
  const asked = await ask({}, by);
  await approve(asked.auth_req_id);
  const DPoP = oidc.getDPoPHandle(by, keys);
  const tokens = await collect(asked, by, { DPoP });
  const { sub } = await oidc.fetchUserInfo(by, tokens.access_token, person.sub, { DPoP });
  return { tokens, by, said: [tokens.token_type, await boundTo(tokens.access_token, keys.publicKey), sub] };
};

// Nothing is polled before the ping has come.
const pinged = async (act) => {
  const by = await byKey(pingedAgent);
  const token = crypto.randomUUID();
  let asked;
  const ping = await pingAfter(async () => {
    asked = await ask({ client_notification_token: token }, by);
    await act(asked.auth_req_id);
  });
  assert.deepEqual(ping, {
    method: 'POST', authorization: `Bearer ${token}`, type: 'application/json', body: { auth_req_id: asked.auth_req_id },
  });
  return { asked, by };
};

// The library waits for the interval before its first poll.
await runTogether({
  approve: () => approved(config),
  basic: async () => approved(await discover(basicAgent, oidc.ClientSecretBasic)),
  private_key_jwt: async () => approved(await byKey(keyAgent)),
  oauth2: async () => approved(await discover(agent, oidc.ClientSecretPost, { algorithm: 'oauth2' })),

  dpop: async () => (await proven(boundAgent)).said,
  dpop_nonce: async () => (await proven(nonceAgent)).said,
  dpop_stolen: async () => {
    const { tokens, by } = await proven(boundAgent);
    return challenged(oidc.fetchUserInfo(by, tokens.access_token, person.sub));
  },
  dpop_missing: async () => {
    const by = await byKey(boundAgent);
    const asked = await ask({}, by);
    await approve(asked.auth_req_id);
    return refused(oidc.pollBackchannelAuthenticationGrant(by, asked));
  },

  // The listener for certificates, found by its aliases.
  certificate: async () => {
    const by = await discover(shownAgent, () => oidc.TlsClientAuth(), { [oidc.customFetch]: fetchShowing }, { use_mtls_endpoint_aliases: true });
    const asked = await ask({}, by);
    await approve(asked.auth_req_id);
    const tokens = await collect(asked, by);
    return [tokens.token_type, await boundTo(tokens.access_token)];
  },

  // Every parameter in a signed request object, and the client's own name beside it.
  signed: async () => {
    const by = await byKey(signedAgent);
    const request = await requestObject(signedAgent.id, {
      scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', authorization_details: payment,
    });
    const asked = await oidc.initiateBackchannelAuthentication(by, { request });
    await approve(asked.auth_req_id);
    return (await collect(asked, by)).authorization_details;
  },

  // What auth0-auth-js asks for when it is not told; what the agent may not have is left out and said so.
  scopes: async () => {
    const asked = await ask({ scope: 'openid profile email offline_access' });
    await approve(asked.auth_req_id);
    return (await oidc.pollBackchannelAuthenticationGrant(config, asked)).scope;
  },
  audience: async () => {
    const asked = await ask({ audience: 'https://api.example' });
    await approve(asked.auth_req_id);
    return (await verified((await collect(asked)).access_token)).aud;
  },

  details: async () => {
    const asked = await ask({ authorization_details: JSON.stringify(payment) });
    await approve(asked.auth_req_id);
    return (await collect(asked)).authorization_details;
  },

  deny: async () => {
    const asked = await ask();
    await deny(asked.auth_req_id);
    return refused(oidc.pollBackchannelAuthenticationGrant(config, asked));
  },

  used: async () => {
    const asked = await ask();
    await approve(asked.auth_req_id);
    await collect(asked);
    return refused(oidc.pollBackchannelAuthenticationGrant(config, asked));
  },

  unknown_user: () => refused(ask({ login_hint: 'nobody' })),
  wrong_secret: async () => refused(ask({}, await discover({ ...agent, secret: 'wrong' }, oidc.ClientSecretPost))),

  wrong_basic: async () => challenged(ask({}, await discover({ ...basicAgent, secret: 'wrong' }, oidc.ClientSecretBasic))),
  exchange: () => refused(oidc.genericGrantRequest(config, 'urn:ietf:params:oauth:grant-type:token-exchange', {
    subject_token: 'x', subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  })),

  // What can be done with tokens, by the library's own functions.
  userinfo: async () => {
    const asked = await ask({ scope: 'openid profile email' });
    await approve(asked.auth_req_id);
    const { access_token } = await oidc.pollBackchannelAuthenticationGrant(config, asked);
    return oidc.fetchUserInfo(config, access_token, person.sub);
  },
  introspect_revoke: async () => {
    const asked = await ask();
    await approve(asked.auth_req_id);
    const { access_token } = await collect(asked);
    const before = await oidc.tokenIntrospection(config, access_token);
    await oidc.tokenRevocation(config, access_token);
    return [before.active, before.sub, await oidc.tokenIntrospection(config, access_token)];
  },
  refresh: async () => {
    const by = await byKey(returningAgent);
    const asked = await ask({ scope: 'openid offline_access' }, by);
    await approve(asked.auth_req_id);
    const first = await oidc.pollBackchannelAuthenticationGrant(by, asked);
    const second = await oidc.refreshTokenGrant(by, first.refresh_token);
    const third = await oidc.refreshTokenGrant(by, second.refresh_token);
    assert.equal((await verified(third.access_token)).sub, person.sub);
    const reused = await refused(oidc.refreshTokenGrant(by, first.refresh_token));
    return [first.scope, third.token_type, reused, await refused(oidc.refreshTokenGrant(by, third.refresh_token))];
  },

});

await run({
  ping: async () => {
    const { asked, by } = await pinged(approve);
    return (await collect(asked, by)).token_type;
  },
  ping_denied: async () => {
    const { asked, by } = await pinged(deny);
    return refused(oidc.pollBackchannelAuthenticationGrant(by, asked));
  },

  // Somebody else polled a moment ago: the loop hears slow_down once, waits as it is told, and does not hear it again.
  slow_down: async () => {
    const asked = await ask();
    const heard = [];
    const poll = async (url, options) => {
      const answer = await fetch(url, options);
      return { answer, said: (await answer.clone().json()).error ?? answer.status };
    };
    config[oidc.customFetch] = async (url, options) => {
      if (heard.length > 0) {
        pause(100).then(() => approve(asked.auth_req_id)); // while this poll is held
      }
      const { answer, said } = heard.length > 0
        ? await poll(url, options)
        : await hurry(() => poll(url, options), ({ said }) => said === 'slow_down');
      heard.push(said);
      return answer;
    };
    await collect(asked);
    return heard;
  },

  expiry: async () => {
    config[oidc.customFetch] = fetch;
    const asked = await ask({ requested_expiry: '60' });
    assert.equal(asked.expires_in, 60);
    await advance('60s');
    return refused(oidc.pollBackchannelAuthenticationGrant(config, asked));
  },
});
