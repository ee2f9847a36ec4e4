"""The regression head, its losses and its measures, each against a second way of computing the same.

Guards also: correlation.py.
"""

import itertools
import math

import numpy
import pytest
import spacy
import torch
from thinc.api import Model, set_dropout_rate

from spacy_transfer.heads import regression
from spacy_transfer.heads.correlation import average_ranks, mean_absolute_error, pearson, spearman

RNG = numpy.random.default_rng(1)


def case(n=7, n_targets=2):
    values = torch.from_numpy(RNG.normal(size=(n, n_targets)) * 2).requires_grad_()
    truths = RNG.normal(size=(n, n_targets))
    mask = numpy.ones((n, n_targets))
    mask[1, 0] = mask[3] = 0
    return values, truths, mask


def test_squared_error_is_torchs():
    values, truths, mask = case()
    loss, gradient = regression.mean_squared_error(numpy, values.detach().numpy(), truths, mask)
    each = torch.nn.functional.mse_loss(values, torch.from_numpy(truths), reduction="none")
    expected = (each * torch.from_numpy(mask)).sum()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert gradient == pytest.approx(values.grad.numpy(), abs=1e-9)


@pytest.mark.parametrize("delta", [0.3, 1.0, 10.0])
def test_huber_is_torchs(delta):
    values, truths, mask = case()
    loss, gradient = regression.huber(numpy, values.detach().numpy(), truths, mask, delta)
    each = torch.nn.functional.huber_loss(values, torch.from_numpy(truths), reduction="none", delta=delta)
    expected = (each * torch.from_numpy(mask)).sum()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert gradient == pytest.approx(values.grad.numpy(), abs=1e-9)


def test_pearson_loss_and_its_gradient():
    values, truths, mask = case()
    loss, gradient = regression.pearson_loss(numpy, values.detach().numpy(), truths, mask)
    expected = 0.0
    for j, there in enumerate(mask.T > 0):
        x, y = values[there, j], torch.from_numpy(truths[there, j])
        x, y = x - x.mean(), y - y.mean()
        tiny = 1e-4 * len(x)
        expected = expected + len(x) * (1 - (x * y).sum() / ((x**2).sum() + tiny).sqrt() / (y**2).sum().sqrt())
        exact = 1 - numpy.corrcoef(values.detach().numpy()[there, j], truths[there, j])[0, 1]
        alone = regression.pearson_loss(numpy, values.detach().numpy()[:, [j]], truths[:, [j]], mask[:, [j]])[0]
        assert alone / there.sum() == pytest.approx(exact, abs=1e-3)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert gradient == pytest.approx(values.grad.numpy(), abs=1e-9)
    assert (gradient[mask == 0] == 0).all()


def test_pearson_loss_of_a_head_of_zeros_shows_the_way():
    truths = numpy.array([[1.0], [3.0], [2.0]])
    loss, gradient = regression.pearson_loss(numpy, numpy.zeros((3, 1)), truths, numpy.ones((3, 1)))
    assert loss == pytest.approx(3.0)
    assert pearson(-gradient[:, 0], truths[:, 0]) == pytest.approx(1.0)


@pytest.mark.parametrize(("truths", "mask"), [([1.0, 2.0], [1, 0]), ([1.0, 1.0], [1, 1]), ([1.0, 2.0], [0, 0])])
def test_pearson_loss_without_two_different_targets(truths, mask):
    given = [numpy.array([column], dtype="f").T for column in ([0.5, 0.7], truths, mask)]
    loss, gradient = regression.pearson_loss(numpy, *given)
    assert loss == 0 and not gradient.any()


def test_a_missing_target_that_is_nan_poisons_nothing():
    values, truths, mask = numpy.ones((2, 1)), numpy.array([[math.nan], [0.0]]), numpy.array([[0.0], [1.0]])
    for loss in (regression.mean_squared_error, lambda *a: regression.huber(*a, 1.0)):
        amount, gradient = loss(numpy, values, truths, mask)
        assert math.isfinite(amount) and gradient[0, 0] == 0 and gradient[1, 0] != 0


