// Makes a network's input from pixels, as the contract beside the model says.
//
// It has two halves: `finishedPixels` (integers: transparency, grey, size) and `values` (floats:
// scale, mean, standard deviation, axes). `how` is `preprocessing` of the contract.

import { ImageError } from "./errors.js";
import { resample } from "./resample.js";

/** Pixels {width, height, data} in RGBA, turned as an EXIF orientation says. */
export function turned(pixels, orientation) {
  if (!(orientation > 1 && orientation < 9)) return pixels;
  const { width, height } = pixels;
  const from = new Uint32Array(pixels.data.buffer, pixels.data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  const across = orientation > 4; // rows become columns
  const [wide, tall] = across ? [height, width] : [width, height];
  const mirrored = [2, 3, 7, 8].includes(orientation); // along the image's own rows
  const upended = [3, 4, 6, 7].includes(orientation); // along its columns
  for (let y = 0; y < tall; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const [u, v] = across ? [y, x] : [x, y];
      const column = mirrored ? width - 1 - u : u;
      const row = upended ? height - 1 - v : v;
      to[y * wide + x] = from[row * width + column];
    }
  }
  return { width: wide, height: tall, data: new Uint8Array(to.buffer) };
}

/** {width, height, channels, data} in the network's size: uint8, rows of pixels, in RGB. */
export function finishedPixels(pixels, how) {
  const { box, rows, columns, top, left } = placed(pixels, how);
  const shown = resample(channelsOf(pixels, how), rows, columns, box, how.interpolation);
  const [tall, wide] = pair(how.crop);
  if (rows === tall && columns === wide) return shown;
  const { channels } = shown;
  const data = new Uint8Array(tall * wide * channels).fill(how.pad);
  for (let y = 0; y < rows; y += 1) {
    const row = shown.data.subarray(y * columns * channels, (y + 1) * columns * channels);
    data.set(row, ((top + y) * wide + left) * channels);
  }
  return { width: wide, height: tall, channels, data };
}

/**
 * Which part of an image of a size {width, height} is shown where in the network's input: `box`
 * (left, top, right, bottom) on `rows` times `columns` pixels, which begin at `top` and `left`.
 */
export function placed({ width, height }, how) {
  const [tall, wide] = pair(how.crop);
  if (how.fit === "letterbox") {
    const byHeight = tall * width <= wide * height;
    const [part, whole] = byHeight ? [tall, height] : [wide, width];
    const rows = Math.max(1, inProportion(height, part, whole));
    const columns = Math.max(1, inProportion(width, part, whole));
    const [top, left] = [Math.floor((tall - rows) / 2), Math.floor((wide - columns) / 2)];
    return { box: [0, 0, width, height], rows, columns, top, left };
  }
  let [rows, columns] = [height, width];
  if (how.fit === "stretch") {
    [rows, columns] = pair(how.resize ?? how.crop);
  } else if (how.resize !== null) {
    const [leastRows, leastColumns] = pair(how.resize);
    const byHeight = leastRows * width >= leastColumns * height;
    const [part, whole] = byHeight ? [leastRows, height] : [leastColumns, width];
    [rows, columns] = [inProportion(height, part, whole), inProportion(width, part, whole)];
  }
  if (rows < tall || columns < wide) {
    throw new ImageError(
      `the image is ${columns} x ${rows} px where the network takes ${wide} x ${tall}: ` +
        "give a larger one",
    );
  }
  const [top, bottom] = middle(height, rows, tall);
  const [left, right] = middle(width, columns, wide);
  return { box: [left, top, right, bottom], rows: tall, columns: wide, top: 0, left: 0 };
}

/** Finished pixels as the network takes them, in float32. */
export function values({ width, height, channels, data }, how) {
  const found = new Float32Array(data.length);
  const blueFirst = ["BGR", "BGRA"].includes(how.channel_order);
  const first = how.layout === "NCHW";
  const area = width * height;
  for (let c = 0; c < channels; c += 1) {
    const table = valuesOfChannel(how, c);
    const source = blueFirst && c < 3 ? 2 - c : c;
    for (let i = 0; i < area; i += 1) {
      found[first ? c * area + i : i * channels + c] = table[data[i * channels + source]];
    }
  }
  return found;
}

/** What becomes of the values 0 to 255 of a channel; each step is rounded to float32. */
function valuesOfChannel(how, channel) {
  const [scale, mean, std] = [how.scale, how.mean[channel], how.std[channel]].map(Math.fround);
  return Float32Array.from(
    { length: 256 },
    (_, value) => Math.fround(Math.fround(value * scale) - mean) / std,
  );
}

/** Transparency and grey, before anything is resampled: {width, height, channels, data}. */
function channelsOf({ width, height, data }, how) {
  if (how.alpha === "keep") return { width, height, channels: 4, data };
  const grey = how.channel_order === "L";
  const channels = grey ? 1 : 3;
  const found = new Uint8Array(width * height * channels);
  const behind = how.alpha === "white" ? 255 : 0;
  for (let from = 0, to = 0; from < data.length; from += 4, to += channels) {
    const opacity = how.alpha === "drop" ? 255 : data[from + 3];
    const base = behind * (255 - opacity) + 127;
    let [red, green, blue] = [data[from], data[from + 1], data[from + 2]];
    if (opacity !== 255) {
      red = Math.floor((red * opacity + base) / 255);
      green = Math.floor((green * opacity + base) / 255);
      blue = Math.floor((blue * opacity + base) / 255);
    }
    if (grey) {
      found[to] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
    } else {
      found[to] = red;
      found[to + 1] = green;
      found[to + 2] = blue;
    }
  }
  return { width, height, channels, data: found };
}

export const pair = (side) => (Array.isArray(side) ? side : [side, side]);

/** `side * part / whole`, rounded half up in integers. */
function inProportion(side, part, whole) {
  return Math.floor((2 * side * part + whole) / (2 * whole));
}

/** Edges of the middle along one axis, in pixels of the image before it is resized. */
function middle(side, resized, crop) {
  const offset = Math.floor((resized - crop) / 2);
  return [(offset * side) / resized, ((offset + crop) * side) / resized];
}
