// What outputs come to: masks. It needs no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { classesOf, decode } from "../classifier/decode.js";
import { contract, golden, maskOf } from "./compare.mjs";

function check({ mask, classes }, data, known) {
  const wrong = data.filter((index, i) => index !== mask.data[i]).length;
  assert.equal(wrong, 0, `${wrong} of ${data.length} pixels have another class`);
  for (const { index, share } of known) {
    const own = classes.find((one) => one.index === index);
    assert.ok(Math.abs(own.share - share) < 1e-6);
  }
}

for (const image of golden.images) {
  test(`masks: ${image.file}`, async () => {
    const cells = await maskOf(image.classes_of_network);
    const [height, width] = image.size;
    const found = decode(cells, contract, { width, height });
    check(found, (await maskOf(image.mask)).data, image.classes);
  });
}

golden.vectors.forEach((known, i) => {
  test(`masks: made ${i}`, () => {
    const scores = Float32Array.from(known.scores.flat(2));
    const shape = [1, known.scores.length, known.scores[0].length, known.scores[0][0].length];
    const [height, width] = known.size;
    const own = { preprocessing: known.how, labels: null };
    const found = decode(classesOf({ scores }, shape), own, { width, height });
    check(found, known.mask.flat(), known.classes);
  });
});
