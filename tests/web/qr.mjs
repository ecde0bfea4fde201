import test from 'node:test';
import { readFileSync } from 'node:fs';
import { decode } from '../../src/web/assets/qr/decode.js';
const codes = readFileSync(process.env.QR_CODES, 'utf8').trim().split('\n').map(JSON.parse);
import { copyFileSync } from 'node:fs';
copyFileSync(process.env.QR_CODES, '/tmp/qrcodes.json');
let bad=0;
for (const c of codes) { const size=17+4*c.version; if (decode(Uint8Array.from(c.dark), size)!==c.text) { bad++; if(bad<20) console.log(c.version,c.level,c.mask, c.text.slice(0,20), decode(Uint8Array.from(c.dark), size)?.slice(0,30)); } }
console.log(codes.length, bad);
process.exit(1)
