/** The camera, and what can stand in for it: a picture, or the text itself. Loaded when it is needed, as is the decoder. */

import { button, h, note } from './dom.js';
import { readLink } from './protocol.js';
import { announce, ending, goHome, page, show } from './screen.js';
import { t } from './strings.js';

const words = t.scan;
/** A picture each so often, in milliseconds, no larger than this, in pixels a side: the phone stays cool. */
const PACE = 120, LARGEST = 1024;
const LARGEST_PHOTO = 2048;

/** Our own decoder in a worker, or in the page where the browser has no worker for it: `read` makes a text or null of an image and the turn. */
function decoder() {
  let worker = null, answer = null;
  const here = async (image, turn) => (await import('./qr/index.js')).scan(image, turn);
  const part = () => {
    worker?.terminate();
    worker = null;
  };
  const read = (image, turn) => new Promise((resolve, reject) => {
    answer = resolve;
    if (!worker) return resolve(here(image, turn));
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      part();
      here(image, turn).then(resolve, reject);
    };
    worker.postMessage({ image, turn });
  });
  const end = () => {
    part();
    answer?.(null);
  };
  try {
    worker = new Worker('/assets/qr/worker.js', { type: 'module' });
  } catch { /* Without one, then. */ }
  return { read, end };
}

/** The browser's own reader where it can, else ours: what reads a canvas into a text or null (in one way alone, where it is that one's turn). */
async function reader() {
  const formats = await globalThis.BarcodeDetector?.getSupportedFormats?.().catch(() => []);
  if (formats?.includes('qr_code')) {
    const detector = new BarcodeDetector({ formats: ['qr_code'] });
    return { read: async (canvas) => (await detector.detect(canvas))[0]?.rawValue ?? null, end() {} };
  }
  const { read, end } = decoder();
  const pixels = (canvas) => canvas.getContext('2d', { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height);
  return { read: (canvas, turn) => read(pixels(canvas), turn), end };
}

function drawn(source, width, height, largest, canvas = h('canvas')) {
  const scale = Math.min(1, largest / Math.max(width, height)), [wide, high] = [width, height].map((side) => Math.round(side * scale));
  // A size that is set takes new memory, even the same one.
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  canvas.getContext('2d', { willReadFrequently: true }).drawImage(source, 0, 0, wide, high);
  return canvas;
}

async function fromPicture(file) {
  const picture = await createImageBitmap(file);
  const { read, end } = await reader();
  return read(drawn(picture, picture.width, picture.height, LARGEST_PHOTO)).finally(end);
}

const REFUSALS = { NotAllowedError: 'denied', SecurityError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none' };

/** A decoder that could not be loaded is no fault of the camera. */
const refusal = (error) => (error instanceof TypeError ? t.errors.Unreachable : words[REFUSALS[error.name] ?? 'broken']);

/** Runs the camera into `video` until `signal` aborts, or `accept` takes a text. */
async function watch(video, signal, accept) {
  if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error('no camera'), { name: 'NotFoundError' });
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: 'environment' }, width: { ideal: 1280 } }, audio: false });
  let eye = null;
  const end = () => {
    eye?.end();
    stream.getTracks().forEach((track) => track.stop());
  };
  signal.addEventListener('abort', end);
  try {
    if (signal.aborted) return;
    video.srcObject = stream;
    await video.play();
    video.parentElement.dataset.state = 'live';
    eye = await reader();
    // One for all pictures: WebKit frees a canvas late, and iOS ends a page, or gives it no more, for the sum of them.
    const canvas = h('canvas'), [track] = stream.getVideoTracks();
    for (let turn = 0; !signal.aborted; turn++) {
      // Somebody calls, another app wants the camera: it is gone, or iOS lets the picture stand still afterwards.
      if (track.readyState === 'ended') throw new Error('no picture any more');
      if (video.paused) video.play().catch(() => {});
      if (video.videoWidth) {
        const text = await eye.read(drawn(video, video.videoWidth, video.videoHeight, LARGEST, canvas), turn);
        if (text && !signal.aborted && accept(text)) return;
      }
      await new Promise((resolve) => setTimeout(resolve, PACE));
    }
  } finally {
    end();
    // The camera may have been started anew meanwhile.
    if (video.srcObject === stream) video.srcObject = null;
  }
}

function otherScreen(link) {
  const host = new URL(link.origin).host;
  show(ending('plain', words.otherTitle, words.other, h('p', {}, words.otherWhy),
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

/** The camera's picture, and what to say where there is none: `{finder, problem, start, stop}`. */
function viewfinder(accept, say) {
  const video = h('video', { playsinline: true, autoplay: true, 'aria-hidden': 'true' });
  video.muted = true;
  const finder = h('div', { class: 'finder' }, video);
  const problem = h('div', { class: 'hints' });
  let running;
  const stop = () => running?.abort();
  const start = () => {
    stop();
    running = new AbortController();
    const { signal } = running;
    say(words.starting);
    finder.hidden = false;
    problem.replaceChildren();
    video.addEventListener('playing', () => say(words.hint, words.starting), { once: true, signal });
    watch(video, signal, accept).catch((error) => {
      if (signal.aborted) return;
      finder.hidden = true;
      say('');
      const why = refusal(error);
      problem.replaceChildren(note('warn', h('p', { test: 'camera-problem' }, why)), button('plain wide', t.retry, start));
      // An alert that is added together with what is around it is read by no reader.
      announce(why);
    });
  };
  return { finder, problem, start, stop };
}

/** The screen that looks for a QR code; `found(link)` gets one of this NAS. */
export function scanScreen(found) {
  const message = h('p', { class: 'lead', role: 'status', test: 'scan-message' });
  /** `instead`: only in place of that. */
  const say = (text, instead = message.textContent) => {
    if (message.textContent === instead && text !== instead) message.textContent = text;
  };
  const accept = (text) => {
    const link = readLink(text);
    if (!link) {
      say(words.foreign);
      return false;
    }
    stop();
    if (link.origin === location.origin) found(link);
    else otherScreen(link);
    return true;
  };
  const { finder, problem, start, stop } = viewfinder(accept, say);
  // Hidden is the page also behind the camera app, where a picture is taken for it: the screen stays, that app gets the camera.
  const onvisibility = () => (document.hidden ? stop() : start());
  document.addEventListener('visibilitychange', onvisibility);
  start();
  return {
    title: words.title,
    element: page(words.title, finder, message, problem, pictureChooser(accept, say), textForm(accept)),
    leave() {
      stop();
      document.removeEventListener('visibilitychange', onvisibility);
    },
  };
}
