"""A CNN or a BiLSTM between the backbone and the pooling of TextCatHead.v1.

Guards also: lstm_stacks.py.
"""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import Adam, Model, fix_random_seed

from spacy_transfer.backbones.context import build_bilstm_context_v1, build_cnn_context_v1, split_directions
from spacy_transfer.heads.textcat import build_textcat_head_v1

RNG = numpy.random.default_rng(0)
ROWS = [RNG.normal(size=(n, 4)).astype("f") for n in (3, 0, 1, 5)]
BUILD = {
    "cnn": lambda: build_cnn_context_v1(width=6, depth=1, window_size=1, maxout_pieces=2),
    "causal cnn": lambda: build_cnn_context_v1(width=6, depth=1, window_size=2, maxout_pieces=2, causal=True),
    "bilstm": lambda: build_bilstm_context_v1(width=6),
    "stacks": lambda: build_bilstm_context_v1(width=6, depth=2, mix_directions=False),
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


# Who sees what


def context(kind, n_inputs=4, **sizes):
    """A layer by itself, its biases drawn too: zeros would hide what padding does."""
    fix_random_seed(1)
    build = build_cnn_context_v1 if kind == "cnn" else build_bilstm_context_v1
    model = build(width=6, **sizes)
    model.set_dim("nI", n_inputs)
    model.initialize()
    for node in model.walk():
        for name in node.param_names:
            node.set_param(name, RNG.normal(size=node.get_param(name).shape).astype("f"))
    return model


@pytest.mark.parametrize(("depth", "window_size"), [(1, 1), (2, 2), (3, 1)])
def test_causal_convolutions_against_a_loop(depth, window_size):
    model = context("cnn", depth=depth, window_size=window_size, maxout_pieces=2, causal=True)
    nodes = list(model.walk())
    (projection,) = [node for node in nodes if node.name == "linear"]
    convolutions = [
        [node for node in nodes if node.name == name and node.has_param("b")] for name in ("maxout", "layernorm")
    ]
    rows = [doc @ projection.get_param("W").T + projection.get_param("b") for doc in ROWS if len(doc)]
    blank = numpy.zeros((window_size * depth, 6))
    for maxout, norm in zip(*convolutions, strict=True):
        above = []
        for doc in rows:
            # Below the first convolution there is nothing before a doc; above it there is what nothing becomes.
            padded = numpy.concatenate([blank, doc])
            new = [convolve(padded, t, window_size, maxout, norm) for t in range(len(padded))]
            blank_above, above = numpy.array(new[: len(blank)]), [*above, numpy.array(new[len(blank) :])]
        rows, blank = above, blank_above
    found = [doc for doc in model.predict(ROWS) if len(doc)]
    for doc, expected in zip(found, rows, strict=True):
        numpy.testing.assert_allclose(doc, expected, atol=1e-4)


def convolve(rows, t, size, maxout, norm):
    """One convolution with its residual connection, of one token."""
    seen = [rows[i] if i >= 0 else numpy.zeros(6) for i in range(t - size, t + 1)]
    pieces = numpy.einsum("opi,i->op", maxout.get_param("W"), numpy.concatenate(seen)) + maxout.get_param("b")
    best = pieces.max(axis=1)
    scaled = (best - best.mean()) / numpy.sqrt(best.var() + 1e-8)
    return rows[t] + scaled * norm.get_param("G") + norm.get_param("b")


def test_separate_stacks_against_torchs_one_way_lstms():
    model = context("bilstm", depth=2, mix_directions=False)
    state = model.shims[0]._model.state_dict()
    halves = split_directions(model, model.predict(ROWS))
    for name, found in zip(("forward_lstm", "backward_lstm"), halves, strict=True):
        lstm = torch.nn.LSTM(4, 3, 2)
        lstm.load_state_dict({key.removeprefix(f"{name}."): value for key, value in state.items() if name in key})
        for doc, rows in zip(found, ROWS, strict=True):
            turn = (lambda array: array) if name == "forward_lstm" else (lambda array: array[::-1].copy())
            if len(rows):
                expected = turn(lstm(torch.from_numpy(turn(rows)))[0].detach().numpy())
                numpy.testing.assert_allclose(doc, expected, atol=1e-6)


ONE_WAY = {
    "cnn": context("cnn", depth=3, window_size=2, causal=True),
    "one layer": context("bilstm"),
    "stacks": context("bilstm", depth=3, mix_directions=False),
}
BOTH_WAYS = {"cnn": context("cnn", depth=3, window_size=2), "layers": context("bilstm", depth=3)}


def halves_of(model, docs):
    """What must not see the future, and what must not see the past."""
    rows = model.predict(docs)
    if model.name == "transfer_cnn":
        return rows, [doc[:, :0] for doc in rows]
    half = model.get_dim("nO") // 2
    return [doc[:, :half] for doc in rows], [doc[:, half:] for doc in rows]


lengths = st.integers(0, 9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(ONE_WAY)), lengths, st.integers(1, 9), lengths, lengths, lengths, st.integers(0, 99))
def test_the_future_changes_nothing(kind, before, n, after, other, neighbour, seed):
    """Other tokens after a place, fewer or more of them, and another doc beside it."""
    draws = numpy.random.default_rng(seed)
    past, now, future, changed, first, last = (
        draws.normal(size=(length, 4)).astype("f") for length in (before, n, after, other, neighbour, neighbour)
    )
    join = numpy.concatenate
    forward, backward = halves_of(ONE_WAY[kind], [join([past, now, future])])
    forward_2, _ = halves_of(ONE_WAY[kind], [first, join([past, now, changed]), last])
    numpy.testing.assert_allclose(forward_2[1][: before + n], forward[0][: before + n], atol=1e-5)
    _, backward_2 = halves_of(ONE_WAY[kind], [first, join([changed, now, future]), last])
    numpy.testing.assert_allclose(backward_2[1][other:], backward[0][before:], atol=1e-5)


