// What outputs come to: objects. It needs no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decode } from "../classifier/decode.js";
import { golden } from "./compare.mjs";

const made = golden.vectors.map((known, i) => [`made ${i}`, known]);
for (const [name, known] of [...made, ...golden.images.map((one) => [one.file, one.case])]) {
  test(`objects: ${name}`, () => {
    const flat = (array) => array && Float32Array.from(array.flat());
    const outputs = Object.fromEntries(
      ["boxes", "scores", "classes"].map((role) => [role, flat(known[role])]),
    );
    const { how, labels, parameters, size } = known;
    const contract = { preprocessing: how, labels, parameters };
    const found = decode(outputs, contract, { height: size[0], width: size[1] });
    assert.deepEqual(
      found.map(({ index, label }) => [index, label]),
      known.objects.map(({ index, label }) => [index, label]),
    );
    known.objects.forEach((expected, i) => {
      assert.ok(Math.abs(found[i].probability - expected.probability) < 1e-6);
      expected.box.forEach((edge, k) => assert.ok(Math.abs(found[i].box[k] - edge) < 1e-3));
    });
  });
}
