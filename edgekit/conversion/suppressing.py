"""Non-maximum suppression inside a file, added to one that has been verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgekit.boxes.suppress import MOST_CANDIDATES
from edgekit.contract import embedded_text, finished
from edgekit.conversion.building import Job
from edgekit.core import BARE, SUPPRESSED, Suppressing, Suppression, Target
from edgekit.errors import ModelError, UsageError
from edgekit.models.model import Model
from edgekit.quantize.ladder import Built
from edgekit.tasks.detect import settings
from edgekit.verification.artifact import rows_of_file, running
from edgekit.verification.suppression import same_objects

OPTION = "--nms graph"

WAYS = ("decode", "graph")
"""Where a detector's boxes are suppressed: outside of its file, or in it."""


def check_suppressible(
    model: Model, targets: Sequence[Target], interface: str, *, any_batch: bool
) -> Suppression:
    """What is to be put into the files of a network.

    Args:
        interface: of files of integers; see `edgekit.core.Scheme`.
        any_batch: whether files are to take any batch.

    Raises:
        UsageError: nothing can be suppressed, or not with what else was asked for.
        ModelError: a parameter of the network cannot be.
    """
    if model.task != "detect":
        raise UsageError(
            f"{OPTION} goes with networks of the task detect: '{model.source}' is of the task "
            f"{model.task}; leave it out"
        )
    for refused, what, why in (
        (interface != "float", f"--io {interface}", "scores and boxes leave such a file as floats"),
        (any_batch, "--dynamic batch", "runtimes suppress the boxes of one image"),
    ):
        if refused:
            raise UsageError(f"{OPTION} with {what}: {why}; leave one of them out")
    unable = [one.name for one in targets if not isinstance(one, Suppressing)]
    if unable:
        raise UsageError(
            f"{OPTION}: target {', '.join(unable)} has no operator for it: leave it out, and the "
            f"target's files are suppressed outside"
        )
    outputs = {spec.name: spec for spec in model.interface.outputs}
    if set(outputs) != set(BARE) or any(spec.dtype != "float32" for spec in outputs.values()):
        listed = ", ".join(f"'{name}' ({spec.dtype})" for name, spec in outputs.items())
        raise UsageError(
            f"{OPTION} goes with networks that give 'boxes' and 'scores' (float32) and nothing "
            f"else: '{model.source}' gives {listed}; leave it out, or choose outputs with --outputs"
        )
    chosen = settings(model.parameters, model.source)
    classes = outputs["scores"].shape[-1]
    if not classes or not outputs["boxes"].shape[1]:
        raise ModelError(f"'{model.source}' gives no boxes: there is nothing to suppress")
    return Suppression(
        int(classes),
        float(chosen["score_threshold"]),
        float(chosen["nms_iou"]),
        int(chosen["max_detections"]),
        MOST_CANDIDATES,
    )


def suppressed(job: Job, built: Built, about: Suppression) -> tuple[Built, str | None]:
    """Adds it to a file, and compares the objects that the file then gives with NumPy's.

    Returns:
        The file with its contract, and why it must not be kept, where it must not.
    """
    target, staged, artifact = job.target, built.path, built.artifact
    assert isinstance(target, Suppressing)
    job.notify(f"{target.name} {artifact.scheme.precision}: suppression")
    with running(job.path, target):
        rows = rows_of_file(job.reference, target, staged)
        target.suppress(staged, about)
        _, outputs = target.open(staged).tensors()
        assert tuple(spec.name for spec in outputs) == SUPPRESSED
        named = tuple(dataclasses.replace(one, layout="", role=one.name) for one in outputs)
        artifact = dataclasses.replace(artifact, outputs=named, suppression=about)
        target.embed(staged, embedded_text(artifact))
        compared = same_objects(job.reference, rows, target, staged, about)
    artifact = finished(artifact, target.files(staged))
    warning = built.warning
    if not compared.objects:
        warning = " ".join(filter(None, (warning, f"{job.path.name}: {compared.describe()}")))
    built = dataclasses.replace(built, artifact=artifact, warning=warning)
    return built, compared.failure or None
