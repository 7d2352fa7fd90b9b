// What outputs come to: classes. It needs no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decode, probabilities } from "../classifier/decode.js";
import { contract, golden } from "./compare.mjs";

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
