// Finds objects in images. Copy this folder into a product, and:
//
//   import { Detector } from "./classifier/index.js";
//   const detector = await Detector.load();
//   await detector.warmUp();
//   for (const found of await detector.detect(file)) {
//     console.log(found.name, found.probability, found.box);
//   }
//
// A detector is loaded once and used again and again. How images are prepared and what the
// outputs mean stands in the contract beside the model (model/*.json).

import { decode } from "./decode.js";
import { Network } from "./network.js";

export { ImageError, MissingError } from "./errors.js";

export class Detector extends Network {
  /** The objects in an image (a file, a blob, or ImageData), the surest first. */
  async detect(image) {
    return this.run(image);
  }

  /** The same, by the network's outputs; boxes are in pixels of an image {width, height}. */
  decoded(outputs, size) {
    return decode(outputs, this.contract, size);
  }
}

export { Detector as Main };
