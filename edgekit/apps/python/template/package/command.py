"""What the command does, whatever the network is for."""

import argparse
import json
import sys
import time
from pathlib import Path

from PIL import Image

from .preprocess import ImageError


def run(network, name, about, options=(), draws=True):
    """Runs a network on the images that the command names.

    Args:
        network: makes it, of what was asked for. It has ``told`` (for JSON) and ``lines`` (for
            people), which take what it gives for an image, and ``drawn``, an image with that on it.
        options: more of them: names, and keywords of ``add_argument``.
        draws: whether there is anything to draw.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    for word, keywords in options:
        parser.add_argument(word, **keywords)
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the runtime")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each image")
    if draws:
        parser.add_argument("--draw", type=Path, metavar="DIR", help="writes DIR/IMAGE.png")
    asked = parser.parse_args()
    try:
        made = network(asked)
    except ImageError as error:
        print(error, file=sys.stderr)
        return 3
    failed = False
    for image, place in zip(asked.images, drawn_names(asked.images)):
        try:
            begin = time.perf_counter()
            pixels = made.pixels(image)
            prepared = made.prepare(pixels)
            middle = time.perf_counter()
            outputs = made.outputs(prepared)
            end = time.perf_counter()
        except ImageError as error:
            print(f"{image}: {error}", file=sys.stderr)
            failed = True
            continue
        found = made.decoded(outputs, pixels.shape[:2])
        if asked.json:
            told = {"image": image, **made.told(found), "ms": 1000 * (end - middle)}
            print(json.dumps(told))
        else:
            times = f"{1000 * (middle - begin):.1f} + {1000 * (end - middle):.1f} ms"
            print(f"{image}  ({times}: preparing + network)")
            for line in made.lines(found):
                print(f"  {line}".rstrip())
        if draws and asked.draw is not None:
            asked.draw.mkdir(parents=True, exist_ok=True)
            drawn = Image.fromarray(made.drawn(pixels, found))
            drawn.save(asked.draw / place)
    return 3 if failed else 0


def drawn_names(images):
    """Names of the files that images are drawn in; those of one name are numbered."""
    names = []
    for image in images:
        name, number = f"{Path(image).stem}.png", 1
        while name in names:
            number += 1
            name = f"{Path(image).stem}-{number}.png"
        names.append(name)
    return names


def printable(name):
    """A name on one line, whatever is in it."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in name)
