"""The optimum of a penalised likelihood over fixed states, and the path of optima from strong to weak priors."""

from typing import TYPE_CHECKING, Any

import numpy
from thinc.types import Floats1d, Floats2d

if TYPE_CHECKING:
    from torch import Tensor

ROUGH, EXACT = 3e-3, 1e-6
"""The largest gradient at the end, relative to that of zero weights: where the next strength waits, and at the last."""
_LARGE = 1e30
"""Strengths and curvatures from here on may overflow in single precision."""
STEP = 10**0.5
"""How many times as weak the prior becomes from one optimum to the next."""


class Problem:
    """States in coordinates of their own: centred (biases are free, so that moves only them) and turned to their
    principal axes (the prior is round, so that changes nothing), along which the optimum is found in few steps.

    states (Floats2d): Shape (n_docs, width).
    positive (Floats2d): Weight of log p, shape (n_docs, n_labels).
    negative (Optional[Floats2d]): Weight of log (1 - p); None where labels exclude each other.
    """

    def __init__(self, states: Floats2d, positive: Floats2d, negative: Floats2d | None) -> None:
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
        turned = centered @ self.axes
        ones = torch.ones(len(turned), 1, dtype=torch.float64)
        self.states = torch.cat([turned, ones], 1)
        # Of the log-likelihood, where all labels are equally likely.
        self.curvature = (mass @ self.states.square()) * (1.0 / self.n_labels if self.negative is None else 0.25)

    @property
    def strongest(self) -> float:
        """RETURNS (float): The strength that outweighs the evidence along every axis: where the grid begins."""
        return max(float(self.curvature[:-1].max()), 1e-12)

    def zeros(self) -> "Tensor":
        """RETURNS (Tensor): Weights to start from, shape (n_labels, n_axes + 1); the last column holds biases."""
        return self.states.new_zeros(self.n_labels, self.states.shape[1])

    def solve(
        self, strength: float, start: "Tensor", dtype: Any, tolerance: float, docs: "Tensor | None" = None
    ) -> "Tensor":
        """The optimum, from a start near it.

        strength (float): Of the prior.
        start (Tensor): Shape (n_labels, n_axes + 1).
        dtype (torch.dtype): To compute in.
        tolerance (float): The largest gradient at the end, relative to that of zero weights.
        docs (Optional[Tensor]): Indices of the docs to learn from; all if not given.
        RETURNS (Tensor): Float64, of the shape of `start`.
        """
        import torch

        parts = [self.states, self.positive, self.negative]
        states, positive, negative = (_select(part, docs, dtype) for part in parts)
        prior = torch.full((states.shape[1],), strength, dtype=dtype)
        prior[-1] = 0.0
        # In units of the curvature at the start the problem is nearly round, and L-BFGS needs few steps.
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

    def unrotate(self, weights: "Tensor") -> tuple[Floats2d, Floats1d]:
        """Weights and biases for the states as they came.

        weights (Tensor): Shape (n_labels, n_axes + 1).
        RETURNS (Tuple[Floats2d, Floats1d]): Float64, shapes (n_labels, width) and (n_labels,).
        """
        W = weights[:, :-1] @ self.axes.T
        b = weights[:, -1] - W @ self.center
        if self.negative is None:
            b = b - b.mean()  # Softmax does not see a constant: take the one that is smallest.
        return W.numpy(), b.numpy()  # type: ignore[return-value]


def _select(part: Any, docs: Any, dtype: Any) -> Any:
    if part is None:
        return None
    return (part if docs is None else part[docs]).to(dtype)


def _principal_axes(rows: "Tensor") -> "Tensor":
    """Orthonormal columns that span the rows: shape (width, min(n_docs, width))."""
    import torch

    if len(rows) < rows.shape[1]:
        return torch.linalg.svd(rows, full_matrices=False)[2].T
    return torch.linalg.eigh(rows.T @ rows)[1]


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


def _minimise(weights: "Tensor", gradient_at: Any, tolerance: float) -> None:
    """L-BFGS (Liu and Nocedal 1989) in place, until no gradient is larger than the tolerance."""
    import torch

    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=1000,
        history_size=10,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,  # Where rounding lets the loss sink no further.
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss, weights.grad = gradient_at(weights)
        return float(loss)

    optimizer.step(closure)


class Path:
    """Optima from strong to weak, in single precision: each is found from those before it.

    problem (Problem): The problem.
    docs (Optional[Tensor]): Indices of the docs to learn from; all if not given.
    """

    def __init__(self, problem: Problem, docs: "Tensor | None" = None) -> None:
        self.problem = problem
        self.docs = docs
        self._last = self._ahead = problem.zeros()

    def go_on(self, strength: float) -> "Tensor":
        """The next optimum. Optima lie on a curve: this one is about as far from the last as that from the one before.

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
