/**
 * Two clocks: one that only counts (countdowns, ages), and the wall's, whose error is known from the NAS's `Date` header.
 * A wrong wall clock moves no countdown.
 */

/** Less is not worth a word. In seconds; the header itself has whole seconds and a journey behind it. */
const TOLERANCE = 90;

let ahead = 0;

/** Milliseconds that only go forward. */
export const now = () => performance.now();

/** Learns from an answer's `Date` header how far this phone's clock is ahead of the NAS's. */
export function learn(header) {
  const told = Date.parse(header ?? '');
  if (!Number.isNaN(told)) ahead = Math.round((Date.now() - told) / 1000);
}

/** How far this phone's clock is ahead of the NAS's, in seconds; 0 where it is not worth a word. */
export const skew = () => (Math.abs(ahead) > TOLERANCE ? ahead : 0);

/** The NAS's time, in seconds since 1970. */
export const nasTime = () => Date.now() / 1000 - ahead;

/** The number of whole seconds from now until `deadline` (of `now`), never negative. */
export const left = (deadline) => Math.max(0, Math.ceil((deadline - now()) / 1000));
