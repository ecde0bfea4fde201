/**
 * Pairing this phone with an account.
 *
 *   (iOS: install first) ─► name ─► Pair ─┬─ done ──────────────────────────────► paired
 *                                         ├─ approve ─► compare or type a number ─► paired, or not
 *                                         └─ show_code ─► code ──────────────────► paired
 *
 * The pairing's secret is in memory only, until the screen is left.
 */

import { confirmPairing, pair } from './api.js';
import { certificateUntrusted, defaultName, keepStorage, onIosInBrowser } from './device.js';
import { busy, button, facts, figures, h, icon, note } from './dom.js';
import { ensureKey, publicKeyOf } from './keys.js';
import { digits, pairingMac, pairingNumber } from './protocol.js';
import { announce, ending, goHome, page, show } from './screen.js';
import { saveAccount } from './store.js';
import { explain, spelt, t } from './strings.js';

const words = t.pair;
/** In bytes of UTF-8, as the NAS counts. */
const LONGEST_NAME = 64;

/** What the phone keeps of a pairing. */
async function keep(reply, name) {
  const { authenticator, account, host } = reply;
  await saveAccount({ authenticator, account, host, name, pairedAt: Date.now() });
  keepStorage();
  dispatchEvent(new Event('accounts'));
}

const homeButton = (label) => button('primary wide', label, goHome, { test: 'done' });
const failed = (text, title = words.failedTitle, tone = 'bad') => show(ending(tone, title, text, homeButton(t.close)));
const both = (reply) => facts([words.account, h('b', { test: 'account' }, reply.account)], [words.host, reply.host]);

function paired(reply) {
  show(ending('good', words.doneTitle, words.done(reply.account, reply.host), note('info', h('p', {}, words.finish)), homeButton(t.done)));
}

function codeScreen(reply) {
  show({
    title: words.codeTitle,
    element: h('section', { class: 'page' }, h('h1', { tabindex: -1 }, words.codeTitle), both(reply),
      h('div', { class: 'middle' }, h('p', {}, words.code),
        figures('code', reply.code),
        h('p', { class: 'small' }, words.codeWhy)),
      h('p', { class: 'lead' }, words.finish), homeButton(t.done)),
  });
  announce(`${words.code}: ${spelt(reply.code)}`);
}

/** Tells the NAS what the user saw. `once`: the pairing's nonce. @returns a sentence where it may be tried again */
async function confirm(reply, name, number, once) {
  try {
    const { outcome } = await confirmPairing(reply.authenticator, number !== undefined, number, once);
    if (outcome !== 'paired') return failed(words[outcome][1], words[outcome][0], outcome === 'denied' ? 'plain' : 'bad');
    await keep(reply, name);
    return paired(reply);
  } catch (error) {
    if (error.kind === 'NoSuchAuthenticator' || error.kind === 'NoSuchPairing') return failed(words.expired[1], words.expired[0]);
    return explain(error);
  }
}

/** The number to compare, or to type: this phone's own, never the one that came over the network. */
function numberScreen(reply, name, own) {
  const typed = reply.number == null;
  let { nonce } = reply;
  const error = h('p', { class: 'error', role: 'alert', id: 'number-error', test: 'number-error' });
  const input = typed && h('input', {
    class: 'big', inputmode: 'numeric', autocomplete: 'off', maxlength: 8, test: 'number-input', 'aria-describedby': 'number-error',
    onkeydown: (event) => event.key === 'Enter' && approve.click(),
  });
  const answer = (number) => busy([deny, approve], async () => {
    const once = nonce;
    nonce = undefined;
    error.textContent = '';
    error.textContent = (await confirm(reply, name, number, once)) ?? '';
  });
  const approveSeen = () => {
    const seen = typed ? digits(input.value) : own;
    if (seen === own) return answer(own);
    error.textContent = /^\d{4}$/.test(seen) ? words.typeWrong : words.typeMissing;
    input.focus();
  };
  const about = `${t.home.account(reply.account, reply.host)}${typed ? '' : `. ${spelt(own)}`}`;
  const deny = button('deny', t.request.deny, () => answer(undefined), { test: 'deny', picture: 'deny', about });
  const approve = button('primary', t.request.approve, approveSeen, { test: 'approve', picture: 'approve', about });
  const middle = typed
    ? h('label', { class: 'middle' }, h('span', {}, words.type), input)
    : h('div', { class: 'middle' }, h('p', {}, words.compare), figures('number', own));
  const title = typed ? words.typeTitle : words.compareTitle;
  const element = h('section', { class: 'page' }, h('h1', { tabindex: -1 }, title), both(reply), middle,
    h('p', { class: 'small' }, words.compareWhy), error, h('div', { class: 'actions' }, deny, approve));
  show({ title, element });
  if (!typed) announce(`${words.compare}: ${spelt(own)}`);
}

