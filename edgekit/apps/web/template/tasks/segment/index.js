// Says of each pixel what it shows. Copy this folder into a product, and:
//
//   import { Segmenter } from "./classifier/index.js";
//   const segmenter = await Segmenter.load();
//   await segmenter.warmUp();
//   const { mask, classes } = await segmenter.segment(file);
//
// A segmenter is loaded once and used again and again. How images are prepared and what the
// outputs mean stands in the contract beside the model (model/*.json).

import { classesOf, decode } from "./decode.js";
import { Network } from "./network.js";

export { ImageError, MissingError } from "./errors.js";

export class Segmenter extends Network {
  /** What an image (a file, a blob, or ImageData) consists of. */
  async segment(image) {
    return this.run(image);
  }

  /** The same, by the network's outputs, for an image {width, height}. */
  decoded(outputs, size) {
    return decode(classesOf(outputs, this.contract.outputs[0].shape), this.contract, size);
  }
}

export { Segmenter as Main };
