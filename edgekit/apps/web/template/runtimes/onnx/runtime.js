// Runs the model in ONNX Runtime Web, on the processor.

import { MissingError } from "./errors.js";

/** A loaded model; a run has to end before the next one begins. */
export class Runtime {
  static async load(model, contract, external, threads) {
    let ort;
    try {
      ort = await import("./vendor/ort.wasm.min.mjs");
    } catch (error) {
      throw new MissingError("classifier/vendor is damaged", error);
    }
    ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
    ort.env.wasm.numThreads = threads;
    const options = { executionProviders: ["wasm"], externalData: external };
    return new Runtime(ort, await ort.InferenceSession.create(model, options), contract, threads);
  }

  constructor(ort, session, contract, threads) {
    this.ort = ort;
    this.session = session;
    this.type = contract.inputs[0].dtype;
    this.name = "ONNX Runtime Web";
    this.threads = threads;
  }

  /** The outputs for one input. */
  async run(array, shape) {
    const [input] = this.session.inputNames;
    const found = await this.session.run({ [input]: new this.ort.Tensor(this.type, array, shape) });
    return this.session.outputNames.map((name) => found[name].data);
  }
}
