import numpy
import pytest

from spacy_transfer.heads import optimum
from spacy_transfer.selection.estimators import linear_probe
from spacy_transfer.selection.estimators.estimate import Targets, check
from spacy_transfer.selection.estimators.measures import compare

from .test_estimate import drawn, score

linear_model = pytest.importorskip("sklearn.linear_model")


def folds_of(kind, values, groups=None, n_folds=5):
    rows = numpy.random.default_rng(0).normal(size=(len(values), 2))
    return linear_probe._folds(check(rows, Targets(kind, values, groups)), n_folds, seed=0)


def slow_predictions(checked, fold_of, fit, strengths):
    """By scikit-learn, fold by fold, for the strength with the lowest loss on held-out rows."""
    found = []
    for strength in strengths:
        predicted = numpy.zeros_like(checked.truths)
        for fold in range(fold_of.max() + 1):
            train = fold_of != fold
            predicted[~train] = fit(checked.rows[train], checked.truths[train], strength, checked.rows[~train])
        likelihoods = numpy.where(checked.truths > 0, predicted, 1 - predicted)
        if checked.kind == "classes":
            likelihoods = likelihoods[checked.truths > 0]
        is_numbers = checked.kind == "numbers"
        found.append(
            (((predicted - checked.truths) ** 2).sum() if is_numbers else -numpy.log(likelihoods).sum(), predicted)
        )
    return min(found, key=lambda pair: pair[0])[1]


def logistic(rows, truths, strength, held):
    model = linear_model.LogisticRegression(C=1 / strength, tol=1e-8, max_iter=10_000)
    return model.fit(rows, truths.argmax(axis=1)).predict_proba(held)


def logistic_by_label(rows, truths, strength, held):
    return numpy.stack([logistic(rows, numpy.stack([1 - y, y], 1), strength, held)[:, 1] for y in truths.T], axis=1)


def ridge(rows, truths, strength, held):
    return linear_model.Ridge(alpha=strength).fit(rows, truths).predict(held)


@pytest.mark.parametrize("kind,fit", [("classes", logistic), ("multilabel", logistic_by_label), ("numbers", ridge)])
@pytest.mark.parametrize("width", [6, 100], ids=["long", "wide"])
def test_held_out_rows_are_predicted_as_by_scikit_learn(monkeypatch, kind, fit, width):
    monkeypatch.setattr(linear_probe, "_GRID_SIZE", 8)
    monkeypatch.setattr(optimum, "ROUGH", 1e-5)  # As exact as single precision allows.
    rows, values = drawn(kind, 60, width=width)
    checked = check(rows, Targets(kind, values))
    fold_of = linear_probe._folds(checked, 5, seed=0)
    if kind == "numbers":
        first = ((checked.rows - checked.rows.mean(axis=0)) ** 2).sum()
        predicted, tolerance = linear_probe._predict_numbers(checked, fold_of), 1e-8
    else:
        truths = checked.truths
        first = linear_probe.Problem(checked.rows, truths, None if kind == "classes" else 1 - truths).strongest
        predicted, tolerance = linear_probe._predict_labels(checked, fold_of), 1e-3
    if kind == "numbers":  # One strength for all targets, in units of their standard deviations.
        checked = check(rows, Targets(kind, (values - values.mean(axis=0)) / values.std(axis=0)))
        predicted = (predicted - values.mean(axis=0)) / values.std(axis=0)
    slow = slow_predictions(checked, fold_of, fit, first / linear_probe.STEP ** numpy.arange(8))
    assert numpy.abs(predicted - slow).max() < tolerance
    own = score("LinearProbe", rows, kind, values)
    assert own.score == pytest.approx(compare(checked, slow, "auto").score, abs=1e-3 if kind != "numbers" else 1e-8)


def test_folds_spread_classes_and_numbers_evenly():
    values = numpy.random.default_rng(0).permutation(numpy.repeat([0, 1, 2], [50, 10, 5]))
    counts = numpy.array([numpy.bincount(values[folds_of("classes", values) == f], minlength=3) for f in range(5)])
    assert (counts == [10, 2, 1]).all()
    numbers = numpy.random.default_rng(0).normal(size=100)
    high = numbers > numpy.median(numbers)
    folds = folds_of("numbers", numbers)
    assert [(high & (folds == f)).sum() for f in range(5)] == [10] * 5


def test_folds_do_not_cut_documents():
    random = numpy.random.default_rng(0)
    groups, values = numpy.repeat(random.permutation(20) * 7, 6), random.integers(4, size=120)
    folds = folds_of("classes", values, groups)
    assert all(len(set(folds[groups == g])) == 1 for g in set(groups))
    # A tag of five documents is in every fold.
    values[:] = 0
    values[numpy.flatnonzero(numpy.isin(groups, numpy.unique(groups)[:5]))[::6]] = 1
    assert len(set(folds_of("classes", values, groups)[values == 1])) == 5


def test_there_are_at_most_as_many_folds_as_documents():
    assert set(folds_of("numbers", numpy.arange(6.0), numpy.repeat([0, 1, 2], 2))) == {0, 1, 2}
    assert set(folds_of("classes", numpy.arange(8) % 2, n_folds=3)) == {0, 1, 2}


def test_a_class_of_one_document_is_an_error_and_the_others_are_not():
    values = numpy.repeat([0, 1, 2], [20, 20, 1])
    rows = numpy.eye(3)[values].astype("f")
    found = score("LinearProbe", rows, "classes", values)
    assert found.parts.tolist() == [1.0] * 40 + [0.0]
