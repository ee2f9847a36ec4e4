"""The optimum of a penalised likelihood over fixed states, and the path of optima from strong to weak priors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy

from ..types import Floats

if TYPE_CHECKING:
    from torch import Tensor, dtype

ROUGH, EXACT = 3e-3, 1e-6
"""Tolerances: the largest gradient at the end, relative to that of zero weights; on the path, and at its last point."""
_LARGE = 1e30
"""Strengths and curvatures from here on may overflow in single precision."""
STEP = 10**0.5
"""The factor by which the prior becomes weaker from one optimum to the next."""


class Problem:
    """The problem in other coordinates: states are centred (which changes only the biases) and rotated to their
    principal axes (the prior is the same in all directions). Along these L-BFGS needs few steps.

    states (Floats): Shape (n_docs, width).
    positive (Floats): Weight of log p, shape (n_docs, n_labels).
    negative (Optional[Floats]): Weight of log (1 - p); None where labels exclude each other.
    """

    def __init__(self, states: Floats, positive: Floats, negative: Floats | None) -> None:
        import torch

        self.positive = torch.as_tensor(numpy.asarray(positive), dtype=torch.float64)
        self.negative: Tensor | None = None
        if negative is not None:
            self.negative = torch.as_tensor(numpy.asarray(negative), dtype=torch.float64)
        self.n_labels = self.positive.shape[1]
        mass = self.positive.sum(1) if self.negative is None else (self.positive + self.negative).mean(1)
        given = torch.as_tensor(numpy.asarray(states), dtype=torch.float64)
        self.center = (mass @ given) / mass.sum()
        centered = given - self.center
        self.axes = _principal_axes(centered * mass.sqrt()[:, None])
        rotated = centered @ self.axes
        ones = torch.ones(len(rotated), 1, dtype=torch.float64)
        self.states = torch.cat([rotated, ones], 1)
        # Second derivatives of the log-likelihood, where all labels are equally likely.
        self.curvature = (mass @ self.states.square()) * (1.0 / self.n_labels if self.negative is None else 0.25)

    @property
    def strongest(self) -> float:
        """RETURNS (float): A strength that outweighs the data along every axis, at which the grid begins."""
        return max(float(self.curvature[:-1].max()), 1e-12)

    def zeros(self) -> "Tensor":
        """RETURNS (Tensor): Weights to start from, shape (n_labels, n_axes + 1); the last column holds biases."""
        return self.states.new_zeros(self.n_labels, self.states.shape[1])

    def solve(
        self, strength: float, start: "Tensor", dtype: "dtype", tolerance: float, docs: "Tensor | None" = None
    ) -> "Tensor":
        """The optimum, from a start near it.

        start (Tensor): Shape (n_labels, n_axes + 1).
        tolerance (float): The largest gradient at the end, relative to that of zero weights.
        docs (Optional[Tensor]): Indices of the docs to learn from; all if not given.
        RETURNS (Tensor): Float64, of the shape of `start`.
        """
        import torch

        states, positive = (_select(part, docs, dtype) for part in (self.states, self.positive))
        negative = None if self.negative is None else _select(self.negative, docs, dtype)
        prior = torch.full((states.shape[1],), strength, dtype=dtype)
        prior[-1] = 0.0
        # Scaled by the curvature at the start, so that L-BFGS needs few steps.
        scale = (_curvature(states, start.to(dtype), positive, negative) + prior).clamp(min=1e-9).rsqrt()

        def gradient_at(scaled: "Tensor") -> tuple["Tensor", "Tensor"]:
            weights = scaled * scale
            loss, d_logits = loss_of(states @ weights.T, positive, negative)
            pull = prior * weights
            return loss + 0.5 * (pull * weights).sum(), (d_logits.T @ states + pull) * scale

        scaled = start.to(dtype) / scale
        _, at_zero = gradient_at(torch.zeros_like(scaled))
        _minimise(scaled, gradient_at, tolerance * float(at_zero.abs().max()))
        return (scaled * scale).double()

    def unrotate(self, weights: "Tensor") -> tuple[Floats, Floats]:
        """Weights and biases for the original states.

        weights (Tensor): Shape (n_labels, n_axes + 1).
        RETURNS (Tuple[Floats, Floats]): Float64, shapes (n_labels, width) and (n_labels,).
        """
        W = weights[:, :-1] @ self.axes.T
        b = weights[:, -1] - W @ self.center
        if self.negative is None:
            b = b - b.mean()  # A constant does not change a softmax.
        return W.numpy(), b.numpy()


def _select(part: "Tensor", docs: "Tensor | None", dtype: "dtype") -> "Tensor":
    return (part if docs is None else part[docs]).to(dtype)


def _principal_axes(rows: "Tensor") -> "Tensor":
    """Orthonormal columns that span the rows: shape (width, min(n_docs, width))."""
    import torch

    is_wide = len(rows) < rows.shape[1]
    axes: Tensor = torch.linalg.svd(rows, full_matrices=False)[2].T if is_wide else torch.linalg.eigh(rows.T @ rows)[1]
    return axes


def loss_of(logits: "Tensor", positive: "Tensor", negative: "Tensor | None") -> tuple["Tensor", "Tensor"]:
    """Negative log-likelihood, and its gradient with respect to the logits."""
    from torch.nn.functional import softplus

    if negative is None:
        logs = logits.log_softmax(1)
        return -(positive * logs).sum(), logs.exp() * positive.sum(1, keepdim=True) - positive
    loss = (positive * softplus(-logits) + negative * softplus(logits)).sum()
    return loss, logits.sigmoid() * (positive + negative) - positive


def _curvature(states: "Tensor", weights: "Tensor", positive: "Tensor", negative: "Tensor | None") -> "Tensor":
    """The diagonal of the likelihood's second derivative, of the shape of the weights."""
    logits = states @ weights.T
    if negative is None:
        scores, mass = logits.softmax(1), positive.sum(1, keepdim=True)
    else:
        scores, mass = logits.sigmoid(), positive + negative
    return (mass * scores * (1.0 - scores)).T @ states.square()


def _minimise(
    weights: "Tensor", gradient_at: Callable[["Tensor"], tuple["Tensor", "Tensor"]], tolerance: float
) -> None:
    """L-BFGS (Liu and Nocedal 1989) in place, until no gradient is larger than the tolerance."""
    import torch

    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=1000,
        history_size=10,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,  # Rounding lets the loss fall no further.
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss, weights.grad = gradient_at(weights)
        return float(loss)

    step: Callable[[Callable[[], float]], object] = optimizer.step
    step(closure)


class Path:
    """Optima from strong to weak priors, in single precision; each search starts from the optima before.

    docs (Optional[Tensor]): Indices of the docs to learn from; all if not given.
    """

    def __init__(self, problem: Problem, docs: "Tensor | None" = None) -> None:
        self.problem = problem
        self.docs = docs
        self._last = self._ahead = problem.zeros()

    def next(self, strength: float) -> "Tensor":
        """The next optimum. The search starts from an extrapolation of the last two.

        strength (float): Of the prior, less than the last.
        RETURNS (Tensor): Shape (n_labels, n_axes + 1).
        """
        import torch

        fits = max(strength, self.problem.strongest) < _LARGE
        dtype = torch.float32 if fits else torch.float64
        weights = self.problem.solve(strength, self._ahead, dtype, ROUGH, self.docs)
        is_first = not bool(self._last.any())
        self._ahead = weights if is_first else 2 * weights - self._last
        self._last = weights
        return weights
