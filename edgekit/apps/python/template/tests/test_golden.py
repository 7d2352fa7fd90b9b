"""Runs the app on the images in ``golden``, and holds what it gives against what is known.

A failure of ``test_pixels`` is one of decoding or resizing, ``test_outputs`` or ``test_scores`` of
the runtime or the model, ``test_processor`` of a model that was written for another kind of
processor: its outputs are somewhat other ones here. All else is of what outputs are taken for.
"""

import platform
from pathlib import Path

import numpy as np
import pytest
from golden_files import FOLDER, GOLDEN, IMAGES, pixels_of
from made import ImageError


@pytest.mark.parametrize("name", IMAGES)
def test_pixels(network, name):
    expected = pixels_of(IMAGES[name]).astype(int)
    found = network.finished_pixels(FOLDER / name).astype(int)
    assert found.shape == expected.shape
    off, most = np.abs(found - expected), IMAGES[name]["most_off"]
    assert off.max() <= most["one"], f"a pixel is off by {off.max()}: at most {most['one']}"
    assert off.mean() <= most["mean"], f"pixels are off by {off.mean():.2f}: at most {most['mean']}"


def processors():
    """The kinds that this processor may be called."""
    machine = platform.machine().lower()
    if machine.startswith(("arm", "aarch")):
        return {"arm"}
    if machine not in ("x86_64", "amd64", "x86", "i686", "i386"):
        return {machine}
    about = Path("/proc/cpuinfo")
    if not about.is_file():
        return {"x86", "x86-vnni"}
    flags = about.read_text(encoding="utf-8", errors="replace").split()
    return {"x86-vnni" if {"avx_vnni", "avx512_vnni"} & set(flags) else "x86"}


def test_processor():
    written = GOLDEN["processors"]
    assert written is None or processors() & set(written), (
        f"the model was written for {', '.join(written)}, and this is {', '.join(processors())}: "
        f"export it for this processor, with --isa"
    )


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(network, content):
    with pytest.raises(ImageError):
        network(content)
