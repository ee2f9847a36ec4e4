"""The doubt of a head about a text, between 0 (sure) and 1, by its probabilities."""

from typing import Literal, cast

import numpy

from ...types import Floats

Measure = Literal["margin", "entropy"]


def of_classes(scores: Floats, measure: Measure) -> Floats:
    """How unsure the choice between labels is that exclude each other.

    scores (Floats): Probabilities, shape (n, n_labels), of two labels at least.
    measure (str): "margin": 1 minus the difference between the two highest. "entropy": as a share of that of equal
        probabilities.
    RETURNS (Floats): Shape (n,).
    """
    if measure == "margin":
        highest = numpy.partition(scores, -2, axis=1)[:, -2:]
        return cast(Floats, 1.0 - (highest[:, 1] - highest[:, 0]))
    return _entropies(scores).sum(axis=1) / float(numpy.log(scores.shape[1]))


def of_decisions(scores: Floats, thresholds: Floats, measure: Measure) -> Floats:
    """How unsure decisions are of which each says whether a label holds.

    scores (Floats): Probabilities, shape (n, n_labels).
    thresholds (Floats): From which on a label is taken to hold, shape (n_labels,).
    measure (str): "margin": of the label that is nearest to its threshold, 1 minus its distance as a share of the
        longest one. "entropy": the mean over the labels, in bits.
    RETURNS (Floats): Shape (n,).
    """
    if measure == "margin":
        return cast(Floats, nearness(scores, thresholds).max(axis=1))
    return (_entropies(scores) + _entropies(1.0 - scores)).mean(axis=1) / float(numpy.log(2.0))


def nearness(scores: Floats, thresholds: Floats) -> Floats:
    """RETURNS (Floats): 1 at the threshold, 0 at the farthest score from it."""
    return 1.0 - numpy.abs(scores - thresholds) / numpy.maximum(thresholds, 1.0 - thresholds)


def _entropies(scores: Floats) -> Floats:
    return -scores * numpy.log(numpy.maximum(scores, 1e-30))
