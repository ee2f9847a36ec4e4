"""NLeep.v1: how well the clusters of the rows tell the classes."""

import numpy

from ...checks import COUNT, Range, require
from ...errors import Errors
from ...types import Floats
from .estimate import Estimate, Estimator, Targets, check

_ITERATIONS = 20
"""At most: the first ones decide."""
_ROWS_PER_COMPONENT = 5
"""At least: a component of one row would tell its class by heart."""


def build_nleep_v1(*, components: int = 5, variance: float = 0.8, seed: int = 0) -> Estimator:
    """N-LEEP (Li et al. 2021, "Ranking Neural Checkpoints"): a Gaussian mixture is fitted to the rows' principal
    components. The score is the mean log-likelihood of the classes, each predicted from the classes of the components
    that its row may belong to (LEEP; Nguyen et al. 2020). Covariances are diagonal. Each of several labels is predicted
    by itself, and the score is the mean over them.

    components (int): Of the mixture, for each class. There is at most one for every five rows.
    variance (float): Share of the variance that the principal components keep.
    seed (int): Of the first means of the mixture.
    RETURNS (Callable[[Floats, Targets], Estimate]): The estimator; not for numbers. Its score has parts.
    """
    require("estimator", COUNT, components=components)
    require("estimator", Range(high=1, has_low=False), variance=variance)

    def estimate(rows: Floats, targets: Targets) -> Estimate:
        if targets.kind == "numbers":
            raise ValueError(Errors.T883.format(name="spacy-transfer.NLeep.v1", kind=targets.kind))
        checked = check(rows, targets)
        n_components = min(components * max(checked.truths.shape[1], 2), len(rows) // _ROWS_PER_COMPONENT)
        shares = _fit_mixture(_principal_components(checked.rows, variance), max(n_components, 1), seed)
        # The probability of every class or label, first for each component, then for each row.
        predicted = shares @ (shares.T @ checked.truths / numpy.maximum(shares.sum(axis=0), 1e-300)[:, None])
        likelihoods = numpy.where(checked.truths > 0, predicted, 1.0 - predicted)
        logs = numpy.log(numpy.clip(likelihoods, 1e-12, 1.0))
        parts = logs.mean(axis=1) if targets.kind == "multilabel" else (logs * checked.truths).sum(axis=1)
        return Estimate(float(parts.mean()), parts)

    return estimate


def _principal_components(rows: Floats, variance: float) -> Floats:
    """The components that keep a share of the variance; one at least. Their mean variance is 1."""
    centered = rows - rows.mean(axis=0)
    if len(rows) > rows.shape[1]:
        values, axes = numpy.linalg.eigh(centered.T @ centered)
        sizes, axes = values[::-1].clip(0.0), axes[:, ::-1]
    else:
        _, singular, across = numpy.linalg.svd(centered, full_matrices=False)
        sizes, axes = singular**2, across.T
    reached = numpy.cumsum(sizes) >= variance * sizes.sum() * (1 - 1e-12)
    found: Floats = centered @ axes[:, : int(reached.argmax()) + 1]
    return found / max(float(found.std()), 1e-300)


def _fit_mixture(points: Floats, n_components: int, seed: int) -> Floats:
    """Fit by expectation maximisation, until the log-likelihood of a row gains less than 0.001, for some
    iterations at most.

    RETURNS (Floats): The probability of every component for each row, shape (n, n_components).
    """
    shares, last = _start(points, n_components, seed), -numpy.inf
    for _ in range(_ITERATIONS):
        shares, likelihood = _expect(points, *_maximise(points, shares))
        if likelihood - last < 1e-3:
            break
        last = likelihood
    return shares


def _start(points: Floats, n_components: int, seed: int) -> Floats:
    """Each row with the nearest of some rows, which are drawn far from each other (k-means++; Arthur and Vassilvitskii
    2007)."""
    generator = numpy.random.default_rng(seed)
    nearest, shares = numpy.full(len(points), numpy.inf), numpy.zeros((len(points), n_components))
    owner, chosen = numpy.zeros(len(points), dtype=numpy.int64), int(generator.integers(len(points)))
    for component in range(n_components):
        squares = ((points - points[chosen]) ** 2).sum(axis=1)
        owner[squares < nearest] = component
        nearest = numpy.minimum(nearest, squares)
        if not nearest.any():
            break
        chosen = int(generator.choice(len(points), p=nearest / nearest.sum()))
    shares[numpy.arange(len(points)), owner] = 1.0
    return shares


def _maximise(points: Floats, shares: Floats) -> tuple[Floats, Floats, Floats]:
    """RETURNS (Tuple[Floats, Floats, Floats]): Weights, means and variances of the components."""
    mass = shares.sum(axis=0) + 1e-10
    means = shares.T @ points / mass[:, None]
    spread = shares.T @ points**2 / mass[:, None] - means**2
    return mass / len(points), means, numpy.maximum(spread, 0.0) + 1e-6


def _expect(points: Floats, weights: Floats, means: Floats, variances: Floats) -> tuple[Floats, float]:
    """RETURNS (Tuple[Floats, float]): The probability of every component for each row, and the mean log-likelihood."""
    precisions = 1.0 / variances
    far = points**2 @ precisions.T - 2.0 * points @ (means * precisions).T + (means**2 * precisions).sum(axis=1)
    logs = numpy.log(weights) - 0.5 * (far + numpy.log(2 * numpy.pi * variances).sum(axis=1))
    highest = logs.max(axis=1, keepdims=True)
    shares = numpy.exp(logs - highest)
    sums = shares.sum(axis=1, keepdims=True)
    return shares / sums, float((highest + numpy.log(sums)).mean())
