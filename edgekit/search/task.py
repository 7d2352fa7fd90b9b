"""What a search is asked to do, checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import registry
from edgekit.core import ImageSource, ModelSpec, Preprocessing, Scheme, Target, class_count
from edgekit.core.names import shown
from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.data.scores import class_names
from edgekit.errors import DataError, ModelError, UsageError
from edgekit.models.purity import as_function
from edgekit.models.source import Model
from edgekit.quantize.integers import Integers
from edgekit.search.budget import Limit
from edgekit.search.costs import search_scheme
from edgekit.search.discovery import discovered
from edgekit.search.learning import LOGITS, SELECTION
from edgekit.search.measuring import Notify, check_meter
from edgekit.search.records import Conduct, SearchOptions
from edgekit.search.scaling import scaled
from edgekit.training.losses import Kinds, check_said, kinds_of


@dataclass(frozen=True, slots=True)
class Task:
    """A search that can be begun.

    Attributes:
        model: trained network of the start.
        spec: of the model.
        labels: of its classes.
        facts: how its images are prepared.
        words: SRC of the images ``source``.
        out: folder of the search.
        device: name of its profile, which the times of parts are kept under.
        threads: that latencies are measured with.
        kinds: what the outputs of its networks are.
    """

    model: Model
    spec: ModelSpec
    labels: tuple[str, ...]
    facts: Preprocessing
    words: str
    source: ImageSource
    limits: tuple[Limit, ...]
    target: Target
    precision: str
    out: Path
    options: SearchOptions
    conduct: Conduct
    device: str
    threads: int
    kinds: Kinds

    @property
    def resources(self) -> tuple[str, ...]:
        """What the budget is about, by limit."""
        return tuple(limit.resource for limit in self.limits)

    @property
    def scheme(self) -> Scheme:
        """How parts and networks of which only the costs count are written."""
        return search_scheme(Integers().scheme(self.target, self.precision, None))


def task_of(
    model: Model,
    limits: Sequence[Limit],
    target: str,
    precision: str,
    *,
    data: str | None,
    out: Path,
    options: SearchOptions,
    conduct: Conduct,
    device: str,
    threads: int,
    scores: str | None,
    notify: Notify,
) -> Task:
    """Checks what a search is given; `edgekit.search.searching.search` describes it.

    Raises:
        UsageError: options that do not go together.
        ModelError: the network cannot be adapted.
        DataError: images that cannot be used.
        UnavailableError: a budget of energy and no meter, or a network that is not of the zoo and
            no Torch-Pruning.
    """
    words = data or model.data
    if not model.trained or not words:
        raise ModelError(
            f"'{model.words}' is untrained, or does not say what it was trained on: expected a "
            f"run folder or checkpoint of 'edgekit train', or --weights and --data"
        )
    found, precision = registry.target(target), registry.precision(precision)
    if precision not in found.schemes:
        raise UsageError(
            f"target {found.name} has no precision {precision}: expected one of "
            f"{', '.join(found.schemes)}"
        )
    source = open_source(words)
    for split in ("train", SELECTION):
        if split not in source.splits:
            raise DataError(
                f"'{source.name}' has no split '{split}': a search trains on one part and chooses "
                f"by another"
            )
    labels = _labels(model, source)
    check_said(scores, model.classes, model.words, of_zoo=model.of_zoo)
    model = replace(model, scores=scores or model.scores)
    model = as_function(model)
    for note in model.notes or ():
        notify(f"'{model.words}': {note}")
    if model.image is not None:
        channels, height, width = model.image
        raise UsageError(
            f"'{model.words}' takes images of {channels} x {height} x {width}: a search takes "
            f"square ones of three channels"
        )
    facts = model.preprocessing or for_source(source, model.resolution)
    if model.spec is None:
        notify("discovering groups of channels")
        model = discovered(model)
    assert model.spec is not None
    for method in (options.method, *conduct.baselines):
        if method == "compound":
            scaled(method, model.spec, {}, 0, (0,))  # refuses what it cannot take
    if any(limit.resource == "energy" for limit in limits):
        check_meter(conduct)
    return Task(
        model=model,
        spec=model.spec,
        labels=labels,
        facts=facts,
        words=words,
        source=source,
        limits=tuple(limits),
        target=found,
        precision=precision,
        out=out,
        options=options,
        conduct=conduct,
        device=device,
        threads=threads,
        kinds=LOGITS
        if model.of_zoo
        else kinds_of(model.module, facts.side, model.words, model.scores),
    )


def _labels(model: Model, source: ImageSource) -> tuple[str, ...]:
    """A network from a plain state dict has those of the images."""
    labels = class_names(model.labels, model.classes) or source.classes
    if len(labels) != class_count(model.classes):
        raise ModelError(
            f"'{model.words}' has {model.classes} outputs, and '{source.name}' has "
            f"{len(labels)} classes: expected as many"
        )
    unknown = next((name for name in source.classes if name not in labels), None)
    if unknown is not None:
        raise DataError(
            f"class '{shown(unknown)}' of '{source.name}' is none of the {len(labels)} classes of "
            f"'{model.words}' ({', '.join(map(shown, labels[:3]))}, ...)"
        )
    return tuple(labels)
