"""Bags of pieces, and the regression on them, against dense algebra."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.pretraining.bag_regression import Bags, Regression, cosine, project, unit

N_PIECES = 7
WORDS = st.lists(st.lists(st.integers(0, N_PIECES - 1), max_size=3), max_size=4)
DRAW = numpy.random.default_rng(0)


def dense(texts):
    """The definition: the mean over words of the mean over pieces."""
    found = numpy.zeros((len(texts), N_PIECES))
    for row, words in zip(found, texts, strict=True):
        for word in words:
            for piece in word:
                row[piece] += 1 / len(words) / len(word)
    return found


@given(st.lists(WORDS, min_size=1, max_size=6))
@settings(deadline=None)
def test_bags_are_means_of_means(texts):
    bags, every = Bags(texts, N_PIECES), numpy.arange(len(texts))
    numpy.testing.assert_allclose(bags.matrix(every, numpy.arange(N_PIECES)).to_dense(), dense(texts), atol=1e-6)
    some = every[::-2]
    numpy.testing.assert_allclose(bags.matrix(some, numpy.arange(N_PIECES)).to_dense(), dense(texts)[some], atol=1e-6)
    flat = [piece for words in texts for word in words for piece in word]
    wanted = [flat.count(piece) / max(len(flat), 1) for piece in range(N_PIECES)]
    numpy.testing.assert_allclose(bags.shares, wanted, atol=1e-6)


def drawn_texts(count):
    """Piece 6 does not come."""
    return [[DRAW.integers(0, 6, size=DRAW.integers(1, 3)).tolist() for _ in range(5)] for _ in range(count)]


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_the_solution_is_that_of_the_normal_equations(strength):
    texts = drawn_texts(50)
    bags, rows = Bags(texts, N_PIECES), project(unit(DRAW.normal(size=(50, 4)).astype("f")), 3)
    regression = Regression(bags, DRAW.normal(size=(N_PIECES, 4)).astype("f"), rows, strength)
    A, first = dense(texts), regression.first.astype("d")
    normal = A.T @ A + strength * numpy.eye(N_PIECES)
    wanted = first + numpy.linalg.solve(normal, A.T @ (rows[0] - A @ first))
    found = regression.solve()
    numpy.testing.assert_allclose(found, wanted, atol=2e-3)
    assert (found[6] == regression.first[6]).all() and not numpy.allclose(found[:6], regression.first[:6], atol=0.01)


def test_where_vectors_begin_their_length_fits_best():
    texts = drawn_texts(30)
    bags, (rows, components) = Bags(texts, N_PIECES), project(DRAW.normal(size=(30, 4)).astype("f"), 2)
    first = DRAW.normal(size=(N_PIECES, 4)).astype("f")
    begun = Regression(bags, first, (rows, components), 1.0).first
    numpy.testing.assert_allclose(
        unit(begun) * numpy.sign((begun * (first @ components)).sum()), unit(first @ components), atol=1e-5
    )
    losses = [numpy.square(scale * (dense(texts) @ begun) - rows).sum() for scale in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_texts_that_are_held_out_tell_whether_it_learned():
    truth = DRAW.normal(size=(N_PIECES, 4)).astype("f")
    texts = drawn_texts(200)
    rows = project((dense(texts) @ truth).astype("f"), 4)
    regression = Regression(Bags(texts, N_PIECES), DRAW.normal(size=(N_PIECES, 4)).astype("f"), rows, 1e-3)
    before, after = regression.held_out()
    assert before < 0.9 < 0.99 < after


def test_principal_components_are_those_of_svd():
    rows = DRAW.normal(size=(40, 5)) * [5, 1, 3, 0.5, 2] + 7
    projected, components = project(rows, 2)
    centred = rows - rows.mean(axis=0)
    wanted = numpy.linalg.svd(centred)[2][:2]
    numpy.testing.assert_allclose(numpy.abs((wanted * components.T).sum(axis=1)), 1, atol=1e-5)
    numpy.testing.assert_allclose(projected, centred @ components, atol=1e-4)
    assert project(rows, 99)[1].shape == (5, 5)
    assert cosine(rows, rows) == pytest.approx(1) and cosine(rows, -2 * rows) == pytest.approx(-1)
    assert not unit(numpy.zeros((1, 3))).any()
