"""What there is, as tables of names.

Each table maps a name to ``module:attribute``; nothing is imported before it is used, so
listing names costs nothing. A new family, target, precision, lowering or data source is one file
and one line here, or a line in the entry points of another package (docs/extend.md). Names that
users type are compared without case, ``-``, ``_`` and ``.``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core import Convertible, Profilable, Quantizing, Target, reason
from edgekit.core.reasons import PASSING
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.plugins import Entry as Entry
from edgekit.plugins import Point, Table
from edgekit.plugins import load as load
from edgekit.plugins import needed_packages as needed_packages
from edgekit.plugins import normalize as normalize

if TYPE_CHECKING:
    from edgekit.core import Lowering, MeterKind


@dataclass(frozen=True, slots=True)
class FamilyEntry(Entry):
    """A model family: its variants, the best known one first."""

    variants: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Its networks."""
        return self.variants


@dataclass(frozen=True, slots=True)
class MeterEntry(Entry):
    """A kind of energy meter, and what may stand behind its name and a colon.

    What the line names has a method ``of(argument)`` then, which returns the kind for it.
    """

    argument: str | None = None


class _Families(Table[FamilyEntry]):
    """Families, of which packages name the networks.

    Those that one object builds are a family, which goes by the name of its module, as edgekit's
    own do; the first one by name stands for it.
    """

    def _added(self, found: Sequence[Point]) -> list[tuple[str, Any]]:
        networks: dict[tuple[str, str, str], list[str]] = {}
        for p in found:
            networks.setdefault((p.where, p.about, p.package), []).append(p.name)
        return [
            (place[0].partition(":")[0].rpartition(".")[2], FamilyEntry(*place, tuple(names)))
            for place, names in networks.items()
        ]

    def _flaw(self, name: str, entry: FamilyEntry, loaded: Any) -> str | None:
        for variant in entry.variants:
            if variant not in loaded.variants:
                return f"it has no network '{variant}'"
            family = loaded.variants[variant](1.0).family
            if family != name:
                return f"the spec of '{variant}' is of family '{family}'"
        return None


class _Targets(Table[Entry]):
    """Targets, each with an ending of its own."""

    def _flaw(self, name: str, entry: Entry, loaded: Any) -> str | None:
        for protocol in (Target, Quantizing, Convertible, Profilable):
            members = [*protocol.__annotations__, *vars(protocol)]
            members = [member for member in members if not member.startswith("_")]
            lacking = [member for member in members if not hasattr(loaded, member)]
            if lacking and (protocol is Target or len(lacking) < len(members)):
                return f"as a {protocol.__name__} it lacks {', '.join(lacking)}"
        if loaded.name != name:
            return f"it calls itself '{loaded.name}'"
        for other, line in self.built_in.items():
            if load(line).suffix == loaded.suffix:
                return f"its files end in {loaded.suffix}, as those of {other} do"
        return None


class _Tasks(Table[Entry]):
    """Tasks, which call themselves as the table does."""

    def _flaw(self, name: str, entry: Entry, loaded: Any) -> str | None:
        lacking = [member for member in OF_TASKS if not hasattr(loaded, member)]
        if lacking:
            return f"as a Task it lacks {', '.join(lacking)}"
        return None if loaded.name == name else f"it calls itself '{loaded.name}'"


class _Formats(Table[Entry]):
    """Formats of folders."""

    def _flaw(self, name: str, entry: Entry, loaded: Any) -> str | None:
        if not callable(loaded):
            return "as a FolderFormat it cannot be called"
        return None if hasattr(loaded, "reads") else "as a FolderFormat it lacks reads"


OF_TASKS = (
    "name", "headline", "title", "check_meaning", "metric", "decode", "shown", "draw",
    "check_reference", "agreement", "decided_alike", "sqnr_db", "followed", "objective", "roles",
)  # fmt: skip
"""Members of `edgekit.tasks.Task`."""

