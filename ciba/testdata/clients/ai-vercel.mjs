// @auth0/ai-vercel: a tool of an AI agent that asks before it runs, in its blocking mode and in its interrupting one.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { advance, agent, approve, deny, hurry, issuer, payment, person, run } from './cases.mjs';

const require = createRequire(import.meta.url); // its ES modules do not load in plain Node
const { Auth0AI, getAsyncAuthorizationCredentials, setAIContext } = require('@auth0/ai-vercel');
const { tool } = require('ai');
const { z } = require('zod');

// A tool that hands out the credentials it ran with.
const wrap = (more, secret = agent.secret) => {
  const ai = new Auth0AI({ auth0: { domain: issuer.host, clientId: agent.id, clientSecret: secret } });
  return ai.withAsyncAuthorization({
    userID: person.sub,
    bindingMessage: 'TEAL-7',
    scopes: [],
    onUnauthorized: (err) => ({ refused: err.error ?? err.code ?? err.stack }),
    ...more,
  }, tool({
    description: 'Pays for the trip.',
    inputSchema: z.object({}),
    execute: async () => getAsyncAuthorizationCredentials(),
  }));
};

let calls = 0;
const call = (wrapped, toolCallId = `call-${++calls}`) => {
  setAIContext({ threadID: 'thread' });
  return wrapped.execute({}, { toolCallId, messages: [] });
};

// Runs a tool that waits for the person, who acts at once. The tool polls beside that; its refusal may come first.
const block = (act, more) => call(wrap({
  onAuthorizationRequest: (asked, credentials) => {
    credentials.catch(() => {});
    return act(asked.id);
  },
  ...more,
}));

await run({
  approve: async () => {
    const credentials = await block(approve);
    assert.ok(credentials.accessToken && credentials.idToken, JSON.stringify(credentials));
    return credentials.tokenType ?? credentials.type;
  },

  details: async () => (await block(approve, { authorizationDetails: payment })).authorizationDetails,
  deny: async () => (await block(deny)).refused,
  unknown_user: async () => (await block(approve, { userID: 'nobody' })).refused,
  wrong_secret: async () => (await call(wrap({ onAuthorizationRequest: () => {} }, 'wrong'))).refused,

  // Interrupts instead of waiting: called again and again, it goes on with the request it has.
  interrupt: async () => {
    const wrapped = wrap();
    const first = await call(wrapped, 'trip').catch((err) => err);
    assert.equal(first.request.interval, 2);
    await approve(first.request.id);
    return [first.code, Boolean((await call(wrapped, 'trip')).accessToken)];
  },

  // The first poll is free, the next one too early; who then waits as told is not told again.
  slow_down: async () => {
    const wrapped = wrap();
    const interrupt = () => call(wrapped, 'trip').catch((err) => err);
    const first = await interrupt();
    const hurried = await hurry(interrupt, (err) => err.code !== first.code);
    await advance(`${hurried.nextRetryInterval()}s`);
    return [first.code, hurried.code, hurried.nextRetryInterval(), (await interrupt()).code];
  },

  // There is no token vault. The library takes every refusal for a person who has not connected an account yet, and asks.
  vault: async () => {
    const ai = new Auth0AI({ auth0: { domain: issuer.host, clientId: agent.id, clientSecret: agent.secret } });
    const wrapped = ai.withTokenVault({ connection: 'example', scopes: ['read'], refreshToken: async () => 'x' }, tool({
      description: 'Reads the calendar.', inputSchema: z.object({}), execute: async () => 'it ran',
    }));
    return call(wrapped).catch((err) => err.code ?? err.stack);
  },

  expiry: async () => (await block(() => advance('60s'), { requestedExpiry: 60 })).refused,
});
