"""An agent that lies: ``odd_agent.py``, started in place of Python on a device.

The file that the environment variable ``ODD_ANSWERS`` names holds what it lies about: of a command
(of ``slot:`` where a slot answers), keys of the answer on the way to a value, and that value; no
value for a key that is left out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgekit.agent import supervisor


def main() -> None:
    byte = b""
    while byte != b"@":
        byte = os.read(0, 1)
    while byte != b"\n":
        byte = os.read(0, 1)
    os.write(1, b"edgekit-has 1\n")
    lie = json.loads(Path(os.environ["ODD_ANSWERS"]).read_text())
    honest = supervisor.Supervisor._answer

    def lying(self: Any, request: dict[str, Any], contents: Any) -> Any:
        slot = "slot:" if request.get("slot") is not None else ""
        do = f"{slot}{request.get('do')}"
        found = honest(self, request, contents)
        if do != lie["do"] or found is None:
            return found
        answer, arrays = found
        *way, last = lie["keys"]
        inner = answer
        for key in way:
            inner = inner[key]
        if "value" in lie:
            inner[last] = lie["value"]
        else:
            del inner[last]
        return answer, arrays

    supervisor.Supervisor._answer = lying  # type: ignore[method-assign]
    from edgekit.agent.__main__ import main as serve

    serve()


if __name__ == "__main__":
    main()
