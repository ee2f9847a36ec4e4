"""Pooling, losses and the classification head, each against a second way of computing the same.

Guards also: pooling.py.
"""

import numpy
import pytest
import spacy
import torch
from thinc.api import NumpyOps, set_dropout_rate

from spacy_transfer.heads.losses import balanced_weights, binary_cross_entropy, cross_entropy
from spacy_transfer.heads.pooling import build_pooling, build_unit_length
from spacy_transfer.heads.textcat import build_textcat_head_v1

RNG = numpy.random.default_rng(0)
ROWS = [RNG.normal(size=(n, 4)).astype("f") for n in (3, 0, 1, 5)]


def pooled(kinds, query=None):
    model = build_pooling(kinds)
    model.set_dim("nI", 4)
    model.initialize()
    if query is not None:
        model.set_param("Q", query)
    return model


SLOW = {
    "mean": lambda doc, q: sum(doc) / len(doc),
    "max": lambda doc, q: numpy.array([max(column) for column in doc.T]),
    "first": lambda doc, q: doc[0],
    "attention": lambda doc, q: sum(numpy.exp(row @ q) * row for row in doc) / sum(numpy.exp(row @ q) for row in doc),
}


@pytest.mark.parametrize("kinds", [["mean"], ["max"], ["first"], ["attention"], ["attention", "max", "mean"]])
def test_pooling_and_its_gradient(kinds):
    query = RNG.normal(size=4).astype("f") if "attention" in kinds else None
    model = pooled(kinds, query)
    vectors, backprop = model(ROWS, True)
    for doc, vector in zip(ROWS, vectors, strict=True):
        expected = numpy.concatenate([SLOW[k](doc, query) if len(doc) else numpy.zeros(4) for k in kinds])
        numpy.testing.assert_allclose(vector, expected, atol=1e-5)
    d_vectors = RNG.normal(size=vectors.shape).astype("f")
    d_rows = backprop(d_vectors)
    for i, doc in enumerate(ROWS):
        for place in numpy.ndindex(doc.shape):
            ends = []
            for sign in (1, -1):
                moved = [row.copy() for row in ROWS]
                moved[i][place] += sign * 1e-2
                ends.append((model.predict(moved) * d_vectors).sum())
            assert d_rows[i][place] == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=2e-2)
    if query is not None:
        for j in range(4):
            ends = []
            for sign in (1, -1):
                moved = query.copy()
                moved[j] += sign * 1e-2
                ends.append((pooled(kinds, moved).predict(ROWS) * d_vectors).sum())
            assert model.get_grad("Q")[j] == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=2e-2)


def softmax_case():
    logits = torch.from_numpy(RNG.normal(size=(5, 3)).astype("f")).requires_grad_()
    truths = torch.eye(3)[[0, 2, 1, 1, 0]]
    return logits, truths, numpy.ones((5, 3), dtype="f")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
def test_cross_entropy_is_torchs(smoothing, weights):
    logits, truths, mask = softmax_case()
    targets = truths.argmax(1)
    per_doc = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    loss = (per_doc if weights is None else per_doc * torch.tensor(weights)[targets]).sum()
    loss.backward()
    scores = torch.softmax(logits, 1).detach().numpy()
    ours = None if weights is None else numpy.array(weights, dtype="f")
    value, gradient = cross_entropy(numpy, scores, truths.numpy(), mask, ours, smoothing)
    assert value == pytest.approx(loss.item(), rel=1e-5)
    numpy.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
def test_binary_cross_entropy_is_torchs(weights):
    logits, truths, mask = softmax_case()
    mask[1, 2] = mask[3] = 0
    weight = None if weights is None else torch.tensor(weights)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truths, pos_weight=weight, reduction="none")
    (loss * torch.from_numpy(mask)).sum().backward()
    scores = torch.sigmoid(logits).detach().numpy()
    ours = None if weights is None else numpy.array(weights, dtype="f")
    value, gradient = binary_cross_entropy(numpy, scores, truths.numpy(), mask, ours, 0.0)
    assert value == pytest.approx((loss * torch.from_numpy(mask)).sum().item(), rel=1e-5)
    numpy.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-6)
    assert (gradient[3] == 0).all() and gradient[1, 2] == 0


def test_smoothing_of_sigmoid_targets():
    scores, truths = numpy.full((1, 2), 0.3, dtype="f"), numpy.array([[1.0, 0.0]], dtype="f")
    value, gradient = binary_cross_entropy(numpy, scores, truths, numpy.ones((1, 2)), None, 0.2)
    expected = -(0.9 * numpy.log(0.3) + 0.1 * numpy.log(0.7) + 0.1 * numpy.log(0.3) + 0.9 * numpy.log(0.7))
    assert value == pytest.approx(expected, rel=1e-5)
    numpy.testing.assert_allclose(gradient, [[0.3 - 0.9, 0.3 - 0.1]], atol=1e-6)