FAMILIES = _Families(
    "family",
    "edgekit.families",
    "see 'edgekit list models'",
    {
        "efficientnet": FamilyEntry(
            "edgekit.models.efficientnet:FAMILY",
            "arXiv:1905.11946",
            variants=(
                *(f"efficientnet-b{i}" for i in range(8)),
                *(f"efficientnet-lite{i}" for i in range(5)),
            ),
        ),
        "efficientnetv2": FamilyEntry(
            "edgekit.models.efficientnetv2:FAMILY",
            "arXiv:2104.00298",
            variants=tuple(
                f"efficientnetv2-{size}" for size in ("s", "m", "l", "b0", "b1", "b2", "b3")
            ),
        ),
        "mnasnet": FamilyEntry(
            "edgekit.models.mnasnet:FAMILY",
            "arXiv:1807.11626",
            variants=("mnasnet-b1", "mnasnet-a1"),
        ),
        "mobilenetv1": FamilyEntry(
            "edgekit.models.mobilenetv1:FAMILY", "arXiv:1704.04861", variants=("mobilenetv1",)
        ),
        "mobilenetv2": FamilyEntry(
            "edgekit.models.mobilenetv2:FAMILY", "arXiv:1801.04381", variants=("mobilenetv2",)
        ),
        "mobilenetv3": FamilyEntry(
            "edgekit.models.mobilenetv3:FAMILY",
            "arXiv:1905.02244",
            variants=(
                "mobilenetv3-large",
                "mobilenetv3-small",
                "mobilenetv3-large-minimalistic",
                "mobilenetv3-small-minimalistic",
            ),
        ),
        "mobilenetv4": FamilyEntry(
            "edgekit.models.mobilenetv4:FAMILY",
            "arXiv:2404.10518",
            variants=tuple(f"mobilenetv4-conv-{size}" for size in ("small", "medium", "large")),
        ),
        "shufflenetv1": FamilyEntry(
            "edgekit.models.shufflenetv1:FAMILY",
            "arXiv:1707.01083",
            variants=tuple(f"shufflenetv1-g{groups}" for groups in (3, 1, 2, 4, 8)),
        ),
        "shufflenetv2": FamilyEntry(
            "edgekit.models.shufflenetv2:FAMILY", "arXiv:1807.11164", variants=("shufflenetv2",)
        ),
        "shufflenetv2plus": FamilyEntry(
            "edgekit.models.shufflenetv2plus:FAMILY",
            "megvii-model/ShuffleNet-Series",
            variants=tuple(f"shufflenetv2plus-{size}" for size in ("small", "medium", "large")),
        ),
    },
)

OTHERS = {
    "adapted": FamilyEntry(
        "edgekit.models.adapted:FAMILY",
        "networks of libraries and of one's own, with channels taken out of them",
    ),
}
"""Kinds of specs that have no names: their networks are made by other people's code."""

TARGETS = _Targets(
    "target",
    "edgekit.targets",
    "see 'edgekit list targets'",
    {
        "onnx": Entry("exporters.onnx:TARGET", "ONNX, for ONNX Runtime"),
        "openvino": Entry("exporters.openvino:TARGET", "OpenVINO IR"),
        "tflite": Entry("exporters.tflite:TARGET", "TensorFlow Lite, for LiteRT"),
    },
)

DEFAULT_TARGET = "onnx"

PRETRAINED = "pretrained"
"""In place of a file of weights: those that torchvision publishes, downloaded once."""

PRECISIONS = {
    "fp16": "weights stored as 16-bit floats; float inputs and outputs",
    "fp32": "everything in 32-bit floats",
    "int8": "weights and activations of 8 bits, ranges from images",
    "int8-dynamic": "weights of 8 bits, ranges of activations found while running",
    "int8-mixed": "int8, with the layers in float that lose most, or those of --float-layers",
    "w8a16": "weights of 8 bits, activations of 16; also called int16x8",
}

_PRECISION_ALIASES = {"int16x8": "w8a16"}

