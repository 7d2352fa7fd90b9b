"""What there is, as tables of names.

Each table maps a name to ``module:attribute``; nothing is imported before it is used, so
listing names costs nothing. A new family, target, precision, lowering or data source is one file
and one line here, or a line in the entry points of another package (docs/extend.md). Names that
users type are compared without case, ``-``, ``_`` and ``.``; `edgekit.registry` looks them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.core import Convertible, Profilable, Quantizing, Simulator, Target
from edgekit.plugins import Entry, Point, Table, load


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


@dataclass(frozen=True, slots=True)
class HeadEntry(Entry):
    """A kind of head, and the task that it is for; packages' heads tell it when they are loaded.

    One of each task is what ``--task`` means on a network of the zoo.

    Attributes:
        alone: whether its name without a backbone is a network as well.
    """

    task: str = ""
    default: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class AppEntry(Entry):
    """A platform of apps, and the tasks that it has apps for."""

    tasks: tuple[str, ...] = ("classify",)


class _Families(Table[FamilyEntry]):
    """Families, of which packages name the networks.

    Those that one object builds are a family, which goes by the name of its module, as edgekit's
    own do; the first one by name stands for it.
    """

    def _added(self, points: Sequence[Point]) -> list[tuple[str, Any]]:
        networks: dict[tuple[str, str, str], list[str]] = {}
        for p in points:
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


class _Heads(Table[HeadEntry]):
    """Heads, which call themselves as the table does."""

    def _added(self, points: Sequence[Point]) -> list[tuple[str, Any]]:
        return [(p.name, HeadEntry(p.where, p.about, p.package)) for p in points]

    def _flaw(self, name: str, entry: HeadEntry, loaded: Any) -> str | None:
        lacking = [member for member in OF_HEADS if not hasattr(loaded, member)]
        if lacking:
            return f"as a Head it lacks {', '.join(lacking)}"
        return None if loaded.name == name else f"it calls itself '{loaded.name}'"


class _Simulators(Table[Entry]):
    """Microcontrollers, which call themselves as the table does."""

    def _flaw(self, name: str, entry: Entry, loaded: Any) -> str | None:
        members = [*Simulator.__annotations__, *vars(Simulator)]
        lacking = [m for m in members if not m.startswith("_") and not hasattr(loaded, m)]
        if lacking:
            return f"as a Simulator it lacks {', '.join(lacking)}"
        return None if loaded.name == name else f"it calls itself '{loaded.name}'"


class _Apps(Table[AppEntry]):
    """Platforms of apps, which call themselves as the table does; packages' are for classifiers."""

    def _added(self, points: Sequence[Point]) -> list[tuple[str, Any]]:
        return [(p.name, AppEntry(p.where, p.about, p.package)) for p in points]

    def _flaw(self, name: str, entry: AppEntry, loaded: Any) -> str | None:
        lacking = [member for member in OF_PLATFORMS if not hasattr(loaded, member)]
        if lacking:
            return f"as a Platform it lacks {', '.join(lacking)}"
        return None if loaded.name == name else f"it calls itself '{loaded.name}'"


class _Formats(Table[Entry]):
    """Formats of folders."""

    def _flaw(self, name: str, entry: Entry, loaded: Any) -> str | None:
        if not callable(loaded):
            return "as a FolderFormat it cannot be called"
        return None if hasattr(loaded, "reads") else "as a FolderFormat it lacks reads"


OF_TASKS = (
    "name", "headline", "title", "labelled", "truth", "check_meaning", "metric", "decode", "shown",
    "draw", "check_reference", "agreement", "decided_alike", "sqnr_db", "followed", "objective",
    "roles", "said", "labels_for",
)  # fmt: skip
"""Members of `edgekit.tasks.Task`."""

OF_HEADS = ("name", "task", "classes", "outputs", "stride", "network", "parameters")
"""Members of `edgekit.models.heads.Head`."""

OF_PLATFORMS = ("name", "runs", "tests", "why_not", "write")
"""Members of `edgekit.apps.app.Platform`."""

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
                "mobilenetv3-large-reduced",
                "mobilenetv3-small-reduced",
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
        "tflite": Entry("exporters.tflite.target:TARGET", "TensorFlow Lite, for LiteRT"),
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

