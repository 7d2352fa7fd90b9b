// The page in a headless Chromium: `npm test`. A failure of `pixels` is one of decoding or
// resizing, `scores` of the runtime or the model, `page` of what the page makes of it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { serve } from "../serve.mjs";
import { launch, whyNot } from "./browser.mjs";
import {
  contract,
  expectedPixels,
  golden,
  goldenFile,
  wrongPixels,
  wrongScores,
} from "./compare.mjs";

test("there is a browser, which the runtime needs", () => {
  const how = `nothing has run the model: ${whyNot}. What needs no browser: npm run test:images`;
  assert.ok(whyNot === null, how);
});

describe("in a browser", { skip: whyNot ?? false }, () => {
  let server, browser, page;

  before(async () => {
    server = await serve();
    browser = await launch();
    page = await browser.newPage();
    await page.goto(server.address);
    await page.waitForFunction(() => !document.getElementById("file").disabled, null, {
      timeout: 60_000,
    });
  });
  after(async () => {
    await browser?.close();
    server?.close();
  });

  for (const image of golden.images) {
    test(`pixels: ${image.file}`, async () => {
      const found = await page.evaluate(async (file) => {
        const blob = await (await fetch(`golden/${encodeURIComponent(file)}`)).blob();
        const { classifier } = await import("./app.js");
        const { data, ...rest } = await classifier.finishedPixels(blob);
        return { ...rest, data: Array.from(data) };
      }, image.file);
      const expected = await expectedPixels(image);
      assert.equal(wrongPixels(found, expected, image.most_off), null);
    });

    for (const [of, expected] of Object.entries(image.scores)) {
      test(`scores: ${image.file}, those of the ${of}`, async () => {
        const known = await expectedPixels(image);
        const found = await page.evaluate(
          async ({ data, ...rest }) => {
            const { classifier } = await import("./app.js");
            return Array.from(await classifier.scores(classifier.values({ data, ...rest })));
          },
          { ...known, data: Array.from(known.data) },
        );
        assert.equal(wrongScores(found, expected, image.least_db[of]), null);
      });
    }

    test(`page: ${image.file}`, async () => {
      const buffer = await goldenFile(image.file);
      await page.setInputFiles("#file", { name: image.file, mimeType: "image/any", buffer });
      await page.waitForFunction(
        (name) => document.getElementById("picture").alt === name,
        image.file,
      );
      const names = await page
        .locator("#labels bdi")
        .evaluateAll((all) => all.map((each) => each.textContent));
      assert.equal(names.length, image.labels.length);
      if (image.most_off.one === 0) {
        const { label, index } = image.labels[0];
        assert.equal(names[0], label || `class ${index}`);
      }
      assert.match(await page.locator("#times").textContent(), /^[\d.]+ ms preparing \+ [\d.]+ ms/);
    });
  }

  test("page: a file that is no image", async () => {
    const file = { name: "letter.png", mimeType: "image/png", buffer: Buffer.from("dear") };
    await page.setInputFiles("#file", file);
    const message = page.getByRole("alert");
    await message.filter({ hasText: /is no image: expected a JPEG/ }).waitFor();
    assert.equal(await page.locator("#labels li").count(), 0);
  });
});
