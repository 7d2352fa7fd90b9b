// Decodes images to pixels: {width, height, data}, with data in RGBA of 8 bits, not multiplied by
// the opacity.

import { ImageError } from "./errors.js";
import { checkSize, header } from "./header.js";
import { decodePng } from "./png.js";
import { turned } from "./preprocess.js";

const STRIP_PIXELS = 1 << 22; // phones refuse canvases of more than 16 megapixels

/**
 * Pixels of whatever stands for an image: a file, a blob, or pixels (ImageData).
 *
 * exif: of the contract: `upright` turns images as their EXIF orientation says, `ignore` does not.
 */
export async function pixelsOf(image, exif) {
  if (image instanceof Blob) return ofFile(image, exif);
  checkSize(image.width, image.height);
  return image;
}

async function ofFile(blob, exif) {
  let bytes;
  try {
    bytes = new Uint8Array(await blob.arrayBuffer());
  } catch {
    throw new ImageError("the file cannot be read: expected an image file");
  }
  const { kind, orientation, hidden } = header(bytes);
  const pixels = kind === "png" ? await decodePng(bytes) : await decoded(hidden, `image/${kind}`);
  return exif === "upright" ? turned(pixels, orientation) : pixels;
}

async function decoded(bytes, type) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new ImageError("the image is damaged, or of a kind that this browser does not know");
  }
  try {
    return drawn(bitmap);
  } finally {
    bitmap.close();
  }
}

function drawn(bitmap) {
  const { width, height } = bitmap;
  checkSize(width, height);
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const data = new Uint8Array(4 * width * height);
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    data.set(context.getImageData(0, 0, width, count).data, 4 * width * top);
  }
  return { width, height, data };
}
