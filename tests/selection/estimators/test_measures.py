import numpy
import pytest

from spacy_transfer.selection.estimators.estimate import Targets, check
from spacy_transfer.selection.estimators.measures import compare

metrics = pytest.importorskip("sklearn.metrics")
RANDOM = numpy.random.default_rng(0)
N = 60


def checked(kind, values):
    return check(RANDOM.normal(size=(N, 2)), Targets(kind, values))


@pytest.mark.parametrize("common,wanted", [(0.4, "accuracy"), (0.8, "macro_f1")])
def test_classes_as_scikit_learn_measures_them(common, wanted):
    values = numpy.where(numpy.arange(N) < common * N, 0, 1 + numpy.arange(N) % 3)
    scores = RANDOM.random((N, 4)) + numpy.eye(4)[values] * 0.5
    said = scores.argmax(axis=1)
    right = {
        "accuracy": metrics.accuracy_score(values, said),
        "macro_f1": metrics.f1_score(values, said, average="macro"),
    }
    for measure in ("accuracy", "macro_f1"):
        assert compare(checked("classes", values), scores, measure).score == pytest.approx(right[measure], abs=1e-12)
    # Where one class has more than half of the rows, it is not the accuracy.
    assert compare(checked("classes", values), scores, "auto").score == pytest.approx(right[wanted], abs=1e-12)


def test_labels_by_macro_f1_at_the_threshold_of_the_best_micro_f1():
    values = (RANDOM.random((N, 3)) < 0.2).astype("d")
    scores = (RANDOM.random((N, 3)) + values) / 10  # None reaches 0.5.
    cuts = numpy.unique(scores)
    best = max(cuts, key=lambda cut: metrics.f1_score(values, scores >= cut, average="micro"))
    right = metrics.f1_score(values, scores >= best, average="macro")
    assert compare(checked("multilabel", values), scores, "auto").score == pytest.approx(right, abs=1e-12)


def test_numbers_by_r_squared():
    values = RANDOM.normal(size=(N, 2)) * [1.0, 50.0] + 7.0
    found = values + RANDOM.normal(size=(N, 2)) * [0.5, 40.0]
    assert compare(checked("numbers", values), found, "auto").score == pytest.approx(
        metrics.r2_score(values, found), abs=1e-12
    )


@pytest.mark.parametrize("kind", ["classes", "multilabel", "numbers"])
def test_parts_vary_as_the_score_of_resampled_rows_does(kind):
    """The standard error from the parts, against that of the score over 300 resamples."""
    n, random = 600, numpy.random.default_rng(1)
    values = {
        "classes": random.choice(3, n, p=(0.7, 0.2, 0.1)),
        "multilabel": (random.random((n, 3)) < 0.4).astype("d"),
        "numbers": random.normal(size=n),
    }[kind]
    truths = check(numpy.ones((n, 1)), Targets(kind, values)).truths
    scores = truths + random.normal(size=truths.shape) * 0.5
    # One cut for all resamples: the search for it is no part of the parts.
    if kind == "multilabel":
        scores = (scores > 0.5).astype("d")
    found, again = compare(check(numpy.ones((n, 1)), Targets(kind, values)), scores, "macro_f1"), []
    for _ in range(300):
        drawn = random.integers(n, size=n)
        own = check(numpy.ones((n, 1)), Targets(kind, values[drawn]))
        again.append(compare(own, scores[drawn], "macro_f1").score)
    assert found.parts.std() / n**0.5 == pytest.approx(numpy.std(again), rel=0.15)
