// What the page shows of the objects in an image.

const MOST = 10; // lines beside the image; all boxes are drawn

/** A name and a share from 0 to 1 for each line. */
export const rowsOf = (objects) =>
  objects.slice(0, MOST).map(({ name, probability: part }) => ({ name, part }));

/** A canvas with the image {width, height, data} and a frame around each object. */
export function paint({ width, height, data }, objects) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(Uint8ClampedArray.from(data), width, height), 0, 0);
  const line = Math.max(2, Math.round(Math.max(width, height) / 200));
  context.lineWidth = line;
  context.font = `${6 * line}px sans-serif`;
  context.textBaseline = "top";
  for (const { box, index, name } of objects.toReversed()) {
    const [x0, y0, x1, y1] = box;
    context.strokeStyle = `hsl(${hueOf(index)} 85% 45%)`;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    const wide = context.measureText(name).width + 2 * line;
    const top = Math.max(0, y0 - 7 * line);
    context.fillStyle = context.strokeStyle;
    context.fillRect(x0, top, wide, 7 * line);
    context.fillStyle = "#ffffff";
    context.fillText(name, x0 + line, top + line / 2);
  }
  return canvas;
}

/** A colour for a class; those of neighbours in a list are far from each other. */
const hueOf = (index) => ((index * 0.618034) % 1) * 360;
