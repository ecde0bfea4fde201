/** One account: what is known of it, and the way to part with it. */

import { unpair } from './api.js';
import { busy, button, facts, h, note } from './dom.js';
import { announce, goHome, page } from './screen.js';
import { dropAccount } from './store.js';
import { date, explain, t } from './strings.js';

const words = t.account;
/** The NAS could not be asked: parting here alone is still possible. */
const AWAY = ['Offline', 'Unreachable', 'Unavailable', 'Odd', 'InvalidProof', 'StorageFailed'];

/** Where the storage is lost, a page that is loaded anew has it again, and forgets. */
async function forget(account) {
  try {
    await dropAccount(account.authenticator);
  } catch {
    history.replaceState({ forget: account.authenticator }, '');
    location.reload();
    return new Promise(() => {});
  }
  dispatchEvent(new Event('accounts'));
  announce(words.unpaired);
  goHome();
}

/** Asks once more, then tells the NAS, then forgets. */
function confirmation(account) {
  const error = h('p', { class: 'error', role: 'alert' });
  const alone = h('div', { class: 'alone', hidden: true }, h('p', { class: 'small' }, words.forgetWhy),
    button('deny wide', words.forget, () => finish(() => forget(account)), { test: 'forget' }));
  const cancel = button('plain', t.cancel, () => dialog.close(), { autofocus: true, test: 'unpair-cancel' });
  const yes = button('danger', words.unpair, () => finish(() => part()), { test: 'unpair-confirm' });
  const dialog = h('dialog', { 'aria-labelledby': 'unpair-title', onclose: () => dialog.remove() },
    h('h2', { id: 'unpair-title' }, words.confirmTitle(account.account)),
    h('p', {}, words.confirm(account.account, account.host)), error, alone, h('div', { class: 'actions' }, cancel, yes));
  async function part() {
    await unpair(account.authenticator).catch((reason) => {
      if (reason.kind !== 'NoSuchAuthenticator') throw reason;
    });
    await forget(account);
  }
  async function finish(work) {
    error.textContent = '';
    try {
      await busy([cancel, yes], work);
      dialog.close();
    } catch (reason) {
      error.textContent = reason.kind === 'PermissionDenied' ? words.refused : explain(reason);
      alone.hidden = !AWAY.includes(reason.kind);
    }
  }
  return dialog;
}

/** `told` is what the account's stream said last. */
export function accountScreen(account, told) {
  const revoked = told?.error === 'NoSuchAuthenticator';
  const part = () => {
    const dialog = confirmation(account);
    document.body.append(dialog);
    dialog.showModal();
  };
  return {
    title: account.account,
    element: page(account.account,
      revoked && note('warn', h('p', {}, words.revoked)),
      facts([words.host, account.host], [words.address, location.host], [words.phone, account.name], [words.since, date(account.pairedAt)]),
      revoked
        ? button('deny wide', words.forget, () => forget(account), { test: 'forget' })
        : button('deny wide', words.unpair, part, { test: 'unpair', id: 'unpair' })),
  };
}
