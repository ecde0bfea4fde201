/**
 * The open requests of all accounts, told as they come, while the page is seen: over one connection, of which a browser opens six to a host
 * without HTTP/2, for all its windows.
 *
 *   closed ──open──► connecting ──first event──► open ──lost──► waiting ──time, or back online──► connecting
 *   any state ──hidden──► closed;  a phone the NAS does not know ──► left out, and looked at again only when the page comes back
 */

import { ApiError, post, prove, toldError } from './api.js';
import { eventParser } from './events.js';
import { isUnfinished } from './store.js';

/** Comments come every 25 s: after this long without a word the connection is dead. In milliseconds. */
const SILENCE = 60_000;
const SHORTEST = 1_000, LONGEST = 15_000;
/** So many accounts go over one connection. */
const MOST = 32;

class Stream {
  constructor(accounts, tell) {
    Object.assign(this, { accounts, tell, failures: 0, refusals: 0, stop: new AbortController() });
    this.run();
  }

  async run() {
    while (!this.stop.signal.aborted && this.accounts.length) {
      let error = null;
      try {
        await this.listen();
      } catch (caught) {
        error = caught instanceof ApiError ? caught : new ApiError('Unreachable');
      }
      if (this.stop.signal.aborted) return;
      if (error) {
        this.failures += 1;
        for (const account of this.accounts) this.tell(account, { error: error.kind });
      }
      await this.pause(this.backoff(Math.max(this.failures, this.refusals)));
    }
  }

  /** Grows with each failure, and is not the same for all phones that lost the same NAS. */
  backoff(failures) {
    return Math.min(LONGEST, SHORTEST * 2 ** Math.max(0, failures - 1)) * (0.75 + Math.random() / 2);
  }

  async listen() {
    const silence = new AbortController();
    const end = () => silence.abort();
    this.stop.signal.addEventListener('abort', end);
    let timer = setTimeout(end, SILENCE), again;
    try {
      const pending = (await Promise.all(this.accounts.map((account) => this.signed(account)))).filter(Boolean);
      if (!pending.length) return;
      const known = pending.length === this.accounts.length;
      const response = await post('PendingAll', { pending }, silence.signal);
      // Whoever the NAS does not know yet is asked for again, with all the others.
      if (!known) again = setTimeout(end, this.backoff(this.refusals));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parse = eventParser();
      for (let heard = false; ;) {
        const { done, value } = await reader.read().catch((error) => {
          if (again && silence.signal.aborted) return { done: true };
          throw error;
        });
        if (done && !heard && !again) throw new ApiError('Unreachable');
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(end, SILENCE);
        for (const event of parse(value)) {
          if (!this.take(event)) again ??= setTimeout(end, this.backoff(this.refusals));
          heard = true;
        }
      }
    } finally {
      clearTimeout(timer);
      clearTimeout(again);
      this.stop.signal.removeEventListener('abort', end);
      end();
    }
  }

  /** The signed question for one account, or null where it alone is refused. */
  async signed(account) {
    try {
      return await prove(account.authenticator, 'pending', []);
    } catch (error) {
      if (error.kind !== 'NoSuchAuthenticator') throw error;
      this.refuse(account, error);
      return null;
    }
  }

  /** @returns whether nobody has to be asked for again */
  take({ event, data }) {
    const { authenticator, told, ...body } = JSON.parse(data);
    const account = this.accounts.find((one) => one.authenticator === authenticator);
    if (!account) return true;
    if (event === 'error') return this.refuse(account, toldError(body));
    this.failures = 0;
    this.tell(account, { requests: told.requests });
    return true;
  }

  refuse(account, error) {
    this.tell(account, { error: error.kind });
    if (error.kind === 'NoSuchAuthenticator' && !isUnfinished(account)) {
      this.accounts = this.accounts.filter((one) => one !== account);
      return true;
    }
    this.refusals += 1;
    return false;
  }

  pause(time) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener('online', done);
        resolve();
      };
      const timer = setTimeout(done, time);
      addEventListener('online', done);
      this.stop.signal.addEventListener('abort', done);
    });
  }
}

let streams = [];

/** Listens for these accounts alone. `tell(account, {requests} or {error})` is called at each change. */
export function listen(accounts, tell) {
  for (const stream of streams) stream.stop.abort();
  streams = [];
  for (let at = 0; at < accounts.length; at += MOST) streams.push(new Stream(accounts.slice(at, at + MOST), tell));
}