PRECISION_ALIASES = {"int16x8": "w8a16"}
"""Other names of these."""

TASKS = _Tasks(
    "task",
    "edgekit.tasks",
    "see 'edgekit list tasks'",
    {
        "classify": Entry("edgekit.tasks.classify:Classify", "scores of classes for one image"),
        "detect": Entry("edgekit.tasks.detect:Detect", "boxes around objects, with classes"),
        "embed": Entry("edgekit.tasks.embed:Embed", "a vector by which images are compared"),
        "segment": Entry("edgekit.tasks.segment:Segment", "a class for each pixel"),
        "tensors": Entry(
            "edgekit.tasks.tensors:Tensors",
            "any inputs and outputs, of which nobody said the meaning",
        ),
    },
)

HEADS = _Heads(
    "head",
    "edgekit.heads",
    "see 'edgekit list heads'",
    {
        "deeplabv3": HeadEntry(
            "edgekit.models.heads.deeplabv3:HEAD",
            "atrous kernels at rates of 6, 12 and 18 pixels, arXiv:1706.05587",
            task="segment",
        ),
        "deeplabv3-wide": HeadEntry(
            "edgekit.models.heads.deeplabv3:WIDE",
            "the same at 12, 24 and 36 pixels, as torchvision has it",
            task="segment",
        ),
        "embed": HeadEntry(
            "edgekit.models.heads.embed:HEAD",
            "an embedding of length 1, arXiv:1503.03832",
            task="embed",
            default=True,
        ),
        "fasterrcnn": HeadEntry(
            "edgekit.models.heads.twostage:FASTER",
            "regions from the map, then their classes, arXiv:1506.01497",
            task="detect",
        ),
        "fasterrcnn-fpn": HeadEntry(
            "edgekit.models.heads.pyramid:HEAD",
            "the same with a feature pyramid, as torchvision has it, arXiv:1612.03144",
            task="detect",
        ),
        "fastrcnn": HeadEntry(
            "edgekit.models.heads.twostage:FAST",
            "given regions, cut out of the map, arXiv:1504.08083",
            task="detect",
        ),
        "lraspp": HeadEntry(
            "edgekit.models.heads.lraspp:HEAD",
            "two maps and a gate, arXiv:1905.02244",
            task="segment",
            default=True,
        ),
        "maskrcnn": HeadEntry(
            "edgekit.models.heads.twostage:MASK",
            "fasterrcnn with a mask for each box, arXiv:1703.06870",
            task="detect",
        ),
        "rcnn": HeadEntry(
            "edgekit.models.heads.twostage:RCNN",
            "given regions, cut out of the image, arXiv:1311.2524",
            task="detect",
        ),
        "ssdlite": HeadEntry(
            "edgekit.models.heads.ssdlite:HEAD",
            "anchors on six maps, each class by itself, arXiv:1801.04381",
            task="detect",
            default=True,
        ),
        "ssdlite-softmax": HeadEntry(
            "edgekit.models.heads.ssdlite:WITH_BACKGROUND",
            "the same with a softmax over classes and background, as published",
            task="detect",
        ),
        "unet": HeadEntry(
            "edgekit.models.heads.unet:HEAD",
            "transposed convolutions, beside the maps on the way down, arXiv:1505.04597; 'unet' "
            "alone is the network of the paper",
            task="segment",
            alone=True,
        ),
        "yolo": HeadEntry(
            "edgekit.models.heads.yolo:NEWEST",
            "cells of three grids without anchors, as in V8",
            task="detect",
        ),
        "yolov1": HeadEntry(
            "edgekit.models.heads.yolo:YOLOV1", "cells of one grid, arXiv:1506.02640", task="detect"
        ),
        "yolov2": HeadEntry(
            "edgekit.models.heads.yolo:YOLOV2",
            "anchors on one grid, arXiv:1612.08242",
            task="detect",
        ),
        "yolov3": HeadEntry(
            "edgekit.models.heads.yolo:YOLOV3",
            "anchors on three grids, arXiv:1804.02767",
            task="detect",
        ),
        "yolov8": HeadEntry(
            "edgekit.models.heads.yolo:YOLOV8",
            "no anchors, branches for boxes and scores",
            task="detect",
        ),
    },
)
"""What tasks put on a backbone of the zoo, as in ``mobilenetv3-small+ssdlite``."""

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
        "norms-to-convolutions": Entry(
            "edgekit.lowering.norms_to_convolutions:LOWERING",
            "batch norms without a layer before them as depthwise convolutions, in integers",
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
        "digit-scenes": Entry(
            "edgekit.data.digit_scenes:open_source",
            "2,800 scenes of handwritten digits, with boxes and masks",
        ),
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
        "coco": Entry(
            "edgekit.data.coco:FORMAT", "COCO's JSON, such as DIR/annotations/instances_train.json"
        ),
        "masks": Entry(
            "edgekit.data.mask_folders:MaskFolder",
            "DIR/train/images, DIR/train/masks and DIR/classes.txt",
        ),
        "pairs": Entry(
            "edgekit.data.pairs:PairFolder",
            "DIR/pairs.txt: lines of two images, and 1 where they show the same, else 0",
        ),
        "voc": Entry(
            "edgekit.data.voc:VocFolder", "Pascal VOC: DIR/Annotations/*.xml, JPEGImages, ImageSets"
        ),
        "yolo": Entry(
            "edgekit.data.yolo:YoloFolder", "YOLO's text: DIR/data.yaml, images and labels"
        ),
    },
)
"""How folders hold images and what is known of them; those of packages are asked first."""

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
SIMULATORS = _Simulators(
    "device",
    "edgekit.simulators",
    "see 'edgekit devices list'",
    {
        **{
            f"ethos-{series.lower()}-{macs}": Entry(
                f"exporters.tflite.ethos_u:{series}_{macs}",
                f"Arm Ethos-{series}, {macs} MACs a cycle: Vela's estimate",
            )
            for series, sizes in (
                ("U55", (128, 256, 32, 64)),
                ("U65", (256, 512)),
                ("U85", (1024, 128, 2048, 256, 512)),
            )
            for macs in sizes
        },
        "tflm": Entry(
            "exporters.tflite.micro:SIMULATOR", "TensorFlow Lite Micro's interpreter, run here"
        ),
    },
)
"""Microcontrollers, by what stands for them on this machine; `edgekit.core.Simulator`."""
TRANSPORTS = Table[Entry](
    "transport",
    "edgekit.transports",
    "see 'edgekit list transports'",
    {
        "adb": Entry(
            "edgekit.devices.transports.adb:transport",
            "adb:SERIAL, a phone, by the adb that is installed here",
        ),
        "local": Entry("edgekit.devices.transports.local:transport", "local:, this machine"),
        "ssh": Entry(
            "edgekit.devices.transports.ssh:transport",
            "ssh://[user@]host[:port], by the ssh that is installed here",
        ),
    },
)
"""Ways to devices, by what stands before the colon of an address."""

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

