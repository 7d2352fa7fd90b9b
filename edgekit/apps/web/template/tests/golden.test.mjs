// What needs no browser: `npm test`. A failure of `pixels` is one of decoding or resizing, `labels`
// of what the outputs are taken for.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decode, probabilities } from "../classifier/decode.js";
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

for (const image of golden.images) {
  test(`labels: ${image.file}`, () => {
    const found = decode(image.scores.file, contract, image.labels.length);
    assert.equal(found.length, image.labels.length);
    image.labels.forEach((known, i) => {
      const label = found[i];
      assert.deepEqual([label.index, label.label], [known.index, known.label]);
      assert.ok(Math.abs(label.probability - known.probability) < 1e-6);
    });
  });
}

test("vectors of scores", () => {
  for (const vector of golden.vectors) {
    const found = probabilities(vector.scores, vector.kind);
    assert.equal(found.length, vector.probabilities.length);
    vector.probabilities.forEach((share, i) => {
      assert.ok(Math.abs(found[i] - share) < 1e-9);
    });
  }
});

for (const content of ["", "no image", "\x89PNG\r\n\x1a\n", "\xff\xd8\xff\xe1", "GIF89a", "BM"]) {
  test(`what is no image is refused: ${JSON.stringify(content)}`, async () => {
    const file = new Blob([Uint8Array.from(content, (sign) => sign.charCodeAt(0))]);
    await assert.rejects(pixelsOf(file, how.exif), ImageError);
  });
}
