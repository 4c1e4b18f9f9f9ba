// Notifications in this browser: offered after a decision, switched on by a tap, and on only once a test has come back.
// Without this file, or in a browser that cannot, the offer stays hidden.

const card = document.getElementById('push');
const text = card.dataset;
const worker = '/sw.js';
const scope = '/push/'; // where there are no pages: the worker can answer none of them
const patience = 30000; // milliseconds for a test to come back
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy('push', { createScriptURL: (url) => (url === worker ? url : '') })
  : { createScriptURL: (url) => url };

// show puts the card into one of its stages: ask, testing, works, unsent, failed, denied, off.
function show(stage) {
  card.dataset.stage = stage;
  document.getElementById('push-say').textContent = text[stage];
  for (const button of card.querySelectorAll('button')) button.hidden = !button.dataset.in.split(' ').includes(stage);
  card.hidden = false;
}

async function post(what, fields) {
  const body = new URLSearchParams({ ...fields, token: text.token });
  return fetch('/push/' + what, { method: 'POST', body, redirect: 'error', cache: 'no-store' });
}

// register returns once the worker can take messages.
async function register() {
  const registration = await navigator.serviceWorker.register(policy.createScriptURL(worker), { scope });
  const coming = registration.installing || registration.waiting;
  if (!registration.active && coming) {
    await new Promise((done) => {
      coming.addEventListener('statechange', () => { if (coming.state === 'activated') done(); });
    });
  }
  return registration;
}

async function current() {
  const registration = await navigator.serviceWorker.getRegistration(scope);
  return registration ? registration.pushManager.getSubscription() : null;
}

// subscribe keeps a subscription that is there, unless it was made for another key of ours.
async function subscribe(registration) {
  const key = Uint8Array.from(atob(text.key.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  const old = await registration.pushManager.getSubscription();
  const theirs = old && old.options && old.options.applicationServerKey;
  if (theirs && new Uint8Array(theirs).some((byte, i) => byte !== key[i])) await old.unsubscribe();
  return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

// test asks the server for a test, and believes only that it has come back.
async function test(subscription) {
  show('testing');
  const channel = new BroadcastChannel('push');
  const back = new Promise((done) => {
    channel.addEventListener('message', (event) => done(event.data === 'arrived'));
    setTimeout(() => done(false), patience);
  });
  try {
    const sent = await post('subscribe', { subscription: JSON.stringify(subscription) });
    if (!sent.ok) return show('unsent');
    show((await back) ? 'works' : 'failed');
  } finally {
    channel.close();
  }
}

const acts = {
  async on() {
    const answer = await Notification.requestPermission();
    if (answer !== 'granted') return show(answer === 'denied' ? 'denied' : 'ask');
    await test(await subscribe(await register()));
  },
  async test() {
    await test(await subscribe(await register()));
  },
  async off() {
    const subscription = await current();
    if (subscription) {
      const done = await post('unsubscribe', { endpoint: subscription.endpoint });
      if (!done.ok) return show('failed');
      await subscription.unsubscribe();
    }
    show('off');
  },
};

card.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) acts[button.dataset.act]().catch(() => show('failed'));
});

async function begin() {
  if (Notification.permission === 'denied') return show('denied');
  const subscription = Notification.permission === 'granted' ? await current() : null;
  const known = subscription && (await post('check', { endpoint: subscription.endpoint })).ok;
  show(known ? 'works' : 'ask');
}

if ('serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window) {
  begin().catch(() => show('ask'));
} else if (navigator.standalone === false) { // Safari on a phone or tablet, outside the home screen
  document.getElementById('push-home').hidden = false;
}
