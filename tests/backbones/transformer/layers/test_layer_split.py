"""Lower and upper layers run apart give what the whole encoder gives, for every family; the packed path as well."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy
import pytest
import torch
import transformers

from spacy_transfer.backbones.cached_rows.row_cache import CacheSettings, RowCache, window_key
from spacy_transfer.backbones.transformer.buffers import Buffers, can_buffer, can_buffer_embeddings
from spacy_transfer.backbones.transformer.layers.layer_split import can_split, lower_states, upper_states
from spacy_transfer.backbones.transformer.packed import can_pack, packed_states

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
ENCODERS = {
    "Bert": SMALL,
    "Roberta": SMALL,
    "Electra": {**SMALL, "embedding_size": 8},
    "MPNet": SMALL,
    "Deberta": {**SMALL, **RELATIVE},
    "DebertaV2": {**SMALL, **RELATIVE, "norm_rel_ebd": "layer_norm"},
    "ModernBert": {**SMALL, "pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 4},
    "DistilBert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16, "vocab_size": 30},
}
SIZES = numpy.array([9, 7, 7, 3])


def build(kind, **settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**ENCODERS[kind], **settings)
    return getattr(transformers, f"{kind}Model")(config).eval()


def rectangle():
    ids = torch.randint(5, 30, (len(SIZES), SIZES.max()), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(SIZES.max())[None] < torch.tensor(SIZES)[:, None]
    return {"input_ids": ids.masked_fill(~mask, 1), "attention_mask": mask.long()}, mask


@pytest.mark.parametrize("kind", sorted(ENCODERS))
@pytest.mark.parametrize("n_lower", [1, 2])
def test_split_pass_is_the_whole_pass(kind, n_lower):
    model, (inputs, mask) = build(kind), rectangle()
    assert can_split(model)
    names = [name for name, _ in model.named_modules()]
    with torch.no_grad():
        whole = model(**inputs).last_hidden_state
        lower = lower_states(model, n_lower, **inputs)
        found = upper_states(model, n_lower, lower, **inputs)
    torch.testing.assert_close(found[mask], whole[mask])
    assert not torch.allclose(lower[mask], whole[mask])
    assert [name for name, _ in model.named_modules()] == names


def test_gradients_of_the_upper_layers_are_those_of_the_whole_pass():
    model, (inputs, mask) = build("Bert"), rectangle()
    model(**inputs).last_hidden_state[mask].square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if ".layer.2." in name}
    model.zero_grad()
    with torch.no_grad():
        lower = lower_states(model, 2, **inputs)
    upper_states(model, 2, lower, **inputs)[mask].square().sum().backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient)
    assert model.encoder.layer[0].output.dense.weight.grad is None


def test_an_encoder_with_something_between_its_layers_is_left_alone():
    assert not can_split(build("DebertaV2", conv_kernel_size=3))
    torch.manual_seed(0)
    assert not can_split(transformers.AlbertModel(transformers.AlbertConfig(**SMALL, embedding_size=8)))


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_training_is_the_padded_one(kind, checkpointing):
    """States and gradients of all parameters, dropout off."""
    model, (inputs, mask) = build(kind, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), rectangle()
    model.train()
    assert can_pack(model)
    states = model(**inputs).last_hidden_state[mask]
    states.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    ids = inputs["input_ids"][mask]
    (found,) = packed_states(model, ids, SIZES, checkpointing=checkpointing)
    torch.testing.assert_close(found, states, rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    assert len(expected) > 40
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-5)


def test_packed_training_drops_out():
    """Everywhere that transformers' own pass does: with a probability near 1, hardly anything is left."""
    for place in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        model, (inputs, mask) = build("Bert", **{"hidden_dropout_prob": 0.0, place: 0.5}), rectangle()
        model.train()
        one, two = (packed_states(model, inputs["input_ids"][mask], SIZES)[0] for _ in range(2))
        assert (one != two).any(), place


def test_states_go_to_memory_then_to_disk_and_then_nowhere():
    cache = RowCache(CacheSettings(memory_mb=1, disk_mb=1))
    rng = numpy.random.default_rng(0)
    arrays = [rng.normal(size=(100, 1000)).astype("f") for _ in range(6)]  # 0.4 MB each
    keys = [window_key(numpy.arange(i, i + 3)) for i in range(6)]
    for key, array in zip(keys, arrays, strict=True):
        cache.gather([key], lambda lacking, array=array: [array])
    assert [cache.get(key) is not None for key in keys] == [True] * 4 + [False] * 2
    assert cache.used <= 2**20 and cache.used_on_disk <= 2**20
    for key, array in list(zip(keys, arrays, strict=True))[3::-1]:
        assert (cache.get(key) == array).all()


