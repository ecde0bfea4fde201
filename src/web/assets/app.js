/** The authenticator page: opens what it was opened for, listens while it is seen. */

import { takeArrival } from './address.js';
import { scanLogin } from './api.js';
import { canHoldKeys, startWorker } from './device.js';
import { button, h } from './dom.js';
import { homeScreen, setAccounts, take, takeScanned, unsure } from './home.js';
import { listen } from './live.js';
import { pairScreen } from './pair.js';
import { readLink } from './protocol.js';
import { ending, goHome, setHome, show } from './screen.js';
import { dropAccount, loadAccounts } from './store.js';
import { explain, t } from './strings.js';

let accounts = [];

async function reload() {
  accounts = await loadAccounts();
  setAccounts(accounts);
  attend();
}

/** What a stream tells. An account paired anew, once its old pairing is gone, stands here once. */
async function hear(account, news) {
  const anew = ({ account: name, host, pairedAt }) => name === account.account && host === account.host && pairedAt > account.pairedAt;
  if (news.error !== 'NoSuchAuthenticator' || !accounts.some(anew)) return take(account, news);
  await dropAccount(account.authenticator);
  return reload();
}

/** Streams are for a page that is seen: in the background nothing is held open. */
function attend() {
  if (document.hidden) unsure();
  listen(document.hidden ? [] : accounts, hear);
}

const closeButton = () => button('primary wide', t.close, goHome, { test: 'done' });

/** Which account a login's QR code belongs to only the NAS can tell: each is asked. */
async function scanned(link) {
  if (!accounts.length) return show(ending('plain', t.scan.nobodyTitle, t.scan.nobody, closeButton()));
  show({ title: t.scan.looking, element: h('section', { class: 'page' }, h('h1', { tabindex: -1 }, t.scan.looking)) });
  let failure = null;
  for (const account of accounts) {
    try {
      const { request } = await scanLogin(account.authenticator, link.text);
      goHome();
      takeScanned(account, request).title.focus();
      return;
    } catch (error) {
      const none = error.kind === 'NoSuchRequest' || error.kind === 'NoSuchAuthenticator';
      if (!none || !failure) failure = error;
      if (!none) break;
    }
  }
  const text = failure.kind === 'NoSuchRequest' ? t.scan.failed : explain(failure);
  const again = button('plain wide', t.retry, () => scanned(link));
  show(ending('bad', t.scan.failedTitle, text, failure.kind !== 'NoSuchRequest' && again, closeButton()));
}

function open(link) {
  if (link.kind === 'pair') pairScreen(link);
  else scanned(link);
}

/** What was scanned. A pairing is kept: where the storage is lost, a page loaded anew has it again. */
async function found(link) {
  if (link.kind === 'pair' && !(await loadAccounts().catch(() => null))) location.assign(link.text);
  else open(link);
}

async function openScan() {
  try {
    const { scanScreen } = await import('./scan.js');
    show(scanScreen(found));
  } catch {
    show(ending('bad', t.scan.title, t.errors.Unreachable, closeButton()));
  }
}

/** What the page was opened for: null where that can't be read, undefined where it was opened for nothing. */
function takeLink() {
  const text = takeArrival();
  return text ? readLink(text) : undefined;
}

function arrive(link) {
  if (link) open(link);
  else if (link === null) show(ending('bad', ...t.scan.unreadable, closeButton()));
}

function refuse(text, ...more) {
  setHome(() => ending('bad', t.insecure.title, text, ...more));
}

async function start() {
  if (location.protocol !== 'https:' && !isSecureContext) {
    const secure = `https://${location.host}/`;
    return refuse(t.insecure.http, h('p', {}, h('a', { href: secure }, secure)));
  }
  if (!canHoldKeys()) return refuse(t.insecure.browser);
  const { forget } = history.state ?? {};
  try {
    if (forget) {
      // Once: where it fails here too, its user asks anew.
      history.replaceState(null, '');
      await dropAccount(forget);
    }
    await reload();
  } catch {
    return refuse(t.insecure.storage);
  }
  // Nothing before it is known what is right, and nothing that is gone at once.
  const link = takeLink();
  setHome(() => homeScreen(openScan), link !== undefined);
  addEventListener('accounts', reload);
  document.addEventListener('visibilitychange', attend);
  // Only to say whether the certificate is trusted: not worth a wait.
  await Promise.race([startWorker(), new Promise((resolve) => setTimeout(resolve, 1000))]);
  arrive(link);
}

start();
