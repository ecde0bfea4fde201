/**
 * Reads a QR code out of a camera's picture, for browsers without `BarcodeDetector`.
 *
 * It finds one code, upright, turned or seen at an angle, dark on light or light on dark. It takes bounded time whatever the picture shows, and rather
 * says nothing than something wrong.
 */

import { decode } from './decode.js';
import { matrices } from './detect.js';
import { greyOf, halved, inverted, searchable, smoothed } from './picture.js';

/** Pixels: smaller pictures hold no code, larger ones are refused. */
const SMALLEST = 21, LARGEST = 16e6;

/** Pixels above which a picture is halved first: no camera is needed that sharp. */
const PLENTY = 1e6;

/**
 * @param {{ data: Uint8ClampedArray, width: number, height: number }} image RGBA, such as ImageData; sides in pixels
 * @returns {string | null} the text of a code in it
 */
export function scan({ data, width, height }) {
  if (!(width >= SMALLEST && height >= SMALLEST && width * height <= LARGEST && data.length >= 4 * width * height)) return null;
  let full = greyOf({ data, width, height });
  while (full.width * full.height > PLENTY) full = halved(full);
  const reach = Math.max(full.width, full.height) >> 3;
  // Smoothed, noise and the lines of a screen are gone, and light and shadow may be close together; small or very large modules want the rest.
  for (const [grey, around] of [[smoothed(full), reach >> 1], [full, reach]]) {
    for (const tone of [grey, inverted(grey)]) {
      for (const { bits, size } of matrices(searchable(tone, around))) {
        const text = decode(bits, size);
        if (text !== null) return text;
      }
    }
  }
  return null;
}
