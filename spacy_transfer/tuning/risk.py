"""Rates that are known to destroy what a pretrained transformer has learned."""

from thinc.api import Optimizer

from .schedules import describe
from .torch_optimizer import TorchOptimizer

# From this rate on, and without warm-up, the first steps of Adam destroy the pretrained weights of a transformer.
RISKY_RATE = 1e-4


def risky_rate(optimizer: Optimizer) -> float | None:
    """The rate of an optimizer of Thinc, if it is known to be too high for a transformer. Our optimizers have rates of
    their own for encoders: they are taken as they are.

    RETURNS (Optional[float]): The highest rate, as far as it is known; None where it is low, or the optimizer ours.
    """
    if isinstance(optimizer, TorchOptimizer) or not isinstance(optimizer, Optimizer):
        return None
    _, highest = describe(optimizer.schedules.get("learn_rate"))
    rate = max(float(optimizer.learn_rate), highest or 0.0)
    return rate if rate >= RISKY_RATE else None


def is_adam(optimizer: Optimizer) -> bool:
    """RETURNS (bool): Whether the steps of an optimizer have the size of its rate, whatever the gradient."""
    if isinstance(optimizer, TorchOptimizer):
        return optimizer.is_adam
    return isinstance(optimizer, Optimizer) and float(optimizer.b1) > 0.0
