// Starts a browser that is there: Chromium or Chrome, or what CHROMIUM names.

import { existsSync } from "node:fs";

const PLACES = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:/Program Files/Google/Chrome/Application/chrome.exe",
];
const QUIET = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--use-fake-device-for-media-stream",
];

/** Why there can be no test in a browser; null where there can. */
export const whyNot = await (async () => {
  if (!existsSync(new URL("../classifier/vendor/versions.json", import.meta.url))) {
    return "classifier/vendor is missing: npm run vendor";
  }
  try {
    await import("playwright-core");
  } catch {
    return "playwright-core is missing: npm install";
  }
  return executable() ? null : "there is no Chromium: install it, or name it with CHROMIUM=PATH";
})();

function executable() {
  return PLACES.find((place) => place && existsSync(place));
}

/** A headless browser. */
export async function launch() {
  const { chromium } = await import("playwright-core");
  return chromium.launch({ executablePath: executable(), args: QUIET });
}
