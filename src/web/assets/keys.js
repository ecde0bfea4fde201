/** This phone's key: P-256, made here, never readable, not even for this page. */

import { encode, isPublicKey } from './protocol.js';
import { loadKey, saveKey } from './store.js';

const P256 = { name: 'ECDSA', namedCurve: 'P-256' };
const SHA256 = { name: 'ECDSA', hash: 'SHA-256' };

/** The key, made and kept at the first use. @throws where this browser keeps nothing, as some private windows do */
export async function ensureKey() {
  const kept = await loadKey();
  if (kept) return kept;
  await saveKey(await crypto.subtle.generateKey(P256, false, ['sign', 'verify']));
  return loadKey();
}

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