APPS = _Apps(
    "app",
    "edgekit.apps",
    "see 'edgekit list apps'",
    {
        "android": AppEntry(
            "edgekit.apps.android:PLATFORM", "a Gradle project in Kotlin: camera, files"
        ),
        "cpp": AppEntry(
            "edgekit.apps.cpp:PLATFORM", "a CMake project: libpng, libjpeg and the runtime"
        ),
        "ios": AppEntry("edgekit.apps.ios:PLATFORM", "a Swift package, as text: not compiled yet"),
        "mcu": AppEntry(
            "edgekit.apps.mcu:PLATFORM", "a microcontroller: an interpreter's C++ and ESP-IDF"
        ),
        "python": AppEntry(
            "edgekit.apps.python:PLATFORM",
            "a module and a command: NumPy and Pillow",
            tasks=("classify", "detect", "segment", "embed"),
        ),
        "web": AppEntry(
            "edgekit.apps.web:PLATFORM",
            "a page of plain files, in the browser",
            tasks=("classify", "detect", "segment"),
        ),
    },
)
"""Platforms that sample apps are written for; `edgekit.apps.app.Platform`."""

TABLES: tuple[Table[Any], ...] = (
    FAMILIES, TASKS, TARGETS, LOWERINGS, SOURCES, FORMATS, METERS, SIMULATORS, TRANSPORTS,
    EXECUTORS, APPS, HEADS,
)  # fmt: skip
"""All that other packages can add to."""
