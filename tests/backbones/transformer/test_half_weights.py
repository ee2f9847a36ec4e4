"""Prediction in bfloat16 with weights converted once: near float32, and never with weights of the past.

Guards also: buffers.py.
"""

import copy
import gc
import itertools

import numpy
import pytest
import torch
from thinc.api import Adam

from spacy_transfer._compat import has_packed_linear
from spacy_transfer.backbones.shims.safetensors_shim import SafetensorsShim
from spacy_transfer.backbones.transformer import buffers, half_weights, packed

from .layers.test_layer_split import SIZES, build, rectangle

pytestmark = pytest.mark.skipif(not has_packed_linear(), reason="a processor without AVX512")


@pytest.fixture
def run(monkeypatch):
    """Runs an encoder in bfloat16; counts the layers whose weights are converted, and those that use them."""
    made, used = [], []
    wanted, begin = half_weights.half_weights, half_weights.HalfLinear.__init__
    monkeypatch.setattr(packed, "half_weights", lambda layer: used.append(layer) or wanted(layer))
    monkeypatch.setattr(half_weights.HalfLinear, "__init__", lambda self, *args: made.append(1) or begin(self, *args))

    def run_once(model, **settings):
        inputs, mask = rectangle()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            return packed.packed_states(model, inputs["input_ids"][mask], SIZES, **settings)[-1].float()

    run_once.made, run_once.used = made, used
    return run_once


def padded(model):
    inputs, mask = rectangle()
    with torch.no_grad():
        return model(**inputs).last_hidden_state[mask]


def assert_near(found, expected):
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, expected).min() > 0.999
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.02)
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("settings", [{}, {"hidden_act": "relu"}, {"hidden_act": "gelu_new"}])
def test_near_float32(run, settings):
    model = build("Bert", initializer_range=0.3, **settings)
    for _ in range(2):
        assert_near(run(model), padded(model))
    assert len(run.used) == 6 and len(run.made) == 3 * 4
    first = run(model, end=1)
    assert_near(run(model, begin=1, hidden=first), padded(model))
    assert len(run.made) == 12


@pytest.mark.parametrize("n_windows", [1, 37, 38, 60, 120])
def test_many_rows_go_in_blocks(run, n_windows):
    """7 to 840 rows: less than a block, a row more than one, several. What is left in the buffers does not show."""
    model = build("Bert", initializer_range=0.3)
    ids = torch.randint(5, 30, (n_windows, 7), generator=torch.Generator().manual_seed(n_windows))
    with torch.inference_mode():
        expected = model(input_ids=ids).last_hidden_state.reshape(-1, 16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for _ in range(2):
                (found,) = packed.packed_states(model, ids.reshape(-1), numpy.full(n_windows, 7))
                assert_near(found, expected)
    assert run.used


def test_blocks_cover_all_rows():
    for n_rows in (1, 15, 16, 17, 256, 257, 271, 273, 600):
        blocks = half_weights.row_blocks(n_rows)
        assert blocks[0].start == 0 and all(a.stop == b.start for a, b in itertools.pairwise(blocks))
        assert all((block.stop - block.start) % 16 == 0 for block in blocks)
        assert 0 <= blocks[-1].stop - n_rows < 16 and max(block.stop - block.start for block in blocks) <= 256


def test_without_the_products_of_onednn_autocast_does_it(run, monkeypatch):
    monkeypatch.setattr(buffers, "has_packed_linear", lambda: False)
    model = build("Bert", initializer_range=0.3)
    assert_near(run(model), padded(model))
    assert not run.used


def test_weights_that_were_made_in_inference_mode(run):
    """They have no count of changes, and cannot be trained."""
    with torch.inference_mode():
        model = build("Bert", initializer_range=0.3)
    assert_near(run(model), padded(model))
    assert len(run.used) == 3


def test_not_in_training(run):
    model = build("Bert")
    inputs, mask = rectangle()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = packed.packed_states(model, inputs["input_ids"][mask], SIZES)[-1]
    assert states.requires_grad and not run.used


def change_by_thinc(shim):
    for parameter in shim._model.parameters():
        parameter.grad = torch.ones_like(parameter)
    shim.finish_update(Adam(0.1))


def change_by_torch(shim):
    optimizer = torch.optim.SGD(shim._model.parameters(), lr=0.1)
    for parameter in shim._model.parameters():
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step()


def change_by_loading(shim):
    state = {name: tensor + 0.1 * torch.randn(tensor.shape) for name, tensor in shim._model.state_dict().items()}
    shim._model.load_state_dict(state)


@pytest.mark.parametrize("change", [change_by_thinc, change_by_torch, change_by_loading])
def test_weights_that_change_are_seen(run, change):
    shim = SafetensorsShim(build("Bert", initializer_range=0.3))
    before = run(shim._model)
    for _ in range(3):
        change(shim)
        after = run(shim._model)
        assert_near(after, padded(shim._model))
        assert (after - before).abs().max() > 0.1
        before = after


def test_averages_are_seen_within_alone(run):
    shim = SafetensorsShim(build("Bert", initializer_range=0.3))
    name, before = "encoder.layer.1.output.dense.weight", run(shim._model)
    for _ in range(2):
        # Of the same shape, so that an allocator may well give the same memory.
        averages = {(shim.id, name): numpy.full((16, 16), 0.2, dtype="float32")}
        with shim.use_params(averages):
            within = run(shim._model)
            assert_near(within, padded(shim._model))
        assert (within - before).abs().max() > 0.1 and torch.equal(run(shim._model), before)


def test_copies_have_their_own_and_leave_none_behind(run):
    model = build("Bert", initializer_range=0.3)
    gc.collect()
    before, kept = run(model), len(half_weights._KEPT)
    other = copy.deepcopy(model)
    change_by_torch(SafetensorsShim(other))
    assert_near(run(other), padded(other))
    assert torch.equal(run(model), before) and len(half_weights._KEPT) == kept + 3
    del other
    run.used.clear()
    gc.collect()
    assert len(half_weights._KEPT) == kept
