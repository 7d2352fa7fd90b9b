/** An image that cannot be used; the message says why. */
export class ImageError extends Error {}

/** What is missing in the app's folder; the message says what, and what to do. */
export class MissingError extends Error {
  constructor(what, cause) {
    super(
      `${what}: type “npm install” and “npm run vendor” in the app's folder, and load this ` +
        "page again",
      { cause },
    );
  }
}
