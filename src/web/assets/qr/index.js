/**
 * Reads a QR code out of a camera's picture, for browsers without `BarcodeDetector`.
 *
 * It finds one code, upright, turned or seen at an angle, dark on light or light on dark. It takes bounded time whatever the picture shows, and rather
 * says nothing than something wrong.
 */

import { decode } from './decode.js';
import { matrices } from './detect.js';
import { greyOf, halved, inverted, lit, searchable, smoothed } from './picture.js';

/** Pixels: smaller pictures hold no code, larger ones are refused. */
const SMALLEST = 21, LARGEST = 16e6;

/** Pixels above which a picture is halved first: no camera is needed that sharp. */
const PLENTY = 1e6;

/**
 * The ways to look at a picture, the likeliest to find a code first: how it is made ready, from the whole and from the smoothed one, and the width of
 * what is around. Smoothed, noise and the lines of a screen are gone, and light and shadow may be close together; small or very large modules want
 * the rest.
 */
const WAYS = [
  (full, around) => searchable(smoothed(full), around >> 1),
  (full, around) => lit(smoothed(full), around >> 1),
  (full, around) => searchable(inverted(smoothed(full)), around >> 1),
  (full, around) => searchable(full, around),
  (full, around) => searchable(inverted(full), around),
];

/**
 * @param {{ data: Uint8ClampedArray, width: number, height: number }} image RGBA, such as ImageData; sides in pixels
 * @param {number} [turn] look in one way alone, in another one each turn: for pictures that come one after the other, each of which costs little then
 * @returns {string | null} the text of a code in it
 */
export function scan({ data, width, height }, turn) {
  if (!(width >= SMALLEST && height >= SMALLEST && width * height <= LARGEST && data.length >= 4 * width * height)) return null;
  let full = greyOf({ data, width, height });
  while (full.width * full.height > PLENTY) full = halved(full);
  const around = Math.max(full.width, full.height) >> 3;
  for (const way of turn === undefined ? WAYS : [WAYS[turn % WAYS.length]]) {
    for (const { bits, size } of matrices(way(full, around))) {
      const text = decode(bits, size);
      if (text !== null) return text;
    }
  }
  return null;
}
