// node-auth0: no discovery, fixed paths on https, and a subject identifier as login_hint.
import assert from 'node:assert/strict';
import { AuthenticationClient } from 'auth0';
import { advance, agent, approve, deny, hurry, issuer, keyAgent, payment, person, refused, returningAgent, run } from './cases.mjs';

const { backchannel } = new AuthenticationClient({
  domain: issuer.host, clientId: agent.id, clientSecret: agent.secret,
});

const ask = (more, by = backchannel) => by.authorize({
  scope: 'openid', audience: '', binding_message: 'TEAL-7', userId: person.sub, ...more,
});

const poll = async (asked, by = backchannel) => {
  const tokens = await by.backchannelGrant(asked);
  assert.ok(tokens.expires_in > 0 && tokens.id_token);
  assert.equal(tokens.scope, 'openid');
  return tokens;
};

await run({
  approve: async () => {
    const asked = await ask();
    await approve(asked.auth_req_id);
    return (await poll(asked)).token_type;
  },

  private_key_jwt: async () => {
    const keyed = new AuthenticationClient({
      domain: issuer.host, clientId: keyAgent.id, clientAssertionSigningKey: keyAgent.pem, clientAssertionSigningAlg: 'ES256',
    });
    const asked = await ask({}, keyed.backchannel);
    await approve(asked.auth_req_id);
    return (await poll(asked, keyed.backchannel)).token_type;
  },

  details: async () => {
    const asked = await ask({ authorization_details: JSON.stringify(payment) });
    await approve(asked.auth_req_id);
    return (await poll(asked)).authorization_details;
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

  unknown_user: () => refused(ask({ userId: 'nobody' })),

  wrong_secret: () => {
    const other = new AuthenticationClient({ domain: issuer.host, clientId: agent.id, clientSecret: 'wrong' });
    return refused(other.backchannel.authorize({ scope: 'openid', binding_message: 'TEAL-7', userId: person.sub }));
  },

  // Where it looks at ID tokens, it knows RS256 only. Without the scope openid there is none.
  refresh: async () => {
    const { backchannel: by, oauth } = new AuthenticationClient({
      domain: issuer.host, clientId: returningAgent.id,
      clientAssertionSigningKey: returningAgent.pem, clientAssertionSigningAlg: 'ES256',
    });
    const asked = await ask({ scope: 'openid offline_access' }, by);
    await approve(asked.auth_req_id);
    const { refresh_token } = await by.backchannelGrant(asked);
    const { data } = await oauth.refreshTokenGrant({ refresh_token, scope: 'offline_access' });
    assert.ok(data.access_token && data.refresh_token && !data.id_token);
    return data.token_type;
  },

  exchange: () => refused(new AuthenticationClient({
    domain: issuer.host, clientId: agent.id, clientSecret: agent.secret,
  }).tokenExchange.exchangeToken({ subject_token: 'x', subject_token_type: 'urn:example:token', audience: 'https://api.example' })),

  // The first poll is free, the next one too early; who then waits as told is not told again.
  slow_down: async () => {
    const asked = await ask();
    const first = await refused(poll(asked));
    const hurried = await hurry(() => poll(asked).catch((err) => err), (err) => err.error === 'slow_down');
    const after = hurried.headers.get('retry-after');
    await advance(`${after}s`);
    return [first, hurried.error, after, await refused(poll(asked))];
  },

  expiry: async () => {
    const asked = await ask({ requested_expiry: '60' });
    assert.equal(asked.expires_in, 60);
    await advance('60s');
    return refused(poll(asked));
  },
});