TASKS = _Tasks(
    "task",
    "edgekit.tasks",
    "see 'edgekit list tasks'",
    {
        "classify": Entry("edgekit.tasks.classify:Classify", "scores of classes for one image"),
        "tensors": Entry(
            "edgekit.tasks.tensors:Tensors",
            "any inputs and outputs, of which nobody said the meaning",
        ),
    },
)

LOWERINGS = Table(
    "lowering",
    "edgekit.lowerings",
    "see 'edgekit list plugins'",
    {
        "bake-weights": Entry(
            "edgekit.lowering.bake_weights:LOWERING", "weights that are computed from others, once"
        ),
        "split-norms": Entry(
            "edgekit.lowering.split_norms:LOWERING",
            "batch norms with an activation inside, taken apart",
        ),
        "merge-branches": Entry(
            "edgekit.lowering.merge_branches:LOWERING",
            "parallel convolutions that are added, as one",
        ),
        # Before batch norms, so that one behind a factor has the layer in front of it.
        "fold-scalars": Entry(
            "edgekit.lowering.fold_scalars:LOWERING",
            "products and sums with constants folded into the layer beside them",
        ),
        "fold-batchnorm": Entry(
            "edgekit.lowering.fold_batchnorm:LOWERING", "batch norm folded into the convolution"
        ),
        "order-channels": Entry(
            "edgekit.lowering.order_channels:CHANNELS",
            "shuffles of channels taken into the weights behind them",
        ),
        "order-groups": Entry(
            "edgekit.lowering.order_channels:GROUPS",
            "the same, in front of grouped convolutions, too",
        ),
    },
)

SOURCES = Table(
    "data source",
    "edgekit.data",
    "see 'edgekit list data'",
    {
        "digits": Entry("edgekit.data.digits:open_source", "1,797 scans of handwritten digits"),
        "synthetic": Entry("edgekit.data.synthetic:open_source", "generated shapes, for tests"),
    },
)

FORMATS = _Formats(
    "data format",
    "edgekit.formats",
    "see 'edgekit list formats'",
    {
        "class-folders": Entry(
            "edgekit.data.folder:FolderSource",
            "DIR/class/image.jpg, or the same in DIR/train, DIR/val and DIR/test",
        ),
    },
)
"""How folders hold images and labels; those of packages are asked first."""

METERS = Table[Entry](
    "meter",
    "edgekit.meters",
    "see 'edgekit list meters'",
    {
        "csv": MeterEntry(
            "edgekit.measure.meters.csv_file:METER",
            "csv:FILE, timestamps and watts of a wall meter",
            argument="FILE",
        ),
        "hwmon": MeterEntry(
            "edgekit.measure.meters.hwmon:METER", "current sensors INA219, INA226, INA3221 (Jetson)"
        ),
        "nvml": MeterEntry(
            "edgekit.measure.meters.nvml:METER",
            "NVIDIA GPUs, all of them or nvml:INDEX",
            argument="INDEX",
        ),
        "pmic": MeterEntry("edgekit.measure.meters.pmic:METER", "rails of the Raspberry Pi 5"),
        "power_supply": MeterEntry(
            "edgekit.measure.meters.power_supply:METER", "battery of a phone or laptop"
        ),
        "rapl": MeterEntry(
            "edgekit.measure.meters.rapl:METER", "processor packages of Intel and AMD (powercap)"
        ),
    },
)
EXECUTORS = Table(
    "executor",
    "edgekit.executors",
    "see 'edgekit search --help'",
    {
        "processes": Entry("edgekit.search.processes:Processes", "processes of this machine"),
        "ray": Entry("edgekit.search.ray_cluster:RayCluster", "a Ray cluster, see 'edgekit[ray]'"),
    },
)
"""Where the candidates of a search are trained."""

APPS = Table[Entry]("app", "edgekit.apps", "see 'edgekit list apps'", {})

