"""Thresholds of multilabel heads: one for each label, drawn to a common one where a label has few texts."""

import numpy

from ..types import Bools, Floats, Ints

N_FOLDS = 5
LEANS = (numpy.inf, 100.0, 30.0, 10.0, 3.0)
"""How many texts the common curve counts for, beside those that hold a label. Infinite: one threshold for all."""


class Curve:
    """The number of predictions, and of right ones, as functions of the threshold."""

    def __init__(self, scores: Floats, holds: Bools) -> None:
        order = numpy.argsort(-scores, kind="stable")
        self.falling = scores[order]
        self.hits = numpy.concatenate([[0], numpy.cumsum(holds[order])])
        self.n_true = int(self.hits[-1])

    def at(self, cuts: Floats) -> tuple[Ints, Ints]:
        """RETURNS (Tuple[Ints, Ints]): Numbers of predictions and of right ones for each cut."""
        n = numpy.searchsorted(-self.falling, -cuts, side="right")
        return n, self.hits[n]

    @property
    def cuts(self) -> Floats:
        """RETURNS (Floats): Half-way between scores, in as many digits as a component's settings are saved with."""
        return numpy.unique(numpy.round((self.falling + numpy.append(self.falling[1:], 0.0)) / 2, 9))


def best_threshold(scores: Floats, truths: Floats | Bools) -> tuple[float, float] | None:
    """The threshold that gives one label the highest F1. It lies half-way between two scores; of several best cuts it
    is the one nearest to half the best F1, where the cut of well calibrated scores belongs (Lipton et al. 2014).

    scores (Floats): Of the label, on texts where its truth is known.
    truths (Floats): Whether it holds (more than 0.5).
    RETURNS (Optional[Tuple[float, float]]): Threshold and F1; None where the label always holds or never does.
    """
    finite = numpy.isfinite(scores)
    given, holds = numpy.asarray(scores, dtype="d")[finite], numpy.greater(truths, 0.5)[finite]
    if not holds.any() or holds.all():
        return None
    order = numpy.argsort(-given, kind="stable")
    falling, hits = given[order], numpy.cumsum(holds[order])
    # A cut is only possible after the last of equal scores.
    ends = numpy.flatnonzero(numpy.append(falling[:-1] > falling[1:], True))
    below = numpy.append(falling, 0.0)[ends + 1]
    # A component's settings are saved with ten digits.
    cuts = numpy.round((falling[ends] + below) / 2, 9)
    parts = (cuts <= falling[ends]) & ((cuts > below) | (ends == len(falling) - 1))
    if not parts.any():
        return None
    f1 = numpy.where(parts, 2 * hits[ends] / (ends + 1 + holds.sum()), -1.0)
    best = numpy.flatnonzero(f1 >= f1.max() - 1e-12)
    nearest = best[numpy.abs(cuts[best] - f1.max() / 2).argmin()]
    return float(cuts[nearest]), float(f1.max())


def fit_thresholds(scores: Floats, truths: Floats, mask: Floats) -> list[float | None]:
    """For each label the threshold of the highest F1, where the curve of all labels together counts as some texts of
    that label. The count (`LEANS`) is chosen by cross-validation: the highest macro F1 among those whose micro F1 is no
    lower than that of one common threshold. A threshold fitted to one or two texts with a label would assign it to
    hundreds.

    scores (Floats): Shape (n_docs, n_labels).
    truths (Floats): Whether a label holds (more than 0.5).
    mask (Floats): 0 where that is not known.
    RETURNS (List[Optional[float]]): None for a label that always holds or never does.
    """
    # A NaN would be sorted above all scores, and could become a threshold.
    known, holds = numpy.greater(mask, 0) & numpy.isfinite(scores), numpy.greater(truths, 0.5)
    n_true = (known & holds).sum(axis=0)
    is_open = (n_true > 0) & (n_true < known.sum(axis=0))
    known = known & is_open  # Labels without a threshold do not count for the common one.
    n_labels, fold_of = known.shape[1], numpy.arange(len(known)) % N_FOLDS
    counts = numpy.zeros((len(LEANS), 3, n_labels))
    for fold in range(N_FOLDS):
        learned, seen = _by_lean(scores, holds, known & (fold_of != fold)[:, None]), known & (fold_of == fold)[:, None]
        if learned is None:
            continue
        for i, cuts in enumerate(learned):
            said = seen & (scores >= cuts)
            counts[i] += [(said & holds).sum(axis=0), said.sum(axis=0), (seen & holds).sum(axis=0)]
    found = _by_lean(scores, holds, known)
    if found is None:
        return [None] * n_labels
    chosen = found[_best_lean(counts)]
    return [float(cut) if learns else None for cut, learns in zip(chosen, is_open, strict=True)]


def _best_lean(counts: Floats) -> int:
    hits, said, true = counts.transpose(1, 0, 2)
    micro = 2 * hits.sum(axis=1) / numpy.maximum(said.sum(axis=1) + true.sum(axis=1), 1)
    macro = (2 * hits / numpy.maximum(said + true, 1)).mean(axis=1)
    # Of equals the first: the common threshold.
    return int(numpy.where(micro >= micro[0], macro, -1.0).argmax())


def _by_lean(scores: Floats, holds: Bools, known: Bools) -> Floats | None:
    """Thresholds of all labels for each of `LEANS`, shape (n_leans, n_labels); None where nothing can be learned."""
    common = best_threshold(scores[known], holds[known])
    if common is None:
        return None
    everything, found = Curve(scores[known], holds[known]), numpy.full((len(LEANS), known.shape[1]), common[0])
    for j in range(known.shape[1]):
        own = Curve(scores[known[:, j], j], holds[known[:, j], j])
        cuts = numpy.append(own.cuts, common[0])
        (n, hits), (n_all, all_hits) = own.at(cuts), everything.at(cuts)
        for i, lean in enumerate(LEANS[1:], 1):
            share = lean / everything.n_true
            f1 = 2 * (hits + share * all_hits) / (n + own.n_true + share * (n_all + everything.n_true))
            best = cuts[f1 >= f1.max() - 1e-12]
            # Of equals the one near half the best F1, as in `best_threshold`.
            found[i, j] = best[numpy.abs(best - f1.max() / 2).argmin()]
    return found
