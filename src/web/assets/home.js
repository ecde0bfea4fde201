/** Open requests, the way to scan, the accounts. It stays and takes in what changes, so that no focus is lost. */

import { accountScreen } from './account.js';
import { Card } from './card.js';
import { skew } from './clock.js';
import { installOffer, onIosInBrowser } from './device.js';
import { button, h, icon, note } from './dom.js';
import { announce, count, show } from './screen.js';
import { isUnfinished, saveAccount } from './store.js';
import { t } from './strings.js';

/** Cards by account and login; the map keeps their order. */
const cards = new Map();
/** What each account's stream told last: `{requests}` or `{error}`. */
const told = new Map();
let accounts = [], openScan = null, ticking = null;

const title = h('h1', { tabindex: -1 });
const idle = h('p', { class: 'lead' });
const status = h('p', { class: 'status', role: 'status', test: 'status', id: 'status' });
const list = h('div', { class: 'cards' });
const hints = h('div', { class: 'hints' });
const rows = h('ul', { class: 'rows', test: 'accounts', id: 'accounts' });
const empty = h('div', { class: 'empty' },
  h('p', {}, t.home.empty), h('p', {}, h('code', {}, t.home.emptyCommand)), h('p', {}, t.home.emptyScan));
const scanButton = button('primary wide', t.home.scan, () => openScan(), { test: 'scan', id: 'scan', picture: 'scan' });
const accountsTitle = h('h2', { class: 'label' }, t.home.accounts);
const install = button('quiet', t.home.install, () => installOffer()?.prompt(), { picture: 'phone' });
const element = h('section', { class: 'home' }, title, status, idle, list, empty, hints, scanButton, accountsTitle, rows, install);

const openCards = () => [...cards.values()].filter((card) => card.state !== 'over');

/** Which word fits what all accounts' streams told: the worst of them. */
function statusOf(states) {
  const failed = states.find((state) => state?.error && state.error !== 'NoSuchAuthenticator');
  if (failed) return [t.status[failed.error] ?? t.status.Unreachable, 'bad'];
  if (states.some((state) => !state)) return [t.status.connecting, 'wait'];
  return [t.status.connected, 'good'];
}

function drawStatus() {
  const states = accounts.map(({ authenticator }) => told.get(authenticator));
  const [text, tone] = statusOf(states);
  if (status.textContent !== text) status.textContent = text;
  status.dataset.tone = tone;
  status.hidden = accounts.length === 0 || states.every((state) => state?.error === 'NoSuchAuthenticator');
}

function drawHints() {
  const unknown = accounts.filter(({ authenticator }) => told.get(authenticator)?.error === 'NoSuchAuthenticator');
  const notes = unknown.map((one) =>
    note('warn', h('p', {}, (isUnfinished(one) ? t.status.provisional : t.status.revoked)(one.account, one.host))));
  if (skew()) notes.push(note('warn', h('p', { test: 'clock' }, t.status.clock(skew()))));
  if (!accounts.length && onIosInBrowser()) notes.push(note('info', h('p', {}, t.home.emptyIos)));
  // What is read already is not read aloud anew.
  if (hints.textContent !== notes.map((one) => one.textContent).join('')) hints.replaceChildren(...notes);
}

function row(account) {
  const state = told.get(account.authenticator)?.error === 'NoSuchAuthenticator'
    && (isUnfinished(account) ? t.home.provisional : t.home.revoked);
  const onclick = () => show(accountScreen(account, told.get(account.authenticator)));
  return h('li', {}, h('button', { type: 'button', class: 'row', test: 'account-row', onclick },
    h('span', { class: 'initial', 'aria-hidden': 'true' }, [...account.account][0]?.toUpperCase()),
    h('span', { class: 'names' }, h('b', {}, account.account), h('span', { class: state ? 'bad' : '' }, state || account.host)),
    icon('more')));
}

let drawn = [];

/** Drawn anew; the focus stays on the account that had it. */
function drawRows() {
  const focused = drawn[[...rows.children].findIndex((one) => one.contains(document.activeElement))];
  drawn = accounts.map(({ authenticator }) => authenticator);
  rows.replaceChildren(...accounts.map(row));
  rows.children[drawn.indexOf(focused)]?.firstChild.focus();
}