TABLES: tuple[Table[Any], ...] = (
    FAMILIES, TASKS, TARGETS, LOWERINGS, SOURCES, FORMATS, METERS, EXECUTORS, APPS,
)  # fmt: skip
"""All that other packages can add to."""


_TENSORFLOW = re.compile("^tf[-_.]", re.IGNORECASE)


def start(target: Target) -> None:
    """Imports the runtime of a target.

    Raises:
        UnavailableError: it is not installed, or its installation does not work.
    """
    with needed_packages(f"target {target.name}"):
        try:
            target.start()
        except ModuleNotFoundError:
            raise
        except PASSING:
            raise
        except BaseException as error:  # libraries that do not fit, above all
            raise UnavailableError(
                f"{target.runtime} cannot be imported: {reason(error)}; install it again, and see "
                f"'edgekit doctor'"
            ) from error


def model_names() -> tuple[str, ...]:
    """Canonical names of all zoo networks, sorted."""
    return tuple(sorted(name for entry in FAMILIES.values() for name in entry.variants))


def find_model(words: str) -> tuple[str, str, float]:
    """Resolves a zoo name.

    Args:
        words: such as ``MobileNetV3-Large``, ``mobilenetv3`` or ``mobilenetv2@0.75``. A prefix
            ``tf-`` is passed over; see `is_tensorflow`.

    Returns:
        Family, canonical name without multiplier, and width multiplier.

    Raises:
        UnknownNameError: no network has that name.
        UsageError: the multiplier is not a positive number.
    """
    name, at, multiplier = words.partition("@")
    try:
        # As precise as names show it, so that one name means one network.
        width = float(f"{float(multiplier):g}") if at else 1.0
    except ValueError:
        width = 0.0
    if not 0.05 <= width <= 20:
        raise UsageError(
            f"width multiplier '{multiplier}' of '{words}': expected a number from 0.05 to 20, "
            f"as in {name}@0.75"
        )
    wanted = _TENSORFLOW.sub("", name)
    family = FAMILIES.key(wanted)
    if family is None:
        known = {*model_names(), *FAMILIES}
        raise UnknownNameError("model", words, known, "see 'edgekit list models'")
    variants = FAMILIES[family].variants
    named = [variant for variant in variants if normalize(variant) == normalize(wanted)]
    return family, (named or variants)[0], width


def is_tensorflow(words: str) -> bool:
    """Whether a zoo name asks for TensorFlow's padding and epsilon, as in ``tf-efficientnet-b0``.

    Published weights are of one kind or the other and do not say which; timm marks the former
    with the same prefix.
    """
    return _TENSORFLOW.match(words) is not None


def canonical_name(words: str) -> str:
    """A zoo name as edgekit writes it: ``tf-efficientnet-b0``, ``mobilenetv2@0.75``."""
    _, name, width = find_model(words)
    prefix = "tf-" if is_tensorflow(words) else ""
    return prefix + name + ("" if width == 1 else f"@{width:g}")


def target(name: str) -> Target:
    """The target of that name; see `TARGETS`."""
    loaded: Target = TARGETS.load(name)
    return loaded


def known_target(name: str) -> Target | None:
    """The target that a record names; ``None`` where it cannot be had here."""
    if name not in TARGETS:
        return None
    try:
        return target(name)
    except UnavailableError:
        return None


def target_by_suffix(suffix: str) -> Target | None:
    """The target whose main files end like that; ``None`` where none of those that can be loaded.

    Raises:
        UnavailableError: several targets have it.
    """
    if not suffix:
        return None
    for name, entry in TARGETS.built_in.items():
        if load(entry).suffix == suffix:
            return target(name)
    found = [t for t in TARGETS.load_all()[0].values() if t.suffix == suffix]
    if len(found) > 1:
        places = [f"target {t.name} of {TARGETS[t.name].package}" for t in found]
        raise UnavailableError(
            f"files ending in {suffix} are those of {' and of '.join(places)}: uninstall one of "
            f"the packages"
        )
    return found[0] if found else None


