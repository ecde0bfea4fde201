/**
 * Finds QR codes in a picture and samples their modules.
 *
 * Coordinates are pixels with the corner of the picture as (0, 0): the middle of the first pixel is (0.5, 0.5). What is tried has caps, so that a
 * picture of noise ends as soon as any other.
 *
 * @typedef {{ grey: Uint8Array, level: Float32Array, dark: Uint8Array, width: number, height: number, sharp?: boolean }} Picture
 *   brightness, what divides dark from light there, and whether a pixel is clearly darker than that; `sharp` where that holds to the pixel
 * @typedef {{ x: number, y: number }} Point
 * @typedef {{ x: number, y: number, unit: number, corners: Point[], share: number }} Finder
 *   middle of a finder pattern, its mean module in pixels, clockwise the corners of its light ring, and how well it looks like one
 */

import { DARK, LIGHT, layout, sizeOf, versionOf } from './decode.js';
import { means } from './picture.js';

/** Caps on the work for one picture: what is tried, and how many modules are looked at for that. */
const MOST_TRACES = 3000, MOST_FOUND = 200, MOST_FINDERS = 20, MOST_TRIPLES = 8, MOST_LOOKS = 200_000;

/** So many of the modules that are known tell as much about where a code is as all of a large one's. */
const MOST_KNOWN = 300;

/** Rays around a finder pattern, and how many of them must cross what they should. */
const RAYS = 48, ENOUGH = 38;
const DIRECTIONS = Array.from({ length: RAYS }, (_, n) => ({ x: Math.cos((2 * Math.PI * n) / RAYS), y: Math.sin((2 * Math.PI * n) / RAYS) }));

/** How well dark and light must stand where they belong, from 0 by chance to 1: in a finder pattern, and in a code, which may be bent. */
const LIKELY_FINDER = 0.6, LIKELY_CODE = 0.4;

/** Where in a module its brightness is taken: clear of its edges. */
const WITHIN = [[0.3, 0.3], [0.7, 0.3], [0.3, 0.7], [0.7, 0.7], [0.5, 0.5]];

/** The modules of an alignment pattern from its middle, and their weight: the mean of the light ring less that of the rest. */
const ALIGNMENT = Array.from({ length: 25 }, (_, n) => [(n % 5) - 2, Math.floor(n / 5) - 2]).map(([x, y]) => {
  const light = Math.max(Math.abs(x), Math.abs(y)) === 1;
  return [x, y, light ? 1 / 8 : -1 / 17];
});

/** The light ring of a finder pattern and what it encloses, from the corner of the ring, and where the ring's corners are, in modules. */
const FINDER = Array.from({ length: 25 }, (_, n) => [n % 5, Math.floor(n / 5)])
  .map(([x, y]) => ({ x, y, sign: Math.max(Math.abs(x - 2), Math.abs(y - 2)) < 2 ? 1 : -1 }));
const RING = [{ x: 0, y: 0 }, { x: 5, y: 0 }, { x: 5, y: 5 }, { x: 0, y: 5 }];

const minus = (a, b) => ({ x: a.x - b.x, y: a.y - b.y });
/** From `a` so many times the way to `b`. */
const along = (a, b, share) => ({ x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * share });
const cross = (a, b) => a.x * b.y - a.y * b.x;
const dot = (a, b) => a.x * b.x + a.y * b.y;
const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);
const best = (items, value) => items.reduce((found, item) => (value(item) > value(found) ? item : found));

function isDark({ dark, width, height }, x, y) {
  return x >= 0 && y >= 0 && x < width && y < height && dark[Math.floor(y) * width + Math.floor(x)] === 1;
}

/** Where two lines, each through two points, meet. */
function meet([a, b], [c, d]) {
  const share = cross(minus(c, a), minus(d, c)) / cross(minus(b, a), minus(d, c));
  return Number.isFinite(share) ? along(a, b, share) : null;
}

/** Out of the middle of a finder pattern: where its core ends and its dark ring begins, in pixels from there; null past `limit`. */
function ray(picture, from, way, limit) {
  let core = 0;
  for (let far = 0; far < limit; far += 0.5) {
    const dark = isDark(picture, from.x + way.x * far, from.y + way.y * far);
    if (!core && !dark) core = far;
    else if (core && dark) return { core, ring: far - 0.25 };
  }
  return null;
}

