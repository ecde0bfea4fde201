// The page's QR decoder, on the codes in the file that QR_CODES names (tests/page.rs draws them), as they are and as a camera sees them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { load } from './support/assets.mjs';
import { frame, image, placed, random } from './support/draw.mjs';

const { decode } = await load('qr/decode.js');
const { matrices } = await load('qr/detect.js');
const { scan } = await load('qr/index.js');
const { greyOf, searchable } = await load('qr/picture.js');

const { pairing, codes } = JSON.parse(readFileSync(process.env.QR_CODES, 'utf8'));
const bitsOf = (digits) => new Uint8Array(Buffer.from(digits)).map((digit) => digit & 1);
const named = ({ size, level, mask }) => `${size} modules, level ${level}, mask ${mask}`;
const short = (text) => text?.slice(0, 60) ?? null;

/** What a code is to be drawn from. */
const drawing = ({ dark, size }) => ({ size, dark: (x, y) => dark[y * size + x] === '1' });

/** All pictures are tried before the test says which ones it could not read. */
function reads(name, pictures) {
  test(name, () => {
    const failed = [];
    for (const [what, options, code = pairing] of pictures) {
      const found = scan(frame(drawing(code), { corners: placed({ side: 250, ...options }), ...options }));
      if (found !== code.text) failed.push(`${what}: ${short(found)}`);
    }
    assert.deepEqual(failed, []);
  });
}

test('each version, level and mask reads', () => {
  assert.equal(codes.length, 320);
  for (const code of codes) assert.equal(short(decode(bitsOf(code.dark), code.size)), short(code.text), named(code));
});

test('each block reads with as many wrong bytes as can be mended', () => {
  for (const code of [pairing, ...codes]) {
    assert.notEqual(code.damaged, code.dark);
    assert.equal(decode(bitsOf(code.damaged), code.size), code.text, named(code));
  }
});

test('damage past that gives nothing, never another text', () => {
  const rand = random(2);
  let nothing = 0;
  for (let n = 0; n < 1000; n++) {
    const code = codes[n % codes.length], bits = bitsOf(code.damaged), share = 0.3 * rand();
    for (let at = 0; at < bits.length; at++) if (rand() < share) bits[at] ^= 1;
    const found = decode(bits, code.size);
    assert.ok(found === null || found === code.text, `${named(code)}: ${short(found)}`);
    if (found === null) nothing++;
  }
  assert.ok(nothing > 900, `${nothing} of 1000 codes were damaged past repair`);
});

test('modules that make no code are no text', () => {
  const rand = random(3);
  for (const size of [0, 1, 20, 21, 22, 25, 177, 181, -21, 21.5, NaN, Infinity]) {
    assert.equal(decode(new Uint8Array(0), size), null, `${size}, empty`);
    const bits = new Uint8Array(Math.min(40000, Math.max(0, size * size || 0)));
    assert.equal(decode(bits.map(() => rand() < 0.5), size), null, `${size}, noise`);
    assert.equal(decode(bits.fill(1), size), null, `${size}, dark`);
  }
  for (let n = 0; n < 500; n++) assert.equal(decode(new Uint8Array(21 * 21).map(() => rand() < 0.5), 21), null, `noise ${n}`);
});

reads('turned to any side', [0, 7, 15, 30, 45, 60, 90, 100, 135, 180, 225, 270, 333].map((turn) => [`${turn}°`, { turn }]));

reads('seen at an angle', [[0.35, 0], [-0.35, 0], [0, 0.35], [0, -0.35], [0.25, 0.25], [-0.2, 0.3]].flatMap((tilt) => [
  [`${tilt}`, { tilt }], [`${tilt}, turned`, { tilt, turn: 25 }],
]));

reads('out of focus and noisy', [
  ['blur', { blur: 2 }], ['noise', { noise: 40 }], ['both', { blur: 1.2, noise: 25 }], ['both, turned', { blur: 1.2, noise: 25, turn: 40 }],
  ['pale', { light: 140, dark: 90, around: 110, noise: 8 }], ['small and noisy', { side: 120, blur: 0.6, noise: 15 }],
]);

reads('in uneven light', [
  ['from the left', { shade: (x) => 0.25 + 0.75 * x }],
  ['from below', { shade: (_, y) => 0.2 + 0.8 * y * y }],
  ['a lamp', { shade: (x, y) => 0.25 + 0.85 * Math.exp(-8 * ((x - 0.4) ** 2 + (y - 0.4) ** 2)), noise: 10 }],
  ['half in the shadow', { shade: (x) => (x < 0.45 ? 0.35 : 1), blur: 1 }],
]);

/** The finder patterns of a code 250 pixels wide in the middle of the frame are 60 pixels wide. */
const edge = (hard) => (x, y) => (hard(x * 640, y * 480) ? 0.3 : 1);
reads('with the hard edge of a shadow across a finder pattern', [
  ['upright', { shade: edge((x) => x < 225) }], ['upright, at the other side', { shade: edge((x) => x > 412) }],
  ['level', { shade: edge((_, y) => y < 145) }], ['level, below', { shade: edge((_, y) => y > 335) }],
  ['slanting', { shade: edge((x, y) => x + y < 370) }], ['of a hand', { shade: edge((x, y) => Math.abs(x - 225) < 60 && y < 145) }],
  ['turned, blur and noise', { shade: edge((x) => x < 240), turn: 20, blur: 1, noise: 8 }],
]);

reads('light on dark', [
  ['upright', { light: 25, dark: 220 }], ['turned', { light: 25, dark: 220, turn: 130, blur: 1, noise: 15 }],
  ['on black', { light: 0, dark: 200, around: 0 }], ['tilted', { light: 25, dark: 220, tilt: [0.2, 0.2] }],
]);