@pytest.mark.parametrize("kind", sorted(BOTH_WAYS))
def test_the_others_see_it(kind):
    """What the test above would find."""
    changed = ROWS[3].copy()
    changed[-1] += 1
    (before,), _ = halves_of(BOTH_WAYS[kind], [ROWS[3]])
    (after,), _ = halves_of(BOTH_WAYS[kind], [changed])
    assert numpy.abs(after[:-1] - before[:-1]).max() > 1e-3


@pytest.mark.parametrize("model", [*BOTH_WAYS.values(), ONE_WAY["cnn"]], ids=lambda model: model.name)
def test_only_separate_directions_are_split(model):
    with pytest.raises(ValueError, match="T225.*mix_directions = false"):
        split_directions(model, ROWS)


@pytest.mark.parametrize("window_size", [1, 3])
def test_how_far_a_causal_cnn_sees(window_size):
    """As its docstring says: depth * window_size tokens back."""
    model = context("cnn", depth=2, window_size=window_size, causal=True)
    rows = RNG.normal(size=(12, 4)).astype("f")
    changed = rows.copy()
    changed[1] += 1
    moved = numpy.abs(model.predict([changed])[0] - model.predict([rows])[0]).max(axis=1) > 1e-6
    assert numpy.flatnonzero(moved).tolist() == list(range(1, 2 + 2 * window_size))


@pytest.mark.parametrize("kind", ["cnn", "bilstm"])
def test_what_was_saved_before_there_were_directions(kind):
    model, twin = context(kind), context(kind)
    saved = model.to_dict()
    for attrs in saved["attrs"]:
        for name in ("causal", "mix_directions"):
            attrs.pop(name, None)
    twin.from_dict(saved)
    assert all((a == b).all() for a, b in zip(twin.predict(ROWS), model.predict(ROWS), strict=True))


def test_weights_of_the_other_kind_are_refused():
    with pytest.raises(ValueError, match=r"T102.*weight_ih_l0_reverse"):
        context("bilstm", mix_directions=False).from_bytes(context("bilstm").to_bytes())