def test_correlations_against_slow_ways():
    for n in (2, 3, 12):
        x, y = RNG.integers(0, 5, n).astype(float) * 1e-3, RNG.normal(size=n)
        if len(set(x)) > 1:
            assert pearson(x, y) == pytest.approx(numpy.corrcoef(x, y)[0, 1])
        ranks = [sum(other < value for other in x) + (sum(other == value for other in x) + 1) / 2 for value in x]
        numpy.testing.assert_allclose(average_ranks(x), ranks)
        slow = [sum(other < value for other in y) + 1 for value in y]
        if len(set(x)) > 1:
            assert spearman(x, y) == pytest.approx(numpy.corrcoef(ranks, slow)[0, 1])
        assert mean_absolute_error(x, y) == pytest.approx(sum(abs(a - b) for a, b in zip(x, y, strict=True)) / n)


def test_correlations_at_the_edge():
    assert math.isnan(pearson([], [])) and math.isnan(spearman([1], [1])) and math.isnan(mean_absolute_error([], []))
    assert pearson([0.1] * 3, [1, 2, 3]) == 0.0
    assert pearson([1e-200, 2e-200, 3e-200], [1e200, 2e200, 3e200]) == pytest.approx(1.0)
    for order in itertools.permutations([1.0, 2.0, 3.0]):
        assert -1 - 1e-9 <= spearman(order, [1, 1, 2]) <= 1 + 1e-9


def tok2vec(width=8):
    """A table of rows, by the first letter of a token: no kinks, as finite differences like it."""

    def which(doc):
        return [ord(token.text[0]) % 7 for token in doc]

    def forward(model, docs, is_train):
        table = model.get_param("E")

        def backprop(d_rows):
            d_table = numpy.zeros_like(table)
            for doc, d in zip(docs, d_rows, strict=True):
                numpy.add.at(d_table, which(doc), d)
            model.inc_grad("E", d_table)
            return []

        return [table[which(doc)] for doc in docs], backprop

    table = numpy.random.default_rng(5).normal(size=(7, width)).astype("f")
    return Model("table", forward, dims={"nO": width}, params={"E": table})


def head(docs, n_targets=2, bounds=None, **settings):
    model = regression.build_regression_head_v1(tok2vec=tok2vec(), bounded=bounds is not None, **settings)
    model.attrs["bounds"] = bounds
    model.initialize(X=docs, Y=numpy.zeros((len(docs), n_targets), dtype="f"))
    output = model.get_ref("output")
    output.set_param("W", RNG.normal(size=output.get_param("W").shape).astype("f") * 0.3)
    regression.set_units(model, [1.0, 3.0][:n_targets], [0.5, 2.0][:n_targets])
    return model


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in ("a b c", "", "d e", "a")]


SPANS = [[(0, 2), (1, 3)], [], [(0, 2)], []]


@pytest.mark.parametrize("bounds", [None, [0.0, 5.0]])
@pytest.mark.parametrize("spans", [None, SPANS])
@pytest.mark.parametrize("hidden", [[], [6]])
def test_the_way_back_is_that_of_standardized_numbers(docs, bounds, spans, hidden):
    """d(sum of standardised numbers * d) / d(a weight of the output, and of the backbone), by finite differences."""
    model = head(docs, bounds=bounds, hidden=hidden, activation="gelu")
    places = docs if spans is None else (docs, spans)
    scores, backprop = model(places, True)
    assert scores.shape == ((4 if spans is None else 3), 2)
    direction = RNG.normal(size=scores.shape).astype("f")
    backprop(direction)
    embed = next(node for node in model.walk() if node.name == "table")
    output = model.get_ref("output")
    for node, name in ((output, "W"), (output, "b"), (embed, "E")):
        gradient, kept = node.get_grad(name), node.get_param(name).copy()
        place = numpy.unravel_index(numpy.abs(gradient).argmax(), gradient.shape)
        ends = []
        for sign in (1, -1):
            moved = kept.copy()
            moved[place] += sign * 1e-2
            node.set_param(name, moved)
            ends.append(float((regression.standardize(model, model.predict(places)) * direction).sum()))
        node.set_param(name, kept)
        assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-2, abs=2e-3), name


