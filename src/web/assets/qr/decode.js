/**
 * Reads the modules of a QR code (ISO/IEC 18004, model 2, versions 1 to 40) as text.
 *
 * What is not certain is null: format or blocks damaged past repair, a segment that ends early. Structured append and FNC1 are not read.
 */

/** Smallest, and by this many modules each version grows. */
const FIRST = 21, GROWTH = 4, VERSIONS = 40;

/** ISO/IEC 18004 table 9, by version: check bytes in each block, and blocks. Rows in the order of the two level bits: M, L, H, Q. */
const CHECK_BYTES = `
  10 16 26 18 24 16 18 22 22 26 30 22 22 24 24 28 28 26 26 26 26 28 28 28 28 28 28 28 28 28 28 28 28 28 28 28 28 28 28 28
   7 10 15 20 26 18 20 24 30 18 20 24 26 30 22 24 28 30 28 28 28 28 30 30 26 28 30 30 30 30 30 30 30 30 30 30 30 30 30 30
  17 28 22 16 22 28 26 26 24 28 24 28 22 24 24 30 28 28 26 28 30 24 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30
  13 22 18 26 18 24 18 22 20 24 28 26 24 20 30 24 28 28 26 30 28 30 30 30 30 28 30 30 30 30 30 30 30 30 30 30 30 30 30 30`;
const BLOCKS = `
   1  1  1  2  2  4  4  4  5  5  5  8  9  9 10 10 11 13 14 16 17 17 18 20 21 23 25 26 28 29 31 33 35 37 38 40 43 45 47 49
   1  1  1  1  1  2  2  2  2  4  4  4  4  4  6  6  6  6  7  8  8  9  9 10 12 12 12 13 14 15 16 17 18 19 19 20 21 22 24 25
   1  1  2  4  4  4  5  6  8  8 11 11 16 16 18 16 19 21 25 25 25 34 30 32 35 37 40 42 45 48 51 54 57 60 63 66 70 74 77 81
   1  1  2  2  4  4  6  6  8  8  8 10 12 16 12 17 16 18 21 20 23 23 25 27 29 34 34 35 38 40 43 45 48 51 53 56 59 62 65 68`;
const numbers = (table) => table.trim().split(/\s+/).map(Number);
const checkBytes = numbers(CHECK_BYTES), blocks = numbers(BLOCKS);

/** Check bytes that small codes keep to detect errors, not to correct them (the same table), by level bits and version. */
const KEPT = { '0,1': 2, '1,1': 3, '2,1': 1, '3,1': 1, '1,2': 2, '1,3': 1 };

const MASKS = [
  (y, x) => (y + x) % 2,
  (y) => y % 2,
  (y, x) => x % 3,
  (y, x) => (y + x) % 3,
  (y, x) => ((y >> 1) + Math.floor(x / 3)) % 2,
  (y, x) => ((y * x) % 2) + ((y * x) % 3),
  (y, x) => (((y * x) % 2) + ((y * x) % 3)) % 2,
  (y, x) => (((y + x) % 2) + ((y * x) % 3)) % 2,
];

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:';

/** What a module is for: `DARK` and `LIGHT` are the same in each code of a version. */
export const DATA = 0, DARK = 1, LIGHT = 2, INFO = 3;

export const sizeOf = (version) => FIRST + GROWTH * (version - 1);

/** The version with so many modules a side, the nearest if there is none. */
export const versionOf = (size) => Math.min(VERSIONS, Math.max(1, Math.round((size - FIRST) / GROWTH) + 1));

/** The centres of alignment patterns along one axis, in modules. */
function alignments(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = 2 * Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4));
  return Array.from({ length: count }, (_, n) => (n === 0 ? 6 : sizeOf(version) - 7 - step * (count - 1 - n)));
}

const layouts = new Map();

/** What each module is for, row by row. */
export function layout(version) {
  if (!layouts.has(version)) layouts.set(version, draw(version));
  return layouts.get(version);
}

function draw(version) {
  const size = sizeOf(version), last = size - 1, plan = new Uint8Array(size * size);
  const fill = (x, y, width, height, kind) => {
    for (let row = y; row < y + height; row++) plan.fill(kind, row * size + x, row * size + x + width);
  };
  const nested = (x, y, rings) => rings.forEach(([reach, kind]) => fill(x - reach, y - reach, 2 * reach + 1, 2 * reach + 1, kind));
  // Finder patterns: beside their light border stand format and mask.
  for (const [x, y, width, height] of [[0, 0, 9, 9], [size - 8, 0, 8, 9], [0, size - 8, 9, 8]]) fill(x, y, width, height, INFO);
  for (const [x, y] of [[0, 0], [size - 8, 0], [0, size - 8]]) fill(x, y, 8, 8, LIGHT);
  for (let at = 8; at <= size - 9; at++) plan[6 * size + at] = plan[at * size + 6] = at % 2 ? LIGHT : DARK;
  for (const [x, y] of [[3, 3], [last - 3, 3], [3, last - 3]]) nested(x, y, [[3, DARK], [2, LIGHT], [1, DARK]]);
  plan[(size - 8) * size + 8] = DARK;
  const centres = alignments(version), far = centres[centres.length - 1];
  for (const y of centres) {
    for (const x of centres) {
      const underFinder = (x === 6 && y === 6) || (x === 6 && y === far) || (x === far && y === 6);
      if (!underFinder) nested(x, y, [[2, DARK], [1, LIGHT], [0, DARK]]);
    }
  }
  if (version >= 7) {
    fill(size - 11, 0, 3, 6, INFO);
    fill(0, size - 11, 6, 3, INFO);
  }
  return plan;
}

