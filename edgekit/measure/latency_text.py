"""A measured latency in texts for people, with what it was measured on."""

from __future__ import annotations

from edgekit.core import Measurement
from edgekit.core.text import counted_words
from edgekit.measure.statistics import summary


def latency_text(measured: Measurement) -> str:
    """The median with its interval, and its conditions, as Markdown."""
    found = summary(measured.blocks)
    low, high = found.ci95_ms
    threads = counted_words(measured.threads, "thread")
    processor = measured.environment.get("cpu")
    unstable = "" if measured.stable else "; not stable: " + "; ".join(measured.reasons)
    return in_markdown(
        f"{found.p50_ms:.3g} ms ({low:.3g} to {high:.3g}), {threads}, batch {measured.batch}, "
        f"{measured.runtime}{f', {processor}' if processor else ''}, {measured.started[:10]}"
        f"{unstable}"
    )


def in_markdown(text: str) -> str:
    """Text of others in Markdown, as text, on one line."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!~" else sign for sign in plain)
