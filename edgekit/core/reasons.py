"""Why something failed, picked out of what other people's code raises.

Converters, quantizers, runtimes and networks raise everything there is: an exception in a wrapper
that says whom to report it to, ten lines of which the first is a place in the library's own source,
a bare number. `reason` makes one line of any of them.
"""

from __future__ import annotations

import builtins
import re
import signal
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from edgekit.core.text import printable

PASSING = (KeyboardInterrupt, GeneratorExit)
"""What is nobody's fault. All else that other people's code raises is one, exits and what derives
from `BaseException` alone included, as panics of Rust packages do."""

LONGEST = 400
"""Characters of a reason; what is longer is cut off."""

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_CONTROL = re.compile(r"\s*[\x00-\x1f\x7f-\x9f]+\s*")

# Places in a library's own source, alone or before what went wrong there.
_PLACES = re.compile(
    r"^(?:(?:Exception|Error) from \S+:\d+:?"
    r"|Check '.*' failed at \S+:\d+:?"
    r"|\S+\.(?:cc|cpp|cxx|cu|h|hpp|rs):\d+:?"
    r"|\[ONNXRuntimeError\] : \d+ : \w+ :"
    r"|--)\s*"
)
_WITHIN = re.compile(r"(?<= )/?\S+\.(?:cc|cpp|cxx|cu|h|hpp):\d+ ")
_CHECK = re.compile(r"Check '(.*)' failed at ")

# Names of nodes, which are data of the file: with a line end in one, the cause would be on another
# line. ONNX Runtime's messages are one line, whatever is in the names that it does not quote.
_NAMES = (
    re.compile(r"(\bName:')(.*?)(' Status Message:)", re.DOTALL),
    re.compile(r"(\b(?:[Nn]ame|[Nn]ode):? ?')([^']{1,1000}?)(')"),
)
_LONGEST_NAME = 120

# Pythons before 3.11, as devices have them, know no groups.
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
_ONE_LINE = re.compile(r"\s*\[ONNXRuntimeError\]")

# Lines that only say that there is more, where the rest says what.
_HEADINGS = re.compile(
    r".*:|=+|-+|#.*|FrontEnd API failed with \w+.*|Model wasn't fully converted\..*"
    r"|Exception happened during conversion of operation .*|Traceback \(most recent call last\).*"
    r"|None constant cannot be converted .*"
)
# What names an operator, wherever it stands.
_TELLING = re.compile(r"No conversion rule found|No ONNX function found")


def reason(error: BaseException) -> str:
    """One line of what went wrong first, without control characters.

    The kind of the exception stands in front where the text does not explain itself: ``KeyError:
    0``. Runtimes' own kinds, and sentences in a ``RuntimeError``, do without.
    """
    links = list(chain(error))
    said = next(((e, text) for e in reversed(links) if (text := _text(e))), None)
    if said is None:
        return type(links[-1]).__name__
    inner, text = said
    kind = type(inner).__name__
    plain = type(inner) in (RuntimeError, AssertionError) or not hasattr(builtins, kind)
    return text if plain and len(text.split()) > 2 else f"{kind}: {text}"


def reason_with_layer(error: BaseException) -> str:
    """`reason`, and the layer of the network that was being worked on, where that shows."""
    layer = failed_layer(error)
    return reason(error) if layer is None else f"{reason(error)} (in {layer})"


def with_kind(error: BaseException) -> str:
    """`reason_with_layer` with the kind of the exception in front in any case."""
    text, kind = reason_with_layer(error), type(error).__name__
    return text if text.startswith(kind) else f"{kind}: {text}"


def ending(code: int) -> str:
    """How a process ended, in words.

    Args:
        code: its exit status; of a signal, its number less 0.
    """
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # those without a name
        return f"signal {-code}"


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = current.__cause__
        current = current.exceptions[0] if isinstance(current, _GROUP) else inner


def text_of(error: BaseException) -> str:
    """All that an exception says; '' where that fails, as classes of other people's may."""
    try:
        return str(error)
    except PASSING:
        raise
    except BaseException:
        return ""


def _text(error: BaseException) -> str:
    """The telling line of an exception's text; '' where it has none."""
    text = text_of(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    for name in _NAMES:
        text = name.sub(lambda match: f"{match[1]}{_shown(match[2])}{match[3]}", text)
    if _ONE_LINE.match(text):
        text = " ".join(text.split())
    lines = [line.strip() for line in _TERMINAL_CODES.sub("", text).splitlines()]
    lines = [line for line in lines if line]
    cleaned = [_WITHIN.sub("", _PLACES.sub("", line)).strip() for line in lines]
    telling = [line for line in cleaned if _TELLING.search(line)]
    speaking = [line for line in cleaned if line and not _HEADINGS.fullmatch(line)]
    checks = [f"'{m[1]}' does not hold" for line in reversed(lines) if (m := _CHECK.match(line))]
    said = next(iter([*telling, *speaking, *checks, *filter(None, cleaned), *lines]), "")
    said = _CONTROL.sub(" ", said)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 3]}..."


def _shown(name: str) -> str:
    return printable(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def failed_layer(error: BaseException) -> str | None:
    """The innermost layer that an exception was raised in, by the frames that it went through.

    Those are the layer's own where a network runs, and where a converter goes through its graph,
    those that hold one of the graph's nodes.
    """
    layer = None
    for each in chain(error):
        layer = _layer(each.__traceback__) or layer
    return layer


def _layer(traceback: TracebackType | None) -> str | None:
    root: Any = None
    layer = None
    while traceback is not None:
        values = traceback.tb_frame.f_locals
        module = values.get("self")
        if _is_network(module):
            root = module if root is None else root
            layer = _place(root, module) or layer
        for value in (values.get("node"), values.get("n")):
            layer = _noted(value) or layer
        traceback = traceback.tb_next
    return layer


def _is_network(value: Any) -> bool:
    """Whether a value is a PyTorch module, which this must not import."""
    kinds = type(value).__mro__
    return any(k.__module__ == "torch.nn.modules.module" and k.__name__ == "Module" for k in kinds)


def _place(root: Any, module: Any) -> str | None:
    name = next((name for name, m in root.named_modules() if m is module), "")
    return f"layer '{name}', {type(module).__name__}" if name else None


def _noted(value: Any) -> str | None:
    """The layer that a node of a graph says it comes from."""
    kind = type(value).__name__
    if kind == "NodeProto" and isinstance(value.name, str) and value.name:
        return f"'{value.name}'"
    meta = value.__dict__.get("meta") if kind == "Node" and hasattr(value, "__dict__") else None
    stack = meta.get("nn_module_stack") if isinstance(meta, dict) else None
    path = next(reversed(stack.values()))[0] if isinstance(stack, dict) and stack else None
    return f"layer '{path}'" if isinstance(path, str) and path else None