const EXP = new Uint8Array(510), LOG = new Uint8Array(256);
for (let power = 0, value = 1; power < 255; power++) {
  EXP[power] = EXP[power + 255] = value;
  LOG[value] = power;
  value = (value << 1) ^ (value & 128 ? 0x11d : 0);
}
const times = (a, b) => (a && b ? EXP[LOG[a] + LOG[b]] : 0);
const over = (a, b) => (a ? EXP[LOG[a] + 255 - LOG[b]] : 0);
/** `poly` has its constant first. */
const valueAt = (poly, x) => poly.reduceRight((sum, factor) => times(sum, x) ^ factor, 0);

function syndromes(block, count) {
  return Array.from({ length: count }, (_, n) => block.reduce((sum, byte) => times(sum, EXP[n]) ^ byte, 0));
}

/** Berlekamp and Massey: the shortest register that yields the syndromes, and its length, which is the number of wrong bytes. */
function locator(found) {
  let poly = [1], before = [1], errors = 0, gap = 1, last = 1;
  for (let n = 0; n < found.length; n++) {
    let off = 0;
    for (let i = 0; i <= errors; i++) off ^= times(poly[i] ?? 0, found[n - i]);
    if (off) {
      const old = poly, factor = over(off, last);
      poly = Array.from({ length: Math.max(old.length, before.length + gap) }, (_, i) => (old[i] ?? 0) ^ times(factor, before[i - gap] ?? 0));
      if (2 * errors <= n) [errors, before, last, gap] = [n + 1 - errors, old, off, 0];
    }
    gap++;
  }
  return { poly, errors };
}

/**
 * Reed and Solomon, GF(256): mends up to `most` wrong bytes of `block` in place.
 * @returns {boolean} whether the block is a codeword now
 */
function mend(block, check, most) {
  const found = syndromes(block, check);
  if (!found.some(Boolean)) return true;
  const { poly, errors } = locator(found);
  if (errors > most) return false;
  const evaluator = found.slice(0, errors).map((_, n) => poly.slice(0, n + 1).reduce((sum, factor, i) => sum ^ times(factor, found[n - i]), 0));
  const slope = poly.map((factor, i) => (i % 2 ? factor : 0)).slice(1);
  let roots = 0;
  for (let at = 0; at < block.length; at++) {
    const place = block.length - 1 - at, inverse = EXP[255 - place];
    if (valueAt(poly, inverse)) continue;
    roots++;
    block[at] ^= times(EXP[place], over(valueAt(evaluator, inverse), valueAt(slope, inverse)));
  }
  return roots === errors && !syndromes(block, check).some(Boolean);
}

const onesIn = (value) => value.toString(2).replaceAll('0', '').length;

/** The five bits of level and mask behind the better of the two copies, or null if both have more than three wrong bits. */
function format(bits, size) {
  const at = (x, y) => bits[y * size + x];
  let near = 0, far = 0;
  for (let i = 0; i < 15; i++) {
    near |= (i < 8 ? at(8, i + (i > 5)) : at(i === 8 ? 7 : 14 - i, 8)) << i;
    far |= (i < 8 ? at(size - 1 - i, 8) : at(8, size - 15 + i)) << i;
  }
  let best = { wrong: 4, value: null };
  for (let value = 0; value < 32; value++) {
    let rest = value << 10;
    for (let bit = 14; bit >= 10; bit--) if ((rest >> bit) & 1) rest ^= 0x537 << (bit - 10);
    const word = ((value << 10) | rest) ^ 0x5412, wrong = Math.min(onesIn(word ^ near), onesIn(word ^ far));
    if (wrong < best.wrong) best = { wrong, value };
  }
  return best.value;
}

/** The bytes in the order they were placed in: two columns at a time from the right, up and down. */
function codewords(bits, version, mask) {
  const size = sizeOf(version), plan = layout(version), bytes = [];
  let byte = 1, up = true;
  for (let right = size - 1; right > 0; right -= 2, up = !up) {
    // The column of the timing pattern belongs to no pair.
    if (right === 6) right--;
    for (let n = 0; n < 2 * size; n++) {
      const y = up ? size - 1 - (n >> 1) : n >> 1, x = right - (n & 1), at = y * size + x;
      if (plan[at] !== DATA) continue;
      byte = (byte << 1) | (bits[at] ^ (mask(y, x) === 0));
      if (byte > 255) {
        bytes.push(byte & 255);
        byte = 1;
      }
    }
  }
  return bytes;
}

