// What script adds to pages that work without it: a countdown, live refresh, a short delay against tapping through a
// notification, and a word when the network is gone. The server decides; this file only shows.

const text = document.body.dataset;
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy('app', { createHTML: (html) => html, createScriptURL: (url) => (url === '/shell.js' ? url : '') })
  : { createHTML: (html) => html, createScriptURL: (url) => url };
const $ = (selector, root = document) => root.querySelector(selector);
const seconds = () => performance.now() / 1000; // never the wall clock: phones are wrong by hours

// ---- Countdown -------------------------------------------------------------------------------------------------

const units = text.units.split('|');
const sizes = [86400, 3600, 60, 1];

function remaining(left) {
  const i = sizes.findIndex((size) => left >= size || size === 1);
  let out = Math.floor(left / sizes[i]) + units[i];
  const rest = Math.floor((left % sizes[i]) / (sizes[i + 1] || Infinity));
  if (rest > 0) out += ' ' + rest + units[i + 1];
  return text.left.replace('%s', out);
}

let timers = [];

function wind() {
  timers = [...document.querySelectorAll('[role=timer]')].map((element) => ({
    element,
    until: seconds() + Number(element.dataset.seconds),
    said: Number(element.dataset.seconds),
  }));
}

function tick() {
  for (const timer of timers) {
    const left = Math.max(0, Math.round(timer.until - seconds()));
    const words = remaining(left);
    if (timer.element.textContent !== words) timer.element.textContent = words;
    timer.element.parentElement.parentElement.classList.toggle('soon', left <= 60);
    if (timers.length > 1 || !$('[data-stage]')) continue;
    for (const mark of [120, 30, 0]) {
      if (left <= mark && timer.said > mark) announce(text['say-' + mark]);
    }
    timer.said = left;
  }
}

function announce(words) {
  $('#say').textContent = words;
}

// notice says what holds for the whole page, to the eye and to the ear; without words it takes that back.
function notice(words = '') {
  const place = $('#notice');
  if (place.textContent === words) return;
  place.textContent = words;
  place.hidden = !words;
  if (words) announce(words);
}

// below marks the edge of the two buttons while they cover something that is to be read before deciding.
function below() {
  const bar = $('.bar[data-below]');
  if (!bar) return;
  const read = [...document.querySelectorAll('.ask :is(.facts, .risks, .check-code)')].at(-1);
  const covers = getComputedStyle(bar).position === 'sticky' && read;
  bar.classList.toggle('covers', covers && read.getBoundingClientRect().bottom > bar.getBoundingClientRect().top + 1);
}

// ---- Live ------------------------------------------------------------------------------------------------------

// Only a page that somebody sees has a stream: a browser with one window has one, and no page speaks for another.

const place = $('#live');
const every = 10000; // milliseconds between questions while no stream gets through
let stream;
let poll;

function address(extra) {
  const url = new URL(place.dataset.live, location.href);
  for (const [name, value] of Object.entries(extra)) url.searchParams.set(name, value);
  return url;
}

