// The service worker shows what arrives while no page is open, and opens the page that it is about. It decides nothing,
// answers no page's requests and keeps nothing: where it is registered there are no pages.

const icon = '/static/icon-192.png'; // the server puts the hashed name here

self.addEventListener('install', () => self.skipWaiting());

self.addEventListener('push', (event) => event.waitUntil(arrived(event.data)));

async function arrived(data) {
  let message = {};
  try {
    message = data.json();
  } catch {
    // browsers want to see something for every message, even for one that says nothing
  }
  await Promise.all([show(message.notification || {}), prove(message.proof)]);
}

// show replaces what has the same tag. There are no buttons: a lock screen cannot show what would be decided.
function show(note) {
  return self.registration.showNotification(String(note.title || 'Assent'), {
    body: String(note.body || ''),
    lang: String(note.lang || ''),
    tag: String(note.tag || ''),
    timestamp: Number(note.timestamp) || Date.now(),
    renotify: Boolean(note.tag && note.renotify),
    silent: Boolean(note.silent),
    requireInteraction: Boolean(note.requireInteraction),
    data: String(note.navigate || ''),
    icon,
  });
}

// prove tells the server, and pages that wait for it, that a test has come back.
async function prove(proof) {
  if (!proof) return;
  const body = new URLSearchParams({ proof });
  const answer = await fetch('/push/arrived', { method: 'POST', body, redirect: 'error', cache: 'no-store' });
  const channel = new BroadcastChannel('push');
  channel.postMessage(answer.ok ? 'arrived' : 'refused');
  channel.close();
}

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(open(ours(event.notification.data)));
});

// open brings the page to the front if it is there already.
async function open(url) {
  const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const there = pages.find((page) => page.url === url);
  return there ? there.focus() : self.clients.openWindow(url);
}

// ours is the link of a message, or the inbox: whoever could make us show a message shall not lead people elsewhere.
function ours(to) {
  const home = self.location.origin + '/';
  try {
    const url = new URL(to, home);
    return url.origin === self.location.origin && /^\/r\/[\w-]+$/.test(url.pathname) ? url.origin + url.pathname : home;
  } catch {
    return home;
  }
}