def test_balanced_weights():
    truths = numpy.eye(3, dtype="f")[[0, 0, 0, 1]]
    mask = numpy.ones_like(truths)
    numpy.testing.assert_allclose(balanced_weights(numpy, truths, mask, True), [4 / 9, 4 / 3, 1.0], rtol=1e-6)
    numpy.testing.assert_allclose(balanced_weights(numpy, truths, mask, False), [1 / 3, 3.0, 1.0], rtol=1e-6)


def tok2vec(width=8):
    build = spacy.registry.get("architectures", "spacy.HashEmbedCNN.v2")
    return build(
        width=width,
        depth=1,
        embed_size=50,
        window_size=1,
        maxout_pieces=2,
        subword_features=False,
        pretrained_vectors=None,
    )


def head(docs, n_labels=3, **settings):
    model = build_textcat_head_v1(tok2vec=tok2vec(), **settings)
    model.initialize(X=docs, Y=numpy.zeros((len(docs), n_labels), dtype="f"))
    output = model.get_ref("output")
    output.set_param("W", RNG.normal(size=output.get_param("W").shape).astype("f"))
    return model


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in ("a b c", "", "d e", "a")]


@pytest.mark.parametrize("activation", ["relu", "gelu", "mish", "swish", "tanh"])
def test_hidden_layers_pass_the_gradient(docs, activation):
    """d(sum of logits * d) / d(one weight of the first layer), by finite differences."""
    model = head(docs, hidden=[6, 5], activation=activation, pooling=["mean", "max"])
    layers = [node for node in model.layers[2].walk() if node.has_param("W")]
    assert [layer.get_dim("nO") for layer in layers] == [6, 5]
    d_logits = RNG.normal(size=(4, 3)).astype("f")
    scores, backprop = model(docs, True)
    numpy.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    backprop(d_logits)
    gradient = layers[0].get_grad("W")[2, 3]
    ends = []
    for sign in (1, -1):
        weights = layers[0].get_param("W").copy()
        weights[2, 3] += sign * 1e-2
        layers[0].set_param("W", weights)
        ends.append((numpy.log(model.predict(docs)) * d_logits).sum())
        weights = weights.copy()
        weights[2, 3] -= sign * 1e-2
        layers[0].set_param("W", weights)
    # log-scores differ from logits by a constant of each row: take its share out of the gradient's direction.
    d_centred = d_logits - scores * d_logits.sum(axis=1, keepdims=True)
    layers[0].set_grad("W", layers[0].get_grad("W") * 0)
    _, backprop = model(docs, True)
    backprop(d_centred)
    assert layers[0].get_grad("W")[2, 3] == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=3e-2)
    assert numpy.isfinite(gradient)


def test_sigmoid_scores(docs):
    assert not numpy.allclose(head(docs, exclusive_classes=False).predict(docs).sum(axis=1), 1)


def test_dropout_of_its_own_and_of_the_training_block(docs):
    own, shared = head(docs, hidden=[64], dropout=0.5), head(docs, hidden=[64])
    for model, moves in ((own, True), (shared, False)):
        set_dropout_rate(model, 0.0)
        assert (not numpy.allclose(model(docs, True)[0], model.predict(docs))) == moves
    set_dropout_rate(shared, 0.5)
    assert not numpy.allclose(shared(docs, True)[0], shared.predict(docs))


def test_more_labels_leave_the_old_ones_as_they_were(docs):
    model = head(docs)
    weights = model.get_ref("output").get_param("W").copy()
    before = numpy.log(model.predict(docs))
    model = model.attrs["resize_output"](model, 5)
    assert (model.get_ref("output").get_param("W")[:3] == weights).all()
    after = numpy.log(model.predict(docs))
    assert after.shape == (4, 5)
    shift = (after[:, :3] - before).mean(axis=1, keepdims=True)
    numpy.testing.assert_allclose(after[:, :3] - shift, before, atol=1e-5)
    assert isinstance(model.ops, NumpyOps)


def test_rows_of_unit_length_like_torchs():
    model = build_unit_length()
    X = RNG.normal(size=(3, 4)).astype("f")
    X[1] = 0
    Y, backprop = model(X, True)
    dY = RNG.normal(size=Y.shape).astype("f")
    given = torch.from_numpy(X).requires_grad_()
    expected = torch.nn.functional.normalize(given)
    expected.backward(torch.from_numpy(dY))
    numpy.testing.assert_allclose(Y, expected.detach().numpy(), atol=1e-6)
    d_expected = given.grad.numpy()
    d_expected[1] = 0
    numpy.testing.assert_allclose(backprop(dY), d_expected, atol=1e-6)
