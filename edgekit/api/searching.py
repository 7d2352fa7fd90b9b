"""``edgekit.search``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgekit import registry, tables
from edgekit.api.checking import typed
from edgekit.api.keywords import (
    NetworkKeywords,
    Said,
    StrPath,
    network_of,
    record_of,
    split,
    stated_of,
    text_of,
)
from edgekit.api.measuring_options import device_of, thread_counts
from edgekit.core.text import in_short
from edgekit.errors import UsageError
from edgekit.stated import NOTHING, Stated

if TYPE_CHECKING:
    from edgekit.models.taking import Network
    from edgekit.search.records import Conduct, SearchOptions, SearchResult


class SearchKeywords(NetworkKeywords, Said, total=False):
    """What decides what a search finds; see `edgekit.search.records.SearchOptions`."""

    method: str
    reduction: float
    tune_steps: int
    tune_rate: float
    rule: str
    criterion: str
    contest: bool
    finish_epochs: int
    finish_rate: float
    scratch: bool
    distill: bool
    selection_images: int
    seed: int


@typed
def search(
    model: Network,
    budget: str,
    *,
    out: StrPath,
    target: str = tables.DEFAULT_TARGET,
    precision: str = "fp32",
    data: StrPath | None = None,
    scores: str | None = None,
    stated: Stated = NOTHING,
    baselines: str | Sequence[str] = (),
    device: str = "host",
    threads: int | None = None,
    workers: int | None = None,
    executor: str = "processes",
    time_limit: float = 900.0,
    wait: float = 300.0,
    meter: str = "auto",
    resume: bool = False,
    command: str | None = None,
    notify: Callable[[str], None] = lambda text: None,
    say: Callable[[str], None] = lambda text: None,
    found: Callable[[SearchResult], None] = lambda result: None,
    **keywords: Unpack[SearchKeywords],
) -> SearchResult:
    """Adapts a trained network to a budget.

    Its processes make the network anew by its name. A module has none: its candidates are trained
    in this process, and its checkpoints are opened with the module beside them.

    Args:
        model: a trained network; a name, a run folder, what `train` gave, or a module.
        budget: such as ``latency=0.6x,size=2MB``.
        out: folder of the search.
        target: format of the files that are measured.
        precision: of them.
        data: SRC of the images; those of its training by default.
        scores: what the outputs of a classifier are.
        stated: what is said of images and classes in one record; ``keywords`` count more.
        baselines: other methods, for comparison: ``uniform``, ``random``, ``compound``.
        device: that is measured on; a microcontroller's simulator for budgets of its memory.
        threads: of the runtime whose latency counts.
        workers: processes that train candidates.
        executor: what runs them.
        time_limit: seconds, after which a candidate is given up.
        wait: seconds to wait for a device that is gone.
        meter: for a budget of energy.
        resume: go on with the search in ``out``.
        command: what repeats it, for messages and records.
        notify: told what is being done.
        say: told what has to be known.
        found: given the networks so far, whenever there is one more.
        keywords: ``method``, ``rule``, ``finish_epochs``, ``seed``, ...; see
            `edgekit.search.records.SearchOptions`; of the network (``weights``, ``size``, ...);
            and of images and classes.

    Raises:
        UsageError: arguments that cannot be, or a budget that is out of reach; or the script that
            calls it does so when it is imported, too, as its processes do: put the call under
            ``if __name__ == "__main__":``.
        InputError: a network or images that cannot be used.
        GateError: no network of the search keeps the budget.
        UnavailableError: the device is gone; what was done is kept.
    """
    from edgekit.agent.kernel import usable_cores
    from edgekit.search.budget import parse_budget

    limits = parse_budget(budget)
    said, rest = split(keywords, Said)
    of_network, of_search = split(rest, NetworkKeywords)
    options = search_options(of_search)
    place = device_of(device, simulators=True)
    suggested = (None if place.profile is None else place.profile.threads) or 1
    if threads is None:
        count = min(suggested, usable_cores()) if place.here else suggested
    else:
        (count,) = thread_counts(threads, here=place.here)
    conduct = _conduct(baselines, workers, executor, time_limit, wait, meter, command)
    from edgekit.models.taking import model_of
    from edgekit.search import run
    from edgekit.stated import as_stated

    opened = model_of(model, **network_of(of_network))
    source = text_of(data, "data")
    return run.search(
        as_stated(opened, stated_of(said, stated), source or opened.data), limits, target,
        precision, data=source, out=Path(out), options=options, conduct=conduct,
        device=place, threads=count, scores=scores, resume=resume, draw=drawn,
        notify=notify, say=say, found=found,
    )  # fmt: skip


def _conduct(
    baselines: str | Sequence[str],
    workers: int | None,
    executor: str,
    time_limit: float,
    wait: float,
    meter: str,
    command: str | None,
) -> Conduct:
    """How a search is run; the arguments are those of `search`.

    Raises:
        UsageError: one that cannot be.
    """
    from edgekit.agent.kernel import usable_cores
    from edgekit.search.records import Conduct

    for name, value, low, high in (
        ("workers", workers, 1, 256), ("time_limit", time_limit, 1e-9, 1e6), ("wait", wait, 0, 1e6)
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            raise UsageError(f"{name}={value:g}: expected {low:g} to {high:g}")
    return Conduct(
        baselines=_methods(baselines),
        workers=workers or min(usable_cores(), 4),
        executor=executor,
        time_limit_s=time_limit,
        patience_s=wait,
        meter=meter,
        command=command or "edgekit.search(...)",
    )


def search_options(keywords: Mapping[str, object]) -> SearchOptions:
    """Options of a search, each checked.

    Args:
        keywords: of `SearchKeywords`.

    Raises:
        UsageError: one that cannot be.
    """
    from edgekit.search.groups import CRITERIA
    from edgekit.search.records import METHODS, RULES, SearchOptions

    options = record_of(SearchOptions, keywords, SearchOptions(), ignored=("decay",))
    for name, known in (("method", METHODS), ("rule", RULES), ("criterion", tuple(CRITERIA))):
        if getattr(options, name) not in known:
            raise UsageError(
                f"{name}={in_short(getattr(options, name))}: expected {', '.join(known)}"
            )
    for name, low, high in (
        ("reduction", 1e-9, 0.5), ("tune_steps", 0, 1e9), ("tune_rate", 1e-12, 1),
        ("finish_epochs", 0, 1e9), ("finish_rate", 1e-12, 1), ("selection_images", 1, 1e9),
        ("seed", 0, 2**63 - 1),
    ):  # fmt: skip
        value = getattr(options, name)
        if not low <= value <= high:
            raise UsageError(f"{name}={value:g}: expected {low:g} to {high:g}")
    return options


def _methods(value: str | Sequence[str]) -> tuple[str, ...]:
    """Methods that run beside the search's own.

    Raises:
        UsageError: there is no such method.
    """
    from edgekit.search.records import BASELINES

    found = tuple(dict.fromkeys(registry.names_of(value, "baselines"))) if value else ()
    for word in found:
        if word not in BASELINES:
            raise UsageError(f"--baselines {word}: expected {', '.join(BASELINES)}, with commas")
    return found


def drawn(document: Any) -> dict[str, str]:
    """The plot and the page of a search, by the names of their files."""
    from edgekit.report.search import plot, render

    return {"pareto.svg": plot(document), "search.html": render(document)}
