/** Reads pictures beside the page, so that the camera's picture goes on smoothly: `{image, turn}` comes, a text or null goes. */

import { scan } from './index.js';

addEventListener('message', ({ data: { image, turn } }) => postMessage(scan(image, turn)));
