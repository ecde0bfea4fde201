/**
 * Takes a link's secret out of the address bar and this tab's history, before any other module runs; it stays in this module until it is asked for.
 * The browser itself may have noted the visited link already, in its own list or for synchronising: what protects a pairing is that its
 * link serves once, and not for long.
 */

let arrived = location.hash ? location.href : null;
if (location.hash || location.pathname !== '/') history.replaceState(null, '', '/');

/** The address with which the page was opened, if that was a link of ours; once. */
export function takeArrival() {
  const link = arrived;
  arrived = null;
  return link;
}