/** The line nearest to all points, as two points. */
function line(points) {
  const middle = { x: 0, y: 0 };
  for (const p of points) {
    middle.x += p.x / points.length;
    middle.y += p.y / points.length;
  }
  let xx = 0, xy = 0, yy = 0;
  for (const p of points) {
    const off = minus(p, middle);
    xx += off.x * off.x;
    xy += off.x * off.y;
    yy += off.y * off.y;
  }
  const angle = Math.atan2(2 * xy, xx - yy) / 2;
  return [middle, { x: middle.x + Math.cos(angle), y: middle.y + Math.sin(angle) }];
}

/** The corners of the quadrangle around which the points stand, clockwise; null if they stand otherwise. */
function corners(points, middle) {
  const a = best(points, (p) => distance(p, middle)), c = best(points, (p) => distance(p, a)), diagonal = minus(c, a);
  const b = best(points, (p) => cross(diagonal, minus(p, a))), d = best(points, (p) => -cross(diagonal, minus(p, a)));
  const at = [a, b, c, d].map((p) => points.indexOf(p)).sort((m, n) => m - n);
  const sides = at.map((from, n) => {
    const length = (at[(n + 1) % 4] - from + points.length) % points.length;
    // Corners are round where the picture is blurred: what stands near them belongs to no side.
    const skip = Math.max(1, Math.floor(length / 6));
    return Array.from({ length: length - 2 * skip + 1 }, (_, i) => points[(from + skip + i) % points.length]);
  });
  if (sides.some((side) => side.length < 3)) return null;
  const lines = sides.map(line), found = lines.map((side, n) => meet(lines[(n + 3) % 4], side));
  return found.includes(null) ? null : found;
}

/** The middle between the dark rings above and below a point, then left and right of there; null without them. */
function centred(picture, start, unit) {
  let from = start;
  for (const way of [{ x: 0, y: 1 }, { x: 1, y: 0 }]) {
    const ahead = ray(picture, from, way, 6 * unit), back = ahead && ray(picture, from, { x: -way.x, y: -way.y }, 6 * unit);
    if (!back || Math.abs(ahead.ring - back.ring) > 5 * unit) return null;
    const shift = (ahead.ring - back.ring) / 2;
    from = { x: from.x + way.x * shift, y: from.y + way.y * shift };
  }
  return from;
}

/** The finder pattern around its middle, or null. That its dark ring ends somewhere is not asked: a quiet zone may be missing. */
function trace(picture, from, unit) {
  const points = [];
  for (const [tried, way] of DIRECTIONS.entries()) {
    // What can no longer have enough is none: noise is left here, after a few rays.
    if (points.length + RAYS - tried < ENOUGH) return null;
    const hit = ray(picture, from, way, 8 * unit);
    if (!hit || Math.abs(hit.core - 0.6 * hit.ring) > 0.12 * hit.ring + 1) continue;
    const at = (share) => ({ x: from.x + way.x * hit.ring * share, y: from.y + way.y * hit.ring * share });
    if (isDark(picture, at(1.2).x, at(1.2).y)) points.push(at(1));
  }
  const found = points.length >= ENOUGH && corners(points, from);
  const middle = found && meet([found[0], found[2]], [found[1], found[3]]);
  // Sides that are nearly parallel meet far away.
  if (!middle || distance(middle, from) > 1.5 * unit || found.some((corner) => distance(corner, from) > 12 * unit)) return null;
  const area = Math.abs(cross(minus(found[2], found[0]), minus(found[3], found[1]))) / 2;
  const matrix = perspective(RING, found);
  return matrix && { ...middle, unit: Math.sqrt(area) / 5, corners: found, share: fit(picture, matrix, FINDER).share };
}

/** Where the colour changes in a row, the first run being light. */
function edges({ dark, width }, y, out) {
  let count = 0, last = 0;
  for (let x = 0; x < width; x++) {
    const now = dark[y * width + x];
    if (now !== last) out[count++] = x;
    last = now;
  }
  out[count] = width;
  return count;
}

