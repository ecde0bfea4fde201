// The page's modules under node.

import { register } from 'node:module';

export const ASSETS = new URL('../../../src/web/assets/', import.meta.url);

// Browsers take a module for one by its tag, older Nodes by a package file that the repository does not have.
register(`data:text/javascript,${encodeURIComponent(`
  export const load = (url, context, next) => next(url, url.startsWith('${ASSETS}') ? { ...context, format: 'module' } : context);
`)}`);

export const load = (name) => import(new URL(name, ASSETS));
