"""A loss scale for float16: gradients too small for it travel back enlarged, and are made small again before a step."""

from typing import Any


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, arXiv 1710.03740).

    Gradients of all batches of a step are collected under one scale, and taken out of it once, right before the step:
    it holds with gradient accumulation, where unscaling after every batch would shrink what had been collected before.

    scale (float): To begin with.
    growth (float): Factor on the scale after `interval` steps in a row that were finite.
    backoff (float): Factor on the scale after one that was not; that step is left out.
    interval (int): Steps.
    """

    def __init__(
        self, *, scale: float = 2.0**16, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ) -> None:
        self.scale = scale
        self._growth, self._backoff, self._interval = growth, backoff, interval
        self._finite = 0

    def unscale(self, grads: list[Any], is_finite: bool) -> bool:
        """Take the scale out of collected gradients, in place, and choose the next one.

        RETURNS (bool): Whether to make the step.
        """
        import torch

        if not is_finite:
            self.scale *= self._backoff
            self._finite = 0
            return False
        torch._foreach_mul_(grads, 1.0 / self.scale)
        self._finite += 1
        if self._finite % self._interval == 0:
            self.scale *= self._growth
        return True
