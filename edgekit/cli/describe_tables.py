"""Tables of ``edgekit describe``: layers, totals, two networks side by side; also as CSV."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.cli import console
from edgekit.core import write_csv
from edgekit.core.text import counted_words

if TYPE_CHECKING:
    from edgekit.models.analysis import Totals
    from edgekit.models.count import Layer

TABLE_WIDTH = console.PLAIN_WIDTH
MARGIN = 2  # around a table
GAPS = (3, 2, 1)  # between two of its columns

KIND_NAMES = {
    "depthwise": "depthwise",
    "pointwise": "pointwise (1x1)",
    "convolution": "other convolutions",
    "linear": "linear",
    "other": "norms and other",
}

CSV_COLUMNS = (
    "name",
    "op",
    "kind",
    "kernel",
    "stride",
    "groups",
    "output_shape",
    "params",
    "formula",
    "macs",
    "activation_bytes",
    "moved_bytes",
)

_COMPARED = (
    "params",
    "macs",
    "layers",
    "receptive_field_px",
    "weights_bytes",
    "peak_activation_bytes",
    "peak_in_place_bytes",
    "moved_bytes",
    "intensity_macs_per_byte",
)
"""Fields of `Totals` that have a ratio; from the fourth on in the order of `_figures`."""


def show_layers(layers: Sequence[Layer], formula: bool) -> None:
    """The table of layers, in at most `TABLE_WIDTH` columns.

    Names are those that options take, as long as there is room for them.
    """
    header = ["layer", "operation", "output", "parameters", "MACs", "KiB"]
    rows = [
        [
            layer.name or "(network)",
            _short_operation(layer.op),
            "x".join(str(n) for n in layer.output_shape[1:]),
            (layer.formula or "") if formula else f"{layer.params:,}" if layer.params else "",
            _scaled(layer.macs) if layer.macs else "",
            _kibibytes(layer.activation_bytes),
        ]
        for layer in layers
    ]
    if formula:  # what is left for the names is too little otherwise
        header, rows = header[:-1], [row[:-1] for row in rows]
    names = [row[0] for row in rows]
    longest = max(map(len, names))
    if _room(header, rows, GAPS[-1]) < longest and not formula:  # memory gives way to names
        header, rows = header[:-1], [row[:-1] for row in rows]
    gap = next((gap for gap in GAPS if _room(header, rows, gap) >= longest), GAPS[-1])
    paths = _short_paths(names, _room(header, rows, gap))
    numbers = [(name, "right") for name in header[2:]]
    console.table(
        [*header[:2], *numbers],
        [[path, *row[1:]] for path, row in zip(paths, rows, strict=True)],
        gap=gap,
    )
    if paths != names:
        console.say("Names are shortened: --json and --csv have them whole, as options take them.")


def _room(header: Sequence[str], rows: Sequence[Sequence[str]], gap: int) -> int:
    """What the columns behind the first leave of a line."""
    cells = list(zip(header, *rows, strict=True))
    return TABLE_WIDTH - MARGIN - sum(max(map(len, column)) + gap for column in cells[1:])


def _short_operation(op: str) -> str:
    """An operation in fewer letters; nothing is lost, as layers of images are all 2d."""
    text = re.sub(r"^Conv2d", "conv", op)
    text = re.sub(r"^depthwise", "dw conv", text)
    return text.replace("Adaptive", "").replace("2d", "")


def _short_paths(paths: Sequence[str], width: int) -> list[str]:
    """Module paths that fit, by cutting leading parts to a letter and the number at their end.

    A part that is cut in one path is cut in all paths that share it.
    """
    cut: set[tuple[str, ...]] = set()

    def shortened(path: str) -> str:
        parts = path.split(".")
        return ".".join(
            re.sub(r"^([^\d])\D*(\d*)$", r"\1\2", part) if (*parts[: i + 1],) in cut else part
            for i, part in enumerate(parts)
        )

    for path in paths:
        parts = path.split(".")
        for i in range(len(parts) - 1):
            if len(shortened(path)) > width:
                cut.add((*parts[: i + 1],))
    texts = [shortened(path) for path in paths]
    return [t if len(t) <= width else "~" + t[len(t) - max(width, 8) + 1 :] for t in texts]


def _scaled(count: int) -> str:
    """A count with two or three digits and its power of thousand."""
    value = float(count)
    units = iter("kMGTPE")
    unit = ""
    while value >= 999.5 and (following := next(units, "")):
        value, unit = value / 1000, following
    return f"{value:.{1 if unit and value < 99.95 else 0}f}{unit}"


def _kibibytes(size_bytes: int) -> str:
    size = size_bytes / 1024
    return f"{size:,.{0 if size >= 99.95 else 1}f}"


def show_totals(name: str, totals: Totals, unit: str = "image") -> None:
    """Sums, shares and other figures of a network, for one ``unit``."""
    params = f"{name}: {totals.params:,} parameters,"
    others = f"{totals.macs:,} MACs, {counted_words(totals.layers, 'layer')}"
    if len(params) + len(others) < TABLE_WIDTH:
        console.say(f"{params} {others}")
    else:
        console.say(params)
        console.say(others)
    shares = [
        (KIND_NAMES[kind], macs, params)
        for kind, macs, params in zip(
            KIND_NAMES, _percents(totals.macs_share), _percents(totals.params_share), strict=True
        )
    ]
    console.say()
    console.table(["share of", ("MACs", "right"), ("parameters", "right")], shares)
    console.table([f"one {unit}, float32", ("", "right")], _figures(totals))


def _percents(shares: dict[str, float] | None) -> list[str]:
    return ["-" if shares is None else console.percent(shares[kind]) for kind in KIND_NAMES]


def _figures(totals: Totals) -> list[tuple[str, str]]:
    """Names and values of the totals other than sums and shares."""
    field, intensity = totals.receptive_field_px, totals.intensity_macs_per_byte
    return [
        ("receptive field", "-" if field is None else f"{field:,} px"),
        ("weights", console.mebibytes(totals.weights_bytes)),
        ("peak activation memory", console.mebibytes(totals.peak_activation_bytes)),
        ("  with element-wise in place", console.mebibytes(totals.peak_in_place_bytes)),
        ("moved by conv and linear", console.mebibytes(totals.moved_bytes)),
        ("intensity (MACs per byte)", "-" if intensity is None else f"{intensity:.2f}"),
    ]


def show_comparison(names: tuple[str, str], one: Totals, two: Totals) -> None:
    """Totals of two networks, their ratios (A / B) and shares."""
    times = ["-" if ratio is None else f"{ratio:.3g}x" for ratio in ratios(one, two).values()]
    sums = [
        (text, f"{getattr(one, key):,}", f"{getattr(two, key):,}")
        for text, key in (("parameters", "params"), ("MACs", "macs"), ("layers", "layers"))
    ]
    figures = [
        (text, value, other)
        for (text, value), (_, other) in zip(_figures(one), _figures(two), strict=True)
    ]
    rows = [(*row, ratio) for row, ratio in zip(sums + figures, times, strict=True)]
    for title, attribute in (("MACs", "macs_share"), ("parameters", "params_share")):
        left, right = (_percents(getattr(totals, attribute)) for totals in (one, two))
        rows += [
            (f"{title}: {kind}", share, other, "")
            for kind, share, other in zip(KIND_NAMES.values(), left, right, strict=True)
        ]
    for letter, name in zip("AB", names, strict=True):
        console.say(f"{letter}: {name}")
    console.table(["one image, float32", ("A", "right"), ("B", "right"), ("A / B", "right")], rows)


def ratios(one: Totals, two: Totals) -> dict[str, float | None]:
    """A / B of each field of `Totals` that is a number; ``None`` where one is not known."""
    pairs = {name: (getattr(one, name), getattr(two, name)) for name in _COMPARED}
    return {name: None if a is None or not b else a / b for name, (a, b) in pairs.items()}


def comparison_csv(names: tuple[str, str], one: Totals, two: Totals) -> None:
    """Prints the totals of two networks as CSV; absent values are empty."""
    rows: list[tuple[Any, ...]] = [
        (name, getattr(one, name), getattr(two, name), ratio)
        for name, ratio in ratios(one, two).items()
    ]
    for name in ("macs_share", "params_share"):
        left, right = (getattr(totals, name) or {} for totals in (one, two))
        rows += [(f"{name}.{kind}", left.get(kind), right.get(kind), None) for kind in KIND_NAMES]
    _print_csv(("quantity", *names, "ratio"), rows)


def layers_csv(layers: Iterable[Layer]) -> None:
    """Prints the layers as CSV; absent values are empty."""

    def cell(value: Any) -> Any:
        return "x".join(map(str, value)) if isinstance(value, tuple) else value

    rows = ([cell(getattr(layer, name)) for name in CSV_COLUMNS] for layer in layers)
    _print_csv(CSV_COLUMNS, rows)


def _print_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    write_csv(text, [header, *rows])
    for line in text.getvalue().splitlines():
        console.say(line)
