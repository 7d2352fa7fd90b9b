// What the outputs of a segmenter mean: a class for each pixel of the image.

import { pair, placed } from "./preprocess.js";

/** In a mask: pixels that the network saw nothing of. */
export const UNSEEN = 255;

/**
 * The class of each cell of the network's output: {width, height, data}.
 *
 * outputs: `scores` (classes, height, width), of which a single one is there where it is above 0; or
 * `classes` (height, width).
 * shape: of that output, with its batch axis.
 */
export function classesOf({ scores, classes }, shape) {
  const [height, width] = shape.slice(-2);
  const area = width * height;
  const data = new Uint8Array(area);
  for (let i = 0; i < area; i += 1) {
    if (classes) data[i] = Math.min(Math.max(Math.round(classes[i]), 0), UNSEEN);
    else if (scores.length === area) data[i] = scores[i] > 0 ? 1 : 0;
    else {
      let best = i;
      for (let at = i + area; at < scores.length; at += area) {
        if (scores[at] > scores[best]) best = at;
      }
      data[i] = (best - i) / area;
    }
  }
  return { width, height, data };
}

/**
 * What an image of {width, height} consists of: `mask` {width, height, data}, a class for each
 * pixel, and `classes` {index, label, name, share}, the largest first.
 */
export function decode(cells, contract, { width, height }) {
  const { box, rows, columns, top, left } = placed({ width, height }, contract.preprocessing);
  const [tall, wide] = pair(contract.preprocessing.crop);
  const down = places(height, box[1], box[3], top, rows, tall, cells.height);
  const across = places(width, box[0], box[2], left, columns, wide, cells.width);
  const data = new Uint8Array(width * height);
  const counts = new Array(UNSEEN + 1).fill(0);
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 1) {
      const seen = down[y] >= 0 && across[x] >= 0;
      data[i] = seen ? cells.data[down[y] * cells.width + across[x]] : UNSEEN;
      counts[data[i]] += 1;
    }
  }
  const all = width * height - counts[UNSEEN];
  const classes = counts
    .map((count, index) => {
      const label = contract.labels?.[index] ?? null;
      return { index, label, name: label || `class ${index}`, share: count / all };
    })
    .filter(({ index, share }) => share > 0 && index !== UNSEEN)
    .sort((a, b) => b.share - a.share);
  return { mask: { width, height, data }, classes };
}

/** The cell in which the middle of each pixel lies along one axis; -1 where none was seen. */
function places(side, first, last, offset, shown, whole, cells) {
  return Array.from({ length: side }, (_, i) => {
    const at = offset + ((i + 0.5 - first) * shown) / (last - first);
    if (!(at >= 0 && at < whole)) return -1;
    return Math.min(Math.floor((at * cells) / whole), cells - 1);
  });
}
