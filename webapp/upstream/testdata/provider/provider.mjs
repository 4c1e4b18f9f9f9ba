// A published OpenID provider with sign-in and consent pages of its own. Settings come as JSON on standard input; the
// issuer goes out as one line when it listens. It ends when standard input ends.
import { createServer } from 'node:http';
import { generateKeyPair, exportJWK } from 'jose';
import Provider from 'oidc-provider';

const lines = process.stdin[Symbol.asyncIterator]();
const { client } = JSON.parse((await lines.next()).value);

const server = createServer();
await new Promise((ready) => server.listen(0, 'localhost', ready));
const issuer = `http://localhost:${server.address().port}`;

const { privateKey } = await generateKeyPair('RS256', { extractable: true });
const provider = new Provider(issuer, {
  clients: [client],
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig' }] },
  acrValues: ['urn:example:mfa'],
  claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], profile: ['preferred_username'] },
  conformIdTokenClaims: false, // the profile comes with the ID token
  cookies: { keys: ['test'] },
  features: { devInteractions: { enabled: false } },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: `${id}@corp` }) }),
  interactions: { url: (ctx, { uid }) => `/interaction/${uid}` },
  pkce: { required: () => true },
});
const callback = provider.callback();

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

// interact shows what the provider wants to know, and takes the answer.
async function interact(request, response) {
  const { uid, prompt, params, session } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><title>${prompt.name}</title><h1>${prompt.name}</h1><form method="post" action="/interaction/${uid}">`
      + '<input name="login"><input name="acr"><input name="amr"><button>OK</button></form>');
    return undefined;
  }
  const typed = await body(request);
  if (prompt.name === 'login') {
    if (typed.get('login') === '') return provider.interactionFinished(request, response, { error: 'access_denied' });
    const login = { accountId: typed.get('login'), acr: typed.get('acr') || undefined };
    if (typed.get('amr')) login.amr = typed.get('amr').split(' ');
    return provider.interactionFinished(request, response, { login });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope('openid profile');
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

server.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) return callback(request, response);
  return interact(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
});

console.log(issuer);
for await (const more of lines) void more;
process.exit(0);
