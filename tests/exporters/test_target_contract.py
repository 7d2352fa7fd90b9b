"""What every target in the registry has to do, in every precision it offers."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_artifacts import filled, once, shared_folder
from small_examples import singly
from tiny_network import CLASSES, SIDE, arranged, images, ranges, tiny

import edgekit
from edgekit import registry, tables
from edgekit.contract import load
from edgekit.core import Inspectable, Quantizing, Target, of_image
from edgekit.errors import InputError
from edgekit.native_output import captured
from edgekit.tasks.agreement import TOLERANCES, compare

if TYPE_CHECKING:
    from edgekit.core import Array

PAIRS = [
    (name, precision)
    for name in tables.TARGETS
    for precision in sorted(registry.target(name).schemes)
]

ODD_TEXTS = {
    "empty object": "{}",
    "unicode": '{"label": "Käfer, 甲虫, жук, 🪲, \u202eright to left"}',
    "quotes": """{"a": "it's \\"quoted\\" and back\\\\slashed"}""",
    "markup": "</contract><!-- --> <![CDATA[ & &amp; &#10; <a b='c'/> ]]>",
    "white space": "  lines\nand\r\nmore\rlines\tand tabs  ",
    "one megabyte": "0123456789abcdef" * 65536,
}


@dataclass(frozen=True)
class File:
    """An exported `tiny`, not to be changed."""

    target: Target
    precision: str
    path: Path

    def copy(self, folder: Path) -> File:
        """One that may be changed."""
        folder.mkdir(exist_ok=True)
        for file in self.target.files(self.path):
            shutil.copy(file, folder)
        return File(self.target, self.precision, folder / self.path.name)

    def scores(self, batch: torch.Tensor, threads: int | None = None) -> Array:
        """Class scores of images (n, 3, H, W), one by one."""
        with captured():
            runner = self.target.open(self.path, threads)
            rows = [runner.run([arranged(self.target, image[None])])[0] for image in batch]
        return np.concatenate(rows)


Exports = Callable[[str, str], File]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """(target, precision) -> `tiny` in that format; made once for all workers."""

    def make(name: str, precision: str) -> File:
        target = registry.target(name)
        folder = shared_folder(tmp_path_factory) / f"tiny-{name}-{precision}"
        with once(folder) as mine:
            if mine:
                with filled(folder) as staged, captured():
                    staged.mkdir()
                    path, scheme = staged / f"tiny{target.suffix}", target.schemes[precision]
                    target.export(tiny(), of_image(images(1)), path, scheme, singly(ranges(target)))
        return File(target, precision, folder / f"tiny{target.suffix}")

    return make


@pytest.fixture(scope="session", params=PAIRS, ids="-".join)
def file(request: pytest.FixtureRequest, exports: Exports) -> File:
    return exports(*request.param)


@pytest.fixture
def mutable(file: File, tmp_path: Path) -> File:
    return file.copy(tmp_path / "copy")


def expected_scores(batch: torch.Tensor) -> Array:
    with torch.no_grad():
        scores: Array = tiny()(batch).numpy()
    return scores


def test_it_computes_what_the_network_computes(file: File) -> None:
    batch = images(16, seed=5)
    found = compare(expected_scores(batch), file.scores(batch), TOLERANCES[file.precision])
    assert found.passed, found


def test_inputs_and_outputs_are_described_as_they_are(file: File) -> None:
    with captured():
        inputs, outputs = file.target.open(file.path).tensors()
    (image,), (scores,) = inputs, outputs
    nchw = file.target.layout == "NCHW"
    assert (image.name, image.dtype, image.layout) == ("image", "float32", file.target.layout)
    assert image.shape == ((1, 3, SIDE, SIDE) if nchw else (1, SIDE, SIDE, 3))
    assert (scores.name, scores.dtype, scores.layout) == ("scores", "float32", "NC")
    assert scores.shape == (1, CLASSES)
    assert image.scale is image.zero_point is scores.scale is scores.zero_point is None


def test_results_belong_to_the_caller(file: File) -> None:
    with captured():
        runner = file.target.open(file.path)
        first = runner.run([arranged(file.target, images(1, seed=1))])[0]
        kept = first.copy()
        second = runner.run([arranged(file.target, images(1, seed=2))])[0]
        again = runner.run([arranged(file.target, images(1, seed=1))])[0]
    assert np.array_equal(first, kept)
    assert np.array_equal(again, kept)
    assert not np.array_equal(second, kept)


def test_the_number_of_threads_does_not_change_results(file: File) -> None:
    batch = images(4, seed=3)
    one, two = file.scores(batch, threads=1), file.scores(batch, threads=2)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_two_runners_of_one_file_do_not_disturb_each_other(file: File) -> None:
    with captured():
        one, other = file.target.open(file.path), file.target.open(file.path)
        a = one.run([arranged(file.target, images(1, seed=1))])[0]
        other.run([arranged(file.target, images(1, seed=2))])
        again = one.run([arranged(file.target, images(1, seed=1))])[0]
    assert np.array_equal(a, again)


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_embedded_text_comes_back_and_the_file_still_runs(mutable: File, text: str) -> None:
    batch = images(2)
    before = mutable.scores(batch)
    mutable.target.embed(mutable.path, text)
    assert mutable.target.extract(mutable.path) == text
    assert np.array_equal(mutable.scores(batch), before)


def test_a_file_without_embedded_text_says_so(file: File) -> None:
    assert file.target.extract(file.path) is None


def test_embedding_again_replaces_the_text(mutable: File) -> None:
    mutable.target.embed(mutable.path, "first")
    once_only = sum(f.stat().st_size for f in mutable.target.files(mutable.path))
    for number in range(5):
        mutable.target.embed(mutable.path, f"text{number}")
    assert mutable.target.extract(mutable.path) == "text4"
    assert mutable.scores(images(1)).shape == (1, CLASSES)
    total = sum(f.stat().st_size for f in mutable.target.files(mutable.path))
    assert total - once_only < 1000


def test_text_that_was_replaced_is_gone_from_the_bytes(mutable: File) -> None:
    mutable.target.embed(mutable.path, "the-earlier-text-of-this-file")
    mutable.target.embed(mutable.path, "the later text")
    assert b"the-earlier-text" not in mutable.path.read_bytes()


def test_the_files_of_an_artifact_are_all_it_needs(file: File, tmp_path: Path) -> None:
    files = file.target.files(file.path)
    assert files[0] == file.path
    assert file.path.suffix == file.target.suffix
    assert {f.name for f in files} == {f.name for f in file.path.parent.iterdir()}
    moved = file.copy(tmp_path / "elsewhere")
    assert np.array_equal(moved.scores(images(1)), file.scores(images(1)))


def test_each_of_its_files_is_needed(mutable: File) -> None:
    for gone in mutable.target.files(mutable.path)[1:]:
        gone.unlink()
        with pytest.raises(InputError, match="tiny"), captured():
            mutable.target.open(mutable.path)


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda content: b"",
    "text": lambda content: b"this is no network\n" * 20,
    "zeros": lambda content: bytes(len(content)),
    "half": lambda content: content[: len(content) // 2],
    "head": lambda content: content[:64],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_by_name(mutable: File, damage: Damage) -> None:
    mutable.path.write_bytes(damage(mutable.path.read_bytes()))
    with pytest.raises(InputError, match=mutable.path.name), captured():
        mutable.target.open(mutable.path)
    with contextlib.suppress(InputError):  # its head may be whole
        assert mutable.target.extract(mutable.path) is None
    with pytest.raises(InputError, match=mutable.path.name), captured():
        mutable.target.embed(mutable.path, "text")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_reading_the_text_of_a_file_with_altered_bytes_never_crashes(
    mutable: File, file: File, data: st.DataObject
) -> None:
    content = bytearray(file.path.read_bytes())
    # Mostly the ends, where formats keep their tables.
    near = st.one_of(st.integers(0, 400), st.integers(-400, -1), st.integers(0, len(content) - 1))
    for position in data.draw(st.lists(near, min_size=1, max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    mutable.path.write_bytes(content)
    with contextlib.suppress(InputError):
        mutable.target.extract(mutable.path)


def test_what_layers_compute_can_be_looked_at(file: File) -> None:
    assert isinstance(file.target, Inspectable)
    image = images(1, seed=4)
    with captured():
        found = list(file.target.activations(file.path, [arranged(file.target, image)]))
    names = [name for name, _ in found]
    assert all(names)
    assert len(set(names)) == len(names)
    x = image
    missing = set()
    for name, layer in tiny().named_children():
        with torch.no_grad():
            x = layer(x)
        if not any(_same(x.numpy(), value, file.precision) for _, value in found):
            missing.add(name)
    # What an activation follows at once may be fused with it; pooling and flattening move data.
    assert missing <= {"stem", "depthwise", "pointwise", "hidden", "pool", "flatten"}


def _same(expected: Array, found: Array, precision: str) -> bool:
    """Whether a tensor of the file holds a layer's output, in whatever layout."""
    if expected.ndim == found.ndim == 4 and expected.shape != found.shape:
        found = found.transpose(0, 3, 1, 2)
    if expected.shape != found.shape:
        return False
    least = 1e-2 if precision.startswith("fp") else 0.15
    return float(np.abs(expected - found).max()) < least * float(np.abs(expected).max())


