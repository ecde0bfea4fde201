/** What kind of phone and browser this is, as far as it changes what the page says. */

/** Without a secure context there are neither keys nor camera. */
export const canHoldKeys = () => isSecureContext && Boolean(globalThis.crypto?.subtle) && 'indexedDB' in globalThis;

/** iOS in a browser: its storage goes after seven days without a visit, and the installed app has its own. */
export const onIosInBrowser = () => navigator.standalone === false && navigator.maxTouchPoints > 0;

/** A name that the owner will know again in a list. */
export function defaultName(agent = navigator.userAgent) {
  const model = /Android [^;)]*; ([^;)]+)/.exec(agent)?.[1].replace(/ Build\/.*/, '').trim();
  if (/iPad/.test(agent) || (/Macintosh/.test(agent) && navigator.maxTouchPoints > 1)) return 'iPad';
  if (/iPhone/.test(agent)) return 'iPhone';
  if (/Android/.test(agent)) return model && !/^(K|Mobile|Tablet|rv:.*)$/.test(model) ? model : 'Android phone';
  const browser = /Firefox/.test(agent) ? 'Firefox' : /Edg\//.test(agent) ? 'Edge' : /Chrome/.test(agent) ? 'Chrome' : 'Safari';
  const system = /Windows/.test(agent) ? 'Windows' : /Macintosh/.test(agent) ? 'Mac' : /CrOS/.test(agent) ? 'ChromeOS' : 'Linux';
  return `${browser}, ${system}`;
}

/** Asks the browser not to drop the key when space is short. */
export const keepStorage = () => navigator.storage?.persist?.().catch(() => false);

/** The browser's own offer to install, where it makes one. */
let offer = null;
addEventListener('beforeinstallprompt', (event) => {
  event.preventDefault();
  offer = event;
  dispatchEvent(new Event('installable'));
});
addEventListener('appinstalled', () => {
  offer = null;
  dispatchEvent(new Event('installable'));
});
export const installOffer = () => offer;

let untrusted = false;

/** Chromium gives no service worker where it does not trust the certificate, even after the user went on. */
export const certificateUntrusted = () => untrusted;

/** Lets the page open without the NAS, to say that the NAS is away. */
export async function startWorker() {
  try {
    await navigator.serviceWorker?.register('/sw.js');
  } catch (error) {
    // Over a new connection it calls it an unknown error in fetching the script. Where the NAS is away it is a TypeError.
    untrusted = error.name === 'SecurityError' && /ssl|certificate|fetching the script/i.test(error.message);
  }
}
