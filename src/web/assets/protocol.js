/**
 * What the phone and the NAS have agreed on: encodings, signed texts, the number of a pairing, links. Pure, and the same in Node.
 *
 * The texts are those of io.twostep.Authenticator; a change there is a change here.
 */

const SPKI_P256 = '3059301306072a8648ce3d020106082a8648ce3d030107034200';
const utf8 = new TextEncoder();

/** base64url without padding. */
export function encode(bytes) {
  let binary = '';
  for (const byte of new Uint8Array(bytes)) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

/** @throws where it is no base64url without padding */
export function decode(text) {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new Error('not base64url');
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));
}

/** What a signature covers: the purpose and its fields, a line each. An absent field is an empty line. */
export function signedText(purpose, ...fields) {
  return utf8.encode([`twostep/1 ${purpose}`, ...fields.map((field) => field ?? '')].join('\n'));
}

/** The words for yes and no in a signed text. */
export const verdict = (approve) => (approve ? 'approve' : 'deny');

/** Whether these are the bytes of a P-256 key as SPKI. */
export function isPublicKey(bytes) {
  const head = Array.from(bytes.subarray(0, 26), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return bytes.length === 91 && head === SPKI_P256 && bytes[26] === 4;
}

async function hmac(secret, text) {
  const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, utf8.encode(text)));
}

/** Binds key and name to the secret that only the QR code on the NAS tells. */
export async function pairingMac(secret, publicKey, name) {
  return encode(await hmac(secret, `${publicKey}\n${name}`));
}

/** Four digits that both sides derive: another key gives another number. */
export async function pairingNumber(secret, publicKey) {
  const digest = await hmac(secret, `twostep/1 number\n${publicKey}`);
  return String(new DataView(digest.buffer).getBigUint64(0) % 10000n).padStart(4, '0');
}

/**
 * What a QR code, or the address bar, says.
 *
 * @returns {{kind: 'pair', origin: string, pairing: string, secret: Uint8Array, text: string}
 *   | {kind: 'scan', origin: string, text: string} | null} null where it is none of ours
 */
export function readLink(text) {
  let url;
  try {
    url = new URL(text.trim());
  } catch {
    return null;
  }
  const [version, ...fields] = url.hash.slice(1).split('.');
  if (url.protocol !== 'https:' || version !== '1') return null;
  try {
    const bytes = fields.map(decode);
    const lengths = bytes.map((field) => field.length).join();
    const common = { origin: url.origin, text: url.href };
    if (url.pathname === '/pair' && lengths === '16,32') return { kind: 'pair', ...common, pairing: fields[0], secret: bytes[1] };
    if (url.pathname === '/scan' && lengths === '16') return { kind: 'scan', ...common };
  } catch { /* A field that is no base64url: none of ours. */ }
  return null;
}

/** The digits of what somebody typed: spaces and dashes are no mistake. */
export const digits = (text) => text.replace(/[\s-]/g, '');
