// Serves this folder on this machine only: `npm start`, or `node serve.mjs PORT`.
//
// Any server of plain files will do. This one isolates the page, so that the runtime has threads.

import { createReadStream, realpathSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, normalize, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("./", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".png": "image/png",
  ".jpg": "image/jpeg",
};
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** Starts a server; gives {address, close}. Port 0 takes a free one. */
export async function serve(port = 0, headers = ISOLATED) {
  const server = createServer((request, response) => {
    answer(request, response, headers).catch(() => response.writeHead(404).end("not found"));
  });
  await new Promise((done, failed) => {
    server.once("error", failed).listen(port, "127.0.0.1", done);
  });
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { address: `http://127.0.0.1:${server.address().port}/`, close };
}

async function answer(request, response, headers) {
  const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
  const file = normalize(ROOT + (path.endsWith("/") ? `${path}index.html` : path));
  if (!file.startsWith(ROOT) || file.split(sep).includes("node_modules"))
    throw new Error("outside");
  const { size } = await stat(file);
  const type = TYPES[extname(file)] ?? "application/octet-stream";
  const fresh = { "Cache-Control": "no-cache" };
  response.writeHead(200, { "Content-Type": type, "Content-Length": size, ...fresh, ...headers });
  createReadStream(file)
    .on("error", () => response.destroy())
    .pipe(response);
}

// Node takes a link for the file behind it, `argv` for itself.
if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const { address } = await serve(Number(process.argv[2] ?? 8000));
  console.log(`${address} - end it with Ctrl-C`);
}
