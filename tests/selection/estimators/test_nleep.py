import numpy
import pytest

from spacy_transfer.selection.estimators import nleep

from .test_estimate import drawn, score


def slow_score(shares, labels):
    """LEEP, with components as source classes, written as its sums."""
    total, (n, n_components) = 0.0, shares.shape
    for row in range(n):
        likelihood = 0.0
        for v in range(n_components):
            joint = sum(shares[i, v] for i in range(n) if labels[i] == labels[row]) / n
            likelihood += joint / (shares[:, v].sum() / n) * shares[row, v]
        total += numpy.log(likelihood) / n
    return total


def mixture_of(rows, n_components, variance=0.8, seed=0):
    return nleep._fit_mixture(nleep._principal_components(rows.astype("d"), variance), n_components, seed)


def test_classes_are_scored_as_by_a_plain_loop():
    rows, values = drawn("classes", 60)
    shares = mixture_of(rows, 6)
    assert score("NLeep", rows, "classes", values, components=2).score == pytest.approx(
        slow_score(shares, values), abs=1e-9
    )


def test_labels_are_scored_one_by_one():
    rows, values = drawn("multilabel", 60)
    shares = mixture_of(rows, 6)
    slow = numpy.mean([slow_score(shares, column) for column in values.T])
    assert score("NLeep", rows, "multilabel", values, components=2).score == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("width", [6, 100], ids=["long", "wide"])
@pytest.mark.parametrize("variance", [0.5, 0.8, 1.0])
def test_components_are_those_of_scikit_learn(width, variance):
    PCA = pytest.importorskip("sklearn.decomposition").PCA
    rows = drawn("classes", width=width)[0].astype("d")
    ours = nleep._principal_components(rows, variance)
    theirs = PCA(n_components=variance if variance < 1 else None, svd_solver="full").fit_transform(rows)
    theirs = theirs[:, : ours.shape[1]]
    assert numpy.allclose(numpy.abs(ours) * theirs.std(), numpy.abs(theirs), atol=1e-9)
    assert variance == 1 or ours.shape == theirs.shape


def test_the_mixture_is_scikit_learns():
    """From the same start, the same fixed point."""
    GaussianMixture = pytest.importorskip("sklearn.mixture").GaussianMixture
    random = numpy.random.default_rng(0)
    points = random.normal(size=(200, 3)) + random.choice([-4.0, 0.0, 4.0], size=(200, 1))
    start = nleep._start(points, 3, seed=0)
    weights, means, variances = nleep._maximise(points, start)
    theirs = GaussianMixture(
        3, covariance_type="diag", tol=1e-3, means_init=means, weights_init=weights, precisions_init=1 / variances
    ).fit(points)
    assert numpy.allclose(nleep._fit_mixture(points, 3, seed=0), theirs.predict_proba(points), atol=1e-2)
    _, likelihood = nleep._expect(points, theirs.weights_, theirs.means_, theirs.covariances_)
    assert likelihood == pytest.approx(theirs.score(points), abs=1e-9)


def test_more_components_than_rows_allow_learn_nothing_by_heart():
    """Rows that know nothing: no better than the shares of the classes, by much."""
    rows, values = numpy.random.default_rng(0).normal(size=(60, 5)).astype("f"), numpy.arange(60) % 3
    assert score("NLeep", rows, "classes", values, components=50).score < numpy.log(1 / 3) + 0.3