/** Where in the rows a finder pattern may be: along each line through its middle, dark and light are 1:1:3:1:1. */
function* starts(picture) {
  const at = new Int32Array(picture.width + 1);
  for (let y = 0; y < picture.height; y++) {
    const count = edges(picture, y, at);
    // Each even one begins a dark run.
    for (let n = 2; n + 2 < count; n += 2) {
      const before = at[n] - at[n - 1], core = at[n + 1] - at[n], after = at[n + 2] - at[n + 1], unit = (before + core + after) / 5;
      if (core < 3 || Math.abs(core - 3 * unit) > unit + 0.5 || Math.abs(before - after) > unit + 0.5) continue;
      if (at[n - 1] - at[n - 2] < unit / 2 || at[n + 3] - at[n + 2] < unit / 2) continue;
      yield { x: (at[n] + at[n + 1]) / 2, y: y + 0.5, unit };
    }
  }
}

/** The likeliest finder patterns: noise, and the data of a large code, have many that only resemble one. */
function finders(picture) {
  const found = [], known = (at) => found.some((finder) => distance(finder, at) < 3 * finder.unit);
  let traces = 0;
  for (const start of starts(picture)) {
    if (known(start)) continue;
    const middle = centred(picture, start, start.unit);
    if (!middle || known(middle)) continue;
    if (++traces > MOST_TRACES || found.length === MOST_FOUND) break;
    const finder = trace(picture, middle, start.unit);
    if (finder && finder.share > LIKELY_FINDER && !known(finder)) found.push(finder);
  }
  return found.sort((a, b) => b.share - a.share).slice(0, MOST_FINDERS);
}

/** How unlike finder patterns in three corners of a square these are, the first as the one in the middle; 0 like them. */
function unlikeness([corner, right, below]) {
  const x = minus(right, corner), y = minus(below, corner), across = Math.hypot(x.x, x.y), down = Math.hypot(y.x, y.y);
  const units = [corner.unit, right.unit, below.unit];
  const shape = Math.log(Math.max(...units) / Math.min(...units)) + Math.abs(Math.log(across / down)) + Math.abs(dot(x, y)) / across / down;
  return shape + 3 - corner.share - right.share - below.share;
}

/** The likeliest triples of finder patterns: top left, top right, bottom left. */
function triples(found) {
  const out = [];
  for (let i = 0; i < found.length; i++) {
    for (let j = i + 1; j < found.length; j++) {
      for (let k = j + 1; k < found.length; k++) {
        const [a, b, c] = [found[i], found[j], found[k]];
        // The longest side is the diagonal.
        const [corner, one, two] = best([[a, b, c], [b, c, a], [c, a, b]], ([, p, q]) => distance(p, q));
        const triple = cross(minus(one, corner), minus(two, corner)) > 0 ? [corner, one, two] : [corner, two, one];
        const cost = unlikeness(triple);
        if (cost < 1.5) out.push({ triple, cost });
      }
    }
  }
  return out.sort((a, b) => a.cost - b.cost).slice(0, MOST_TRIPLES).map(({ triple }) => triple);
}

/** The corners again, beginning with the one that is top left if the code's axes point along `x` and `y`. */
function turned({ corners: q }, x, y) {
  const turn = best([0, 1, 2, 3], (n) => {
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => q[(n + i) % 4]);
    return dot(minus(b, a), x) + dot(minus(c, d), x) + dot(minus(d, a), y) + dot(minus(c, b), y);
  });
  return [0, 1, 2, 3].map((n) => q[(turn + n) % 4]);
}

/** How often dark and light change between two points. */
function changes(picture, from, to) {
  const steps = Math.ceil(distance(from, to) * 2);
  let count = 0, last = 1;
  for (let n = 0; n <= steps; n++) {
    const at = along(from, to, n / steps), now = isDark(picture, at.x, at.y) ? 1 : 0;
    if (now !== last) count++;
    last = now;
  }
  return count;
}

