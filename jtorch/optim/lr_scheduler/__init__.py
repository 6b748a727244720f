"""Learning-rate schedules.

Each class computes the learning rates of one step from those of the step before (``get_lr``), in the order of
floating-point operations that PyTorch uses: the numbers are equal to its, not only close. The formulas in the
docstrings are the closed forms of the same schedules; ``step(epoch)`` with an explicit epoch uses them.
"""

from jtorch.optim.lr_scheduler.base import EPOCH_DEPRECATION_WARNING, LRScheduler  # noqa: F401
from jtorch.optim.lr_scheduler.composite import ChainedScheduler, SequentialLR
from jtorch.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from jtorch.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from jtorch.optim.lr_scheduler.plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler  # the name it had before it was public

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
