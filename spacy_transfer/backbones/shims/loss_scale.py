"""A loss scale for float16, in which small gradients would be 0."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, arXiv 1710.03740).

    The gradients of all batches of a step have one scale, and are divided by it once, before the step. With gradient
    accumulation, a division after every batch would divide the earlier gradients again.

    growth (float): Factor on the scale after `interval` finite steps in a row.
    backoff (float): Factor on the scale after a step that was not finite, which is left out.
    """

    def __init__(
        self, *, scale: float = 2.0**16, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ) -> None:
        self.scale = scale
        self._growth, self._backoff, self._interval = growth, backoff, interval
        self._finite = 0

    def training_state(self) -> list[float]:
        """RETURNS (List[float]): The scale, and the finite steps since it changed."""
        return [self.scale, self._finite]

    def set_training_state(self, state: list[float]) -> None:
        """Begin with what `training_state` gave."""
        self.scale, self._finite = float(state[0]), int(state[1])

    def unscale(self, grads: "list[Tensor]", is_finite: bool) -> bool:
        """Divide gradients by the scale, in place, and choose the next scale.

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