/** Undoes the interleaving and mends each block; the data bytes, or null. */
function mended(bytes, version, level) {
  const row = level * VERSIONS + version - 1, check = checkBytes[row], count = blocks[row];
  const short = Math.floor(bytes.length / count) - check, long = bytes.length % count;
  const most = (check - (KEPT[[level, version]] ?? 0)) >> 1, data = [];
  for (let n = 0; n < count; n++) {
    const block = [];
    for (let i = 0; i < short; i++) block.push(bytes[i * count + n]);
    if (n >= count - long) block.push(bytes[short * count + n - (count - long)]);
    const length = block.length;
    for (let i = 0; i < check; i++) block.push(bytes[bytes.length - (check - i) * count + n]);
    if (!mend(block, check, most)) return null;
    data.push(...block.slice(0, length));
  }
  return data;
}

/** Hands out bits, most significant first; NaN from then on where there are not enough. */
function reader(bytes) {
  let at = 0;
  const left = () => bytes.length * 8 - at;
  const take = (count) => {
    let value = 0;
    if (count > left()) value = NaN;
    else for (let n = 0; n < count; n++, at++) value = value * 2 + ((bytes[at >> 3] >> (7 - (at & 7))) & 1);
    return value;
  };
  return { left, take };
}

const ascii = (text) => [...text].map((letter) => letter.charCodeAt(0));

function numeric(take, count) {
  const out = [];
  for (let left = count; left > 0; left -= 3) {
    const digits = Math.min(left, 3), value = take([0, 4, 7, 10][digits]);
    if (!(value < 10 ** digits)) return null;
    out.push(...ascii(String(value).padStart(digits, '0')));
  }
  return out;
}

function alphanumeric(take, count) {
  const out = [];
  for (let left = count; left > 0; left -= 2) {
    const value = take(left > 1 ? 11 : 6), letters = left > 1 ? [Math.floor(value / 45), value % 45] : [value];
    if (!letters.every((letter) => letter < 45)) return null;
    out.push(...letters.map((letter) => ALPHANUMERIC.charCodeAt(letter)));
  }
  return out;
}

function byteSegment(take, count) {
  const out = Array.from({ length: count }, () => take(8));
  return out.some(Number.isNaN) ? null : out;
}

/** As bytes of Shift-JIS. Some encoders choose this mode for pairs of bytes that only look like it. */
function kanji(take, count) {
  const out = [];
  for (let n = 0; n < count; n++) {
    const value = take(13), pair = Math.floor(value / 0xc0) * 256 + (value % 0xc0), code = pair + (pair < 0x1f00 ? 0x8140 : 0xc140);
    if (Number.isNaN(value)) return null;
    out.push(code >> 8, code & 255);
  }
  return out;
}

/** What an ECI says of the character set is passed over: `text` finds UTF-8 out by itself. */
function designator(take) {
  const first = take(8), more = first < 128 ? 0 : first < 192 ? 8 : first < 224 ? 16 : NaN;
  return Number.isNaN(more) || Number.isNaN(take(more)) ? null : [];
}

/** By mode: how to read the segment, and the bits of its length in versions 1-9, 10-26 and 27-40. */
const SEGMENTS = {
  1: [numeric, 10, 12, 14],
  2: [alphanumeric, 9, 11, 13],
  4: [byteSegment, 8, 16, 16],
  7: [designator, 0, 0, 0],
  8: [kanji, 8, 10, 12],
};

function segments(data, version) {
  const { left, take } = reader(data), out = [];
  // A code that is full has a shorter end sign, or none.
  while (left() >= 4) {
    const mode = take(4);
    if (mode === 0) break;
    if (!SEGMENTS[mode]) return null;
    const [read, ...lengths] = SEGMENTS[mode], count = take(lengths[version < 10 ? 0 : version < 27 ? 1 : 2]);
    const part = Number.isNaN(count) ? null : read(take, count);
    if (!part) return null;
    out.push(...part);
  }
  return new Uint8Array(out);
}

/** UTF-8 where it is, or Latin-1 as browsers have it. */
function text(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder('latin1').decode(bytes);
  }
}

/**
 * @param {Uint8Array} bits the modules, row by row, 1 dark
 * @param {number} size modules a side: 21, 25, … 177
 * @returns {string | null}
 */
export function decode(bits, size) {
  const version = versionOf(size);
  if (sizeOf(version) !== size || bits.length !== size * size) return null;
  const info = format(bits, size);
  if (info === null) return null;
  const data = mended(codewords(bits, version, MASKS[info & 7]), version, info >> 3);
  const bytes = data && segments(data, version);
  return bytes && text(bytes);
}
