/** The camera, and what can stand in for it: a picture, or the text itself. Loaded when it is needed, as is the decoder. */

import { button, h, note } from './dom.js';
import { readLink } from './protocol.js';
import { ending, goHome, page, show } from './screen.js';
import { t } from './strings.js';

const words = t.scan;
/** A picture each so often, in milliseconds, no larger than this, in pixels a side: the phone stays cool. */
const PACE = 120, LARGEST = 1024;
const LARGEST_PHOTO = 2048;

/** The browser's own reader where it can, else ours: a function of something to draw that gives a text or null. */
async function reader() {
  const formats = await globalThis.BarcodeDetector?.getSupportedFormats?.().catch(() => []);
  if (formats?.includes('qr_code')) {
    const detector = new BarcodeDetector({ formats: ['qr_code'] });
    return async (canvas) => (await detector.detect(canvas))[0]?.rawValue ?? null;
  }
  const { scan } = await import('./qr/index.js');
  return async (canvas) => scan(canvas.getContext('2d', { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height));
}

function drawn(source, width, height, largest) {
  const scale = Math.min(1, largest / Math.max(width, height));
  const canvas = h('canvas', { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext('2d', { willReadFrequently: true }).drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function fromPicture(file) {
  const picture = await createImageBitmap(file);
  const read = await reader();
  return read(drawn(picture, picture.width, picture.height, LARGEST_PHOTO));
}

const REFUSALS = { NotAllowedError: 'denied', SecurityError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none' };

/** A decoder that could not be loaded is no fault of the camera. */
const refusal = (error) => (error instanceof TypeError ? t.errors.Unreachable : words[REFUSALS[error.name] ?? 'broken']);

/** Runs the camera into `video` until `stopped()`, and gives the first text that `accept` takes. */
async function watch(video, stopped, accept) {
  if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error('no camera'), { name: 'NotFoundError' });
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: 'environment' }, width: { ideal: 1280 } }, audio: false });
  try {
    video.srcObject = stream;
    await video.play();
    video.parentElement.dataset.state = 'live';
    const read = await reader();
    while (!stopped()) {
      if (video.videoWidth) {
        const text = await read(drawn(video, video.videoWidth, video.videoHeight, LARGEST));
        if (text && !stopped() && accept(text)) return;
      }
      await new Promise((resolve) => setTimeout(resolve, PACE));
    }
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}

function otherScreen(link) {
  const host = new URL(link.origin).host;
  show(ending('plain', words.otherTitle, words.other(host), h('p', { class: 'small' }, words.otherWhy),
    h('a', { class: 'button primary wide', href: link.text, rel: 'noreferrer noopener', test: 'open-other' }, words.otherOpen(host)),
    button('plain wide', t.cancel, goHome)));
}

/** A picture taken, or kept, in place of the camera. */
function pictureChooser(accept, say) {
  const file = h('input', { type: 'file', accept: 'image/*', capture: 'environment', class: 'hidden-file', id: 'picture', test: 'picture' });
  file.addEventListener('change', async () => {
    if (!file.files[0]) return;
    const text = await fromPicture(file.files[0]).catch(() => null);
    file.value = '';
    if (text) accept(text);
    else say(words.pictureNone);
  });
  return [h('label', { class: 'button plain wide', for: 'picture' }, words.picture), file];
}

/** The text itself, for who has neither camera nor sight. */
function textForm(accept) {
  const text = h('input', { id: 'link-text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', inputmode: 'url', test: 'link-text' });
  const onsubmit = (event) => {
    event.preventDefault();
    accept(text.value);
  };
  return h('details', {}, h('summary', { test: 'link-more' }, words.text),
    h('form', { onsubmit, novalidate: true }, h('label', { for: 'link-text' }, words.textLabel), text,
      button('plain wide', words.textGo, null, { type: 'submit', test: 'link-open' })));
}

/** The camera's picture, and what to say where there is none: `[finder, problem]`. */
function viewfinder(stopped, accept, say) {
  const video = h('video', { playsinline: true, autoplay: true, 'aria-hidden': 'true' });
  video.muted = true;
  const finder = h('div', { class: 'finder' }, video);
  const problem = h('div', { class: 'hints' });
  const start = () => {
    say(words.starting);
    finder.hidden = false;
    problem.replaceChildren();
    video.addEventListener('playing', () => say(words.hint), { once: true });
    watch(video, stopped, accept).catch((error) => {
      finder.hidden = true;
      say('');
      problem.replaceChildren(note('warn', h('p', { role: 'alert', test: 'camera-problem' }, refusal(error))), button('plain wide', t.retry, start));
    });
  };
  start();
  return [finder, problem];
}

/** The screen that looks for a QR code; `found(link)` gets one of this NAS. */
export function scanScreen(found) {
  let stop = false;
  const message = h('p', { class: 'lead', role: 'status', test: 'scan-message' });
  const say = (text) => {
    if (message.textContent !== text) message.textContent = text;
  };
  const accept = (text) => {
    const link = readLink(text);
    if (!link) {
      say(words.foreign);
      return false;
    }
    stop = true;
    if (link.origin === location.origin) found(link);
    else otherScreen(link);
    return true;
  };
  const [finder, problem] = viewfinder(() => stop, accept, say);
  const onhidden = () => document.hidden && goHome();
  document.addEventListener('visibilitychange', onhidden);
  return {
    title: words.title,
    element: page(words.title, finder, message, problem, pictureChooser(accept, say), textForm(accept)),
    leave() {
      stop = true;
      document.removeEventListener('visibilitychange', onhidden);
    },
  };
}
