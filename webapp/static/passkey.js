// Passkeys. A form marked data-passkey="get" or "create" asks the browser before it is sent: the server's options are
// fetched from data-begin, and the answer goes into the form's own fields. Without script such forms stay hidden or are
// answered with a plain sentence. A button marked data-elsewhere asks for a passkey on another device first. The server
// checks everything; this file only carries.

const able = 'PublicKeyCredential' in window;
const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const base64url = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

// understood turns the server's JSON into what the browser takes.
function understood(options) {
  const listed = (list) => (list || []).map((entry) => ({ ...entry, id: bytes(entry.id) }));
  const out = { ...options, challenge: bytes(options.challenge) };
  if (options.user) out.user = { ...options.user, id: bytes(options.user.id) };
  if (options.excludeCredentials) out.excludeCredentials = listed(options.excludeCredentials);
  if (options.allowCredentials) out.allowCredentials = listed(options.allowCredentials);
  return out;
}

// plain is the other direction.
function plain(credential) {
  const response = {};
  for (const name of ['clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle']) {
    if (credential.response[name]) response[name] = base64url(credential.response[name]);
  }
  if (credential.response.getTransports) response.transports = credential.response.getTransports();
  return JSON.stringify({
    id: credential.id,
    rawId: base64url(credential.rawId),
    type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment || undefined,
    clientExtensionResults: {},
    response,
  });
}

async function begin(form, elsewhere) {
  const body = new URLSearchParams();
  for (const name of (form.dataset.send || '').split(' ').filter(Boolean)) body.set(name, form.elements[name].value);
  if (elsewhere) body.set('elsewhere', '1');
  const answer = await fetch(form.dataset.begin, { method: 'POST', body, cache: 'no-store' });
  if (answer.redirected) location.assign(answer.url); // to a sign-in that is asked for first
  if (!answer.ok) throw new Error('refused');
  return answer.json();
}

let waiting; // the offer in the autofill list, which any other ceremony ends

async function ask(form, extra = {}, elsewhere = false) {
  const { publicKey, ticket } = await begin(form, elsewhere);
  const credential = await navigator.credentials[form.dataset.passkey]({ publicKey: understood(publicKey), ...extra });
  if (!form.isConnected) throw new Error('gone'); // the page has moved on meanwhile
  form.elements.ticket.value = ticket;
  form.elements.credential.value = plain(credential);
}

function complain(words) {
  const problem = document.querySelector('#problem');
  if (!problem || !words) return;
  problem.textContent = words;
  problem.hidden = false;
}

document.addEventListener('submit', async (event) => {
  const form = event.target;
  if (!form.matches('[data-passkey]') || form.elements.credential.value || !able) return;
  event.preventDefault();
  event.stopPropagation();
  if (form.dataset.asking) return;
  form.dataset.asking = '1';
  waiting?.abort();
  try {
    await ask(form, {}, Boolean(event.submitter?.matches('[data-elsewhere]')));
    form.requestSubmit();
  } catch (error) {
    complain(error.name === 'InvalidStateError' ? form.dataset.have : form.dataset.failed);
  } finally {
    delete form.dataset.asking;
  }
}, true);

// offer puts passkeys into the browser's autofill list, where it has one for them.
async function offer() {
  const form = document.querySelector('form[data-autofill]');
  if (!form || !(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  waiting = new AbortController();
  try {
    await ask(form, { mediation: 'conditional', signal: waiting.signal });
    form.requestSubmit();
  } catch {
    // nobody took the offer
  }
}

if (able) {
  for (const form of document.querySelectorAll('form[data-passkey][hidden]:not([data-autofill])')) form.hidden = false;
  for (const hint of document.querySelectorAll('[data-without]')) hint.hidden = true;
  offer();
}
