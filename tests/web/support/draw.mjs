// Pictures of QR codes as a phone's camera sees them.

/** Always the same numbers, 0 to 1: mulberry32. */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** What turns pixels into modules: the corners of the code are where the picture has `corners`. */
function back(corners, size) {
  const modules = [[0, 0], [size, 0], [size, size], [0, size]];
  const rows = corners.flatMap(([x, y], n) => {
    const [u, v] = modules[n];
    return [[x, y, 1, 0, 0, 0, -x * u, -y * u, u], [0, 0, 0, x, y, 1, -x * v, -y * v, v]];
  });
  for (let n = 0; n < 8; n++) {
    const pivot = rows.slice(n).reduce((most, row) => (Math.abs(row[n]) > Math.abs(most[n]) ? row : most));
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(n, 0, pivot);
    for (const row of rows) {
      const factor = row === pivot ? 0 : row[n] / pivot[n];
      for (let i = n; i < 9; i++) row[i] -= factor * pivot[i];
    }
  }
  const [a, b, c, d, e, f, g, h] = rows.map((row, n) => row[8] / row[n]);
  return (x, y) => {
    const depth = g * x + h * y + 1;
    return [(a * x + b * y + c) / depth, (d * x + e * y + f) / depth];
  };
}

/** Corners of a code `side` pixels wide in the middle of the frame: turned by degrees, then seen from the left and from above by so much. */
export function placed({ side, turn = 0, tilt = [0, 0], stretch = 1, width = 640, height = 480 }) {
  const angle = (turn * Math.PI) / 180, cos = Math.cos(angle), sin = Math.sin(angle), half = side / 2;
  return [[-half, -half], [half, -half], [half, half], [-half, half]].map(([x, y]) => {
    const u = x * cos - y * sin, v = (x * sin + y * cos) * stretch, depth = 1 + (tilt[0] * u + tilt[1] * v) / side;
    return [width / 2 + u / depth, height / 2 + v / depth];
  });
}

/** Evens out over `reach` pixels to each side; three times is near a lens out of focus. */
function blurred(values, width, height, reach) {
  const over = (from, count, step, lines, stride) => {
    const out = new Float32Array(from.length);
    for (let line = 0; line < lines; line++) {
      for (let n = 0; n < count; n++) {
        let sum = 0, all = 0;
        for (let i = Math.max(0, n - Math.ceil(reach)); i <= Math.min(count - 1, n + Math.ceil(reach)); i++) {
          const weight = Math.min(1, reach + 1 - Math.abs(i - n));
          sum += weight * from[line * stride + i * step];
          all += weight;
        }
        out[line * stride + n * step] = sum / all;
      }
    }
    return out;
  };
  return over(over(values, width, 1, height, width), height, width, width, 1);
}

/**
 * A code (`size`, `dark(x, y)`) in a frame. `quiet` is the width of the light border in modules (left, top, right, bottom), `gap` how much of every
 * second row of modules a terminal leaves out between its lines.
 */
export function frame(code, {
  width = 640, height = 480, corners, quiet = [4, 4, 4, 4], light = 230, dark = 30, around = 120, gap = 0, blur = 0, noise = 0, shade = () => 1,
}) {
  const modules = back(corners, code.size), rand = random(1);
  const at = (x, y) => {
    const [u, v] = modules(x, y);
    if (u < -quiet[0] || v < -quiet[1] || u >= code.size + quiet[2] || v >= code.size + quiet[3]) return around;
    if (gap && (v + 100) % 2 < gap) return around;
    return u >= 0 && v >= 0 && u < code.size && v < code.size && code.dark(Math.floor(u), Math.floor(v)) ? dark : light;
  };
  let values = new Float32Array(width * height);
  for (let n = 0; n < values.length; n++) {
    const x = n % width, y = Math.floor(n / width);
    for (const dx of [0.25, 0.75]) for (const dy of [0.25, 0.75]) values[n] += at(x + dx, y + dy) / 4;
    values[n] *= shade(x / width, y / height);
  }
  if (blur) values = blurred(blurred(values, width, height, blur), width, height, blur);
  return image(width, height, (n) => values[n] + noise * (rand() + rand() + rand() - 1.5) * 2);
}

/** An RGBA picture of grey values. */
export function image(width, height, value) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let n = 0; n < width * height; n++) {
    data[4 * n] = data[4 * n + 1] = data[4 * n + 2] = value(n);
    data[4 * n + 3] = 255;
  }
  return { data, width, height };
}
