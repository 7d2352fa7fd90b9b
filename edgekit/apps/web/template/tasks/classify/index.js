// Says what images show. Copy this folder into a product, and:
//
//   import { Classifier } from "./classifier/index.js";
//   const classifier = await Classifier.load();
//   await classifier.warmUp();
//   for (const label of await classifier.classify(file)) {
//     console.log(label.name, label.probability);
//   }
//
// A classifier is loaded once and used again and again. How images are prepared and what the
// outputs mean stands in the contract beside the model (model/*.json).

import { decode } from "./decode.js";
import { Network } from "./network.js";

export { ImageError, MissingError } from "./errors.js";

export class Classifier extends Network {
  /** The likeliest classes of an image: a file, a blob, or ImageData. */
  async classify(image, most = 5) {
    const prepared = this.prepared(await this.pixels(image));
    return this.labels(await this.scores(prepared), most);
  }

  /** The network's output for a prepared image: one number a class. */
  async scores(prepared) {
    return Object.values(await this.outputs(prepared))[0];
  }

  /** The likeliest classes, by the network's output. */
  labels(scores, most = 5) {
    return decode(scores, this.contract, most);
  }

  /** The same, by the network's outputs. */
  decoded(outputs) {
    return this.labels(Object.values(outputs)[0]);
  }
}

export { Classifier as Main };