async function submit(link, name) {
  const key = await publicKeyOf(await ensureKey().catch(() => {
    throw Object.assign(new Error('no storage'), { kind: 'Storage' });
  }));
  const own = await pairingNumber(link.secret, key);
  const reply = await pair(link.pairing, key, name, await pairingMac(link.secret, key, name));
  if (reply.number != null && reply.number !== own) {
    confirmPairing(reply.authenticator, false, undefined, reply.nonce).catch(() => {});
    return failed(words.differ, words.differTitle);
  }
  if (reply.next === 'approve') return numberScreen(reply, name, own);
  await keep(reply, name);
  if (reply.next === 'show_code') codeScreen(reply);
  else paired(reply);
}

const TEMPORARY = ['Offline', 'Unreachable', 'Unavailable', 'TooMany'];

function nameScreen(link) {
  const error = h('p', { class: 'error', role: 'alert', test: 'pair-error' });
  const name = h('input', {
    id: 'phone-name', test: 'name', value: defaultName(), autocomplete: 'off', 'aria-describedby': 'name-why',
  });
  const pairButton = button('primary wide', words.submit, null, { test: 'pair', id: 'pair', type: 'submit' });
  const onsubmit = (event) => {
    event.preventDefault();
    const chosen = name.value.trim();
    const long = new TextEncoder().encode(chosen).length > LONGEST_NAME;
    if (!chosen || long) {
      error.textContent = long ? words.nameLong : words.nameMissing;
      name.focus();
      return;
    }
    busy([pairButton], () => submit(link, chosen).catch((reason) => {
      if (reason.kind === 'Storage') failed(t.insecure.storage);
      else if (TEMPORARY.includes(reason.kind)) error.textContent = explain(reason);
      else failed(explain(reason));
    }));
  };
  const certificate = certificateUntrusted()
    ? note('warn', h('p', {}, words.untrusted))
    : h('details', {}, h('summary', {}, words.certificate), h('p', {}, words.certificateWhy));
  show({
    title: words.title,
    element: page(words.title, h('p', { class: 'lead' }, words.with(location.host)),
      h('form', { onsubmit, novalidate: true },
        h('label', { for: 'phone-name' }, words.name), name, h('p', { class: 'small', id: 'name-why' }, words.nameWhy),
        error, pairButton),
      certificate),
  });
}

function installScreen(link) {
  const pictures = ['share', 'plus', 'scan'];
  show({
    title: t.ios.title,
    element: page(t.ios.title, h('p', { class: 'lead' }, t.ios.why),
      h('ol', { class: 'steps' }, t.ios.steps.map((step, index) => h('li', {}, icon(pictures[index]), h('span', {}, step)))),
      h('p', { class: 'small' }, t.ios.apart),
      button('quiet wide', t.ios.anyway, () => nameScreen(link), { test: 'pair-anyway' })),
  });
}

/** Begins with a link that was scanned. */
export function pairScreen(link) {
  if (onIosInBrowser()) installScreen(link);
  else nameScreen(link);
}
