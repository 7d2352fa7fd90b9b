"""Looks at a file in TensorFlow Lite Micro; a program that prints one line of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgekit.errors import InputError


def main(path: str) -> None:
    """Writes the bytes of the arena, or why there are none."""
    from exporters.tflite.micro import allocated

    try:
        told: dict[str, object] = {"arena": allocated(Path(path))}
    except InputError as error:
        told = {"error": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