def test_spans_that_overlap_are_pooled_by_themselves(docs):
    model = head(docs, pooling=["mean", "max"])
    rows = model.get_ref("tok2vec").predict(docs)
    expected = []
    for doc_rows, own in zip(rows, SPANS, strict=True):
        for a, b in own:
            vector = numpy.concatenate([doc_rows[a:b].mean(0), doc_rows[a:b].max(0)])
            output = model.get_ref("output")
            raw = output.get_param("W") @ vector + output.get_param("b")
            expected.append(raw * [0.5, 2.0] + [1.0, 3.0])
    numpy.testing.assert_allclose(model.predict((docs, SPANS)), expected, atol=1e-5)
    assert model.predict((docs, [[]] * 4)).shape == (0, 2)


def test_a_new_head_says_the_mean_and_never_leaves_its_bounds(docs):
    for bounds in (None, [0.0, 5.0]):
        model = head(docs, bounds=bounds)
        output = model.get_ref("output")
        weights = output.get_param("W").copy()
        output.set_param("W", weights * 0)
        numpy.testing.assert_allclose(model.predict(docs), [[1.0, 3.0]] * 4, atol=1e-5)
        output.set_param("W", weights * 1000)
        far = model.predict(docs)
        assert bounds is None or ((far >= 0).all() and (far <= 5).all())
    assert (numpy.abs(head(docs).predict(docs) - head(docs).predict(docs)) > 0).any()


def test_units_against_a_loop():
    values = RNG.normal(size=(6, 4)) * 3 + 7
    values[:, 3] = 2.0
    mask = numpy.ones_like(values)
    mask[0, 0] = mask[4, 0] = 0
    mask[:, 2] = 0
    mean, scale = regression.units(values, mask)
    known = [values[i, 0] for i in range(6) if mask[i, 0]]
    assert mean[0] == pytest.approx(sum(known) / 4)
    assert scale[0] == pytest.approx(math.sqrt(sum((v - mean[0]) ** 2 for v in known) / 4))
    assert (mean[2], scale[2], mean[3], scale[3]) == (0.0, 1.0, 2.0, 1.0)


def test_a_target_more_leaves_the_others_alone(docs):
    model = head(docs)
    before, weights = model.predict(docs), model.get_ref("output").get_param("W").copy()
    regression.resize_output(model, 3)
    after = model.predict(docs)
    numpy.testing.assert_allclose(after[:, :2], before, atol=1e-6)
    assert (after[:, 2] == 0).all()
    assert (model.get_ref("output").get_param("W")[:2] == weights).all()


def test_units_are_saved(docs):
    model = head(docs, bounds=[0.0, 5.0])
    again = regression.build_regression_head_v1(tok2vec=tok2vec(), bounded=True)
    again.initialize(X=docs, Y=numpy.zeros((4, 2), dtype="f"))
    again.from_bytes(model.to_bytes())
    assert (again.predict(docs) == model.predict(docs)).all()


def test_dropout_is_for_training(docs):
    model = head(docs, dropout=0.5)
    set_dropout_rate(model, 0.0)
    spacy.util.fix_random_seed(0)
    assert (model(docs, True)[0] != model(docs, True)[0]).any()
    assert (model.predict(docs) == model.predict(docs)).all()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_correlation_with_what_is_no_number(broken):
    """It is unknown, not 0, and a NaN has not the highest rank."""
    values, truths = [1.0, 2.0, broken, 3.0], [1.0, 2.0, 3.0, 4.0]
    assert math.isnan(pearson(values, truths)) and math.isnan(pearson(truths, values))
    assert math.isnan(spearman(values, truths)) == math.isnan(broken)
