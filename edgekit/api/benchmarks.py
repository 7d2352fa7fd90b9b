"""``edgekit.benchmark``: which file to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edgekit.api.checking import typed
from edgekit.api.keywords import (
    NetworkKeywords,
    Said,
    StrPath,
    integers_of,
    network_of,
    refuse_unknown,
    split,
    stated_of,
    text_of,
)
from edgekit.api.measuring_options import device_of, measuring_options
from edgekit.errors import UsageError
from edgekit.stated import NOTHING, Stated

if TYPE_CHECKING:
    from edgekit.benchmarking.results import Benchmark
    from edgekit.measure.session import Hold, Progress
    from edgekit.models.taking import Network


class BenchmarkKeywords(NetworkKeywords, Said, total=False):
    """How a network is opened, and what is said of its images and classes."""


@typed
def benchmark(
    source: Network,
    targets: str | Sequence[str] = "all",
    precisions: str | Sequence[str] = "all",
    *,
    data: StrPath | None = None,
    device: str = "host",
    max_drop: float = 0.5,
    out: StrPath | None = None,
    overwrite: bool = False,
    seconds: float = 10.0,
    precision_goal: float = 2.0,
    threads: int | None = None,
    calibration: StrPath | None = None,
    calibration_images: int | None = None,
    skip_corrupt: bool = False,
    scores: str | None = None,
    stated: Stated = NOTHING,
    store: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
    note: Callable[[str], None] = lambda text: None,
    say: Callable[[str], None] = lambda warning: None,
    **keywords: Unpack[BenchmarkKeywords],
) -> Benchmark:
    """Exports a network in every way, measures all files in turns, and says which one to take.

    What was done is kept in ``out``: a call that was ended goes on there when it is made again.

    Args:
        source: a network in any form, or a folder of exported files, which are taken as they are.
        targets: one, or several in a list or with commas; ``all`` for those that this machine can
            write and the device can run.
        precisions: as well; ``all`` for those that each target has.
        data: SRC of labelled images; those of the training by default.
        device: that files are for, run on and measured on.
        max_drop: points of the headline figure that the file to take may lose.
        out: folder of the files, the page and what was measured; ``NAME-benchmark`` by default.
        overwrite: begin anew, and replace files.
        seconds: to measure each file for at most.
        precision_goal: percent; half the width of the interval at which measuring stops.
        threads: of the runtimes; what the device suggests by default, else 1.
        calibration: SRC of the images that ranges of integers come from; those of the training by
            default, else of ``data``.
        calibration_images: how many of them.
        skip_corrupt: leave out images that cannot be decoded.
        scores: what the outputs of a classifier are.
        stated: what is said of images and classes in one record; ``keywords`` count more.
        store: keep the measurements in the history.
        command: what repeats it, for the record.
        progress: told how far it is.
        hold: see `edgekit.measure.session.Hold`.
        note: told what is begun.
        say: told each warning as soon as it is known.
        keywords: of the network (``weights``, ``size``, ``example``, ...), and of images and
            classes (``labels``, ``mean``, ...); see `edgekit.api.keywords`.

    Returns:
        The table and the choice; as a path, the file to take.

    Raises:
        UsageError: arguments that cannot be, or do not go together; ``out`` is of another
            benchmark.
        InputError: network, files or images cannot be used.
        UnavailableError: the device is gone, or something is not installed; what was done is kept.
    """
    from edgekit.benchmarking import run
    from edgekit.folders import is_folder
    from edgekit.measure.session import Effort
    from edgekit.models.taking import model_of

    refuse_unknown(keywords, [*BenchmarkKeywords.__annotations__])
    if not 0 <= max_drop <= 100:
        raise UsageError(f"--max-drop {max_drop:g}: expected points from 0 to 100, such as 0.5")
    where = device_of(device)
    options = measuring_options(
        {"seconds": seconds, "precision_goal": precision_goal, "threads": threads, "device": device}
    )
    of_network, said = split(keywords, NetworkKeywords)
    of_integers = {"calibration": calibration, "calibration_images": calibration_images}
    asked = run.Asked(
        where,
        options.counts(where)[0],
        targets,
        precisions,
        text_of(data, "data"),
        max_drop,
        Effort(options.seconds, options.precision_goal / 100),
        None if out is None else Path(out),
        overwrite,
        skip_corrupt,
        scores,
        stated_of(said, stated),
        dataclasses.replace(integers_of(of_integers), device=where),
        command,
    )
    step = progress or (lambda what, done, total: None)
    told = run.Told(step, note, say, hold)
    if is_folder(source):
        _refuse_for_files(source, {**of_network, **of_integers}, asked)
        result = run.benchmark(Path(source), asked, told)  # type: ignore[arg-type]
    else:
        step(f"loading {source if isinstance(source, str) else 'the network'}", 0, 0)
        result = run.benchmark(model_of(source, **network_of(of_network)), asked, told)
    if store and result.measured and result.measurements:
        from edgekit.measure.store import Store

        Store().add(result.measurements)
    return result


def _refuse_for_files(source: object, given: dict[str, object], asked: object) -> None:
    """Refuses what only an export has a use for.

    Raises:
        UsageError: as said.
    """
    from edgekit.benchmarking.run import Asked
    from edgekit.core import to_json

    assert isinstance(asked, Asked)
    names = [name for name, value in given.items() if value not in (None, (), False)]
    names += [name for name in ("targets", "precisions") if getattr(asked, name) != "all"]
    names += ["scores"] if asked.scores is not None else []
    said = to_json(asked.stated)
    names += [name for name, value in said.items() if value != to_json(NOTHING)[name]]
    if names:
        option = {"targets": "target", "precisions": "precision"}.get(names[0], names[0])
        raise UsageError(
            f"--{option.replace('_', '-')} goes with networks only, and {source} is a folder of "
            f"exported files, which are taken as they are: leave it out"
        )
