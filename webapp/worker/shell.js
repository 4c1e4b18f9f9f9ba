// The shell's service worker says so when the network is gone, instead of the browser's own page. It keeps our stylesheet,
// script and offline pages, and nothing else: no page with a request on it, no answer, no form. Whatever is sent goes to
// the network once; what failed is told, and never sent again from here.

const shell = ['/shell']; // the server puts the paths here
const name = 'shell-version'; // and what they hold

self.addEventListener('install', (event) => event.waitUntil(keep()));
self.addEventListener('activate', (event) => event.waitUntil(forget()));

async function keep() {
  const cache = await caches.open(name);
  await cache.addAll(shell.map((path) => new Request(path, { credentials: 'omit' }))); // nobody is signed in on these
  await self.skipWaiting();
}

async function forget() {
  const old = (await caches.keys()).filter((key) => key !== name);
  await Promise.all(old.map((key) => caches.delete(key)));
}

self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.mode === 'navigate') {
    event.respondWith(fetch(request).catch(() => offline(request)));
  } else if (request.method === 'GET' && shell.includes(new URL(request.url).pathname)) {
    event.respondWith(caches.match(request).then((kept) => kept || fetch(request)));
  }
});

// offline answers a page that did not come. After a form nobody knows whether it arrived, and the page says that.
async function offline(request) {
  const asked = new URL(request.url).searchParams.get('lang') || navigator.language;
  const lang = asked.startsWith('ko') ? 'ko' : 'en';
  const page = request.method === 'GET' ? '/offline' : '/offline/sent';
  return (await caches.match(page + '?lang=' + lang)) || Response.error();
}
