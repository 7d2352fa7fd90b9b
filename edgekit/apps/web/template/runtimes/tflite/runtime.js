// Runs the model in LiteRT.js, on the processor.

import { MissingError } from "./errors.js";

const FOLDER = new URL("./vendor/", import.meta.url);

/** A loaded model; a run has to end before the next one begins. */
export class Runtime {
  static async load(model, contract, external, threads) {
    let litert;
    try {
      litert = await import("./vendor/litert.js");
    } catch (error) {
      throw new MissingError("classifier/vendor is damaged", error);
    }
    const used = (await loaded(litert, threads)) ? threads : 1;
    const options = { accelerator: "wasm", cpuOptions: { numThreads: used } };
    return new Runtime(litert, await litert.loadAndCompile(model, options), used);
  }

  constructor(litert, model, threads) {
    this.litert = litert;
    this.model = model;
    this.name = "LiteRT.js";
    this.threads = threads;
  }

  /** The outputs for one input. */
  async run(array, shape) {
    const input = new this.litert.Tensor(array, shape);
    let outputs = [];
    try {
      outputs = await this.model.run([input]);
      const found = [];
      for (const tensor of outputs) found.push((await tensor.data()).slice());
      return found;
    } finally {
      for (const tensor of [input, ...outputs]) tensor.delete();
    }
  }
}

/** Loads the runtime; whether it has threads, which not every browser can give it. */
async function loaded(litert, threads) {
  if (threads > 1) {
    try {
      await litert.loadLiteRt(FOLDER.href, { threads: true });
      return true;
    } catch (error) {
      console.warn(`LiteRT.js runs in one thread: ${error.message}`);
    }
  }
  await litert.loadLiteRt(FOLDER.href);
  return false;
}
