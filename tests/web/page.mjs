// The page's pure modules, against vectors made elsewhere (Python's hmac and base64)

import assert from 'node:assert/strict';
import { createPublicKey, verify, webcrypto } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { ASSETS, load } from './support/assets.mjs';

globalThis.crypto ??= webcrypto;

const { decode, digits, encode, isPublicKey, pairingMac, pairingNumber, readLink, signedText } = await load('protocol.js');
const { eventParser } = await load('events.js');

const SECRET = Uint8Array.from({ length: 32 }, (_, place) => place);
const PUBLIC_KEY = 'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q';
const text = (bytes) => new TextDecoder().decode(bytes);

test('binary values are base64url without padding', () => {
  assert.equal(encode(Uint8Array.of(0xfb, 0xff, 0xfe, 0x00)), '-__-AA');
  assert.deepEqual([...decode('-__-AA')], [0xfb, 0xff, 0xfe, 0x00]);
  for (const wrong of ['-__-AA==', '+//+AA', 'a b', 'ä']) assert.throws(() => decode(wrong), wrong);
});

test('the signed texts are those of the interface', () => {
  assert.equal(text(signedText('decide', 'A', 'L', 'approve', '42', 'N')), 'twostep/1 decide\nA\nL\napprove\n42\nN');
  assert.equal(text(signedText('decide', 'A', 'L', 'deny', undefined, 'N')), 'twostep/1 decide\nA\nL\ndeny\n\nN');
  assert.equal(text(signedText('pair', 'P', 'K', 'Zoë’s phone')), 'twostep/1 pair\nP\nK\nZoë’s phone');
  assert.equal(text(signedText('pending', 'A', 'N')), 'twostep/1 pending\nA\nN');
});

test('the number of a pairing and its MAC come from secret and key', async () => {
  assert.equal(await pairingNumber(SECRET, PUBLIC_KEY), '9735');
  assert.equal(await pairingNumber(SECRET, 'key 120'), '0022', 'zeros in front stay');
  assert.equal(await pairingMac(SECRET, PUBLIC_KEY, 'Zoë’s phone'), 'nJHBfaUmH3GwxxCb-ztWQVE-cM5CQyInBFU44GyHOAk');
});

test('a signature of the browser’s kind is r and s, good for the exported key', async () => {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
  const spki = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey));
  const message = signedText('pending', 'A', 'N');
  const proof = new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, message));
  assert.equal(proof.length, 64);
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  assert.ok(verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, proof));
  assert.ok(isPublicKey(spki) && isPublicKey(decode(PUBLIC_KEY)));
  assert.ok(!isPublicKey(spki.subarray(1)), 'cut short');
  spki[26] = 2;
  assert.ok(!isPublicKey(spki), 'a compressed point');
});

test('links of a pairing and of a login are told apart, and all others refused', () => {
  const pairing = 'A'.repeat(22), secret = encode(SECRET);
  const pair = readLink(`https://nas.example.org:8443/pair#1.${pairing}.${secret}`);
  assert.equal(pair.kind, 'pair');
  assert.equal(pair.origin, 'https://nas.example.org:8443');
  assert.equal(pair.pairing, pairing);
  assert.deepEqual(pair.secret, SECRET);
  const login = `https://nas.example.org/scan#1.${pairing}`;
  assert.equal(readLink(` ${login}\n`).text, login);
  assert.equal(readLink(login).kind, 'scan');
  for (const other of [
    'otpauth://totp/x?secret=A', 'nas', '', `http://nas/scan#1.${pairing}`, `https://nas/scan#2.${pairing}`, `https://nas/scan#1.${pairing}A`,
    `https://nas/scan#1.${pairing}.${secret}`, `https://nas/pair#1.${pairing}`, `https://nas/pair#1.${pairing}.${secret.slice(1)}`,
    `https://nas/other#1.${pairing}`, `https://nas/scan#1.${'!'.repeat(22)}`, `javascript:alert(1)//scan#1.${pairing}`,
  ]) assert.equal(readLink(other), null, other);
});

test('typed digits may have gaps', () => {
  assert.equal(digits(' 12-3 4'), '1234');
});

test('events are read whatever the pieces they come in', () => {
  const stream = ':\r\n\r\ndata: {"requests":[]}\n\nevent: error\ndata: {"error":\r\ndata: "x"}\r\rdata:bare\n\n: talk\n\nid: 7\n\n';
  const wanted = [
    { event: 'message', data: '{"requests":[]}' }, { event: 'error', data: '{"error":\n"x"}' }, { event: 'message', data: 'bare' },
  ];
  for (let size = 1; size <= stream.length; size++) {
    const parse = eventParser(), found = [];
    for (let at = 0; at < stream.length; at += size) found.push(...parse(stream.slice(at, at + size)));
    assert.deepEqual(found, wanted, `pieces of ${size}`);
  }
  assert.throws(() => { const parse = eventParser(); for (;;) parse('x'.repeat(65536)); }, /without end/);
});

const files = readdirSync(ASSETS).filter((name) => /\.(js|css|html|webmanifest)$/.test(name));
const sources = new Map(files.map((name) => [name, readFileSync(new URL(name, ASSETS), 'utf8')]));

test('the page opened away from the NAS, and its preloads, know every module', () => {
  const late = ['scan.js', 'sw.js'];
  for (const name of files.filter((name) => name.endsWith('.js') && !late.includes(name))) {
    assert.ok(sources.get('index.html').includes(`"/assets/${name}"`), `index.html: ${name}`);
    assert.ok(sources.get('sw.js').includes(`'${name}'`), `sw.js: ${name}`);
  }
});

test('no markup is made of text, nothing stands inline, nothing comes from elsewhere', () => {
  for (const [name, source] of sources) {
    assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, name);
    assert.doesNotMatch(source.replaceAll('http://www.w3.org/2000/svg', ''), /\bhttps?:\/\/[a-z]/, name);
  }
  assert.doesNotMatch(sources.get('index.html'), /<style|style=|<script(?![^>]*\ssrc=)|\son[a-z]+=/);
});

test('both notes on the certificate name the command that README names for its fingerprint', () => {
  const command = 'sudo twostep-web --fingerprint';
  assert.match(readFileSync(new URL('../../../README.md', ASSETS), 'utf8'), new RegExp(`^${command} `, 'm'));
  assert.equal(sources.get('strings.js').split(`“${command}”`).length - 1, 2);
});

test('the first load stays under 100 KiB', () => {
  const first = [...sources].filter(([name]) => name !== 'scan.js').reduce((sum, [, source]) => sum + Buffer.byteLength(source), 0);
  const icon = readFileSync(new URL('icons/icon.svg', ASSETS)).length;
  assert.ok(first + icon <= 100 * 1024, `${first + icon} bytes`);
});
