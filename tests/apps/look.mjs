// Looks at the page of an app: `node look.mjs FOLDER WHAT WORDS...`; what it saw comes as JSON.

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, what, ...words] = process.argv.slice(2);
const root = pathToFileURL(`${folder}/`);
const { serve } = await import(new URL("serve.mjs", root));
const { launch } = await import(new URL("tests/browser.mjs", root));

const server = ["plain", "speed", "cost"].includes(what) ? await serve(0, {}) : await serve();
const browser = await launch();

/** A page that has loaded, with a context of its own. */
async function opened(options = {}, before = () => {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(120_000); // of a busy machine
  const page = await context.newPage();
  page.outside = [];
  page.alerts = 0;
  page.on("request", (request) => {
    if (!request.url().match(/^(data|blob):/) && !request.url().startsWith(server.address)) {
      page.outside.push(request.url());
    }
  });
  page.on("dialog", (dialog) => {
    page.alerts += 1;
    dialog.dismiss();
  });
  await before(page, context);
  await page.goto(server.address);
  await page.waitForFunction(
    () =>
      !document.getElementById("file").disabled || document.getElementById("message").textContent,
  );
  return page;
}

const names = (page) =>
  page.locator("#labels bdi").evaluateAll((all) => all.map((x) => x.textContent));
const text = (page, id) => page.locator(`#${id}`).textContent();
const picture = (page) => page.locator("#picture").getAttribute("alt");
const file = (name) => new URL(`golden/${name}`, root).pathname;

async function result(page) {
  await page.waitForSelector("#labels li");
  await page.waitForSelector("#picture:not([hidden])");
  return {
    names: await names(page),
    times: await text(page, "times"),
    picture: await picture(page),
    tree: await page.locator("#result").ariaSnapshot(),
  };
}

async function drop(page, name) {
  const content = (await readFile(new URL(`golden/${name}`, root))).toString("base64");
  await page.evaluate(
    ([base64, called]) => {
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
      data.items.add(new File([bytes], called, { type: "image/png" }));
      const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.getElementById("drop").dispatchEvent(event);
    },
    [content, name],
  );
}

const elements = (page) => page.locator("bdi > *, img:not(#picture)").count();

const WAYS = {
  async start() {
    const page = await opened();
    return {
      message: await text(page, "message"),
      disabled: await page.locator("#file").isDisabled(),
    };
  },

  /** What the page says while it loads, and what becomes of an image that comes meanwhile. */
  async early() {
    const content = (await readFile(file("wide.png"))).toString("base64");
    const page = await opened({}, (page) =>
      page.addInitScript((base64) => {
        window.said = [];
        const note = () => {
          const now = document.getElementById("about")?.textContent;
          if (!now || now === window.said.at(-1)) return;
          window.said.push(now);
          if (!now.startsWith("Getting ready")) return;
          const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "early.png"));
          window.dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
        };
        new MutationObserver(note).observe(document, { childList: true, subtree: true });
      }, content),
    );
    return {
      ...(await result(page)),
      said: await page.evaluate(() => window.said),
      status: await page.getByRole("status").textContent(),
    };
  },

  async scores() {
    const page = await opened();
    const seen = [];
    for (const path of words) {
      const content = (await readFile(path)).toString("base64");
      seen.push(
        await page.evaluate(async (base64) => {
          const { classifier } = await import("./app.js");
          const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
          return classifier.classify(new Blob([bytes]));
        }, content),
      );
    }
    return seen;
  },

  /** In one thread: from the page's address to a first result, times of the network, files. */
  async cost() {
    const loaded = new Set();
    let begin;
    const page = await opened({}, (page) => {
      page.on("response", (response) => {
        const path = response.url().slice(server.address.length) || "index.html";
        if (response.url().startsWith(server.address)) loaded.add(decodeURIComponent(path));
      });
      begin = performance.now();
    });
    let cold = null;
    const network = [];
    for (let i = 0; i < Number(words[0]); i += 1) {
      await page.evaluate(() => document.getElementById("times").replaceChildren());
      await page.setInputFiles("#file", file("wide.png"));
      await page.waitForFunction(() => document.getElementById("times").textContent);
      cold ??= performance.now() - begin;
      network.push(Number((await text(page, "times")).match(/([\d.]+) ms network/)[1]));
    }
    return { cold, network, loaded: [...loaded] };
  },

  /** Milliseconds of the network in one thread, a median. */
  async speed() {
    const page = await opened();
    return page.evaluate(async () => {
      const { classifier } = await import("./app.js");
      const count = classifier.contract.inputs[0].shape.reduce((a, b) => a * b, 1);
      const input = new Float32Array(count).map((_, i) => Math.sin(i));
      const times = [];
      for (let i = 0; i < 31; i += 1) {
        const begin = performance.now(); // which browsers round to 0.1 ms here
        for (let k = 0; k < 20; k += 1) await classifier.scores(input);
        times.push((performance.now() - begin) / 20);
      }
      return times.sort((a, b) => a - b)[15];
    });
  },

  async use() {
    const page = await opened();
    page.on("filechooser", () => {}); // else the first one may come before it is listened to
    await drop(page, "wide.png");
    const dropped = await result(page);
    await page.reload();
    await page.waitForSelector("#file:enabled");
    const focused = [];
    for (let i = 0; i < 2; i += 1) {
      await page.keyboard.press("Tab");
      focused.push(
        await page.evaluate(() => {
          const at = document.activeElement;
          return (at.labels?.[0] ?? at).textContent.trim();
        }),
      );
    }
    await page.keyboard.press("Shift+Tab");
    const chooser = page.waitForEvent("filechooser");
    await page.keyboard.press("Enter");
    await (await chooser).setFiles(file("wide.png"));
    const chosen = await result(page);
    return {
      dropped,
      chosen,
      focused,
      outside: page.outside,
      elements: await elements(page),
      isolated: await page.evaluate(() => crossOriginIsolated),
      live: await page.locator("#result").getAttribute("aria-live"),
    };
  },

  async names() {
    const seen = new Set();
    const page = await opened();
    const all = await page.evaluate(async () => {
      const { classifier, fill } = await import("./app.js");
      const scores = new Float32Array(classifier.contract.labels.length);
      fill(classifier.labels(scores, scores.length));
    });
    for (const name of await names(page)) seen.add(name);
    await page.waitForTimeout(200);
    return { names: [...seen], elements: await elements(page), alerts: page.alerts, all };
  },

  async file() {
    const page = await opened();
    await page.setInputFiles("#file", file("wide.png")); // a result that has to go
    await result(page);
    await page.setInputFiles("#file", words[0]);
    await page.waitForSelector("#message:not(:empty)");
    return { message: await text(page, "message"), names: await names(page) };
  },

  async camera() {
    const granted = await opened({ permissions: ["camera"] });
    await granted.locator("#camera").press("Enter");
    await granted.waitForFunction(() => document.activeElement.id === "shoot");
    await granted.waitForFunction(() => document.getElementById("video").videoWidth > 0);
    await granted.keyboard.press("Enter");
    const seen = await result(granted);
    const stopped = await granted.evaluate(
      () => document.getElementById("video").srcObject === null,
    );
    const refusing = await opened({}, (page) =>
      page.addInitScript(() => {
        navigator.mediaDevices.getUserMedia = async () => {
          throw new DOMException("Permission denied", "NotAllowedError");
        };
      }),
    );
    await refusing.locator("#camera").click();
    await refusing.waitForSelector("#message:not(:empty)");
    const absent = await opened({}, (page) =>
      page.addInitScript(() => {
        Object.defineProperty(Navigator.prototype, "mediaDevices", { value: undefined });
      }),
    );
    await absent.locator("#camera").click();
    await absent.waitForSelector("#message:not(:empty)");
    return {
      ...seen,
      stopped,
      refused: await text(refusing, "message"),
      absent: await text(absent, "message"),
    };
  },

  async plain() {
    const page = await opened();
    await page.setInputFiles("#file", file("wide.png"));
    const seen = await result(page);
    const isolated = await page.evaluate(() => crossOriginIsolated);
    return { ...seen, isolated, about: await text(page, "about") };
  },

  async screenshot() {
    const [width, scheme, out] = words;
    const page = await opened({
      viewport: { width: Number(width), height: 844 },
      colorScheme: scheme,
    });
    await page.setInputFiles("#file", file("wide.png"));
    await result(page);
    await page.evaluate(async () => {
      const { classifier, fill } = await import("./app.js");
      const scores = new Float32Array(classifier.contract.labels.length);
      fill(classifier.labels(scores, scores.length));
    });
    await page.screenshot({ path: out, fullPage: true });
    return page.evaluate(() => ({
      scrolls: document.documentElement.scrollWidth,
      cut: [...document.querySelectorAll("main *")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
        .map((each) => each.outerHTML),
    }));
  },
};

try {
  console.log(JSON.stringify(await WAYS[what]()));
} finally {
  await browser.close();
  server.close();
}
