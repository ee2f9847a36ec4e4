"""Windows of any length without padding give the padded states and gradients, for each family that has a way.

Guards also: attention.py, blocks.py, layouts.py.
"""

import numpy
import pytest
import torch
import transformers

from spacy_transfer.backbones.cached_rows.row_cache import CacheSettings, RowCache
from spacy_transfer.backbones.transformer import encoder as encoder_module
from spacy_transfer.backbones.transformer.alignment import Alignment
from spacy_transfer.backbones.transformer.encoder import Encoder, Pass
from spacy_transfer.backbones.transformer.layers.module_tree import attention_layers
from spacy_transfer.backbones.transformer.packing.trial_pass import find_way
from spacy_transfer.backbones.transformer.pieces import Pieces
from spacy_transfer.backbones.transformer.windows import cut_windows
from spacy_transfer.tuning.adapters import inject

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 30,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "pad_token_id": 1,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DISTIL = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16, "dropout": 0.0, "attention_dropout": 0.0}
GROUPED = {**SMALL, "num_key_value_heads": 1}
WAYS = {
    "Bert": ("layers", NO_DROPOUT),
    "BertGeneration": ("layers", NO_DROPOUT),
    "Data2VecText": ("layers", NO_DROPOUT),
    "DistilBert": ("layers", DISTIL),
    "Electra": ("layers", {**NO_DROPOUT, "embedding_size": 8}),
    "Ernie": ("layers", {**NO_DROPOUT, "use_task_id": True}),
    "MPNet": ("layers", NO_DROPOUT),
    "Roberta": ("layers", NO_DROPOUT),
    "RemBert": ("layers", {**NO_DROPOUT, "input_embedding_size": 8}),
    "Albert": ("attention", {**NO_DROPOUT, "embedding_size": 8}),
    "Gemma": ("attention", {**GROUPED, "head_dim": 8}),
    "GPT2": ("attention", {"n_inner": 16, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "Llama": ("attention", GROUPED),
    "Mistral": ("attention", {**GROUPED, "sliding_window": 4}),
    "ModernBert": ("attention", {"global_attn_every_n_layers": 2, "local_attention": 4}),
    "Qwen3": ("attention", {**GROUPED, "head_dim": 8}),
    "Deberta": (None, {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "ConvBert": (None, {"embedding_size": 16}),
    "MegatronBert": (None, {}),
    "Bloom": (None, {}),
}
PACKED = sorted(kind for kind, (way, _) in WAYS.items() if way)
# Longer together than the tables of positions; 12 and 11 share a rectangle in training.
LENGTHS = numpy.array([3, 34, 12, 30, 11, 1, 28])


def build(kind, **settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **WAYS[kind][1], **settings})
    name = "BertGenerationEncoder" if kind == "BertGeneration" else f"{kind}Model"
    return getattr(transformers, name)(config).eval()


@pytest.mark.parametrize("kind", sorted(WAYS))
def test_the_way_is_found_and_leaves_no_trace(kind):
    model = build(kind)
    before = torch.random.get_rng_state()
    assert find_way(model) == WAYS[kind][0]
    assert (torch.random.get_rng_state() == before).all() and not model.training


def encoders(kind, layers="last", **settings):
    """One that packs, and one with the same weights that does not."""
    found = [Encoder(build(kind, **settings), [2], [3], 1, layers) for _ in range(2)]
    found[1]._way = None
    return found


def rows(encoder, lowest=5, **how):
    n = int(LENGTHS.sum())
    ids = torch.randint(lowest, 30, (n,), generator=torch.Generator().manual_seed(1)).numpy()
    pieces = Pieces(ids, cut_windows(LENGTHS, 36, 8), Alignment(numpy.arange(n), numpy.arange(n)), len(LENGTHS))
    return torch.cat(encoder(pieces, Pass(**{"max_items": 200, "precision": "fp32", "document": "mean", **how})))


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("layers", ["last", "mix", 2])
def test_prediction_without_padding_is_the_padded_one(kind, layers):
    packed, padded = encoders(kind, layers)
    with torch.inference_mode():
        torch.testing.assert_close(rows(packed), rows(padded), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Bert", "Data2VecText", "MPNet", "Roberta"])
def test_padding_pieces_inside_of_texts(kind):
    """A text may hold "<pad>". Some encoders do not count it as a position."""
    packed, padded = encoders(kind)
    with torch.inference_mode():
        torch.testing.assert_close(rows(packed, lowest=1), rows(padded, lowest=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("adapter", [False, True])
def test_training_without_padding_is_the_padded_one(kind, adapter):
    """Gradients of all parameters that have one."""
    found = []
    for encoder in encoders(kind):
        if adapter:
            torch.manual_seed(1)
            settings = {"method": "lora", "r": 2, "init_lora_weights": False}
            inject(encoder.transformer, settings, attention_layers(encoder.transformer))
        encoder.train()
        rows(encoder).square().sum().backward()
        found.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and adapter == any("lora" in name for name in found[0])
    for name, gradient in found[0].items():
        size = float(found[1][name].abs().max())
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-4 * size + 1e-4)


@pytest.mark.parametrize("kind", PACKED)
def test_states_at_the_boundary_are_kept_without_padding(kind):
    packed, padded = encoders(kind)
    cache = RowCache(CacheSettings(memory_mb=1, disk_mb=0))
    with torch.no_grad():
        expected = rows(padded)
        for _ in range(2):
            torch.testing.assert_close(rows(packed, n_lower=2, cache=cache), expected, rtol=1e-4, atol=1e-4)
    assert (cache.used > 0) == (kind != "Albert")  # Its layers are one.


@pytest.mark.parametrize("kind", PACKED)
def test_half_precision_without_padding(kind):
    packed, padded = encoders(kind)
    with torch.inference_mode():
        exact, *halves = rows(padded), *(rows(encoder, precision="bf16") for encoder in (packed, padded))
    wrong, expected = ((half - exact).abs().mean() for half in halves)
    assert wrong < 1.5 * expected + 1e-3


@pytest.mark.parametrize("kind", ["Electra", "MPNet", "Llama"])
def test_checkpointing_without_padding_or_with(kind):
    """Where the encoder's own code computes layers again, it is on the padded path."""
    found = []
    for encoder, checkpointing in zip(encoders(kind), (True, False), strict=True):
        if checkpointing and kind == "Llama":
            encoder.transformer.gradient_checkpointing_enable({"use_reentrant": False})
        encoder.train()
        rows(encoder, checkpointing=checkpointing).square().sum().backward()
        found.append(encoder.transformer.get_input_embeddings().weight.grad)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("DistilBert", ("dropout", "attention_dropout")),
        ("MPNet", ("hidden_dropout_prob", "attention_probs_dropout_prob")),
        ("ModernBert", ("attention_dropout", "mlp_dropout")),
    ],
)
def test_dropout_is_where_it_was(kind, names):
    for name in names:
        encoder = encoders(kind, **{name: 0.5})[0].train()
        assert not torch.equal(rows(encoder), rows(encoder)), name


def test_a_part_without_effect_keeps_layers_on_their_own_code():
    """It may get one in training."""
    model = build("Electra")
    model.encoder.layer[1].more = torch.nn.Linear(2, 2)
    assert find_way(model) != "layers"


@pytest.mark.parametrize(("kind", "causal"), [("Electra", "is_decoder"), ("Albert", None), ("Llama", None)])
def test_weights_near_zero_hide_no_difference(kind, causal):
    """What pieces see of each other has hardly an effect in an untrained encoder, and gets one in training."""
    model = build(kind, initializer_range=0.001)
    assert find_way(model) == WAYS[kind][0]
    model = build(kind, initializer_range=0.001, **({causal: True} if causal else {"attn_implementation": "eager"}))
    # transformers 5 runs ELECTRA by torch's attention, which knows what is causal.
    assert find_way(model) != ("layers" if causal else "attention")


def test_the_way_is_that_of_full_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert find_way(build("DistilBert")) == "layers"


def test_plain_encoders_are_not_probed_for_padding(monkeypatch):
    """On a GPU they have no way; a probe in its float formats could find a difference, and slow them down."""
    monkeypatch.setattr(encoder_module, "rows_depend_on_padding", lambda transformer: True)
    assert not Encoder(build("Roberta"), [2], [3], 1, "last")._wants_equal_sizes
    assert Encoder(build("Electra"), [2], [3], 1, "last")._wants_equal_sizes
