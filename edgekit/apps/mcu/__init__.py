"""Apps for microcontrollers: the model as an array in flash, and an interpreter in a fixed arena.

What is written is a component of ESP-IDF, and a library for any other build.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.apps import cpp, template
from edgekit.apps.app import App, run_again
from edgekit.apps.cpp import literals
from edgekit.apps.expected import vectors
from edgekit.apps.golden import Picture
from edgekit.apps.mcu import sources
from edgekit.contract import open_artifact
from edgekit.core import Embedded, Preprocessing
from edgekit.core.reading import read_bytes
from edgekit.data.decode import pixels_of
from edgekit.devices.device import find_device
from edgekit.devices.simulators import look
from edgekit.tables import SIMULATORS

DEVICE = "tflm"
"""The interpreter, as it runs here; key of `edgekit.tables.SIMULATORS`."""

_TEMPLATE = Path(__file__).parent / "template"
_SHARED = ("classifier/geometry.cc", "classifier/geometry.h", "tests/checks.h", "tests/golden.h")
"""Files of apps in C++ that are the same here."""

_PICTURE = "small.png"


class Mcu:
    """See `edgekit.apps.app.Platform`."""

    name = "mcu"
    runs = ("cmake -S . -B build", "cmake --build build", "python host/run.py build/libclassify.so")
    tests = ("ctest --test-dir build",)
    page = False

    def why_not(self, app: App) -> str | None:
        """It runs files with integers at both ends, of the target that the interpreter takes."""
        simulator, contract = _simulator(), app.contract
        way = f"'edgekit export MODEL {simulator.exported}'"
        if app.target.name != simulator.target:
            return (
                f"it runs files of the target {simulator.target} with integers at both ends: {way}"
            )
        for what, spec in (("input", contract.inputs[0]), ("output", contract.outputs[0])):
            if spec.dtype != "int8":
                return f"it takes int8 at both ends, and the {what} is of {spec.dtype}: {way}"
        assert contract.preprocessing is not None
        if contract.preprocessing.alpha == "keep":
            return "a camera's frames have no transparency, which the network takes as a channel"
        return None

    def incomplete(self, folder: Path) -> str | None:
        """Nothing is to be done for a page that there is not."""
        return None

    def write(self, app: App, folder: Path) -> None:
        """Writes sources and tests, and a README.

        Raises:
            UnavailableError: the interpreter is not installed here, which the arena is measured
                with.
            InputError: it lacks operators that the file needs.
        """
        simulator, contract = _simulator(), app.contract
        assert contract.preprocessing is not None
        seen = look(simulator, app.path)
        assert seen.arena_bytes is not None
        app = run_again(app, open_artifact(app.path, device=find_device(DEVICE, simulators=True)))
        operators, content = simulator.operators(app.path), read_bytes(app.path)
        app.write_model(folder / "model")
        app.write_golden(folder / "golden")
        frames = _write_frames(app, folder / "golden", contract.preprocessing)
        template.copy(
            _TEMPLATE,
            folder,
            {
                **template.texts(app),
                "ships": _ships(len(content), seen.arena_bytes),
                "simulator": seen.simulator,
                "operators": ", ".join(each.name for each in operators),
            },
        )
        for place in _SHARED:
            (folder / place).write_bytes(read_bytes(cpp.TEMPLATE / place))
        code, entries = folder / "classifier", [each.entry() for each in app.golden]
        (known,) = (each for each in app.golden if each.picture.file == _PICTURE)
        shown = sources.picture(
            frames[_PICTURE], _PICTURE, known.expected.told["labels"][0]["index"]
        )
        longest = max(max(frame.shape) for frame in frames.values())
        header = sources.header(contract, len(content), seen.arena_bytes, seen.simulator)
        for file, text in (
            (code / "model.h", header),
            (code / "model.cc", sources.tables(contract)),
            (code / "model_data.cc", sources.array(content)),
            (code / "operators.h", sources.operators(operators)),
            (folder / "picture.cc", shown),
            (folder / "golden" / "golden.cc", literals.golden(entries, vectors(app.contract))),
            (folder / "golden" / "golden.cmake", f"set(GOLDEN_MAX_SIDE {longest})\n"),
            (folder / ".gitignore", "build*/\nmanaged_components/\nsdkconfig\n"),
        ):
            file.write_text(text, encoding="utf-8")


def _simulator() -> Embedded:
    found: Embedded = SIMULATORS.load(DEVICE)
    return found


def _write_frames(app: App, folder: Path, how: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """Writes the golden images as a camera would give them, and what becomes of them.

    The files can be read without a library.

    Returns:
        The former, by their names.
    """
    frames = {each.picture.file: _frame(each.picture, how) for each in app.golden}
    for kind, images in (
        ("frames", frames),
        ("pixels", {each.picture.file: each.pixels for each in app.golden}),
    ):
        (folder / kind).mkdir()
        for name, pixels in images.items():
            content = io.BytesIO()
            flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
            Image.fromarray(flat).save(content, "PPM")
            (folder / kind / f"{name}.ppm").write_bytes(content.getvalue())
    return frames


def _frame(picture: Picture, how: Preprocessing) -> NDArray[np.uint8]:
    """Its pixels, turned and without transparency: RGB."""
    image = Image.open(io.BytesIO(picture.content))
    return pixels_of(image, picture.file, how.exif, how.alpha)


def _kb(size: int) -> str:
    return f"{size / 1e3:,.1f} KB"


def _ships(model: int, arena: int) -> str:
    rows = (
        ("the model, in flash", _kb(model)),
        ("the arena, in RAM", _kb(arena)),
    )
    return "\n".join(
        ["| what | size |", "|---|---|", *(f"| {what} | {size} |" for what, size in rows)]
    )


PLATFORM = Mcu()