/** The versions that the length of the timing patterns, and that of a module, speak for. */
function versions(picture, [corner, right, below], [qc, qr, qb]) {
  // The timing patterns run between the dark rings, half a module beyond the light ones.
  const inner = along(qc[0], qc[2], 1.1);
  const across = changes(picture, inner, along(qr[1], qr[3], 1.1)) + 13, down = changes(picture, inner, along(qb[3], qb[1], 1.1)) + 13;
  const unit = (distance(qc[0], qc[1]) + distance(qr[0], qr[1])) / 10;
  return [...new Set([across, down, distance(corner, right) / unit + 7].map(versionOf))];
}

/** Solves a square system of linear equations, each row with its right side last; null if it has no single answer. */
function solve(rows) {
  const count = rows.length;
  for (let n = 0; n < count; n++) {
    const pivot = best(rows.slice(n), (row) => Math.abs(row[n])), at = rows.indexOf(pivot);
    if (Math.abs(pivot[n]) < 1e-9) return null;
    [rows[n], rows[at]] = [pivot, rows[n]];
    for (const row of rows) {
      if (row === pivot || row[n] === 0) continue;
      const factor = row[n] / pivot[n];
      for (let i = n; i <= count; i++) row[i] -= factor * pivot[i];
    }
  }
  return rows.map((row, n) => row[count] / row[n]);
}

/** The perspective that takes four points of the code, in modules, to four of the picture. */
function perspective(modules, points) {
  return solve(modules.flatMap(({ x, y }, n) => {
    const { x: u, y: v } = points[n];
    return [[x, y, 1, 0, 0, 0, -x * u, -y * u, u], [0, 0, 0, x, y, 1, -x * v, -y * v, v]];
  }));
}

function project([a, b, c, d, e, f, g, h], x, y) {
  const depth = g * x + h * y + 1;
  return { x: (a * x + b * y + c) / depth, y: (d * x + e * y + f) / depth };
}

/** Brightness between the pixels. */
function brightness({ grey, width, height }, { x, y }) {
  const u = Math.min(Math.max(x - 0.5, 0), width - 1.001), v = Math.min(Math.max(y - 0.5, 0), height - 1.001);
  const left = Math.floor(u), top = Math.floor(v), s = u - left, t = v - top, at = top * width + left;
  return (grey[at] * (1 - s) + grey[at + 1] * s) * (1 - t) + (grey[at + width] * (1 - s) + grey[at + width + 1] * s) * t;
}

/** Mean brightness inside a module. */
function moduleAt(picture, matrix, x, y) {
  let sum = 0;
  for (const [dx, dy] of WITHIN) sum += brightness(picture, project(matrix, x + dx, y + dy));
  return sum / WITHIN.length;
}

/** How well dark and light stand where each code of the version has them: `sum` for comparisons, `share` 1 as it should be and 0 by chance. */
function fit(picture, matrix, known) {
  const { level, width, height } = picture;
  picture.left -= known.length;
  if (picture.left < 0) return { sum: -Infinity, share: -1 };
  let sum = 0, all = 1;
  for (const { x, y, sign } of known) {
    const at = project(matrix, x + 0.5, y + 0.5);
    if (!(at.x >= 0 && at.y >= 0 && at.x < width && at.y < height)) return { sum: -Infinity, share: -1 };
    const off = level[Math.floor(at.y) * width + Math.floor(at.x)] - moduleAt(picture, matrix, x, y);
    sum += sign * off;
    all += Math.abs(off);
  }
  return { sum, share: sum / all };
}

/** Modules from all over the code that are the same in each one of the version; `sign` 1 dark, -1 light. */
function knownModules(version) {
  const size = sizeOf(version), out = [];
  layout(version).forEach((kind, at) => {
    if (kind === DARK || kind === LIGHT) out.push({ x: at % size, y: Math.floor(at / size), sign: kind === DARK ? 1 : -1 });
  });
  const each = Math.max(1, out.length / MOST_KNOWN);
  return Array.from({ length: Math.floor(out.length / each) }, (_, n) => out[Math.floor(n * each)]);
}

