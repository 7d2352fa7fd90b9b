// What the outputs of a detector mean: which boxes stay, and where in the image they are.

import { placed } from "./preprocess.js";

// Where the contract says nothing else: least score of an object, overlap from where on two boxes
// of a class are one object, and objects of an image at most.
const DEFAULTS = { score_threshold: 0.3, nms_iou: 0.5, max_detections: 100 };
const CANDIDATES = 400; // boxes that are looked at, those of the highest scores

const f = Math.fround; // all of it is rounded to float32, as elsewhere

/**
 * The objects in an image, the surest first: {box, index, label, name, probability}.
 *
 * outputs: `boxes` (n, 4) in pixels of the network's input and `scores` (n, classes); or, where the
 * network itself chose among boxes, `scores` (n) and `classes` (n).
 * size: {width, height} of the image, in whose pixels boxes are: left, upper, right, lower edge.
 */
export function decode({ boxes, scores, classes }, contract, size) {
  const settings = { ...DEFAULTS, ...contract.parameters };
  const least = f(settings.score_threshold);
  const columns = classes ? 1 : scores.length / (boxes.length / 4);
  let found = [];
  scores.forEach((score, i) => {
    if (!(score >= least) || (classes && !(score > 0))) return;
    const anchor = Math.floor(i / columns);
    const index = classes ? Math.round(classes[anchor]) : i % columns;
    found.push({ score, index, box: Array.from(boxes.slice(4 * anchor, 4 * anchor + 4), f) });
  });
  found.sort((a, b) => b.score - a.score); // of equal ones the first stays first
  if (!classes) found = suppressed(found.slice(0, CANDIDATES), f(settings.nms_iou));
  const move = intoImage(size, contract.preprocessing);
  return found
    .slice(0, settings.max_detections)
    .map(({ score, index, box }) => {
      const label = contract.labels?.[index] ?? null;
      return { box: move(box), index, label, name: label || `class ${index}`, probability: score };
    })
    .filter(({ box: [x0, y0, x1, y1] }) => x1 > x0 && y1 > y0);
}

/** Those that overlap none of a higher score and of the same class by more than a share. */
function suppressed(found, overlap) {
  const kept = [];
  for (const one of found) {
    const gone = kept.some((other) => {
      if (other.index !== one.index) return false;
      const shared = sharedArea(one.box, other.box);
      const union = f(f(area(other.box) + area(one.box)) - shared);
      return shared > f(union * overlap);
    });
    if (!gone) kept.push(one);
  }
  return kept;
}

const side = (first, last) => Math.max(f(last - first), 0);
const area = ([x0, y0, x1, y1]) => f(side(x0, x1) * side(y0, y1));

function sharedArea(a, b) {
  const width = side(Math.max(a[0], b[0]), Math.min(a[2], b[2]));
  return f(width * side(Math.max(a[1], b[1]), Math.min(a[3], b[3])));
}

/** What brings boxes of the network's input into pixels of the image, cut at its edges. */
function intoImage(size, how) {
  const { box, rows, columns, top, left } = placed(size, how);
  const [across, down] = [columns / (box[2] - box[0]), rows / (box[3] - box[1])];
  const x = (value) => (value - (left - across * box[0])) / across;
  const y = (value) => (value - (top - down * box[1])) / down;
  const cut = (value, most) => Math.min(Math.max(f(value), 0), most);
  return ([x0, y0, x1, y1]) => [
    cut(x(x0), size.width),
    cut(y(y0), size.height),
    cut(x(x1), size.width),
    cut(y(y1), size.height),
  ];
}
