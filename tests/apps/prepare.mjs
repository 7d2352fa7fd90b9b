// Prepares images as the app for browsers does: `node prepare.mjs CLASSIFIER CASES OUT`.
//
// CASES is JSON: a list of {content, how}, with the content of a PNG file in base64. OUT becomes
// the numbers of all, one after the other; standard output gets their counts, or what was refused.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, cases, out] = process.argv.slice(2);
const module = (name) => import(new URL(name, pathToFileURL(`${folder}/`)));
const { pixelsOf } = await module("image.js");
const { finishedPixels, values } = await module("preprocess.js");
const { ImageError } = await module("errors.js");

const told = [];
const all = [];
for (const { content, how } of JSON.parse(await readFile(cases, "utf8"))) {
  try {
    const pixels = await pixelsOf(new Blob([Buffer.from(content, "base64")]), how.exif);
    const found = values(finishedPixels(pixels, how), how);
    all.push(Buffer.from(found.buffer));
    told.push(found.length);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    told.push(error.message);
  }
}
await writeFile(out, Buffer.concat(all));
console.log(JSON.stringify(told));
