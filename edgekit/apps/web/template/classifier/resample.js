// Resamples images of 8 bits in integers, as edgekit does; the order of all steps matters.

const PRECISION_BITS = 22; // behind the point of a weight

const FILTERS = {
  area: { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weight: cubic },
};

/** Keys' cubic with a = -0.5 (IEEE Transactions ASSP 29(6), 1981, equation 15). */
function cubic(signed) {
  const x = Math.abs(signed);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/**
 * Resamples a part of an image: its width first, then its height.
 *
 * image: {width, height, channels, data}; channels do not mix.
 * box: left, top, right and bottom edge of the part, in pixels; edges may lie inside pixels.
 */
export function resample(image, rows, columns, [left, top, right, bottom], interpolation) {
  const { width, height, channels, data } = image;
  const down = taps(height, rows, top, bottom, interpolation);
  // Rows that no row of the result is made of need not become narrow.
  const from = Math.min(...down.map((tap) => tap.begin));
  const to = Math.max(...down.map((tap) => tap.begin + tap.weights.length));
  const across = taps(width, columns, left, right, interpolation);
  const narrow = new Uint8Array((to - from) * columns * channels);
  for (let y = from; y < to; y += 1) {
    const row = y * width * channels;
    pass(data, row, channels, across, channels, narrow, (y - from) * columns * channels, channels);
  }
  const found = new Uint8Array(rows * columns * channels);
  const step = columns * channels;
  pass(narrow, -from * step, step, down, step, found, 0, step);
  return { width: columns, height: rows, channels, data: found };
}

/**
 * One pass: groups of `count` values, of which each is a sum of groups of the image.
 *
 * A group begins every `step` values in `data` from `start` on, and in `found` from `place` on.
 */
function pass(data, start, step, all, count, found, place, apart) {
  for (let k = 0; k < all.length; k += 1) {
    const { begin, weights } = all[k];
    const first = start + begin * step;
    for (let c = 0; c < count; c += 1) {
      if (weights.length === 1 && weights[0] === 1 << PRECISION_BITS) {
        found[place + k * apart + c] = data[first + c];
        continue;
      }
      let total = 1 << (PRECISION_BITS - 1); // a half
      for (let i = 0, at = first + c; i < weights.length; i += 1, at += step) {
        total += data[at] * weights[i];
      }
      const value = total >> PRECISION_BITS;
      found[place + k * apart + c] = value < 0 ? 0 : value > 255 ? 255 : value;
    }
  }
}

/**
 * What each of `count` values is made of, between two edges of `size` pixels: the first pixel, and
 * the weights from there on, each times 2 to the power of PRECISION_BITS.
 */
function taps(size, count, first, last, interpolation) {
  if (first === 0 && last === size && count === size) {
    return Array.from({ length: count }, (_, begin) => ({ begin, weights: [1 << PRECISION_BITS] }));
  }
  // Edges, and their distance, are rounded to float32; all else is float64.
  const start = Math.fround(first);
  const step = Math.fround(Math.fround(last) - start) / count;
  if (interpolation === "nearest") return nearest(size, count, start, step);
  const { reach: own, weight } = FILTERS[interpolation];
  // A filter widens where it shrinks an image, and narrows nowhere.
  const stretch = Math.max(step, 1);
  const reach = own * stretch;
  const perPixel = 1 / stretch;
  return Array.from({ length: count }, (_, k) => {
    const centre = start + (k + 0.5) * step;
    const begin = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), size);
    const shares = [];
    let total = 0;
    for (let i = begin; i < end; i += 1) {
      const share = weight((i - centre + 0.5) * perPixel);
      shares.push(share);
      total += share;
    }
    const scaled = shares.map((share) => halfAwayFromZero((share / total) * 2 ** PRECISION_BITS));
    return { begin, weights: Int32Array.from(scaled) };
  });
}

function nearest(size, count, start, step) {
  let place = start + step * 0.5;
  return Array.from({ length: count }, () => {
    const begin = Math.min(Math.trunc(place), size - 1);
    place += step; // added up: a product has other last bits
    return { begin, weights: [1 << PRECISION_BITS] };
  });
}

function halfAwayFromZero(x) {
  return x >= 0 ? Math.floor(x + 0.5) : Math.ceil(x - 0.5);
}
