"""What the fixtures ``cli`` and ``run`` give: a finished command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """Exit code and output of one command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be exactly one JSON document."""
        return json.loads(self.out)

    @property
    def message(self) -> str:
        """The error message; there has to be exactly one, and no traceback."""
        assert "Traceback" not in self.err, self.err
        messages = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(messages) == 1, self.err
        return self.err[self.err.index("error: ") + len("error: ") :].strip()


CommandLine = Callable[..., Result]
