// What the beginning of an image file says: its kind, its size, and how it is to be turned.
//
// It is read before anything is decoded, since a few kilobytes can stand for any number of pixels.
// Browsers turn images in ways of their own, so the app does: `hidden` is the same file without
// what would make them.

import { ImageError } from "./errors.js";

export const MAX_PIXELS = 51_000_000; // a phone's 50 megapixels

/** {kind, width, height, orientation, hidden} of the bytes of a file. */
export function header(bytes) {
  let found = null;
  try {
    found = READERS.map((read) => read(bytes, view(bytes))).find((each) => each !== null);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ImageError("the image is damaged: it ends in its header");
  }
  if (!found) {
    throw new ImageError("it is no image: expected a JPEG, PNG, BMP, WebP or GIF file");
  }
  checkSize(found.width, found.height);
  return { orientation: 1, hidden: bytes, ...found };
}

export function checkSize(width, height) {
  if (width * height > MAX_PIXELS) {
    throw new ImageError(
      `the image is ${width} x ${height} px, which is too large: expected at most ` +
        `${Math.floor(MAX_PIXELS / 1e6)} megapixels`,
    );
  }
  if (width * height === 0) throw new ImageError("the image is damaged: it has no pixels");
}

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const text = (bytes, from, count) => String.fromCharCode(...bytes.subarray(from, from + count));

const READERS = [png, jpeg, gif, bmp, webp];

function png(bytes, data) {
  if (text(bytes, 0, 8) !== "\x89PNG\r\n\x1a\n") return null;
  if (text(bytes, 12, 4) !== "IHDR") throw new ImageError("the image is damaged: it has no header");
  let orientation = 1;
  for (let at = 8; at + 12 <= bytes.length; at += 12 + data.getUint32(at)) {
    if (text(bytes, at + 4, 4) !== "eXIf") continue;
    orientation = orientationOf(bytes, at + 8).value;
  }
  // PNG files are decoded by the app itself (png.js), so there is nothing to hide.
  return { kind: "png", width: data.getUint32(16), height: data.getUint32(20), orientation };
}

function jpeg(bytes, data) {
  if (text(bytes, 0, 3) !== "\xff\xd8\xff") return null;
  let orientation = 1;
  let hidden = bytes;
  for (let at = 2; ;) {
    const marker = data.getUint8(at + 1);
    if (data.getUint8(at) !== 0xff)
      throw new ImageError("the image is damaged: a marker is missing");
    if (marker === 0xff) {
      at += 1; // filling
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const [height, width] = [data.getUint16(at + 5), data.getUint16(at + 7)];
      return { kind: "jpeg", width, height, orientation, hidden };
    }
    if (marker === 0xe1 && text(bytes, at + 4, 6) === "Exif\0\0") {
      const found = orientationOf(bytes, at + 10);
      if (found.at !== null) {
        orientation = found.value;
        hidden = bytes.slice();
        hidden.fill(0, found.at, found.at + 2);
        hidden[found.little ? found.at : found.at + 1] = 1;
      }
    }
    at += 2 + data.getUint16(at + 2);
  }
}

function gif(bytes, data) {
  if (!["GIF87a", "GIF89a"].includes(text(bytes, 0, 6))) return null;
  return { kind: "gif", width: data.getUint16(6, true), height: data.getUint16(8, true) };
}

function bmp(bytes, data) {
  if (text(bytes, 0, 2) !== "BM" || bytes.length < 26) return null;
  const old = data.getUint32(14, true) === 12;
  const width = old ? data.getUint16(18, true) : Math.abs(data.getInt32(18, true));
  const height = old ? data.getUint16(20, true) : Math.abs(data.getInt32(22, true));
  return { kind: "bmp", width, height };
}

function webp(bytes, data) {
  if (text(bytes, 0, 4) !== "RIFF" || text(bytes, 8, 4) !== "WEBP") return null;
  const kind = text(bytes, 12, 4);
  const size24 = (at) => (data.getUint16(at, true) | (data.getUint8(at + 2) << 16)) + 1;
  let size;
  if (kind === "VP8X") size = { width: size24(24), height: size24(27) };
  else if (kind === "VP8L") {
    const both = data.getUint32(21, true);
    size = { width: (both & 0x3fff) + 1, height: ((both >> 14) & 0x3fff) + 1 };
  } else
    size = { width: data.getUint16(26, true) & 0x3fff, height: data.getUint16(28, true) & 0x3fff };
  let orientation = 1;
  let hidden = bytes;
  for (let at = 12; at + 8 <= bytes.length; at += 8 + ((data.getUint32(at + 4, true) + 1) & ~1)) {
    if (text(bytes, at, 4) !== "EXIF") continue;
    const start = text(bytes, at + 8, 6) === "Exif\0\0" ? at + 14 : at + 8;
    orientation = orientationOf(bytes, start).value;
    hidden = bytes.slice();
    hidden.set([0x65, 0x78, 0x69, 0x66], at); // a chunk that nobody knows
  }
  return { kind: "webp", ...size, orientation, hidden };
}

/** The EXIF orientation, 1 (upright) where there is none, and where it stands. */
function orientationOf(bytes, start) {
  const data = view(bytes);
  const none = { value: 1, at: null };
  try {
    const order = data.getUint16(start);
    if (order !== 0x4949 && order !== 0x4d4d) return none;
    const little = order === 0x4949;
    const folder = start + data.getUint32(start + 4, little);
    const count = data.getUint16(folder, little);
    for (let i = 0; i < count; i += 1) {
      const entry = folder + 2 + 12 * i;
      if (data.getUint16(entry, little) !== 0x0112) continue;
      return { value: data.getUint16(entry + 8, little), at: entry + 8, little };
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // damaged EXIF says as little as none
  }
  return none;
}
