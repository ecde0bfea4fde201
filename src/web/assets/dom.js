/** Elements without a line of markup in a string: all text goes in as text. */

import { spelt } from './strings.js';

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name === 'test' ? 'data-testid' : name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** `h('p', {class: 'x'}, 'text', h('b', {}, 'more'))`; `on…` is a listener, `test` a `data-testid`. */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const PATHS = {
  approve: 'M5 12.5l4.5 4.5L19 7.5',
  deny: 'M6.5 6.5l11 11M17.5 6.5l-11 11',
  back: 'M14.5 6l-6 6 6 6',
  more: 'M9.5 6l6 6-6 6',
  scan: 'M4 9V6a2 2 0 0 1 2-2h3M15 4h3a2 2 0 0 1 2 2v3M20 15v3a2 2 0 0 1-2 2h-3M9 20H6a2 2 0 0 1-2-2v-3M8 12h8',
  warn: 'M12 4.5l8.5 15h-17zM12 10.5v4M12 17.2v.1',
  info: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5.5M12 7.6v.1',
  share: 'M12 14.5V3.5M8.5 6.5L12 3l3.5 3.5M7 10H5.5v10.5h13V10H17',
  plus: 'M4 4h16v16H4zM12 8v8M8 12h8',
  phone: 'M8 3h8a1.5 1.5 0 0 1 1.5 1.5v15A1.5 1.5 0 0 1 16 21H8a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 8 3zM11 18h2',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
};

/** A line drawing in the colour of the text; it says nothing that the text beside it does not. */
export const icon = (name) =>
  s('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('path', { d: PATHS[name] }));

/** A ring that empties, with the seconds left in it. `set(left, whole)` in seconds. */
export function ring() {
  const arc = s('circle', { class: 'arc', cx: 22, cy: 22, r: 20, pathLength: 100, 'stroke-dasharray': 100 });
  const seconds = h('span', {});
  const element = h('span', { class: 'ring', role: 'timer', 'aria-live': 'off' },
    s('svg', { viewBox: '0 0 44 44', 'aria-hidden': 'true' }, s('circle', { cx: 22, cy: 22, r: 20 }), arc), seconds);
  return {
    element,
    set(left, whole, label) {
      arc.setAttribute('stroke-dashoffset', String(100 - 100 * Math.min(1, left / whole)));
      seconds.textContent = String(left);
      element.setAttribute('aria-label', label);
      element.classList.toggle('late', left <= 10);
    },
  };
}

/** A button: `kind` is `primary`, `deny`, `plain` or `quiet`; `about`: what it is for, where that is not seen. */
export function button(kind, label, onclick, { test, picture, about, ...rest } = {}) {
  const name = about && `${label}: ${about}`;
  return h('button', { type: 'button', class: `button ${kind}`, onclick, test, 'aria-label': name, ...rest }, picture && icon(picture), h('span', {}, label));
}

/** A note in a box: `tone` is `info`, `warn` or `good`. */
export const note = (tone, ...content) =>
  h('div', { class: `note ${tone}` }, icon({ warn: 'warn', good: 'approve' }[tone] ?? 'info'), h('div', {}, ...content));

/** A number or a code, large, six digits in two threes; read aloud one by one. */
export const figures = (test, text) => h('p', { class: `big ${test}` },
  h('span', { 'aria-hidden': 'true', test }, text.replace(/^(\d{3})(\d{3})$/, '$1 $2')), h('span', { class: 'unseen' }, spelt(text)));

/** Name and value, as in a passport. Values that are absent are left out. */
export const facts = (...pairs) =>
  h('dl', { class: 'facts' }, pairs.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));

/** While `work` runs, none of the buttons can be pressed; the focus comes back to the one that had it. */
export async function busy(buttons, work) {
  const held = buttons.find((one) => one === document.activeElement);
  for (const one of buttons) one.disabled = true;
  try {
    return await work();
  } finally {
    for (const one of buttons) one.disabled = false;
    if (document.activeElement === document.body) held?.focus();
  }
}
