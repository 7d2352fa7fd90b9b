"""What stands behind a name that people type or a record states; see `edgekit.tables`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core import Convertible, Target
from edgekit.core.text import in_short
from edgekit.errors import EdgekitError, UnavailableError, UnknownNameError, UsageError
from edgekit.plugins import load, normalize
from edgekit.tables import (
    EXECUTORS,
    FAMILIES,
    HEADS,
    LOWERINGS,
    METERS,
    OTHERS,
    PRECISION_ALIASES,
    PRECISIONS,
    TARGETS,
    TASKS,
    MeterEntry,
)

if TYPE_CHECKING:
    from edgekit.core import Lowering, MeterKind

_TENSORFLOW = re.compile("^tf[-_.]", re.IGNORECASE)


def model_names() -> tuple[str, ...]:
    """Canonical names of all zoo networks, sorted."""
    return tuple(sorted(name for entry in FAMILIES.values() for name in entry.variants))


def find_model(text: str) -> tuple[str, str, float]:
    """Resolves a zoo name.

    Args:
        text: such as ``MobileNetV3-Large``, ``mobilenetv3`` or ``mobilenetv2@0.75``. A prefix
            ``tf-`` is passed over; see `is_tensorflow`.

    Returns:
        Family, canonical name without multiplier, and width multiplier.

    Raises:
        UnknownNameError: no network has that name.
        UsageError: the multiplier is not a positive number.
    """
    name, width = _split(text)
    wanted = _TENSORFLOW.sub("", name)
    family = FAMILIES.key(wanted)
    if family is None:
        known = {*model_names(), *FAMILIES}
        raise UnknownNameError("model", text, known, "see 'edgekit list models'")
    variants = FAMILIES[family].variants
    named = [variant for variant in variants if normalize(variant) == normalize(wanted)]
    return family, (named or variants)[0], width


def is_tensorflow(text: str) -> bool:
    """Whether a zoo name asks for TensorFlow's padding and epsilon, as in ``tf-efficientnet-b0``.

    Published weights are of one kind or the other and do not say which; timm marks the former
    with the same prefix.
    """
    return _TENSORFLOW.match(text) is not None


def canonical_name(text: str) -> str:
    """A zoo name as edgekit writes it: ``tf-efficientnet-b0``, ``mobilenetv2@0.75``."""
    _, name, width = find_model(text)
    prefix = "tf-" if is_tensorflow(text) else ""
    return prefix + name + ("" if width == 1 else f"@{width:g}")


def _split(text: str) -> tuple[str, float]:
    """A name and its width multiplier.

    Raises:
        UsageError: it is not a positive number.
    """
    name, at, multiplier = text.partition("@")
    try:
        # As precise as names show it, so that one name means one network.
        width = float(f"{float(multiplier):g}") if at else 1.0
    except ValueError:
        width = 0.0
    if not 0.05 <= width <= 20:
        raise UsageError(
            f"width multiplier '{multiplier}' of '{text}': expected a number from 0.05 to 20, "
            f"as in {name}@0.75"
        )
    return name, width


def is_composed(text: str) -> bool:
    """Whether a name asks for a head on a network of the zoo, as ``mobilenetv3-small+ssdlite``.

    One of a head that is a network without a backbone, as ``unet@0.5``, does so, too.
    """
    if any(mark in text for mark in (":", "/", "\\")):
        return False
    return "+" in text or stands_alone(text)


def stands_alone(text: str) -> bool:
    """Whether a name, without its multiplier, is that of a head that needs no backbone."""
    wanted = normalize(text.partition("@")[0])
    return any(
        getattr(entry, "alone", False) and normalize(name) == wanted
        for name, entry in HEADS.built_in.items()
    )


def is_network(text: str) -> bool:
    """Whether a name is that of a network that edgekit makes, with a head or without."""
    try:
        if is_composed(text):
            find_composed(text)
        else:
            find_model(text)
    except EdgekitError:
        return False
    return True


def find_composed(text: str) -> tuple[str, str]:
    """Canonical names of backbone and head of what `is_composed`.

    Where the head `stands_alone`, the first is the whole name of the network.

    Raises:
        UnknownNameError: there is no such network, or no such head.
        UsageError: there are several heads.
    """
    backbone, _, wanted = text.partition("+")
    if not wanted and stands_alone(backbone):
        plain, width = _split(backbone)
        found = HEADS.find(plain)[0]
        return found + ("" if width == 1 else f"@{width:g}"), found
    name = canonical_name(backbone)
    if "+" in wanted:
        raise UsageError(f"'{text}' has several heads: expected one, as in {name}+ssdlite")
    return name, HEADS.find(wanted)[0]


def task_of_composed(text: str) -> str:
    """The task of what `is_composed`; raises what `find_composed` does."""
    _, name = find_composed(text)
    return HEADS[name].task or str(head(name).task)


def head(name: str) -> Any:
    """The head of that name; see `edgekit.tables.HEADS`."""
    return HEADS.load(name)


def task_name(text: str) -> str:
    """The canonical name of a task."""
    return TASKS.find(text)[0]


def default_head(task: str) -> str | None:
    """The head that a task means on a network of the zoo; ``None`` for a task that needs none."""
    named = (name for name, entry in HEADS.items() if entry.task == task and entry.default)
    return next(named, None)


def target(name: str) -> Target:
    """The target of that name; see `edgekit.tables.TARGETS`."""
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
    fitting = [t for t in TARGETS.load_all()[0].values() if t.suffix == suffix]
    if len(fitting) > 1:
        places = [f"target {t.name} of {TARGETS[t.name].package}" for t in fitting]
        raise UnavailableError(
            f"files ending in {suffix} are those of {' and of '.join(places)}: uninstall one of "
            f"the packages"
        )
    return fitting[0] if fitting else None


def family(name: str) -> Any:
    """The family of that name, which a spec states; see `edgekit.tables`."""
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
        names = [word.strip() for word in value.split(",") if word.strip()]
        if names:
            return names
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        names = list(value)
        if names and all(isinstance(one, str) for one in names):
            return names
    raise UsageError(f"{what}={in_short(value)}: expected a name, or several of them in a list")


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
    typed = names_of(targets, "targets")
    if any(word.lower() == "all" for word in typed):
        typed = sorted(TARGETS)  # one that cannot be had is an error here, too
    formats = list({t.name: t for t in map(target, typed)}.values())
    if converter is not None:
        formats = by_converter(formats, converter)
    names = list(dict.fromkeys(map(precision, names_of(precisions, "precisions"))))
    for one in formats:
        for name in names:
            if name not in one.schemes:
                raise UsageError(
                    f"target {one.name} has no precision {name}: it has "
                    f"{', '.join(sorted(one.schemes))}"
                )
    return formats, names


def meter(wanted: str) -> MeterKind:
    """The kind of meter that is meant by ``rapl`` or ``csv:FILE``; see `edgekit.tables.METERS`.

    Raises:
        UnknownNameError: no meter has that name.
        UsageError: it takes no argument, or none is behind the colon.
    """
    name, colon, argument = wanted.partition(":")
    _, entry = METERS.find(name)
    known = entry.argument if isinstance(entry, MeterEntry) else None
    if entry.package and hasattr(METERS.load(name), "of"):
        known = "ARGUMENT"
    if colon and known is None:
        raise UsageError(f"meter '{wanted}': '{name}' takes nothing behind a colon")
    if colon and not argument:
        raise UsageError(f"meter '{wanted}': expected {name}:{known}")
    loaded: Any = METERS.load(name)
    kind: MeterKind = loaded.of(argument) if colon else loaded
    return kind


def precision(name: str) -> str:
    """The canonical name of a precision; see `edgekit.tables.PRECISIONS`."""
    for known in (*PRECISIONS, *PRECISION_ALIASES):
        if normalize(known) == normalize(name):
            return PRECISION_ALIASES.get(known, known)
    raise UnknownNameError("precision", name, PRECISIONS, "see 'edgekit list precisions'")


def task(name: str) -> Any:
    """The class of a task; see `edgekit.tables.TASKS`."""
    return TASKS.load(name)


def executor(name: str) -> Any:
    """The class of an executor; see `edgekit.tables.EXECUTORS`.

    Raises:
        UnavailableError: a package that it needs is not installed.
    """
    return EXECUTORS.load(name)


def lowerings() -> list[Lowering]:
    """All lowerings, in the order in which they are applied."""
    return [LOWERINGS.load(name) for name in LOWERINGS]
