"""``python -m classifier IMAGE...``: what images show."""

import argparse
import json
import sys
import time

from . import Classifier, ImageError


def main():
    parser = argparse.ArgumentParser(prog="classifier", description="Says what images show.")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="so many classes")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the runtime")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each image")
    asked = parser.parse_args()
    classifier = Classifier(threads=asked.threads)
    failed = False
    for image in asked.images:
        try:
            begin = time.perf_counter()
            prepared = classifier.prepare(image)
            middle = time.perf_counter()
            scores = classifier.scores(prepared)
            end = time.perf_counter()
        except ImageError as error:
            print(f"{image}: {error}", file=sys.stderr)
            failed = True
            continue
        labels = classifier.labels(scores, asked.top)
        if asked.json:
            found = [label._asdict() for label in labels]
            print(json.dumps({"image": image, "labels": found, "ms": 1000 * (end - middle)}))
            continue
        times = f"{1000 * (middle - begin):.1f} + {1000 * (end - middle):.1f} ms"
        print(f"{image}  ({times}: preparing + network)")
        for label in labels:
            bar = "#" * round(30 * label.probability)
            print(f"  {label.probability:7.2%}  {printable(label.name):30}  {bar}".rstrip())
    return 3 if failed else 0


def printable(name):
    """A name on one line, whatever is in it."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in name)


if __name__ == "__main__":
    sys.exit(main())
