// What the tests share: the golden images, and how far results are from what is expected.

import { readFile } from "node:fs/promises";

import { decodePng } from "../classifier/png.js";

const GOLDEN = new URL("../golden/", import.meta.url);

export const golden = JSON.parse(await readFile(new URL("golden.json", GOLDEN), "utf8"));

const model = new URL("../classifier/model/", import.meta.url);
const { MODEL } = await import(new URL("files.js", model));
export const contract = JSON.parse(
  await readFile(new URL(`${encodeURIComponent(MODEL)}.json`, model), "utf8"),
);

// Of the network: by the contract itself, since the app may be mistaken about it.
const CHANNELS = contract.preprocessing.mean.length;

/** A file in the folder `golden`. */
export function goldenFile(name) {
  return readFile(new URL(encodeURIComponent(name), GOLDEN));
}

/** The pixels that belong to an image: {width, height, channels, data}. */
export async function expectedPixels(image) {
  const channels = CHANNELS;
  const { width, height, data } = await decodePng(await goldenFile(image.pixels));
  const found = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < channels; c += 1) found[i * channels + c] = data[4 * i + c];
  }
  return { width, height, channels, data: found };
}

/** A mask in the folder `golden`: {width, height, data}. */
export async function maskOf(name) {
  const { width, height, data } = await decodePng(await goldenFile(name));
  return { width, height, data: data.filter((_, i) => i % 4 === 0) };
}

/** Outputs that belong to an image, by whose they are: name, numbers, which, and a bound. */
export function outputsOf(image) {
  if (image.scores) {
    return Object.entries(image.scores).map(([of, values]) => ({
      of, role: "scores", values, every: 1, least: image.least_db[of], centred: true,
    }));
  }
  return Object.entries(image.outputs).flatMap(([of, outputs]) =>
    Object.entries(outputs).map(([role, { values, every, least_db: least }]) => ({
      of, role, values, every, least, centred: false,
    })),
  );
}

/** Why pixels are not those that belong to an image; null if they are. */
export function wrongPixels(found, expected, most) {
  if (found.width !== expected.width || found.height !== expected.height) {
    return `${found.width} x ${found.height} px: expected ${expected.width} x ${expected.height}`;
  }
  const counts = `${found.channels} channels, ${found.data.length} values`;
  const known = `${expected.channels} channels, ${expected.data.length} values`;
  if (counts !== known) return `${counts}: expected ${known}`;
  let [one, sum] = [0, 0];
  expected.data.forEach((value, i) => {
    const off = Math.abs(value - found.data[i]);
    one = Math.max(one, off);
    sum += off;
  });
  const mean = sum / expected.data.length;
  if (!(one <= most.one)) return `a pixel is off by ${one}: at most ${most.one}`;
  return mean <= most.mean ? null : `pixels are off by ${mean.toFixed(2)}: at most ${most.mean}`;
}

/** Why numbers are not close enough to those that are expected; null if they are. */
export function wrongNumbers(found, { values: expected, least, centred }) {
  if (found.length !== expected.length) {
    return `${found.length} numbers: expected ${expected.length}`;
  }
  if (![...found].every(Number.isFinite)) return "numbers that are not finite";
  if (centred && expected.length === 1) {
    // One number has no spread: it is compared as it is.
    const most = 0.02 * Math.max(1, Math.abs(expected[0]));
    const off = Math.abs(found[0] - expected[0]);
    return off <= most ? null : `${found[0]}: expected ${expected[0]}`;
  }
  const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const middle = centred ? average(expected) : 0;
  const power = average(expected.map((x) => (x - middle) ** 2));
  const noise = average(expected.map((x, i) => (x - found[i]) ** 2));
  if (noise === 0) return null;
  const decibels = 10 * Math.log10(Math.max(power, 1e-30) / Math.max(noise, 1e-30));
  return decibels >= least ? null : `${decibels.toFixed(1)} dB: at least ${least}`;
}
