"""Networks of other libraries, where those are installed: ``timm:NAME``, ``torchvision:NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgekit.core import Preprocessing, reason
from edgekit.core.preprocessing import INTERPOLATIONS
from edgekit.errors import ModelError, UnavailableError, UnknownNameError
from edgekit.plugins import needed_packages


@dataclass(frozen=True, slots=True)
class LibraryModel:
    """A network with fresh weights.

    Attributes:
        preprocessing: what the library's default weights for it were trained with; ``None`` when
            unknown.
    """

    module: nn.Module
    resolution: int
    preprocessing: Preprocessing | None


def open_library(source: str, classes: int | None) -> LibraryModel:
    """Builds ``library:name``.

    Raises:
        UnavailableError: the library is not installed, or does not work with this PyTorch.
        UnknownNameError: it has no such network.
        ModelError: it cannot build it.
    """
    library, _, name = source.partition(":")
    with needed_packages(f"'{source}'"):
        return LIBRARIES[library](name, {} if classes is None else {"num_classes": classes})


def _timm(name: str, options: dict[str, Any]) -> LibraryModel:
    timm = _imported("timm")
    if not timm.is_model(name):
        raise UnknownNameError("timm model", name, timm.list_models(), "see timm.list_models()")
    module = _built(f"timm:{name}", lambda: timm.create_model(name, pretrained=False, **options))
    config = timm.data.resolve_data_config({}, model=module)
    return LibraryModel(module, int(config["input_size"][-1]), of_timm(config))


def of_timm(config: Mapping[str, Any]) -> Preprocessing | None:
    """What timm says of a network's images; ``None`` for what edgekit cannot repeat."""
    height, width = map(int, config["input_size"][-2:])
    mean, std = (tuple(map(float, config[name])) for name in ("mean", "std"))
    share, mode = float(config["crop_pct"]), config.get("crop_mode") or "center"
    larger = (max(height, int(height / share)), max(width, int(width / share)))
    pad = round(255 * mean[0])  # timm's border has the colour that becomes 0
    ways: dict[str, dict[str, Any]] = {
        "center": {"resize": larger},
        "squash": {"resize": larger, "fit": "stretch"},
        "border": {"resize": None, "fit": "letterbox", "pad": pad},
    }
    way = ways.get(mode)
    if mode == "border" and (share != 1 or len(set(mean)) > 1):
        way = None
    if way is None or config["interpolation"] not in INTERPOLATIONS:
        return None
    return Preprocessing(
        crop=(height, width), mean=mean, std=std, interpolation=config["interpolation"], **way
    )


def _torchvision(name: str, options: dict[str, Any]) -> LibraryModel:
    models = _imported("torchvision").models
    if name not in models.list_models(module=models):
        known = models.list_models(module=models)
        raise UnknownNameError("torchvision model", name, known, "see torchvision's list_models()")
    module = _built(f"torchvision:{name}", lambda: models.get_model(name, weights=None, **options))
    weights = models.get_model_weights(name)
    if not len(weights):
        return LibraryModel(module, 224, None)
    transforms = weights.DEFAULT.transforms()
    return LibraryModel(module, int(transforms.crop_size[0]), of_torchvision(transforms))


def of_torchvision(transforms: Any) -> Preprocessing | None:
    """What a transform of torchvision does with images; ``None`` as of `of_timm`."""
    if transforms.interpolation.value not in INTERPOLATIONS:
        return None
    return Preprocessing(
        resize=int(transforms.resize_size[0]),
        crop=int(transforms.crop_size[0]),
        mean=tuple(map(float, transforms.mean)),
        std=tuple(map(float, transforms.std)),
        interpolation=transforms.interpolation.value,
    )


LIBRARIES: dict[str, Callable[[str, dict[str, Any]], LibraryModel]] = {
    "timm": _timm,
    "torchvision": _torchvision,
}


def _imported(library: str) -> Any:
    """Imports a library that is built against one version of PyTorch."""
    import importlib

    try:
        return importlib.import_module(library)
    except ModuleNotFoundError:
        raise
    except (ImportError, RuntimeError, OSError) as error:
        raise UnavailableError(
            f"{library} is installed, but does not work with this PyTorch ({reason(error)}): "
            f"install the builds of torch and torchvision that belong together"
        ) from error


def _built(source: str, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except Exception as error:  # whatever the library's constructors raise
        raise ModelError(f"'{source}' cannot be built: {reason(error)}") from error
