// Decodes PNG files to RGBA of 8 bits, exactly.
//
// Browsers multiply colours by their opacity on the way, apply colour profiles, and round 16 bits
// in ways of their own; here, nothing of this is done.

import { ImageError } from "./errors.js";

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by colour type
const WHOLE = [[0, 0, 1, 1]]; // left, top, and steps across and down
const INTERLACED = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** {width, height, data} of a file whose header was read. */
export async function decodePng(bytes) {
  const { head, palette, clear, parts } = chunks(bytes);
  const channels = CHANNELS[head.type];
  if (!channels || ![1, 2, 4, 8, 16].includes(head.depth)) {
    throw new ImageError("the image is damaged: there are no such pixels");
  }
  const passes = (head.interlaced ? INTERLACED : WHOLE).map(([left, top, across, down]) => {
    const width = Math.max(0, Math.ceil((head.width - left) / across));
    const height = Math.max(0, Math.ceil((head.height - top) / down));
    const row = width === 0 ? 0 : 1 + Math.ceil((width * channels * head.depth) / 8);
    return { left, top, across, down, width, height, row };
  });
  const size = passes.reduce((sum, pass) => sum + pass.row * pass.height, 0);
  const packed = await inflated(parts, size);
  const data = new Uint8Array(4 * head.width * head.height);
  const paint = painter(head, palette, clear);
  let at = 0;
  for (const pass of passes) {
    let above = new Uint8Array(pass.row);
    for (let y = 0; y < pass.height && pass.row; y += 1) {
      const row = packed.subarray(at, at + pass.row);
      unfilter(row, above, Math.max(1, (channels * head.depth) >> 3));
      const start = 4 * ((pass.top + y * pass.down) * head.width + pass.left);
      paint(row.subarray(1), pass.width, data, start, 4 * pass.across);
      above = row;
      at += pass.row;
    }
  }
  return { width: head.width, height: head.height, data };
}

function chunks(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { head: null, palette: new Uint8Array(), clear: null, parts: [] };
  for (let at = 8; at + 12 <= bytes.length;) {
    const size = data.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const inside = bytes.subarray(at + 8, at + 8 + size);
    if (name === "IHDR" && size === 13) {
      found.head = {
        width: data.getUint32(at + 8),
        height: data.getUint32(at + 12),
        depth: inside[8],
        type: inside[9],
        interlaced: inside[12] === 1,
      };
    } else if (name === "PLTE") found.palette = inside;
    else if (name === "tRNS") found.clear = inside;
    else if (name === "IDAT") found.parts.push(inside);
    else if (name === "IEND") break;
    at += 12 + size;
  }
  if (!found.head) throw new ImageError("the image is damaged: it has no header");
  return found;
}

/** So many bytes of what is packed in several parts. */
async function inflated(parts, size) {
  const found = new Uint8Array(size);
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  let filled = 0;
  try {
    while (filled < size) {
      const { done, value } = await reader.read();
      if (done) break;
      found.set(value.subarray(0, size - filled), filled);
      filled += value.length;
    }
  } catch {
    // What is missing tells it.
  }
  reader.cancel().catch(() => {});
  if (filled < size) throw new ImageError("the image is damaged: pixels are missing");
  return found;
}

/** Undoes the filter of a row (PNG specification, 9.2); its first byte says which one. */
function unfilter(row, above, pixel) {
  const kind = row[0];
  if (kind > 4) throw new ImageError("the image is damaged: there is no such filter");
  for (let i = 1; i < row.length && kind; i += 1) {
    const left = i > pixel ? row[i - pixel] : 0;
    const up = above[i];
    if (kind === 1) row[i] += left;
    else if (kind === 2) row[i] += up;
    else if (kind === 3) row[i] += (left + up) >> 1;
    else row[i] += nearest(left, up, i > pixel ? above[i - pixel] : 0);
  }
}

function nearest(left, up, corner) {
  const [a, b, c] = [
    Math.abs(up - corner),
    Math.abs(left - corner),
    Math.abs(left + up - 2 * corner),
  ];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

/** What writes the pixels of a row in RGBA. */
function painter({ type, depth }, palette, clear) {
  const channels = CHANNELS[type];
  const most = 2 ** depth - 1;
  const sample = (row, i) => {
    if (depth === 8) return row[i];
    if (depth === 16) return (row[2 * i] << 8) | row[2 * i + 1];
    return (row[(i * depth) >> 3] >> (8 - depth - ((i * depth) & 7))) & most;
  };
  // Grey of 16 bits is scaled; of colours, and of grey with opacity, the upper half is taken.
  const to8 =
    depth === 16
      ? type === 0
        ? (v) => Math.floor((v + 128) / 257)
        : (v) => v >> 8
      : (v) => (v * 255) / most;
  const key = (i) =>
    clear && clear.length >= 2 * i + 2 ? (clear[2 * i] << 8) | clear[2 * i + 1] : -1;
  const keys = [key(0), key(1), key(2)];
  return (row, width, data, start, step) => {
    for (let x = 0, at = start; x < width; x += 1, at += step) {
      const i = x * channels;
      const first = sample(row, i);
      if (type === 3) {
        for (let c = 0; c < 3; c += 1) data[at + c] = palette[3 * first + c] ?? 0;
        data[at + 3] = clear?.[first] ?? 255;
      } else if (channels < 3) {
        data.fill(to8(first), at, at + 3);
        data[at + 3] = channels === 2 ? to8(sample(row, i + 1)) : first === keys[0] ? 0 : 255;
      } else {
        const [second, third] = [sample(row, i + 1), sample(row, i + 2)];
        data[at] = to8(first);
        data[at + 1] = to8(second);
        data[at + 2] = to8(third);
        const gone = first === keys[0] && second === keys[1] && third === keys[2];
        data[at + 3] = channels === 4 ? to8(sample(row, i + 3)) : gone ? 0 : 255;
      }
    }
  };
}