def test_nothing_in_the_file_tells_where_it_was_made(file: File) -> None:
    home, checkout = Path.home(), Path(edgekit.__file__).parents[1]
    words = [str(checkout), str(file.path.parent), "site-packages", "tiny_network"]
    if len(home.parts) > 2:
        words += [str(home), getpass.getuser()]
    else:
        words.append(f"{home}/")
    for part in file.target.files(file.path):
        content = part.read_bytes()
        assert [word for word in words if word.encode() in content] == []


@pytest.mark.parametrize("name", tables.TARGETS)
def test_an_export_in_another_process_gives_the_same_bytes(
    name: str, exports: Exports, tmp_path: Path
) -> None:
    files = [exports(target, precision) for target, precision in PAIRS if target == name]
    others = [tmp_path / file.precision / file.path.name for file in files]
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from tiny_network import images, ranges, tiny
from edgekit import registry, tables
from edgekit.core import of_image
target = registry.target({name!r})
given = [[one] for one in ranges(target)]
for other in map(Path, {list(map(str, others))!r}):
    other.parent.mkdir()
    example, scheme = of_image(images(1)), target.schemes[other.parent.name]
    target.export(tiny(), example, other, scheme, given)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(edgekit.__file__).parents[1], capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    for file, other in zip(files, others, strict=True):
        for one in file.target.files(file.path):
            assert one.read_bytes() == other.with_name(one.name).read_bytes(), one


