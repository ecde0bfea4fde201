/** This phone's key: P-256, made here, never readable, not even for this page. */

import { encode, isPublicKey } from './protocol.js';
import { loadKey, saveKey } from './store.js';

const P256 = { name: 'ECDSA', namedCurve: 'P-256' };
const SHA256 = { name: 'ECDSA', hash: 'SHA-256' };

/** As it was read last. */
let held = null;

/** The key, made at the first use. @throws where this browser keeps nothing, as some private windows do */
export async function ensureKey() {
  held = await loadKey();
  if (held) return held;
  await saveKey(await crypto.subtle.generateKey(P256, false, ['sign', 'verify']));
  held = await loadKey();
  return held;
}

/** The key for what is paired: a page that loses its storage, as on iOS, goes on with what it has read. */
export const knownKey = () => ensureKey().catch((error) => {
  if (held) return held;
  throw error;
});

/** SPKI, base64url. */
export async function publicKeyOf(pair) {
  const bytes = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey));
  if (!isPublicKey(bytes)) throw new Error('this browser exports keys in another form');
  return encode(bytes);
}

/** A signature as r and s, base64url. */
export async function sign(pair, text) {
  return encode(await crypto.subtle.sign(SHA256, pair.privateKey, text));
}
