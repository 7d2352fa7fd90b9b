// What the page shows of the classes of an image.

/** A name and a share from 0 to 1 for each line. */
export const rowsOf = (labels) => labels.map(({ name, probability: part }) => ({ name, part }));

/** Nothing is drawn on the image. */
export const paint = () => null;
