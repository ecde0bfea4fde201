/** The calls to the NAS. Each of them is signed by this phone's key; see `protocol.js` for what is signed. */

import { learn } from './clock.js';
import { ensureKey, knownKey, sign } from './keys.js';
import { signedText, verdict } from './protocol.js';

const INTERFACE = 'io.twostep.Authenticator.';
/** A NAS that sleeps needs a while for its disks. In milliseconds. */
const PATIENCE = 20_000;

/**
 * Why a call gave no answer. `kind` is a name of the interface's errors, or `Offline` (no network here), `Unreachable` (no answer from the NAS),
 * `Unavailable` (its engine does not answer), `TooMany`, `Odd` (an answer that is none of ours).
 */
export class ApiError extends Error {
  constructor(kind, detail = '') {
    super(`${kind} ${detail}`.trim());
    this.kind = kind;
    this.detail = detail;
  }
}

const STATUS = { 429: 'TooMany', 502: 'Unavailable', 503: 'Unavailable', 504: 'Unavailable' };

/** The error that a body tells. */
export function toldError(body, status = 400) {
  const name = typeof body?.error === 'string' ? body.error : '';
  if (name.startsWith(INTERFACE)) return new ApiError(name.slice(INTERFACE.length), body.parameters?.reason);
  if (name === 'unavailable') return new ApiError('Unavailable');
  return new ApiError(STATUS[status] ?? 'Odd', `${status} ${name}`);
}

/** Sends a call; the answer's body is still to be read. @throws {ApiError} */
export async function post(method, parameters, signal) {
  let response;
  try {
    response = await fetch(`/api/${method}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(parameters),
      cache: 'no-store',
      credentials: 'same-origin',
      redirect: 'error',
      signal,
    });
  } catch {
    throw new ApiError(navigator.onLine === false ? 'Offline' : 'Unreachable');
  }
  learn(response.headers.get('Date'));
  if (!response.ok) throw toldError(await response.json().catch(() => null), response.status);
  return response;
}

async function call(method, parameters) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE);
  try {
    const response = await post(method, parameters, patience.signal);
    return await response.json();
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError(patience.signal.aborted ? 'Unreachable' : 'Odd', String(error));
  } finally {
    clearTimeout(timer);
  }
}

/** Parameters with a nonce and the signature over `fields` and that nonce. */
export async function prove(authenticator, purpose, fields, nonce, parameters = {}) {
  nonce ??= (await call('Nonce', { authenticator })).nonce;
  const proof = await sign(await knownKey(), signedText(purpose, authenticator, ...fields, nonce));
  return { authenticator, ...parameters, nonce, proof };
}

/** A signed call. A nonce that lay about for too long is replaced once: nothing was decided with it. */
async function signed(method, authenticator, purpose, fields, nonce, parameters) {
  try {
    return await call(method, await prove(authenticator, purpose, fields, nonce, parameters));
  } catch (error) {
    if (!nonce || error.kind !== 'InvalidProof') throw error;
    return call(method, await prove(authenticator, purpose, fields, undefined, parameters));
  }
}

export async function pair(pairing, publicKey, name, mac) {
  const proof = await sign(await ensureKey(), signedText('pair', pairing, publicKey, name));
  return call('Pair', { pairing, public_key: publicKey, name, mac, proof });
}

/** A field that has no value stays away. */
const numbered = (approve, number) => (number == null ? { approve } : { approve, number });

export function confirmPairing(authenticator, approve, number, nonce) {
  const parameters = numbered(approve, number);
  return signed('ConfirmPairing', authenticator, 'pair-confirm', [verdict(approve), number], nonce, parameters);
}

export function scanLogin(authenticator, qr) {
  return signed('Scan', authenticator, 'scan', [qr], undefined, { qr });
}

/** The nonce that came with the request serves once. */
function takeNonce(request) {
  const { nonce } = request;
  request.nonce = undefined;
  return nonce;
}

export function decide(authenticator, request, approve, number) {
  const parameters = { login: request.login, ...numbered(approve, number) };
  return signed('Decide', authenticator, 'decide', [request.login, verdict(approve), number], takeNonce(request), parameters);
}

export function onlineCode(authenticator, request) {
  return signed('OnlineCode', authenticator, 'code', [request.login], takeNonce(request), { login: request.login });
}

export const unpair = (authenticator) => signed('Unpair', authenticator, 'unpair', []);
