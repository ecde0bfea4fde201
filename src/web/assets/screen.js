/** One screen at a time: what stands in `main`, the focus, what is read aloud, and the way back. */

import { button, h, icon } from './dom.js';
import { t } from './strings.js';

const main = document.querySelector('#main');
/** A login must not wait unseen behind another screen. */
const waiting = document.querySelector('#waiting');
waiting.addEventListener('click', goHome);
let current = null, home = null, open = 0;

/** The document's title counts the open requests. */
export function count(requests) {
  open = requests;
  retitle();
}

function retitle() {
  document.title = `${open ? `(${open}) ` : ''}${current?.title ? `${current.title} · ` : ''}${t.app}`;
  waiting.hidden = !open || Boolean(current?.home);
  waiting.textContent = t.home.title(open);
}

function put(screen, focus) {
  current?.leave?.();
  current = screen;
  main.hidden = false;
  main.replaceChildren(screen.element);
  retitle();
  scrollTo(0, 0);
  if (focus) main.querySelector('[autofocus], h1')?.focus();
}

/**
 * The screen that all others lead back to: a function, as it is made anew each time. `unseen`: another one is about to be shown, so this one only
 * stands behind it.
 */
export function setHome(make, unseen = false) {
  home = make;
  put({ ...home(), home: true }, false);
  main.hidden = unseen;
}

/** Shows a screen: `{title, element, leave}`. The phone's own way back leads home. */
export function show(screen) {
  if (current?.home) history.pushState({ inside: true }, '');
  put(screen, true);
}

export function goHome() {
  const { inside } = history.state ?? {};
  if (!current?.home) put({ ...home(), home: true }, true);
  if (inside) history.back();
}

addEventListener('popstate', () => {
  if (!current?.home && home) put({ ...home(), home: true }, true);
});

/** Read aloud at once, without moving the focus. */
export function announce(text) {
  document.querySelector('#announcer').textContent = text;
}

/** The frame of all screens but home: a way back, a heading, the rest. */
export function page(title, ...content) {
  const back = button('back', t.back, goHome, { test: 'back', picture: 'back' });
  return h('section', { class: 'page' }, back, h('h1', { tabindex: -1 }, title), ...content);
}

/** A screen that says one thing: how it ended. `tone` is `good`, `bad` or `plain`. */
export function ending(tone, title, text, ...content) {
  return {
    title,
    element: h('section', { class: `page ending ${tone}` },
      h('span', { class: 'seal' }, icon({ good: 'approve', bad: 'warn' }[tone] ?? 'info')),
      h('h1', { tabindex: -1, test: 'ending' }, title), h('p', {}, text), ...content),
  };
}
