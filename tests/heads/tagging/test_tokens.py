"""TokenHead.v1: one matrix for all tokens, gradients, growth."""

import numpy
import pytest
from thinc.api import fix_random_seed, set_dropout_rate

from spacy_transfer.heads.tagging.crf import Transitions
from spacy_transfer.heads.tagging.tokens import TokenScores, build_token_head_v1

from ..test_textcat import tok2vec

RNG = numpy.random.default_rng(0)


def head(docs, n_tags=3, **settings):
    model = build_token_head_v1(tok2vec=tok2vec(), **settings)
    model.initialize(X=docs, Y=numpy.zeros((1, n_tags), dtype="f"))
    output = model.get_ref("output")
    assert not output.get_param("W").any()
    output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
    return model


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in ("a b c", "", "d e", "a")]


@pytest.mark.parametrize("settings", [{}, {"hidden": [6, 5]}, {"hidden": [5], "bilstm": 6}])
def test_logits_are_those_of_each_doc_alone(docs, settings):
    model = head(docs, **settings)
    scores = model.predict(docs)
    assert scores.logits.shape == (6, 3) and scores.lengths.tolist() == [3, 0, 2, 1] and scores.transitions is None
    alone = numpy.concatenate([model.predict([doc]).logits for doc in docs if len(doc)])
    numpy.testing.assert_allclose(scores.logits, alone, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"hidden": [6], "activation": "gelu"}, {"bilstm": 6}])
def test_gradients_reach_the_backbone(docs, settings):
    fix_random_seed(0)  # A difference across a kink of the encoder is no slope.
    model = head(docs, **settings)
    d_logits = numpy.random.default_rng(0).normal(size=(6, 3)).astype("f")
    scores, backprop = model(docs, True)
    backprop(TokenScores(d_logits, scores.lengths, None))
    node = next(node for node in model.get_ref("tok2vec").walk() if node.has_param("E"))
    gradient, weights = node.get_grad("E"), node.get_param("E").copy()
    place = numpy.unravel_index(abs(gradient).argmax(), gradient.shape)
    ends = []
    for sign in (1, -1):
        moved = weights.copy()
        moved[place] += sign * 1e-3
        node.set_param("E", moved)
        ends.append((model.predict(docs).logits * d_logits).sum())
    assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=0.05)


def test_transitions_take_gradients_and_grow(docs):
    model = head(docs, decoder="crf")
    node = model.get_ref("transitions")
    given = Transitions(*(RNG.normal(size=shape).astype("f") for shape in (3, (3, 3), 3)))
    for name, value in vars(given).items():
        assert not node.get_param(name).any()
        node.set_param(name, value)
    scores, backprop = model(docs, True)
    numpy.testing.assert_array_equal(scores.transitions.matrix, given.matrix)
    for _ in range(2):
        backprop(TokenScores(numpy.zeros((6, 3), dtype="f"), scores.lengths, given))
    numpy.testing.assert_allclose(node.get_grad("matrix"), 2 * given.matrix, rtol=1e-6)
    weights = model.get_ref("output").get_param("W").copy()
    model.attrs["resize_output"](model, 5)
    scores = model.predict(docs)
    assert scores.logits.shape == (6, 5)
    assert (model.get_ref("output").get_param("W")[:3] == weights).all()
    assert (scores.transitions.matrix[:3, :3] == given.matrix).all() and not scores.transitions.matrix[3:].any()
    assert (scores.transitions.end[:3] == given.end).all() and scores.transitions.start.shape == (5,)


def test_dropout_of_its_own_and_of_the_training_block(docs):
    own, shared = head(docs, hidden=[64], dropout=0.5), head(docs, hidden=[64])
    for model, moves in ((own, True), (shared, False)):
        set_dropout_rate(model, 0.0)
        assert (not numpy.allclose(model(docs, True)[0].logits, model.predict(docs).logits)) == moves
    set_dropout_rate(shared, 0.5)
    assert not numpy.allclose(shared(docs, True)[0].logits, shared.predict(docs).logits)
