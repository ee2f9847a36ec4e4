"""A CNN or a BiLSTM between the backbone and the pooling of TextCatHead.v1."""

import numpy
import pytest
from thinc.api import Adam, Model, fix_random_seed

from spacy_transfer.backbones.context import build_bilstm_context_v1, build_cnn_context_v1
from spacy_transfer.heads.textcat import build_textcat_head_v1

RNG = numpy.random.default_rng(0)
ROWS = [RNG.normal(size=(n, 4)).astype("f") for n in (3, 0, 1, 5)]
BUILD = {
    "cnn": lambda: build_cnn_context_v1(width=6, depth=1, window_size=1, maxout_pieces=2),
    "bilstm": lambda: build_bilstm_context_v1(width=6),
}


def rows_layer(rows_per="token"):
    """A backbone that passes on what it gets, and hands the gradient out."""
    return Model("rows", lambda model, X, is_train: (X, lambda d: d), dims={"nO": 4}, attrs={"rows_per": rows_per})


def head(kind, **settings):
    fix_random_seed(0)  # A difference of two maxouts says little of the slope where they have a kink.
    model = build_textcat_head_v1(tok2vec=rows_layer(), context=BUILD[kind](), **settings)
    model.initialize(Y=numpy.zeros((1, 3), dtype="f"))
    output = model.get_ref("output")
    assert output.get_dim("nI") == 6 * len(settings.get("pooling", ["mean"]))
    output.set_param("W", RNG.normal(size=output.get_param("W").shape).astype("f"))
    return model


def logits_of(model, rows):
    inputs, _ = model.attrs["states"](model, rows, False)
    return model.get_ref("output").predict(inputs).astype("d")


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("pooling", [["mean"], ["first", "attention"]])
def test_gradient_to_the_rows(kind, pooling):
    model = head(kind, pooling=pooling)
    d_logits = RNG.normal(size=(4, 3)).astype("f")
    _, backprop = model(ROWS, True)
    d_rows = backprop(d_logits)
    assert [d.shape for d in d_rows] == [rows.shape for rows in ROWS]
    for i, rows in enumerate(ROWS):
        for place in numpy.ndindex(rows.shape):
            ends = []
            for sign in (1, -1):
                moved = [row.copy() for row in ROWS]
                moved[i][place] += sign * 1e-3
                ends.append((logits_of(model, moved) * d_logits).sum())
            assert d_rows[i][place] == pytest.approx((ends[0] - ends[1]) / 2e-3, abs=3e-2)


@pytest.mark.parametrize("kind", BUILD)
def test_it_reads_order_and_the_head_without_does_not(kind):
    turned = [rows[::-1].copy() for rows in ROWS]
    assert not numpy.allclose(head(kind).predict(ROWS)[3], head(kind).predict(turned)[3], atol=1e-4)
    model = build_textcat_head_v1(tok2vec=rows_layer())
    model.initialize(Y=numpy.zeros((1, 3), dtype="f"))
    model.get_ref("output").set_param("W", RNG.normal(size=(3, 4)).astype("f"))
    numpy.testing.assert_allclose(model.predict(ROWS)[3], model.predict(turned)[3], atol=1e-6)


@pytest.mark.parametrize("kind", BUILD)
def test_it_learns_and_is_saved(kind):
    model, optimizer = head(kind), Adam(0.05, L2=0.0)
    gold = numpy.eye(3, dtype="f")[[0, 1, 2, 1]]
    for _ in range(60):
        scores, backprop = model(ROWS, True)
        backprop(scores - gold)
        model.finish_update(optimizer)
    assert (model.predict(ROWS).argmax(1) == gold.argmax(1)).all()
    twin = head(kind).from_bytes(model.to_bytes())
    assert (twin.predict(ROWS) == model.predict(ROWS)).all()
    larger = model.attrs["resize_output"](model, 4)
    assert larger.predict(ROWS).shape == (4, 4) and larger.get_ref("context") is model.layers[4]


@pytest.mark.parametrize("kind", BUILD)
def test_nothing_but_empty_docs(kind):
    model = head(kind)
    empty = [ROWS[1], ROWS[1]]
    scores, backprop = model(empty, True)
    assert numpy.isfinite(scores).all() and scores.shape == (2, 3)
    assert [d.shape for d in backprop(scores)] == [(0, 4), (0, 4)]


def test_rows_of_documents_have_no_order():
    model = build_textcat_head_v1(tok2vec=rows_layer("document"), context=BUILD["cnn"]())
    with pytest.raises(ValueError, match="T351.*transfer_cnn"):
        model.initialize(Y=numpy.zeros((1, 3), dtype="f"))
