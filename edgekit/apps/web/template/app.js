// The page: takes images by drop, file and camera, and shows what the network says.

import { ImageError, Main, MissingError } from "./classifier/index.js";
import { paint, rowsOf } from "./shown.js";

const CAMERA = {
  NotAllowedError: "the camera was refused: allow it for this page, or choose an image",
  NotFoundError: "there is no camera: choose an image",
  NotReadableError: "the camera is in use by another program: close it, or choose an image",
};
const NO_CAMERA = "this page may not use a camera (that needs https or localhost): choose an image";

const at = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1 });
export let classifier = null; // once it is loaded
export let found = null; // of the image that is shown
let busy = true; // until it is ready
let next = null; // what was given meanwhile, the last of it
let shown = null; // the address of the picture on the page

/** Whatever went wrong, in a sentence. */
function say(text) {
  at("message").textContent = text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

async function start() {
  try {
    classifier = await Main.load();
    at("about").textContent = "Getting ready …";
    await classifier.warmUp();
  } catch (error) {
    at("about").textContent = "";
    say(
      error instanceof MissingError
        ? error.message
        : `the model cannot be loaded: ${error.message}`,
    );
    console.error(error);
    return;
  }
  const { contract, runtime } = classifier;
  const threads = runtime.threads === 1 ? "1 thread" : `${runtime.threads} threads`;
  at("about").textContent =
    `Ready: ${classifier.name}, ${contract.scheme.precision}, in ${runtime.name} with ${threads}`;
  at("file").disabled = false;
  at("camera").disabled = false;
  busy = false;
  if (next) show(...next);
}

/** Classifies an image and shows it; later, if another one is at work. */
async function show(image, picture, name) {
  if (busy) {
    next = [image, picture, name];
    return;
  }
  busy = true;
  next = null;
  say("");
  try {
    const begin = performance.now();
    const pixels = await classifier.pixels(image);
    const prepared = classifier.prepared(pixels);
    const middle = performance.now();
    const outputs = await classifier.outputs(prepared);
    const end = performance.now();
    found = classifier.decoded(outputs, pixels);
    fill(found);
    const [preparing, network] = [middle - begin, end - middle].map((ms) => ms.toFixed(1));
    at("times").textContent = `${preparing} ms preparing + ${network} ms network`;
    const drawn = paint(pixels, found);
    const kind = { type: "image/jpeg", quality: 0.92 };
    showPicture(drawn ? await drawn.convertToBlob(kind) : picture, name);
  } catch (error) {
    clear();
    say(error instanceof ImageError ? error.message : `this did not work: ${error.message}`);
    if (!(error instanceof ImageError)) console.error(error);
  } finally {
    busy = false;
  }
  if (next) await show(...next);
}

/** Shows names with their shares, as text, whatever is in these. */
export function fill(results) {
  const rows = rowsOf(results).map(({ name: text, part: portion }) => {
    const [row, name, share, bar, part] = ["li", "bdi", "span", "span", "span"].map((tag) =>
      document.createElement(tag),
    );
    name.textContent = text;
    share.className = "share";
    share.textContent = percent.format(portion);
    bar.className = "bar";
    part.style.width = `${100 * portion}%`;
    bar.append(part);
    row.append(name, share, bar);
    return row;
  });
  at("labels").replaceChildren(...rows);
  at("found").hidden = false;
}

function showPicture(blob, name) {
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(blob);
  at("picture").src = shown;
  at("picture").alt = name;
  at("picture").hidden = false;
}

function clear() {
  at("labels").replaceChildren();
  at("found").hidden = true;
  at("picture").hidden = true;
}

function showFile(file) {
  if (file) show(file, file, file.name);
}

at("file").addEventListener("change", (event) => {
  showFile(event.target.files[0]);
  event.target.value = ""; // so that the same file may be chosen again
});

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser opens the file
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind !== "drop") return;
    const [file] = event.dataTransfer.files;
    if (file) showFile(file);
    else say("that was no file: drop an image file");
  });
}

at("camera").addEventListener("click", async () => {
  say("");
  if (!navigator.mediaDevices?.getUserMedia) return say(NO_CAMERA);
  try {
    const video = { facingMode: "environment" };
    at("video").srcObject = await navigator.mediaDevices.getUserMedia({ video });
    at("viewfinder").hidden = false;
    await at("video").play();
    at("shoot").focus();
  } catch (error) {
    closeCamera();
    say(CAMERA[error.name] ?? `the camera does not work (${error.message}): choose an image`);
  }
});

at("shoot").addEventListener("click", async () => {
  const video = at("video");
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  closeCamera();
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  await show(pixels, await canvas.convertToBlob(), "From the camera");
});

at("close").addEventListener("click", closeCamera);

function closeCamera() {
  for (const track of at("video").srcObject?.getTracks() ?? []) track.stop();
  at("video").srcObject = null;
  if (at("viewfinder").contains(document.activeElement)) at("camera").focus();
  at("viewfinder").hidden = true;
}

start();
