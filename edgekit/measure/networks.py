"""Networks in PyTorch, which are measured on this machine only."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgekit.agent.hardware import versions
from edgekit.core import OperatorTime
from edgekit.errors import UnavailableError, UsageError
from edgekit.measure.subjects import Subject

if TYPE_CHECKING:
    import torch

    from edgekit.models.model import Model


class Network:
    """A network in PyTorch, as a slot of an agent has it; see `edgekit.agent.files.File`.

    Args:
        arguments: fields of `edgekit.measure.subjects.Subject`.
    """

    def __init__(self, **arguments: Any) -> None:
        import torch

        subject = Subject(**arguments)
        self._subject, self.input = subject, ""
        self.inputs: tuple[str, ...] = ()
        torch.set_num_threads(subject.threads)
        if subject.processor == "cuda" and not torch.cuda.is_available():
            raise UnavailableError(
                "--processor cuda: PyTorch sees no CUDA device here; see 'edgekit doctor'"
            )
        self.tools = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            **versions(("torch",)),
        }
        self.forks = subject.processor == "cpu"  # CUDA works in no fork
        where = "" if subject.processor == "cpu" else f" on {torch.cuda.get_device_name()}"
        self.runtime = f"PyTorch {self.tools['torch']} {subject.mode}{where}"

    def load(self) -> Model:
        import torch

        s = self._subject
        model = network_of(s)
        model.module.eval().to(torch.device(s.processor))
        return model

    def prepare(self, loaded: Model) -> Callable[[], object]:
        import torch

        s, module = self._subject, loaded.module
        device = torch.device(s.processor)
        generator = torch.Generator().manual_seed(0)
        if loaded.signature is None:
            given = [torch.randn(s.batch, *loaded.shape, generator=generator).to(device)]
        else:
            given = [one.to(device) for one in loaded.example]
            if s.batch != 1:
                raise UsageError(
                    f"'{s.source}' takes {len(given)} inputs of fixed sizes: leave out --batch"
                )
        self.input = " and ".join(
            f"{'x'.join(map(str, one.shape))} {str(one.dtype).removeprefix('torch.')}"
            for one in given
        )
        kept, seen = [one.clone() for one in given], [one._version for one in given]
        if s.mode == "compiled":
            torch._dynamo.reset()
            module = cast("torch.nn.Module", torch.compile(module))

        def run() -> object:
            with torch.inference_mode():
                scores = module(*given)
            # A network that changes its input would get another one each time, and numbers that
            # grow or vanish take other times. An app has to give it copies, too.
            for i, one in enumerate(given):
                if one._version != seen[i]:
                    one.copy_(kept[i])
                    seen[i] = one._version
            if s.processor == "cuda":  # the call only queues the work
                torch.cuda.synchronize()
            return scores

        return run

    def peak_gpu_mib(self) -> float | None:
        """Most memory on the GPU so far."""
        import torch

        if self._subject.processor != "cuda":
            return None
        return torch.cuda.max_memory_allocated() / 2**20

    def operators(self, runs: int) -> tuple[OperatorTime, ...]:
        raise UnavailableError(
            f"'{self._subject.called}' runs in PyTorch: --per-op takes exported files only"
        )


def network_of(subject: Subject) -> Model:
    """The network of a subject, as it was asked for.

    Raises:
        EdgekitError: see `edgekit.models.source.open_model`.
    """
    from edgekit.models.callables import NoImageError
    from edgekit.models.source import open_model

    side: Any = subject.resolution
    try:
        model = open_model(
            subject.source,
            weights=None if subject.weights is None else Path(subject.weights),
            # Through JSON, tuples are lists.
            resolution=tuple(side) if isinstance(side, list) else side,
            example=subject.example,
            outputs=subject.outputs,
            task=subject.task,
        )
        return replace(model, source=subject.called)
    except NoImageError as error:  # between processes it would be any other error
        raise error.with_advice from error
