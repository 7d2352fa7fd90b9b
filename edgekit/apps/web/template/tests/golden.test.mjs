// What needs no browser: `npm test`. A failure of `pixels` is one of decoding or resizing; what
// outputs are taken for is in results.test.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ImageError } from "../classifier/errors.js";
import { pixelsOf } from "../classifier/image.js";
import { finishedPixels } from "../classifier/preprocess.js";
import { contract, expectedPixels, golden, goldenFile, wrongPixels } from "./compare.mjs";

const how = contract.preprocessing;

for (const image of golden.images.filter(({ file }) => file.endsWith(".png"))) {
  test(`pixels: ${image.file}`, async () => {
    const found = finishedPixels(
      await pixelsOf(new Blob([await goldenFile(image.file)]), how.exif),
      how,
    );
    assert.equal(
      wrongPixels(found, await expectedPixels(image), image.most_off),
      null,
    );
  });
}

for (const content of ["", "no image", "\x89PNG\r\n\x1a\n", "\xff\xd8\xff\xe1", "GIF89a", "BM"]) {
  test(`what is no image is refused: ${JSON.stringify(content)}`, async () => {
    const file = new Blob([Uint8Array.from(content, (sign) => sign.charCodeAt(0))]);
    await assert.rejects(pixelsOf(file, how.exif), ImageError);
  });
}