/** The place near `around` that looks most like an alignment pattern: light ring against dark rest. */
function alignment(picture, matrix, at, reach) {
  const middle = project(matrix, at, at), x = minus(project(matrix, at + 1, at), middle), y = minus(project(matrix, at, at + 1), middle);
  const place = (i, j) => ({ x: middle.x + x.x * i + y.x * j, y: middle.y + x.y * i + y.y * j });
  let found = { contrast: -Infinity, point: middle };
  for (let j = -reach; j <= reach; j += 0.5) {
    for (let i = -reach; i <= reach; i += 0.5) {
      let contrast = -Math.hypot(i, j);
      for (const [dx, dy, weight] of ALIGNMENT) contrast += weight * brightness(picture, place(i + dx, j + dy));
      if (contrast > found.contrast) found = { contrast, point: place(i, j) };
    }
  }
  return found.point;
}

/** Moves the points by ever smaller parts of a module, wherever the fit grows: the perspective in the end, and its fit. */
function refine(picture, modules, points, known, unit) {
  let matrix = perspective(modules, points), now = matrix ? fit(picture, matrix, known) : { sum: -Infinity, share: -1 };
  for (const step of [0.6, 0.3, 0.15, 0.08]) {
    for (const point of points) {
      for (const [axis, sign] of [['x', 1], ['x', -1], ['y', 1], ['y', -1]]) {
        const before = point[axis];
        point[axis] += sign * step * unit;
        const moved = perspective(modules, points), then = moved && fit(picture, moved, known);
        if (then && then.sum > now.sum) [matrix, now] = [moved, then];
        else point[axis] = before;
      }
    }
    // What is nowhere near a code yet would only cost time.
    if (now.share < LIKELY_CODE / 2) break;
  }
  return { matrix, share: now.share };
}

/** Where the modules of a code of this version are: the perspective, and how well it fits. */
function grid(picture, [corner, right, below], [, qr, qb], version) {
  const size = sizeOf(version), known = knownModules(version);
  const ends = [{ x: 3.5, y: 3.5 }, { x: size - 3.5, y: 3.5 }, { x: 3.5, y: size - 3.5 }], middles = [corner, right, below];
  const far = meet([qr[1], qr[2]], [qb[3], qb[2]]), fourth = { x: size - 1, y: size - 1 };
  let modules = [...ends, fourth], points = [...middles, far], matrix = far && perspective(modules, points);
  if (!matrix) return { share: -1 };
  if (version > 1) {
    const at = size - 6.5;
    modules = [...ends, { x: at, y: at }];
    points = [...middles, alignment(picture, matrix, at, 2 + size / 16)];
  }
  return { size, ...refine(picture, modules, points.map(({ x, y }) => ({ x, y })), known, corner.unit) };
}

/** The modules, each dark if it is darker than the mean of those around it; where the light is known to the pixel, than that tells. */
function sample(picture, { matrix, size }) {
  const values = Float32Array.from({ length: size * size }, (_, at) => moduleAt(picture, matrix, at % size, Math.floor(at / size)));
  const mean = picture.sharp ? levels(picture, matrix, size) : means(values, size, size, 5);
  return { size, bits: Uint8Array.from(values, (value, at) => (value < mean[at] ? 1 : 0)) };
}

/** What divides dark from light in the middle of each module. */
function levels({ level, width, height }, matrix, size) {
  return Float32Array.from({ length: size * size }, (_, module) => {
    const { x, y } = project(matrix, (module % size) + 0.5, Math.floor(module / size) + 0.5);
    return level[Math.min(height - 1, Math.max(0, Math.floor(y))) * width + Math.min(width - 1, Math.max(0, Math.floor(x)))];
  });
}

/**
 * What may be codes in the picture, the likeliest first.
 * @param {Picture} searched
 * @returns {Generator<{ size: number, bits: Uint8Array }>} modules a side, and the modules row by row, 1 dark
 */
export function* matrices(searched) {
  const picture = Object.assign(Object.create(searched), { left: MOST_LOOKS });
  for (const triple of triples(finders(picture))) {
    const [corner, right, below] = triple, quads = triple.map((finder) => turned(finder, minus(right, corner), minus(below, corner)));
    const grids = versions(picture, triple, quads).map((version) => grid(picture, triple, quads, version));
    for (const found of grids.filter(({ share }) => share > LIKELY_CODE).sort((a, b) => b.share - a.share)) yield sample(picture, found);
  }
}
