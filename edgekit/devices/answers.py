"""What an agent may answer to each command: all that comes from a device is checked here first.

What answers may be hostile, another program, or an agent of another version. Whatever it says, the
rest of edgekit gets values of the types and within the bounds that it computes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.agent.wire import CRASHED, MISSING, SILENT
from edgekit.core import MeterRecord, OperatorTime, TensorSpec, from_json

if TYPE_CHECKING:
    from edgekit.core import Array

Check = Callable[[Any], bool]

# Beyond what anything tells that edgekit asks for: no sum, product or date of those overflows.
_LARGEST = 1e12
# As of measurements, see `edgekit.measure.plausible`.
_SHORTEST_MS, _LONGEST_MS = 1e-6, 1e9
_MOST_CORES = 1 << 16
_MOST_BYTES = 1 << 50
_LONGEST_PERIOD_S = 60.0
# Of what a device tells of itself, which is kept and shown.
_LONGEST_TEXT, _LONGEST_WORD, _MOST_WORDS = 1 << 14, 256, 1024
# Of what it says of files and errors, whose names are those of the files.
_LONGEST_TOLD = 1 << 20


def _number(low: float = 0.0, high: float = _LARGEST) -> Check:
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    )


def _whole(low: int = 0, high: int = _MOST_BYTES) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _told(value: Any) -> bool:
    """Text of whatever letters, which is printed only."""
    return isinstance(value, str) and len(value) <= _LONGEST_TOLD


def _text(value: Any, most: int = _LONGEST_TEXT) -> bool:
    """Text that can be written into a file."""
    if not isinstance(value, str) or len(value) > most:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # halves of letters, which JSON can spell
        return False
    return True


def _name(value: Any) -> bool:
    """Of something in a file, as long as that has it."""
    return _text(value, _LONGEST_TOLD)


def _word(value: Any) -> bool:
    return _text(value, _LONGEST_WORD)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _some(check: Check, least: int = 0, most: int = 1 << 32) -> Check:
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= most and all(map(check, value))
    )


def _by_name(check: Check) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= _MOST_WORDS
        and all(map(_word, value))
        and all(map(check, value.values()))
    )


def _having(**checks: Check) -> Check:
    def right(value: Any) -> bool:
        return isinstance(value, dict) and all(
            key in value and check(value[key]) for key, check in checks.items()
        )

    return right


def _record(kind: type, /, **checks: Check) -> Check:
    inner = _having(**checks)

    def right(value: Any) -> bool:
        try:
            from_json(kind, value)
        except ValueError:
            return False
        return inner(value)

    return right


_time_ms = _number(_SHORTEST_MS, _LONGEST_MS)
_clock_s = _number(-_LARGEST)
_pid = _whole(1, 1 << 32)
_code = _maybe(_whole(-256, 1 << 32))
_names = _some(_name)
# A damaged file may tell any size, which is held against its contract.
_size = _whole(-(1 << 63), (1 << 63) - 1)
_spec = _record(TensorSpec, name=_name, shape=_some(_size))

_MEASURED = ("_celsius", "_mhz", "_1m", "_busy", "_cores")


def _conditions(value: Any) -> bool:
    """Scalars, and numbers where something is computed with them."""
    number = _maybe(_number(-_LARGEST))
    return isinstance(value, dict) and len(value) <= _MOST_WORDS and all(
        _word(key) and (number(one) if key.endswith(_MEASURED) or key == "cores" else _text(one)
        or _truth(one) or number(one)) for key, one in value.items()
    )  # fmt: skip


_BLOCK: dict[str, Check] = {
    "begin_s": _clock_s,
    "samples_ms": _some(_time_ms, least=1),
    "reference_ms": _some(_time_ms),
    "involuntary_switches": _whole(),
}
_LOADED: dict[str, Check] = {
    "load_ms": _number(),
    "first_ms": _number(),
    "pid": _pid,
    "state": lambda value: True,  # it is compared with itself only
}
_HARDWARE: dict[str, Check] = {
    "soc": _maybe(_text),
    "isa": _some(_word, most=_MOST_WORDS),
    "cores": _maybe(_whole(1, _MOST_CORES)),
    "max_mhz": _maybe(_number()),
    "ram_mib": _maybe(_whole()),
    "threads": _maybe(_whole(1, _MOST_CORES)),
    "machine": _text,
    "emulated": _truth,
    "usable_cores": _whole(1, _MOST_CORES),
}
_meter = _record(
    MeterRecord,
    name=_text,
    scope=_text,
    detail=_text,
    quantity=lambda value: value in ("energy", "power"),
    range_mj=_maybe(_number()),
    period_s=_number(0.0, _LONGEST_PERIOD_S),
)

_AGENT: dict[str, dict[str, Check]] = {
    "hello": {
        "pid": _pid,
        "python?": _text,  # not of what runs without one, as the following
        "boot?": _maybe(_text),
        "cores": _whole(1, _MOST_CORES),
        "clock_s": _clock_s,
        "wall_s": _clock_s,
    },
    "about": {
        "hardware": _having(**_HARDWARE),
        "versions": _by_name(_word),
        "environment": _by_name(_text),
    },
    "placements": {"places": _some(_some(_whole(0, _MOST_CORES)))},
    "place": {"paths": _names, "have": _some(_whole())},
    "put": {"have": _whole()},
    "slot": {"slot": _whole(1), "pid": _pid},
    "fate": {"code": _code, "told": _told},
    "rounds": {"blocks": _some(_having(slot=_whole(1)))},
    "watch": {"why_not": _maybe(_name)},
    "stop": {"conditions": _conditions, "met": _truth},
    "conditions": {"conditions": _conditions},
}
_WORKER: dict[str, dict[str, Check]] = {
    "open": {
        **_LOADED,
        "idle_rss_mib": _maybe(_number()),
        "runtime": _text,
        "tools": _by_name(_text),
        "input": _text,
        "inputs": _names,
        "size_bytes": _maybe(_whole()),
        "sha256": _maybe(_text),
        "denormals_flushed": _truth,
        "timer_overhead_ns": _number(),
    },
    "reload": _LOADED,
    "tensors": {"inputs": _some(_spec), "outputs": _some(_spec)},
    "activations": {"names": _names},
    "part": {"own_ms": _time_ms, "reference_ms": _time_ms},
    "state": {"state": lambda value: True},
    "block": _BLOCK,
    "burst": {"begin_s": _clock_s, "end_s": _clock_s, "inferences": _whole(1)},
    "operators": {
        "operators": _some(_record(OperatorTime, name=_name, kind=_name, ms=_number())),
    },
    "memory": {"peak_rss_mib": _maybe(_number()), "peak_gpu_mib": _maybe(_number())},
}
_METERING: dict[str, dict[str, Check]] = {
    "open": {"meter": _meter},
    "discover": {"meter": _maybe(_meter), "reasons": _names},
    "idle": {"begin_s": _clock_s, "end_s": _clock_s},
}
FORMS: Mapping[str, Mapping[str, Mapping[str, Check]]] = {
    "agent": _AGENT,
    "worker": _WORKER,
    "meter": _METERING,
}
"""By what was asked: commands, and of each what its answer has; behind a question mark, perhaps."""

_ERRORS: dict[str, dict[str, Check]] = {
    CRASHED: {"do": _told, "code": _code, "told": _told},
    SILENT: {"do": _told, "within_s": _number()},
    MISSING: {"package": _told, "message": _told},
}
_ERROR: dict[str, Check] = {"message": _told}


def check_error(answer: Mapping[str, Any]) -> None:
    """Refuses an answer that tells of an error in another way than agents do.

    Raises:
        ValueError: says what is wrong.
    """
    kind = answer.get("error")
    if not isinstance(kind, str):
        raise ValueError("error")
    _check(answer, _ERRORS.get(kind, _ERROR))


def check_answer(
    whom: str,
    asked: Mapping[str, Any],
    answer: Mapping[str, Any],
    arrays: Sequence[Array] = (),
) -> None:
    """Refuses an answer, of no error, to something else than what was asked.

    Args:
        whom: of `FORMS`.
        asked: the command as ``do``, and its arguments.

    Raises:
        ValueError: names the key that is missing, or of another form.
    """
    do = str(asked["do"])
    _check(answer, FORMS[whom].get(do, {}))
    also = _ALSO.get((whom, do))
    if also is not None and not also(asked, answer, arrays):
        raise ValueError(do)


def check_block(answer: Mapping[str, Any]) -> None:
    """Refuses what is no block of ``rounds``; one that failed tells of an error.

    Raises:
        ValueError: names the key that is missing, or of another form.
    """
    if "error" in answer:
        check_error(answer)
    else:
        _check(answer, _BLOCK)


def _check(answer: Mapping[str, Any], form: Mapping[str, Check]) -> None:
    for key, check in form.items():
        name = key.rstrip("?")
        if not (check(answer[name]) if name in answer else name != key):
            raise ValueError(name)


def _about(asked: Mapping[str, Any], answer: Mapping[str, Any], _: Sequence[Array]) -> bool:
    """Of nothing but what was asked for."""
    versions, environment = {*answer["versions"]}, {*answer["environment"]}
    return versions <= {*asked["packages"]} and environment <= {*asked["variables"]}


def _placed(asked: Mapping[str, Any], answer: Mapping[str, Any], _: Sequence[Array]) -> bool:
    files = asked["files"]
    return len(answer["paths"]) == len(answer["have"]) == len(files) and all(
        have <= size for have, (_, size, _) in zip(answer["have"], files, strict=True)
    )


def _put(asked: Mapping[str, Any], answer: Mapping[str, Any], _: Sequence[Array]) -> bool:
    return bool(answer["have"] <= asked["size"])


def _rounds(asked: Mapping[str, Any], answer: Mapping[str, Any], _: Sequence[Array]) -> bool:
    slots = {turn[0] for turn in asked["turns"]}
    for block in answer["blocks"]:
        check_block(block)
    return {block["slot"] for block in answer["blocks"]} <= slots


def _read(_: Mapping[str, Any], __: Mapping[str, Any], arrays: Sequence[Array]) -> bool:
    """Times and values of readings, whatever the values are."""
    return len(arrays) == 1 and arrays[0].ndim == 2 and arrays[0].shape[1] == 2


def _shown(_: Mapping[str, Any], answer: Mapping[str, Any], arrays: Sequence[Array]) -> bool:
    return len(answer["names"]) == len(arrays)


_ALSO: Mapping[
    tuple[str, str], Callable[[Mapping[str, Any], Mapping[str, Any], Sequence[Array]], bool]
] = {
    ("agent", "about"): _about,
    ("agent", "place"): _placed,
    ("agent", "put"): _put,
    ("agent", "rounds"): _rounds,
    ("meter", "end"): _read,
    ("worker", "activations"): _shown,
}
