/** Takes a link's secret out of the address bar and the history before anything else happens. It stays in this module until it is asked for. */

let arrived = location.hash ? location.href : null;
if (location.hash || location.pathname !== '/') history.replaceState(null, '', '/');

/** The address with which the page was opened, if that was a link of ours; once. */
export function takeArrival() {
  const link = arrived;
  arrived = null;
  return link;
}
