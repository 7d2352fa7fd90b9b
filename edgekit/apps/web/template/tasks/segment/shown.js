// What the page shows of what an image consists of.

import { UNSEEN } from "./classifier/decode.js";

const MOST = 10; // lines beside the image

/** A name and a share from 0 to 1 for each line. */
export const rowsOf = ({ classes }) =>
  classes.slice(0, MOST).map(({ name, share: part }) => ({ name, part }));

/** A canvas with the image {width, height, data} under the colours of its classes. */
export function paint({ width, height, data }, { mask }) {
  const canvas = new OffscreenCanvas(width, height);
  const colours = Array.from({ length: UNSEEN }, (_, index) => rgbOf(hueOf(index)));
  const mixed = Uint8ClampedArray.from(data);
  mask.data.forEach((index, i) => {
    if (index === UNSEEN) return;
    colours[index].forEach((value, c) => {
      mixed[4 * i + c] = (mixed[4 * i + c] + value) / 2;
    });
  });
  canvas.getContext("2d").putImageData(new ImageData(mixed, width, height), 0, 0);
  return canvas;
}

/** A colour for a class; those of neighbours in a list are far from each other. */
const hueOf = (index) => ((index * 0.618034) % 1) * 360;

/** Red, green and blue of a strong colour. */
function rgbOf(hue) {
  return [0, 8, 4].map((n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.45 - 0.38 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
}
