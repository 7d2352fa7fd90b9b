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

const [SHORT, LONG] = [3, 4]; // kinds of numbers in EXIF
const READERS = [png, jpeg, gif, bmp, webp];

function png(bytes, data) {
  if (text(bytes, 0, 8) !== "\x89PNG\r\n\x1a\n") return null;
  if (text(bytes, 12, 4) !== "IHDR") throw new ImageError("the image is damaged: it has no header");
  let orientation = 1;
  for (let at = 8; at + 12 <= bytes.length; at += 12 + data.getUint32(at)) {
    if (text(bytes, at + 4, 4) !== "eXIf") continue;
    orientation = orientationOf(bytes.subarray(at + 8, at + 8 + data.getUint32(at)));
  }
  // PNG files are decoded by the app itself (png.js), so there is nothing to hide.
  return { kind: "png", width: data.getUint32(16), height: data.getUint32(20), orientation };
}

function jpeg(bytes, data) {
  if (text(bytes, 0, 3) !== "\xff\xd8\xff") return null;
  let orientation = null; // the first EXIF block counts
  let hidden = bytes;
  let size = null;
  for (let at = 2; ;) {
    const marker = data.getUint8(at + 1);
    if (data.getUint8(at) !== 0xff)
      throw new ImageError("the image is damaged: a marker is missing");
    if (marker === 0xff) {
      at += 1; // filling
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      size ??= { width: data.getUint16(at + 7), height: data.getUint16(at + 5) };
    } else if (marker === 0xda || marker === 0xd9) {
      if (size === null) throw new ImageError("the image is damaged: it has no header");
      return { kind: "jpeg", ...size, orientation: orientation ?? 1, hidden };
    }
    const end = at + 2 + data.getUint16(at + 2);
    if (marker === 0xe1) {
      if (text(bytes, at + 4, 6) === "Exif\0\0") {
        orientation ??= orientationOf(bytes.subarray(at + 10, end));
      }
      if (hidden === bytes) hidden = bytes.slice();
      hidden[at + 1] = 0xef; // EXIF and XMP lie in segments of this kind; nobody reads the other
    }
    at = end;
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
  let orientation = null;
  let hidden = bytes;
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = data.getUint32(at + 4, true);
    const kind = text(bytes, at, 4);
    if (kind === "EXIF") {
      const start = text(bytes, at + 8, 6) === "Exif\0\0" ? at + 14 : at + 8;
      orientation ??= orientationOf(bytes.subarray(start, at + 8 + length));
    }
    if (kind === "EXIF" || kind === "XMP ") {
      if (hidden === bytes) hidden = bytes.slice();
      hidden.set([0x6e, 0x6f, 0x6e, 0x65], at); // a chunk that nobody knows
    }
    at += 8 + length + (length % 2);
  }
  return { kind: "webp", ...size, orientation: orientation ?? 1, hidden };
}

/** The orientation that an EXIF block says, 1 (upright) where it says none. */
function orientationOf(block) {
  const data = view(block);
  try {
    const little = text(block, 0, 4) === "II*\0";
    if (!little && text(block, 0, 4) !== "MM\0*") return 1;
    const folder = data.getUint32(4, little);
    const count = data.getUint16(folder, little);
    for (let i = 0; i < count; i += 1) {
      const entry = folder + 2 + 12 * i;
      if (data.getUint16(entry, little) !== 0x0112) continue;
      const type = data.getUint16(entry + 2, little);
      if (data.getUint32(entry + 4, little) !== 1 || ![SHORT, LONG].includes(type)) return 1;
      const long = data.getUint32(entry + 8, little); // looked at for its bytes: all have to be there
      const found = type === SHORT ? data.getUint16(entry + 8, little) : long;
      return found >= 1 && found <= 8 ? found : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // damaged EXIF says as little as none
  }
  return 1;
}