@pytest.mark.parametrize("name", tables.TARGETS)
def test_a_runtime_leaves_the_arithmetic_of_the_process_alone(name: str, exports: Exports) -> None:
    file = exports(name, "fp32")
    runner = file.target.open(file.path)
    runner.run([np.zeros(spec.shape, spec.dtype) for spec in runner.tensors()[0]])
    denormal = np.array([1e-40], np.float32)
    assert (denormal * np.float32(1))[0] != 0


@pytest.mark.parametrize("name", tables.TARGETS)
def test_half_precision_halves_the_file(name: str, exports: Exports) -> None:
    def size(file: File) -> int:
        return sum(part.stat().st_size for part in file.target.files(file.path))

    assert 0 < size(exports(name, "fp16")) <= 0.56 * size(exports(name, "fp32"))


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_trained_network_passes_in_every_precision(
    target: str, artifacts: Mapping[tuple[str, str], Path]
) -> None:
    whole, half = (load(artifacts[target, precision]) for precision in ("fp32", "fp16"))
    for contract in (whole, half):
        assert contract.agreement is not None
        assert contract.agreement.passed
    assert 0 < (half.size_bytes or 0) <= 0.56 * (whole.size_bytes or 0)


RANGES = [
    (target.name, how)
    for target in map(registry.target, tables.TARGETS)
    if isinstance(target, Quantizing)
    for how in target.ranges
]


@pytest.mark.parametrize(("name", "how"), RANGES)
def test_every_way_to_find_ranges_gives_a_file_of_its_own(
    name: str, how: str, exports: Exports, tmp_path: Path
) -> None:
    target = registry.target(name)
    scheme = dataclasses.replace(target.schemes["int8"], calibration=how)
    path = tmp_path / f"tiny{target.suffix}"
    with captured():
        target.export(tiny(), of_image(images(1)), path, scheme, singly(ranges(target)))
    batch = images(64, seed=5)  # so many that one close call decides nothing
    found = File(target, "int8", path).scores(batch)
    assert compare(expected_scores(batch), found, TOLERANCES["int8"]).top1_match > 0.9
    plain = exports(name, "int8").scores(batch)
    assert np.array_equal(found, plain) == (how == target.schemes["int8"].calibration)


def test_onnx_operators_are_listed_once_and_for_edgekit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from exporters import onnx

    real, listed = ONNXRegistry.__dict__["from_torchlib"].__func__, 0

    def counted(*words: object, **options: object) -> object:
        nonlocal listed
        listed += 1
        return real(*words, **options)

    def export() -> None:
        target = onnx.OnnxTarget()  # which has no graph yet that could be taken over
        target.export(tiny(), of_image(images(1)), tmp_path / "tiny.onnx", target.schemes["fp32"])

    monkeypatch.setattr(ONNXRegistry, "from_torchlib", classmethod(counted))
    ours = ONNXRegistry.__dict__["from_torchlib"]
    onnx._listed.cache_clear()
    try:
        export()
        export()
        assert listed == 1
        monkeypatch.delattr(torch.onnx, "export")
        with pytest.raises(AttributeError):
            export()
    finally:
        onnx._listed.cache_clear()
    assert ONNXRegistry.__dict__["from_torchlib"] is ours
