/** What this phone keeps for this NAS, in IndexedDB: one key, which can't be read out, and the accounts. */

const KEY = 'phone';
let opened;

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('twostep', 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('keys');
      request.result.createObjectStore('accounts', { keyPath: 'authenticator' });
    };
    request.onsuccess = () => {
      // Another window with a newer page must not wait for this one.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** Runs `work` with one store of an open database, and is done when it is on the disk. */
async function within(connection, name, mode, work) {
  const transaction = connection.transaction(name, mode);
  const written = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  const [result] = await Promise.all([work(transaction.objectStore(name)), written]);
  return result;
}

/**
 * Runs `work` with one store; a second time over a new connection where the first comes to nothing: iOS closes that of a page in the background.
 * @throws also where WebKit has lost the process on the disk's side: nothing is kept then until the page is loaded anew
 */
async function inStore(name, mode, work) {
  const used = database();
  try {
    return await within(await used, name, mode, work);
  } catch {
    if (opened === used) opened = undefined;
    used.then((connection) => connection.close(), () => {});
    return within(await database(), name, mode, work);
  }
}

export const loadKey = () => inStore('keys', 'readonly', (keys) => promised(keys.get(KEY)));
export const saveKey = (pair) => inStore('keys', 'readwrite', (keys) => promised(keys.put(pair, KEY)));
const dropKey = () => inStore('keys', 'readwrite', (keys) => promised(keys.delete(KEY)));

/** The oldest pairing first. */
export async function loadAccounts() {
  const accounts = await inStore('accounts', 'readonly', (store) => promised(store.getAll()));
  return accounts.sort((one, other) => one.pairedAt - other.pairedAt);
}

export const saveAccount = (account) => inStore('accounts', 'readwrite', (store) => promised(store.put(account)));

/** A setup takes at most 10 minutes; until its end the NAS does not know the phone. In milliseconds. */
const SETUP = 15 * 60_000;

/** Whether the NAS may not know the phone *yet*: it never has, and was paired a moment ago. */
export const isUnfinished = ({ pairedAt, wasKnown }) => !wasKnown && Date.now() - pairedAt < SETUP;

/** Forgets an account, and the key with the last one. */
export async function dropAccount(authenticator) {
  await inStore('accounts', 'readwrite', (store) => promised(store.delete(authenticator)));
  if ((await loadAccounts()).length === 0) await dropKey();
}
