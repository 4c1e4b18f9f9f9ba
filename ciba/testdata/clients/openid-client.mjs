// openid-client: discovery, and its own loop around the token endpoint.
import assert from 'node:assert/strict';
import * as oidc from 'openid-client';
import { advance, agent, approve, basicAgent, deny, hurry, issuer, key, keyAgent, pause, payment, person, refused, run } from './cases.mjs';

const discover = async (who, authenticate, options) => {
  const config = await oidc.discovery(issuer, who.id, undefined, authenticate(who.secret), options);
  oidc.enableNonRepudiationChecks(config); // verify ID tokens with the published keys
  return config;
};

const config = await discover(agent, oidc.ClientSecretPost);

const ask = (more, by = config) => oidc.initiateBackchannelAuthentication(by, {
  scope: 'openid', login_hint: person.hint, binding_message: 'TEAL-7', ...more,
});

const collect = async (asked, by = config) => {
  const tokens = await oidc.pollBackchannelAuthenticationGrant(by, asked);
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

await run({
  approve: () => approved(config),
  basic: async () => approved(await discover(basicAgent, oidc.ClientSecretBasic)),
  private_key_jwt: async () => approved(await discover(keyAgent, () => oidc.PrivateKeyJwt(key))),
  oauth2: async () => approved(await discover(agent, oidc.ClientSecretPost, { algorithm: 'oauth2' })),

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
