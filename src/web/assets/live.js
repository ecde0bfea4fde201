/**
 * The open requests of each account, told as they come, while the page is seen.
 *
 *   closed ──open──► connecting ──first event──► open ──lost──► waiting ──time, or back online──► connecting
 *   any state ──hidden──► closed;  a phone the NAS does not know ──► unknown, looked at again only when the page comes back
 */

import { ApiError, post, prove, toldError } from './api.js';
import { eventParser } from './events.js';
import { isUnfinished } from './store.js';

/** Comments come every 25 s: after this long without a word the connection is dead. In milliseconds. */
const SILENCE = 60_000;
const SHORTEST = 1_000, LONGEST = 15_000;
/** A browser opens six connections to a host without HTTP/2, for all its windows, and the calls need some: further accounts look in at intervals. */
const STREAMS = 2, LOOK_IN = 10_000;

class Stream {
  constructor(account, index, tell) {
    Object.assign(this, { account, tell, brief: index >= STREAMS, failures: 0, stop: new AbortController() });
    this.run();
  }

  async run() {
    while (!this.stop.signal.aborted) {
      let error = null;
      try {
        await this.listen();
      } catch (caught) {
        error = caught instanceof ApiError ? caught : new ApiError('Unreachable');
      }
      if (this.stop.signal.aborted) return;
      const unknown = error?.kind === 'NoSuchAuthenticator';
      if (error) this.tell(this.account, { error: error.kind });
      if (unknown && !isUnfinished(this.account)) return;
      if (error) this.failures += 1;
      await this.pause(!error && this.brief ? LOOK_IN : this.backoff());
    }
  }

  /** Grows with each failure, and is not the same for all phones that lost the same NAS. */
  backoff() {
    return Math.min(LONGEST, SHORTEST * 2 ** Math.max(0, this.failures - 1)) * (0.75 + Math.random() / 2);
  }

  async listen() {
    const silence = new AbortController();
    const end = () => silence.abort();
    this.stop.signal.addEventListener('abort', end);
    let timer = setTimeout(end, SILENCE);
    try {
      const { authenticator } = this.account;
      const response = await post('Pending', await prove(authenticator, 'pending', []), silence.signal);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parse = eventParser();
      for (let heard = false; ;) {
        const { done, value } = await reader.read();
        if (done && !heard) throw new ApiError('Unreachable');
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(end, SILENCE);
        for (const event of parse(value)) {
          this.take(event);
          heard = true;
        }
        if (heard && this.brief) return;
      }
    } finally {
      clearTimeout(timer);
      this.stop.signal.removeEventListener('abort', end);
      end();
    }
  }

  take({ event, data }) {
    const body = JSON.parse(data);
    if (event === 'error') throw toldError(body);
    this.failures = 0;
    this.tell(this.account, { requests: body.requests });
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
  streams = accounts.map((account, index) => new Stream(account, index, tell));
}
