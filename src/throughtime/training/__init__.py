"""Training: windows in, a run directory out, with the state carried and everything resumable."""

from throughtime.training.config import Budget, TrainingConfig
from throughtime.training.fit import fit, resume
from throughtime.training.interrupt import Interrupted
from throughtime.training.loop import Loop

__all__ = ["Budget", "Interrupted", "Loop", "TrainingConfig", "fit", "resume"]
