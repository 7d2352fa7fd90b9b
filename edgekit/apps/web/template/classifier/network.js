// The network with what belongs to it: images in, outputs out.

import { MissingError } from "./errors.js";
import { finishedPixels, values } from "./preprocess.js";
import { pixelsOf } from "./image.js";
import { EXTERNAL, MODEL } from "./model/files.js";
import { Runtime } from "./runtime.js";

const ARRAYS = { float32: Float32Array, int32: Int32Array, int8: Int8Array, uint8: Uint8Array };
const WARM_RUNS = 6; // times fall no further then
const WARM_MS = 1500; // runs that would begin later are left out
const RANGES = { int8: [-128, 127], uint8: [0, 255] };

export class Network {
  /** Loads model and runtime. Threads need a page that is cross-origin isolated. */
  static async load(threads = mostThreads()) {
    const contract = await (await ofModel(`${MODEL}.json`)).json();
    const bytes = async (path) => new Uint8Array(await (await ofModel(path)).arrayBuffer());
    const model = await bytes(MODEL);
    const external = await Promise.all(
      EXTERNAL.map(async (path) => ({ path, data: await bytes(path) })),
    );
    if (!(await fetch(new URL("vendor/versions.json", import.meta.url))).ok) {
      throw new MissingError("the runtime is missing");
    }
    const runtime = await Runtime.load(model, contract, external, threads);
    return new this(contract, runtime);
  }

  constructor(contract, runtime) {
    this.name = MODEL;
    this.contract = contract;
    this.runtime = runtime;
  }

  /** Runs on a grey image a few times: code that a browser has just loaded is slow at first. */
  async warmUp() {
    const { crop } = this.contract.preprocessing;
    const [tall, wide] = Array.isArray(crop) ? crop : [crop, crop];
    const image = new ImageData(2 * wide, 2 * tall);
    image.data.fill(128);
    const end = performance.now() + WARM_MS;
    for (let run = 0; run < WARM_RUNS && performance.now() < end; run += 1) {
      await new Promise((next) => setTimeout(next)); // so that the page stays alive
      await this.run(image);
    }
  }

  /** What an image shows: a file, a blob, or ImageData. */
  async run(image) {
    const pixels = await this.pixels(image);
    return this.decoded(await this.outputs(this.prepared(pixels)), pixels);
  }

  /** Decoded and turned: {width, height, data} in RGBA. */
  async pixels(image) {
    return pixelsOf(image, this.contract.preprocessing.exif);
  }

  /** Such pixels as the network takes them, in float32, without a batch axis. */
  prepared(pixels) {
    return this.values(finishedPixels(pixels, this.contract.preprocessing));
  }

  /** The network's outputs for a prepared image, by what they mean. */
  async outputs(prepared) {
    const { inputs, outputs } = this.contract;
    const found = await this.runtime.run(stored(prepared, inputs[0]), inputs[0].shape);
    return Object.fromEntries(
      outputs.map((spec, i) => [spec.role || spec.name, real(found[i], spec)]),
    );
  }

  /** An image in the network's size, before its values change. */
  async finishedPixels(image) {
    return finishedPixels(await this.pixels(image), this.contract.preprocessing);
  }

  /** Finished pixels as the network takes them. */
  values(pixels) {
    return values(pixels, this.contract.preprocessing);
  }
}

function mostThreads() {
  return globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
}

/** A file in the folder `model`. */
async function ofModel(file) {
  const path = `model/${file.split("/").map(encodeURIComponent).join("/")}`;
  const answer = await fetch(new URL(path, import.meta.url), { cache: "no-cache" });
  if (!answer.ok) throw new Error(`classifier/model/${file} cannot be loaded: ${answer.status}`);
  return answer;
}

/** Real values as the file takes them, which may be integers with a scale. */
export function stored(array, spec) {
  const found = new ARRAYS[spec.dtype](array.length);
  if (spec.scale === null) {
    found.set(array);
    return found;
  }
  const [scale, zero, [least, most]] = [
    Math.fround(spec.scale),
    spec.zero_point ?? 0,
    RANGES[spec.dtype],
  ];
  for (let i = 0; i < array.length; i += 1) {
    const step = halfToEven(Math.fround(array[i] / scale)) + zero;
    found[i] = Math.min(Math.max(step, least), most);
  }
  return found;
}

/** What the file computed, as real values. */
export function real(array, spec) {
  if (spec.scale === null) return Float32Array.from(array);
  const [scale, zero] = [Math.fround(spec.scale), spec.zero_point ?? 0];
  return Float32Array.from(array, (step) => Math.fround(Math.fround(step - zero) * scale));
}

function halfToEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