reads('small and large', [
  ['2 pixels a module', { side: 2 * pairing.size }], ['2.5 pixels, turned', { side: 2.5 * pairing.size, turn: 20 }],
  ['3 pixels, blur', { side: 3 * pairing.size, blur: 0.6 }],
  ['as high as the frame', { side: 479 }], ['nearly, turned', { side: 330, turn: 45, around: 230 }], ['a large frame', { side: 900, width: 1280, height: 960 }],
]);

reads('on a terminal', [
  ['high modules', { stretch: 1.1 }], ['flat modules', { stretch: 0.9 }], ['high, turned', { stretch: 1.1, turn: 12, blur: 1 }],
  ['gaps between the lines', { gap: 0.15, around: 20 }], ['light on dark, gaps', { light: 20, dark: 220, around: 20, gap: 0.15, stretch: 1.1 }],
  ['light on dark, turned', { light: 20, dark: 220, around: 20, stretch: 1.1, turn: 8, noise: 10 }],
]);

reads('without a quiet zone on one side', ['left', 'top', 'right', 'bottom'].flatMap((side, n) => [20, 120].map((around) => [
  `${side}, beside ${around}`, { quiet: [0, 1, 2, 3].map((i) => (i === n ? 0 : 4)), around },
])));

reads('all sizes', [1, 2, 3, 4, 6, 7, 10, 14, 20, 25].map((version) => {
  const code = codes.find(({ size }) => size === 17 + 4 * version);
  return [`version ${version}`, { side: 440, turn: 3, blur: 0.5, noise: 5 }, code];
}));

/** Pictures without a code that give the search much to do. */
function junk(width, height) {
  const rand = random(4), size = 21;
  // Finder patterns side by side.
  const finder = (x, y) => {
    const far = Math.max(Math.abs(x % 8 - 3), Math.abs(y % 8 - 3));
    return far === 2 || far === 4 ? 230 : 30;
  };
  const of = (value) => image(width, height, (n) => value(n % width, Math.floor(n / width)));
  return [
    ['black', of(() => 0)], ['white', of(() => 255)], ['noise', of(() => 255 * rand())], ['black and white', of(() => (rand() < 0.5 ? 0 : 255))],
    ['a ramp', of((x, y) => (x + y) / 5)], ['upright bars', of((x) => 255 * (x % 7 > 3))], ['slanting bars', of((x, y) => 255 * ((x + y) % 11 > 5))],
    ['checks', of((x, y) => 255 * ((x >> 2) + (y >> 2) & 1))],
    ['rings', of((x, y) => 127 + 127 * Math.sin(Math.hypot(x - width / 2, y - height / 2) / 3))],
    ['finder patterns', of((x, y) => finder(x >> 2, y >> 2))], ['small finder patterns', of(finder)],
    ['blots', frame({ size, dark: () => rand() < 0.5 }, { corners: placed({ side: 400 }), width, height })],
  ];
}

test('pictures without a code are no text', () => {
  for (const [width, height] of [[240, 180], [61, 43]]) for (const [what, picture] of junk(width, height)) assert.equal(scan(picture), null, what);
});

test('the search for a code has an end near, whatever is in the frame', () => {
  for (const [what, picture] of junk(640, 480)) {
    const all = searchable(greyOf(picture), 80);
    let looks = 0, candidates = 0;
    const counted = (value) => ({ get: () => (looks++, value) });
    const watched = Object.defineProperties({ ...all }, { dark: counted(all.dark), grey: counted(all.grey) });
    for (const { bits, size } of matrices(watched)) {
      candidates++;
      assert.equal(bits.length, size * size);
    }
    assert.ok(candidates <= 24 && looks < 10e6, `${what}: ${candidates} candidates, ${looks} looks at pixels`);
  }
});

test('one look at a picture of the camera is short, whatever is in the frame', () => {
  const hypot = Math.hypot;
  let distances = 0;
  Math.hypot = (...sides) => (distances++, hypot(...sides));
  try {
    for (const [what, picture] of junk(640, 480)) {
      for (let turn = 0; turn < 5; turn++) {
        const begun = process.cpuUsage().user;
        distances = 0;
        assert.equal(scan(picture, turn), null, what);
        assert.ok(distances < 3e6, `${what}, ${turn}: ${distances} distances`);
        if (process.env.QR_TIMES) console.log(`${what}, ${turn}: ${distances} distances, ${(process.cpuUsage().user - begun) / 1000} ms`);
      }
    }
  } finally {
    Math.hypot = hypot;
  }
});

test('pictures one after the other find what one alone does', () => {
  for (const options of [{}, { light: 25, dark: 220 }, { shade: edge((x) => x < 225) }]) {
    const picture = frame(drawing(pairing), { corners: placed({ side: 250 }), ...options });
    assert.ok([0, 1, 2, 3, 4].some((turn) => scan(picture, turn) === pairing.text));
  }
});

test('pictures too small, too large, of odd shape or cut short are no text', () => {
  const data = new Uint8ClampedArray(4 * 100 * 100);
  for (const [width, height] of [[0, 0], [1, 1], [20, 400], [-100, -100], [NaN, 100], [100, undefined], [Infinity, Infinity], [1e5, 1e5], [101, 100]]) {
    assert.equal(scan({ data, width, height }), null, `${width} x ${height}`);
  }
  const rand = random(5);
  for (const [width, height] of [[21, 21], [22, 21], [21, 9001], [9001, 21], [333, 217], [1100, 950]]) {
    assert.equal(scan(image(width, height, () => 255 * rand())), null, `${width} x ${height}`);
  }
});