def test_half_precision_takes_half_the_room():
    sizes = {}
    for dtype in ("float32", "float16"):
        cache = RowCache(CacheSettings(memory_mb=1, dtype=dtype))
        array = numpy.linspace(-3, 3, 1000, dtype="f").reshape(10, 100)
        (first,) = cache.gather([b"x"], lambda lacking, array=array: [array])
        assert (first == cache.get(b"x")).all()  # Whether it was here before makes no difference.
        sizes[dtype] = cache.used
        assert cache.get(b"x").dtype == numpy.float32
        numpy.testing.assert_allclose(cache.get(b"x"), array, atol=0 if dtype == "float32" else 2e-3)
    assert sizes["float32"] == 2 * sizes["float16"]


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_prediction_in_buffers_is_the_padded_pass(kind, monkeypatch):
    """Twice, the smaller batch last: what the buffers hold of the larger one must not show."""
    model, (inputs, mask) = build(kind), rectangle()
    used = []
    linear = Buffers.linear
    monkeypatch.setattr(Buffers, "linear", lambda self, *args: used.append(1) or linear(self, *args))
    for most in (len(SIZES), 2):
        part = {name: tensor[:most] for name, tensor in inputs.items()}
        with torch.inference_mode():
            expected = model(**part).last_hidden_state[mask[:most]]
            states = packed_states(model, part["input_ids"][mask[:most]], SIZES[:most], n_returned=None)
        torch.testing.assert_close(states[-1], expected, rtol=1e-5, atol=1e-5)
        assert len({state.data_ptr() for state in states}) == len(states) == 4
    assert len(used) == 2 * 3 * 6


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_what_is_returned_is_in_no_buffer(kind, monkeypatch):
    model, (inputs, mask) = build(kind), rectangle()
    used = []
    normalize = Buffers.normalize
    monkeypatch.setattr(
        Buffers, "normalize", lambda self, name, *args: used.append(name) or normalize(self, name, *args)
    )
    ids = inputs["input_ids"][mask]
    with torch.inference_mode():
        expected = model(**inputs, output_hidden_states=True).hidden_states
        found = [packed_states(model, ids, SIZES, end=end)[0] for end in (0, 2, 3)]
        for states, end in zip(found, (0, 2, 3), strict=True):
            torch.testing.assert_close(states, expected[end][mask], rtol=1e-5, atol=1e-5)
        (again,) = packed_states(model, ids, SIZES, begin=2, hidden=found[1])
    assert (again == found[2]).all()
    # Embeddings, then in every layer what is between its halves, and all but the last layer's states.
    assert used == ["hidden", "middle", "hidden", "middle"] + ["hidden", *["middle", "hidden"] * 2, "middle"] + [
        "middle"
    ]


@pytest.mark.parametrize("what", ["hook", "table", "norm"])
def test_unusual_embeddings_take_no_buffers(what):
    model = build("Bert")
    embeddings, ids = model.embeddings, torch.zeros(4, dtype=torch.int64)
    with torch.no_grad():
        assert can_buffer_embeddings(embeddings, ids)
        if what == "hook":
            embeddings.register_forward_hook(lambda *args: None)
        elif what == "table":
            embeddings.word_embeddings = torch.nn.Sequential(embeddings.word_embeddings)
            embeddings.word_embeddings.weight = embeddings.word_embeddings[0].weight
        else:
            embeddings.LayerNorm = torch.nn.Identity()
        assert not can_buffer_embeddings(embeddings, ids)
    assert not can_buffer_embeddings(build("Bert").embeddings, ids)


def test_what_is_unusual_takes_no_buffers():
    model = build("Bert")
    layer, hidden = model.encoder.layer[0], torch.zeros(4, 16)
    with torch.no_grad():
        assert can_buffer(layer, hidden)
        assert not can_buffer(layer, hidden.double())
        handle = layer.output.dense.register_forward_hook(lambda *args: None)
        assert not can_buffer(layer, hidden)
        handle.remove()
        layer.train()
        assert not can_buffer(layer, hidden)
        layer.eval().output.dense = torch.nn.Sequential(layer.output.dense)
        assert not can_buffer(layer, hidden)
    assert not can_buffer(build("Bert").encoder.layer[0], hidden)


def test_buffers_are_a_threads_own():
    buffers = Buffers()
    with ThreadPoolExecutor(2) as pool:
        barrier = Barrier(2)

        def take(_):
            barrier.wait(10)
            return buffers.take("x", 3, 2).data_ptr()

        assert len(set(pool.map(take, range(2)))) == 2
