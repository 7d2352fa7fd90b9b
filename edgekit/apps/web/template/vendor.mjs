// Copies the runtime from node_modules to classifier/vendor: `npm run vendor`, after `npm install`.

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";

const root = new URL("./", import.meta.url);
const { name, files, imports, packages } = JSON.parse(
  await readFile(new URL("runtime.json", root), "utf8"),
);
const vendor = new URL("classifier/vendor/", root);

await rm(vendor, { recursive: true, force: true });
await mkdir(vendor, { recursive: true });
for (const [to, from] of Object.entries(files)) {
  try {
    await copyFile(new URL(`node_modules/${from}`, root), new URL(to, vendor));
  } catch (error) {
    console.error(
      `node_modules/${from} cannot be copied (${error.code}): type “npm install” first`,
    );
    process.exit(1);
  }
}
// A page finds its modules by path, not by the name of a package.
for (const to of Object.keys(files).filter(() => Object.keys(imports).length)) {
  if (!to.endsWith(".js")) continue;
  let text = await readFile(new URL(to, vendor), "utf8");
  for (const [package_, path] of Object.entries(imports)) {
    text = text.replaceAll(`from "${package_}"`, `from "${path}"`);
  }
  await writeFile(new URL(to, vendor), text);
}
// Last, since the page takes it for a sign that all is there.
await writeFile(new URL("versions.json", vendor), `${JSON.stringify(packages, null, 2)}\n`);
console.log(`classifier/vendor has ${name}`);
