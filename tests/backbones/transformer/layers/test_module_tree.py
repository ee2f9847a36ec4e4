"""Every family of encoders that the installed transformers has: what is frozen stays, states can be kept, rows are a
text's own, and what a family cannot do is refused by name.

Guards also: depths.py.
"""

import importlib.util
import re
from pathlib import Path

import numpy
import pytest
import spacy
import torch
import transformers

from spacy_transfer.backbones.transformer.layers.depths import find_depths
from spacy_transfer.backbones.transformer.layers.layer_split import can_split, lower_states, upper_states
from spacy_transfer.backbones.transformer.layers.module_tree import attention_layers, find_layers
from spacy_transfer.backbones.transformer.probes import rows_depend_on_padding, run, sample, take_whole_windows
from spacy_transfer.backbones.transformer.windows import batch_windows
from spacy_transfer.tuning.adapters import inject
from spacy_transfer.tuning.policy import depths_by_name

from ....conftest import write_bert_tokenizer
from ....pipelines import TEXTS, backbone_config, make_pipeline

ROOT = Path(__file__).parents[4]


def _script():
    spec = importlib.util.spec_from_file_location("families", ROOT / "scripts" / "families.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _script()
REFUSED = {"canine", "reformer"}
USABLE = [family for family in families.INSTALLED if family not in REFUSED]
# Written down by hand, family by family.
BELOW = {
    "bert": ["embeddings."],
    "bloom": ["word_embeddings.", "word_embeddings_layernorm."],
    "deberta-v2": ["embeddings.", "encoder.rel_embeddings.", "encoder.LayerNorm."],
    "electra": ["embeddings.", "embeddings_project."],
    "esm": ["embeddings."],
    "gemma": ["embed_tokens."],
    "gpt2": ["wte.", "wpe."],
    "gpt_neox": ["embed_in."],
    "llama": ["embed_tokens."],
    "luke": ["embeddings.", "entity_embeddings.entity_embeddings.", "entity_embeddings.position_embeddings."],
    "mistral": ["embed_tokens."],
    "mpnet": ["embeddings.", "encoder.relative_attention_bias."],
    "openai-gpt": ["tokens_embed.", "positions_embed."],
    "opt": ["decoder.embed_tokens.", "decoder.embed_positions.", "decoder.project_in."],
    "qwen2": ["embed_tokens."],
    "roformer": ["embeddings.", "embeddings_project.", "encoder.embed_positions."],
    "squeezebert": ["embeddings."],
    "xlm": ["position_embeddings.", "embeddings.", "layer_norm_emb."],
}
NOT_SPLIT = {
    "albert",
    "convbert",
    "flaubert",
    "fnet",
    "funnel",
    "mega",
    "nystromformer",
    "squeezebert",
    "xlm",
    "xlnet",
    "yoso",
}
EQUAL_LENGTHS = {"convbert", "fnet", "funnel", "nystromformer", "yoso"}


def here(names):
    return sorted(set(names) & set(families.INSTALLED))


@pytest.mark.parametrize("family", USABLE)
def test_frozen_is_frozen_and_the_rest_moves(family):
    if family == "funnel":  # Its layers stand in blocks of blocks.
        with pytest.raises(ValueError, match=r"T665.*freeze = 1"):
            families.train(family, freeze=1)
        return
    assert families.can_freeze(family) == ("as one" if family == "albert" else "yes")


@pytest.mark.parametrize("family", here(BELOW))
def test_embeddings_are_what_is_below_the_layers(family):
    shim, moved = families.train(family, freeze="embeddings")
    names = [name for name, _ in shim._model.named_parameters()]
    below = {name for name in names if name.startswith(tuple(BELOW[family]))}
    if family == "luke":
        below.add("entity_embeddings.token_type_embeddings.weight")
        below |= {name for name in names if name.startswith("entity_embeddings.")}
    assert shim.policy.frozen == below and moved and not moved & below
    every = {name: shim.policy.depth[name] for name in names}
    layers = find_layers(shim._model)
    for path in layers.paths:
        for i in range(3):
            assert {every[name] for name in names if name.startswith(f"{path}.{i}.")} == {i + 1}


@pytest.mark.parametrize("family", here(["llama", "opt", "bloom", "gpt_neox", "xlm", "roformer", "modernbert", "bert"]))
def test_unfreezing_and_decay_follow_the_layers(family):
    shim, moved = families.train(family, n_steps=2, unfreeze={"0": 1, "2": 4})
    assert moved and {shim.policy.depth[name] for name in moved} <= {3, 4}
    assert not families.train(family, freeze="all")[1]
    shim, _ = families.train(family, n_steps=1, layer_decay=0.5)
    scales = {shim.policy.depth[name]: shim.rate_scales[name] for name in shim.policy.names}
    assert scales.items() >= {0: 0.125, 1: 0.25, 2: 0.5, 3: 1.0}.items() and scales.get(4, 1.0) == 1.0


@pytest.mark.parametrize(
    "family",
    here(
        [
            "bert",
            "roberta",
            "camembert",
            "electra",
            "mpnet",
            "deberta",
            "deberta-v2",
            "distilbert",
            "modernbert",
            "albert",
        ]
    ),
)
def test_families_that_were_known_by_name_have_the_depths_they_had(family):
    encoder = families.build(family)
    names = [name for name, _ in encoder.named_parameters()]
    found, expected = find_depths(encoder), depths_by_name(names)
    assert found.n_layers == expected.n_layers == (1 if family == "albert" else 3)
    assert {name: found.of(name) for name in names} == {name: expected.of(name) for name in names}


def test_looking_changes_nothing():
    encoder = families.build("llama").train()
    encoder.layers[0].requires_grad_(False)
    encoder.layers[1].eval()
    state = torch.get_rng_state()
    assert find_depths(encoder) and can_split(encoder)
    assert torch.equal(torch.get_rng_state(), state)
    assert encoder.training and encoder.layers[2].training and not encoder.layers[1].training
    assert (
        not any(p.requires_grad for p in encoder.layers[0].parameters()) and encoder.embed_tokens.weight.requires_grad
    )
    assert not any(part._forward_pre_hooks for part in encoder.modules())
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize("family", USABLE)
def test_lower_and_upper_layers_make_the_whole(family):
    encoder = families.build(family)
    assert can_split(encoder) == (family not in NOT_SPLIT)
    if family in NOT_SPLIT:
        return
    inputs = sample(encoder, [39, 22, 5])
    mask, modules = inputs["attention_mask"].bool(), [name for name, _ in encoder.named_modules()]
    with torch.no_grad():
        whole = run(encoder, inputs)
        for n_lower in (1, 2):
            lower = lower_states(encoder, n_lower, **inputs)
            found = upper_states(encoder, n_lower, lower, **inputs)
            torch.testing.assert_close(found[mask], whole[mask], rtol=1e-6, atol=1e-6)
            assert lower.shape != whole.shape or not torch.allclose(lower[mask], whole[mask])
    assert [name for name, _ in encoder.named_modules()] == modules


def test_dropout_is_off_in_states_that_are_kept():
    encoder = families.build("xglm", dropout=0.5).train()
    inputs = sample(encoder, [6])
    assert torch.equal(lower_states(encoder, 1, **inputs), lower_states(encoder, 1, **inputs))
    assert encoder.training


# LoRA


@pytest.mark.parametrize("family", here(["distilbert", "mpnet", "camembert", "albert", "modernbert", "openai-gpt"]))
def test_lora_finds_attention_by_itself(family):
    encoder = families.build(family)
    names = attention_layers(encoder)
    adapter = inject(encoder, {"method": "lora", "r": 2}, names)
    wrapped = {name for name, part in encoder.named_modules() if hasattr(part, "merged_adapters")}
    layers = find_layers(encoder)
    assert {layers.inside(name) for name in wrapped} == set(names) == set(adapter["target_modules"])
    assert len(wrapped) == layers.count * len(names)
    assert not [name for name in wrapped if not any(part in name for part in ("attention", "attn"))]
    (run(encoder, sample(encoder, [6])) * torch.linspace(-1, 1, 32)).square().sum().backward()
    grads = [p.grad for name, p in encoder.named_parameters() if "lora_B" in name]
    assert grads and all(grad is not None and bool(grad.any()) for grad in grads)
    again = families.build(family)
    assert inject(again, adapter)["target_modules"] == adapter["target_modules"]


def test_lora_in_families_that_peft_knows_stays_where_it_was():
    for family, wanted in {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}.items():
        encoder = families.build(family)
        assert inject(encoder, {"method": "lora"}, attention_layers(encoder))["target_modules"] == wanted


def test_names_that_are_wrong_are_not_replaced_by_the_default():
    encoder = families.build("distilbert")
    with pytest.raises(ValueError, match=r"T645.*q_lin"):
        inject(encoder, {"method": "lora", "target_modules": ["qlin"]}, attention_layers(encoder))
    with pytest.raises(ValueError, match="T645"):
        inject(encoder, {"method": "ln_tuning"}, attention_layers(encoder))
    ia3 = inject(encoder, {"method": "ia3"}, attention_layers(encoder))
    assert inject(families.build("distilbert"), ia3)["feedforward_modules"] == []


# Rows


def save(folder, family, **settings):
    size = write_bert_tokenizer(folder)
    families.build(family, vocab_size=size, **settings).save_pretrained(folder)
    return folder


def test_batches_of_equal_sizes():
    sizes = numpy.array([3, 5, 3, 4, 5, 5])
    found = [sizes[batch].tolist() for batch in batch_windows(sizes, 10, padded=True, equal=True)]
    assert found == [[5, 5], [5], [4], [3, 3]]


def test_which_rows_depend_on_padding():
    found = {family for family in USABLE if families.rows(family) == "equal lengths"}
    assert found == EQUAL_LENGTHS & set(USABLE)


@pytest.mark.parametrize("family", here(["convbert", "bert", "llama"]))
def test_weights_near_zero_hide_no_padding(family):
    """It has hardly an effect before training, and gets one then."""
    assert rows_depend_on_padding(families.build(family, initializer_range=0.001)) == (family == "convbert")


@pytest.mark.parametrize("family", here(["convbert", "fnet", "yoso", "xlnet", "llama"]))
def test_a_text_has_the_same_rows_in_every_batch(family, tmp_path):
    nlp, *_ = make_pipeline(save(tmp_path / family, family), heads=())
    alone = [nlp(text).tensor for text in TEXTS]
    for doc, rows in zip(nlp.pipe(TEXTS, batch_size=4), alone, strict=True):
        numpy.testing.assert_allclose(doc.tensor, rows, rtol=1e-5, atol=1e-5)
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    numpy.testing.assert_array_equal(again(TEXTS[0]).tensor, alone[0])


def test_the_boundary_is_kept_for_a_decoder(tmp_path):
    from spacy_transfer.tuning.optimizers import sgd_v1

    source, after = save(tmp_path / "llama", "llama"), []
    for megabytes in (8, 0):
        model = {**backbone_config(source)["model"], "tuning": {"@misc": "spacy-transfer.Tuning.v1", "freeze": 2}}
        nlp, examples, _ = make_pipeline(source, model=model, cache_mb=megabytes)
        shim, optimizer = nlp.get_pipe("transfer_backbone").model.shims[0], sgd_v1(learn_rate=0.05)
        # Tried before calls are counted.
        assert shim.encoder._can_split and shim.encoder._way == "attention"
        calls = []
        shim._model.transformer.layers[0].register_forward_hook(lambda *args, calls=calls: calls.append(1))
        for _ in range(3):
            nlp.update(examples, sgd=optimizer)
        after.append((len(calls), {name: p.detach() for name, p in shim._model.named_parameters()}))
    assert (after[0][0], after[1][0]) == (1, 3)
    for name, parameter in after[0][1].items():
        torch.testing.assert_close(parameter, after[1][1][name], rtol=1e-5, atol=1e-6)


# What is refused


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("reformer", {}, r"T143.*ReformerModel"),
        ("canine", {}, r"T140.*CanineModel"),
        ("xmod", {"default_language": None}, r"T140.*XmodModel.*language"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(family, settings, message, tmp_path):
    if family == "canine":
        write_bert_tokenizer(tmp_path)
        families.build(family).save_pretrained(tmp_path)
    else:
        save(tmp_path, family, **settings)
    with pytest.raises(ValueError, match=message):
        make_pipeline(tmp_path, heads=())


def test_a_precision_that_the_encoder_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_transfer.backbones.transformer.precision.check_precision", lambda *args: True)
    model = {**backbone_config(save(tmp_path, "deberta"))["model"], "precision": "bf16"}
    with pytest.raises(ValueError, match=r"T141.*bf16.*DebertaModel"):
        make_pipeline(tmp_path, heads=(), model=model)


@pytest.mark.parametrize("family", here(["mpnet", "albert", "xlnet"]))
def test_checkpointing_that_a_family_does_not_have(family, tmp_path):
    block = {"@misc": "spacy-transfer.Tuning.v1", "checkpointing": True}
    model = {**backbone_config(save(tmp_path, family))["model"], "tuning": block}
    with pytest.raises(ValueError, match=r"T142.*checkpointing"):
        make_pipeline(tmp_path, heads=(), model=model)


@pytest.mark.parametrize(
    ("problem", "message"), [("nothing", r"T142.*nothing twice"), ("failure", r"T142.*It fails: no way back")]
)
def test_checkpointing_that_does_not_work(problem, message, monkeypatch):
    encoder = families.build("electra")

    def enable(**kwargs):
        if problem == "failure":
            encoder.register_forward_hook(fail)

    def fail(*args):
        raise TypeError("no way back")

    monkeypatch.setattr(encoder, "gradient_checkpointing_enable", enable)
    with pytest.raises(ValueError, match=message):
        families.switch_on_checkpointing(encoder)


def test_chunks_of_feed_forward_layers_take_windows_of_any_length(tmp_path):
    source = save(tmp_path, "bert", chunk_size_feed_forward=4)
    nlp, *_ = make_pipeline(source, heads=())
    expected, *_ = make_pipeline(save(tmp_path / "plain", "bert"), heads=())
    for text in TEXTS:
        numpy.testing.assert_array_equal(nlp(text).tensor, expected(text).tensor)
    chunked, plain = families.build("electra", chunk_size_feed_forward=4), families.build("electra")
    take_whole_windows(chunked)
    torch.testing.assert_close(run(chunked, sample(chunked, [13])), run(plain, sample(plain, [13])))


def test_the_table_in_the_docs_is_what_the_script_finds():
    pinned = re.search(r"^transformers==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    if transformers.__version__ != pinned:
        pytest.skip(f"the table was made with transformers {pinned}")
    lines = (ROOT / "docs" / "families.md").read_text(encoding="utf8").splitlines()
    table = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}
    assert set(table) >= set(families.FAMILIES) & set(families.INSTALLED)
    for family in here(["bert", "albert", "fnet", "modernbert", "llama", "xlm", "canine"]):
        assert table[family] == f"| {' | '.join(families.measure(family))} |"