def family(name: str) -> Any:
    """The family of that name, which a spec states; see `FAMILIES` and `OTHERS`."""
    return load(OTHERS[name]) if name in OTHERS else FAMILIES.load(name)


def by_converter(targets: Sequence[Target], converter: str) -> list[Target]:
    """Targets whose files a converter writes, where they have it; the others as they are.

    Raises:
        UsageError: none of them has it.
    """
    names = {name for t in targets if isinstance(t, Convertible) for name in t.converters}
    if converter not in names:
        expected = f"expected {' or '.join(sorted(names))}" if names else "they have one each"
        raise UsageError(
            f"no converter '{converter}' for {', '.join(t.name for t in targets)}: {expected}"
        )
    return [
        t.by(converter) if isinstance(t, Convertible) and converter in t.converters else t
        for t in targets
    ]


def names_of(value: object, what: str) -> list[str]:
    """Names as a list; one alone, or several with commas, are taken, too.

    Args:
        what: the argument's name, for the message.

    Raises:
        UsageError: something else.
    """
    if isinstance(value, str):
        found = [word.strip() for word in value.split(",") if word.strip()]
        if found:
            return found
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        found = list(value)
        if found and all(isinstance(one, str) for one in found):
            return found
    raise UsageError(f"{what}={value!r}: expected a name, or several of them in a list")


def chosen(
    targets: object, precisions: object, converter: str | None = None
) -> tuple[list[Target], list[str]]:
    """Targets and names of precisions that are asked for, each once.

    Args:
        targets: a name, or several in a list or with commas; ``all``.
        precisions: as well.
        converter: of targets that have several.

    Raises:
        UnknownNameError: one that there is not.
        UsageError: no names, a precision that a target does not have, or a converter that none has.
    """
    words = names_of(targets, "targets")
    if any(word.lower() == "all" for word in words):
        words = sorted(TARGETS)  # one that cannot be had is an error here, too
    found = list({t.name: t for t in map(target, words)}.values())
    if converter is not None:
        found = by_converter(found, converter)
    names = list(dict.fromkeys(map(precision, names_of(precisions, "precisions"))))
    for one in found:
        for name in names:
            if name not in one.schemes:
                raise UsageError(
                    f"target {one.name} has no precision {name}: it has "
                    f"{', '.join(sorted(one.schemes))}"
                )
    return found, names


def meter(words: str) -> MeterKind:
    """The kind of meter that is meant by ``rapl`` or ``csv:FILE``; see `METERS`.

    Raises:
        UnknownNameError: no meter has that name.
        UsageError: it takes no argument, or none is behind the colon.
    """
    name, colon, argument = words.partition(":")
    _, entry = METERS.find(name)
    known = entry.argument if isinstance(entry, MeterEntry) else None
    if entry.package and hasattr(METERS.load(name), "of"):
        known = "ARGUMENT"
    if colon and known is None:
        raise UsageError(f"meter '{words}': '{name}' takes nothing behind a colon")
    if colon and not argument:
        raise UsageError(f"meter '{words}': expected {name}:{known}")
    loaded: Any = METERS.load(name)
    kind: MeterKind = loaded.of(argument) if colon else loaded
    return kind


def precision(name: str) -> str:
    """The canonical name of a precision; see `PRECISIONS`."""
    for known in (*PRECISIONS, *_PRECISION_ALIASES):
        if normalize(known) == normalize(name):
            return _PRECISION_ALIASES.get(known, known)
    raise UnknownNameError("precision", name, PRECISIONS, "see 'edgekit list precisions'")


def task(name: str) -> Any:
    """The class of a task; see `TASKS`."""
    return TASKS.load(name)


def executor(name: str) -> Any:
    """The class of an executor; see `EXECUTORS`.

    Raises:
        UnavailableError: a package that it needs is not installed.
    """
    return EXECUTORS.load(name)


def lowerings() -> list[Lowering]:
    """All lowerings, in the order in which they are applied."""
    return [LOWERINGS.load(name) for name in LOWERINGS]