function show(html, seen) {
  const focused = document.activeElement && document.activeElement.id;
  const stage = $('[data-stage]', place)?.dataset.stage;
  const unfolded = [...place.querySelectorAll('details[open][id]')].map((element) => element.id);
  place.innerHTML = policy.createHTML(html);
  for (const id of unfolded) document.getElementById(id)?.setAttribute('open', '');
  place.dataset.seen = seen;
  wind();
  tick();
  arm();
  below();
  const titled = $('[data-title]', place);
  if (titled) document.title = titled.dataset.title;
  const heading = $('h1', place);
  if (stage && $('[data-stage]', place)?.dataset.stage !== stage) {
    document.title = heading.textContent;
    heading.focus({ preventScroll: false });
  } else if (focused) {
    document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

function clock(left) {
  if (timers.length === 1 && $('[data-stage]', place)) timers[0].until = seconds() + Number(left);
}

function connect() {
  if (!place || stream || document.hidden) return;
  // An inbox that was away asks for everything again, so that all its clocks are right.
  stream = new EventSource(address({ seen: $('[data-stage]', place) ? place.dataset.seen : '' }));
  // The clock is the first word of every stream. Until it is heard, questions go the other way: some networks open a
  // stream and then hold back what is in it.
  if (!poll) poll = setInterval(ask, every);
  stream.addEventListener('clock', (event) => { heard(); clock(event.data); });
  stream.addEventListener('show', (event) => { heard(); show(event.data, event.lastEventId); });
  stream.addEventListener('end', () => { disconnect(); notice(text.signedOut); });
  stream.addEventListener('error', () => {
    if (!poll) poll = setInterval(ask, every);
    if (stream?.readyState === EventSource.CLOSED) stream = undefined;
  });
}

function heard() {
  clearInterval(poll);
  poll = 0;
  notice();
}

function disconnect() {
  stream?.close();
  stream = undefined;
  clearInterval(poll);
  poll = 0;
}

// ask is the way around networks that hold streams back.
async function ask() {
  try {
    const answer = await fetch(address({ once: 1, seen: place.dataset.seen }), { cache: 'no-store' });
    if (answer.status === 401) { disconnect(); notice(text.signedOut); return; }
    if (!answer.ok) { notice(text.lost); return; }
    notice();
    if (answer.headers.get('Live-Left')) clock(answer.headers.get('Live-Left'));
    if (answer.status === 200) show(await answer.text(), answer.headers.get('Live-Id'));
  } catch {
    notice(text.lost); // the next round asks again
  }
}

// ---- Deciding --------------------------------------------------------------------------------------------------

const armDelay = 700; // milliseconds that the details must have been on a visible screen
let armedAt = Infinity;

function arm() {
  const form = $('form[data-arm]');
  if (!form) return;
  const buttons = [...form.elements].filter((element) => element.type === 'submit'); // one may stand outside of the form
  const able = (yes) => { for (const button of buttons) button.disabled = !yes; };
  able(false);
  armedAt = Infinity;
  if (document.hidden) return;
  const due = (armedAt = performance.now() + armDelay);
  setTimeout(() => { if (armedAt === due) able(true); }, armDelay);
}

document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.matches('[data-arm]') && performance.now() < armedAt) {
    event.preventDefault();
    return;
  }
  if (!navigator.onLine) {
    event.preventDefault();
    complain(text.offline);
    return;
  }
  if (form.dataset.sent) {
    event.preventDefault(); // the server bears repeats; the person need not wonder
    return;
  }
  form.dataset.sent = '1';
  announce(text.sending);
  for (const button of document.querySelectorAll('#live button')) button.setAttribute('aria-disabled', 'true');
  form.querySelector('button')?.classList.add('busy');
});

function complain(words) {
  const problem = $('#problem');
  if (!problem) return notice(words);
  problem.textContent = words;
  problem.hidden = false;
}

// opened tells once that the page came before a person's eyes.
let told = false;
function opened() {
  if (told || document.hidden || !place?.dataset.opened) return;
  told = true;
  fetch(place.dataset.opened, {
    method: 'POST',
    body: new URLSearchParams({ token: place.dataset.token }),
    keepalive: true,
  }).catch(() => { told = false; });
}

// recheck asks for the truth where a page or an answer got lost, and never assumes one: the address that the server
// named; the page itself; after a form, the request that it was about, or the inbox.
function recheck() {
  const lost = $('[data-again]')?.dataset;
  if (!lost) return;
  const about = location.pathname.match(/^\/requests\/[0-9a-z]{26}/) || ['/'];
  const again = lost.again || (lost.sent === 'true' ? about[0] : location.pathname) + location.search;
  $('[data-check]')?.setAttribute('href', again);
  const look = async () => {
    try {
      const answer = await fetch(again, { cache: 'no-store' });
      if (answer.status < 500) { location.replace(again); return; }
    } catch {
      // still out of reach
    }
    setTimeout(look, 3000);
  };
  setTimeout(look, 2000);
}

// ---- Settings --------------------------------------------------------------------------------------------------

// zones offers the time zone that this browser has, and all that it knows to whoever types one.
function zones() {
  const here = $('[data-here]');
  if (!here) return;
  const field = $('#zone');
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const differs = () => { here.hidden = !own || field.value === own; };
  $('bdi', here).textContent = own;
  here.addEventListener('click', () => { field.value = own; differs(); field.focus(); });
  field.addEventListener('change', differs);
  field.addEventListener('focus', () => {
    for (const zone of Intl.supportedValuesOf?.('timeZone') ?? []) $('#zones').append(new Option(zone, zone));
  }, { once: true });
  differs();
}

// ---- Beginning -------------------------------------------------------------------------------------------------

function awake() {
  arm();
  connect();
  opened();
}

// settle makes the browser keep what it shows without a network, once it has nothing better to do.
function settle() {
  const url = text.shell && navigator.serviceWorker && policy.createScriptURL(text.shell);
  if (url) navigator.serviceWorker.register(url).catch(() => {}); // without it, browsers show a page of their own
}

document.addEventListener('visibilitychange', () => (document.hidden ? disconnect() : awake()));
addEventListener('pagehide', disconnect);
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
addEventListener('load', () => setTimeout(settle, 1000));
addEventListener('offline', () => { if (place) notice(text.lost); });
addEventListener('online', () => { if (place && !document.hidden) ask(); });
for (const moves of ['scroll', 'resize', 'toggle', 'focusin', 'focusout']) addEventListener(moves, below, { capture: true, passive: true });
if (place) {
  below();
  wind();
  tick();
  setInterval(tick, 1000);
}
awake();
recheck();
zones();