/** "No login waits" is said only where the NAS said so. */
function titleOf(open) {
  if (!accounts.length) return t.home.emptyTitle;
  if (status.hidden) return t.home.revoked;
  if (open || status.dataset.tone === 'good') return t.home.title(open);
  return status.dataset.tone === 'bad' ? t.home.away : t.home.looking;
}

function draw() {
  const open = openCards().length;
  drawStatus();
  title.textContent = titleOf(open);
  idle.textContent = t.home.idle;
  idle.hidden = cards.size > 0 || status.hidden || status.dataset.tone !== 'good';
  empty.hidden = accounts.length > 0;
  accountsTitle.hidden = rows.hidden = !accounts.length;
  install.hidden = !installOffer();
  // One thing at a time: where a request is to be answered or read, or no NAS is there, it is not this.
  scanButton.className = `button wide ${cards.size || status.dataset.tone === 'bad' ? 'plain' : 'primary'}`;
  count(open);
  drawHints();
  if (open && !ticking) ticking = setInterval(() => openCards().forEach((card) => card.tick()), 1000);
  if (!open) ticking = clearInterval(ticking);
}

/** What moves under a finger must not catch its tap. */
function settle() {
  for (const card of openCards()) card.settle();
}

function changed() {
  settle();
  draw();
}

function drop(card) {
  cards.delete(card.key);
  card.element.remove();
  settle();
}

function closed(card) {
  drop(card);
  title.focus();
  draw();
}

/** A card never comes between the finger and a button: it stands last, or where its account's card before it was. */
function add(account, request) {
  const key = `${account.account}\n${request.login}`;
  const before = [...cards.values()].filter((card) => card.state === 'over' && card.account.account === account.account);
  const card = Object.assign(new Card(account, request, { closed, changed }), { key });
  if (before.length) before[before.length - 1].element.before(card.element);
  else list.append(card.element);
  let focused = false;
  for (const old of before) {
    // What became of the login just replaced is still to be read, below the new one.
    if (old.element.dataset.outcome === 'superseded' && !old.seen) old.seen = true;
    else {
      focused ||= old.element.contains(document.activeElement);
      drop(old);
    }
  }
  cards.set(key, card);
  settle();
  announce(t.request.announce(t.request.about(request)));
  if (focused) card.title.focus();
  return card;
}

/** All that an account's stream tells. */
export function take(account, news) {
  const before = JSON.stringify(told.get(account.authenticator)?.error);
  told.set(account.authenticator, news);
  if (news.requests) {
    takeRequests(account, news.requests);
    if (!account.wasKnown) remember(account);
  }
  draw();
  if (before !== JSON.stringify(news.error)) drawRows();
}

/** The setup is finished: from now on a phone that is not known was removed. */
function remember(account) {
  account.wasKnown = true;
  // Where it can't be written, that is found out anew the next time.
  saveAccount({ ...account }).catch(() => {});
}

function takeRequests(account, requests) {
  const logins = new Set(requests.map(({ login }) => login));
  const mine = openCards().filter((card) => card.account.authenticator === account.authenticator);
  const missing = mine.filter((card) => card.listed && !logins.has(card.request.login));
  const fresh = requests.filter(({ login }) => !cards.has(`${account.account}\n${login}`));
  const newer = fresh.some(({ method }) => method !== 'qr_code');
  for (const card of missing) card.gone(newer);
  for (const request of requests) {
    const card = cards.get(`${account.account}\n${request.login}`) ?? add(account, request);
    card.listed = true;
    card.update(request);
  }
}

/** A request that came by scanning. */
export function takeScanned(account, request) {
  const card = cards.get(`${account.account}\n${request.login}`) ?? add(account, request);
  draw();
  return card;
}

/** Nobody listens for a while: what was told is no longer sure. */
export function unsure() {
  for (const [authenticator, { error }] of told) if (error !== 'NoSuchAuthenticator') told.delete(authenticator);
  draw();
}

/** The accounts are others than before. */
export function setAccounts(now) {
  accounts = now;
  const known = new Set(now.map(({ authenticator }) => authenticator));
  for (const card of openCards().filter(({ account }) => !known.has(account.authenticator))) closed(card);
  for (const authenticator of told.keys()) if (!known.has(authenticator)) told.delete(authenticator);
  drawRows();
  draw();
}

addEventListener('installable', draw);

/** `scan()` opens the camera. */
export function homeScreen(scan) {
  openScan = scan;
  settle();
  return { title: t.home.screen, element };
}
