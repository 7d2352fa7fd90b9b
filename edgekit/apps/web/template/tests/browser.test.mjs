// The page in a headless Chromium: `npm test`. A failure of `pixels` is one of decoding or
// resizing, `outputs` of the runtime or the model, `page` of what the page makes of it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { serve } from "../serve.mjs";
import { launch, whyNot } from "./browser.mjs";
import {
  contract,
  expectedPixels,
  golden,
  goldenFile,
  outputsOf,
  wrongNumbers,
  wrongPixels,
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

    for (const known of outputsOf(image)) {
      const { of, role, every } = known;
      test(`outputs: ${image.file}, ${role} of the ${of}`, async () => {
        const pixels = await expectedPixels(image);
        const found = await page.evaluate(
          async ([{ data, ...rest }, role, every]) => {
            const { classifier } = await import("./app.js");
            const outputs = await classifier.outputs(classifier.values({ data, ...rest }));
            // A classifier has one, whatever it is called.
            const own = outputs[role] ?? Object.values(outputs)[0];
            return Array.from(own).filter((_, i) => i % every === 0);
          },
          [{ ...pixels, data: Array.from(pixels.data) }, role, every],
        );
        assert.equal(wrongNumbers(found, known), null);
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
      if (image.labels) assert.equal(names.length, image.labels.length);
      const [best] = image.labels ?? image.classes ?? [];
      if (best && image.most_off.one === 0) {
        assert.equal(names[0], best.label || `class ${best.index}`);
      }
      if (!image.labels) {
        // The picture is drawn anew, upright, with what was found on it.
        const drawn = await page.evaluate(async () => {
          const picture = document.getElementById("picture");
          await picture.decode();
          return [picture.naturalHeight, picture.naturalWidth];
        });
        assert.deepEqual(drawn, image.size);
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
