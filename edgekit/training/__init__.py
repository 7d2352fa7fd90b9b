"""Training of networks, with exact resume.

The package is not called ``train``, since `edgekit.train` is the function.
"""

from __future__ import annotations

from edgekit.training.loop import TrainingResult, train
from edgekit.training.options import TrainingOptions
from edgekit.training.progress import EpochRecord, Progress

__all__ = ["EpochRecord", "Progress", "TrainingOptions", "TrainingResult", "train"]
