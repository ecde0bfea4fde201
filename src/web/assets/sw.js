/**
 * Opens the page where the NAS is away, so that it can say so. The NAS's own files come first whenever it answers: a repaired page is never
 * held back by a kept one. Calls to the NAS are never kept.
 */

const KEPT = 'page-1';
/** Longer than this a sleeping NAS is not waited for. In milliseconds. */
const PATIENCE = 5_000;
const SHELL = ['/', '/manifest.webmanifest', ...[
  'style.css', 'icons/icon.svg', 'app.js', 'account.js', 'address.js', 'api.js', 'card.js', 'clock.js', 'device.js', 'dom.js', 'events.js',
  'home.js', 'keys.js', 'live.js', 'pair.js', 'protocol.js', 'screen.js', 'store.js', 'strings.js',
].map((name) => `/assets/${name}`)];

/** The name under which an answer is kept, without query and fragment; null for what is not kept. */
function nameOf(request) {
  const { origin, pathname } = new URL(request.url);
  if (request.method !== 'GET' || origin !== location.origin) return null;
  if (request.mode === 'navigate') return ['/', '/pair', '/scan'].includes(pathname) ? '/' : null;
  return pathname.startsWith('/assets/') || pathname === '/manifest.webmanifest' ? pathname : null;
}

async function answer(request, name) {
  const cache = await caches.open(KEPT);
  const fresh = fetch(request).then(async (response) => {
    if (response.ok && !response.redirected) await cache.put(name, response.clone());
    return response;
  });
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE));
  try {
    const response = await Promise.race([fresh, late]);
    if (response) return response;
  } catch { /* Away: what is kept, then. */ }
  return (await cache.match(name)) ?? fresh;
}

addEventListener('install', (event) => {
  skipWaiting();
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(SHELL)));
});

addEventListener('activate', (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name !== KEPT).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => clients.claim()));
});

addEventListener('fetch', (event) => {
  const name = nameOf(event.request);
  if (name) event.respondWith(answer(event.request, name));
});
