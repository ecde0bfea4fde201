/**
 * Pictures in grey, and what is dark in them.
 *
 * @typedef {{ grey: Uint8Array, width: number, height: number }} Grey brightness, one byte for each pixel, row by row
 */

/** How much darker than its neighbourhood a pixel must be, of 255: noise on an even surface is no pattern. */
const CLEARLY = 6;

/** @param {{ data: Uint8ClampedArray, width: number, height: number }} image RGBA */
export function greyOf({ data, width, height }) {
  const grey = new Uint8Array(width * height);
  // The weights of ITU-R BT.601, in 256ths.
  for (let at = 0, from = 0; at < grey.length; at++, from += 4) grey[at] = (77 * data[from] + 150 * data[from + 1] + 29 * data[from + 2]) >> 8;
  return { grey, width, height };
}

/** Half as wide and high. */
export function halved({ grey, width, height }) {
  const half = { grey: new Uint8Array((width >> 1) * (height >> 1)), width: width >> 1, height: height >> 1 };
  for (let y = 0, to = 0; y < half.height; y++) {
    for (let x = 0; x < half.width; x++, to++) {
      const at = 2 * y * width + 2 * x;
      half.grey[to] = (grey[at] + grey[at + 1] + grey[at + width] + grey[at + width + 1] + 2) >> 2;
    }
  }
  return half;
}

export function inverted({ grey, width, height }) {
  return { grey: grey.map((value) => 255 - value), width, height };
}

/** The mean around each value of a table, up to `reach` columns and rows away. */
export function means(values, width, height, reach) {
  const wide = width + 1, sums = new Float64Array(wide * (height + 1)), out = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0, row = 0; x < width; x++) {
      row += values[y * width + x];
      sums[(y + 1) * wide + x + 1] = sums[y * wide + x + 1] + row;
    }
  }
  for (let y = 0; y < height; y++) {
    const top = Math.max(0, y - reach) * wide, bottom = Math.min(height, y + reach + 1) * wide, rows = (bottom - top) / wide;
    for (let x = 0; x < width; x++) {
      const left = Math.max(0, x - reach), right = Math.min(width, x + reach + 1);
      out[y * width + x] = (sums[bottom + right] - sums[bottom + left] - sums[top + right] + sums[top + left]) / (rows * (right - left));
    }
  }
  return out;
}

/** The brightest value around each, up to `reach` columns and rows away: van Herk, and Gil and Werman. */
function brightest({ grey, width, height }, reach) {
  const block = 2 * reach + 1, longest = Math.max(width, height) + 2 * block, line = new Uint8Array(longest);
  const forth = new Uint8Array(longest), back = new Uint8Array(longest);
  const over = (from, count, step, lines, stride) => {
    const out = new Uint8Array(from.length), whole = Math.ceil((count + 2 * reach) / block) * block;
    for (let n = 0; n < lines; n++) {
      line.fill(0);
      for (let i = 0, at = n * stride; i < count; i++, at += step) line[reach + i] = from[at];
      for (let i = 0; i < whole; i++) forth[i] = i % block && forth[i - 1] > line[i] ? forth[i - 1] : line[i];
      for (let i = whole - 1; i >= 0; i--) back[i] = (i + 1) % block && back[i + 1] > line[i] ? back[i + 1] : line[i];
      for (let i = 0, at = n * stride; i < count; i++, at += step) out[at] = back[i] > forth[i + 2 * reach] ? back[i] : forth[i + 2 * reach];
    }
    return out;
  };
  return { grey: over(over(grey, width, 1, height, width), height, width, width, 1), width, height };
}

/** Each pixel the mean of itself and its neighbours. */
export function smoothed({ grey, width, height }) {
  return { grey: Uint8Array.from(means(grey, width, height, 1)), width, height };
}

/**
 * What is darker than its neighbourhood, so that a shadow over part of the picture does no harm.
 * @param {number} reach pixels to each side that count as neighbourhood: it must be wider than a finder pattern is
 * @returns {import('./detect.js').Picture}
 */
export function searchable({ grey, width, height }, reach) {
  const level = means(grey, width, height, reach), dark = new Uint8Array(grey.length);
  for (let at = 0; at < dark.length; at++) dark[at] = grey[at] < level[at] - CLEARLY ? 1 : 0;
  return { grey, level, dark, width, height };
}

/** Of the light that falls on a place, so much or less comes back from what is dark. */
const REFLECTED = 0.62;

/**
 * What is much darker than the paper around it would be in the same light. The light is found by closing (dilation, then erosion): what is dark and
 * narrow is filled up, and a shadow keeps its edge, however hard that is and wherever it lies.
 * @param {number} reach pixels: twice that is wider than the core of a finder pattern
 * @returns {import('./detect.js').Picture}
 */
export function lit(picture, reach) {
  const { grey, width, height } = picture, light = inverted(brightest(inverted(brightest(picture, reach)), reach)).grey;
  const level = Float32Array.from(light, (value) => value * REFLECTED), dark = new Uint8Array(grey.length);
  for (let at = 0; at < dark.length; at++) dark[at] = grey[at] < level[at] - CLEARLY ? 1 : 0;
  return { grey, level, dark, width, height, sharp: true };
}
