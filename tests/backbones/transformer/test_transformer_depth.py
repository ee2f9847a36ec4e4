"""Backbones with fewer layers, and rows of several layers, against transformers' hidden states.

Guards also: probes.py.
"""

import numpy
import pytest
import spacy
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    FunnelBaseModel,
    FunnelConfig,
    FunnelModel,
    Gemma3TextConfig,
    PretrainedConfig,
)

from spacy_transfer.backbones.encode import encode
from spacy_transfer.backbones.transformer.layers.module_tree import cut_config
from spacy_transfer.backbones.transformer.packed import packed_states
from spacy_transfer.backbones.transformer.probes import check_top_layers
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1, rows_of_layers
from spacy_transfer.tuning.optimizers import adamw_v1
from spacy_transfer.tuning.policy import Tuning

from ...checkpoints import write_checkpoint
from ...pipelines import backbone_config, make_pipeline, step
from ...tiny_tokenizers import write_bert_tokenizer
from .small_windows import TEXTS, build

# Families that end with a norm, which transformers' `hidden_states` of the lower layers lack.
WITH_NORM = {"gpt2": "ln_f", "ModernBert": "final_norm"}
KINDS = ["Bert", "Roberta", "Electra", "DistilBert", "MPNet", "DebertaV2", *WITH_NORM]


def write_encoder(folder, kind, layers=3):
    """A tiny encoder with three layers; with a classifier on it, where tests write those."""
    if kind != "gpt2":
        sizes = {"n_layers": layers} if kind == "DistilBert" else {"num_hidden_layers": layers}
        return write_checkpoint(folder, kind, **sizes)
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": layers, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
    config = AutoConfig.for_model("gpt2", vocab_size=write_bert_tokenizer(folder), pad_token_id=0, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    return str(folder)


def tiny_funnel(folder, cls=FunnelModel):
    """Its blocks have other lengths, and its config has no number of layers to set."""
    sizes = {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16, "block_sizes": [1, 1], "num_decoder_layers": 1}
    return cls(FunnelConfig(vocab_size=write_bert_tokenizer(folder), **sizes)).eval()


def states_of(whole, ids, kind):
    """Of each layer, with the norm at the end of the encoder."""
    output = whole(ids, output_hidden_states=True)
    lower = output.hidden_states[1:-1]
    if kind in WITH_NORM:
        lower = [whole.get_submodule(WITH_NORM[kind])(states) for states in lower]
    return [*lower, output.last_hidden_state]


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in TEXTS]


def assert_same_rows(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        numpy.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bottom_layers_alone_give_their_states(kind, tmp_path, nlp):
    """Bit for bit: the same text in one window, by transformers' whole encoder and by ours with `depth`."""
    folder, doc = write_encoder(tmp_path / "source", kind), nlp.make_doc("the cat")
    whole = AutoModel.from_pretrained(folder).eval()
    for depth in (1, 2, 3):
        shim = build(folder, depth=depth).shims[0]
        ids = torch.tensor([[*shim.encoder.prefix, *shim.cut([doc]).ids, *shim.encoder.suffix]])
        with torch.no_grad():
            states = states_of(whole, ids, kind)[depth - 1]
            found = shim.encoder.transformer(ids).last_hidden_state
        assert (found == states).all()
        assert shim.encoder.n_layers == depth
        names = [name for name, _ in shim.encoder.named_parameters()]
        assert not [name for name in names if f".{depth}." in name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", ["last", 2])
def test_one_pass_gives_the_rows_of_every_depth(kind, layers, tmp_path, docs):
    folder = write_encoder(tmp_path / "source", kind)
    found = rows_of_layers(build(folder, layers=layers), docs)
    assert [rows.depth for rows in found] == [1, 2, 3]
    for rows in found:
        for document in ("mean", "cls"):
            expected, _ = encode(build(folder, depth=rows.depth, document=document), docs, False)
            # The one pass has windows for docs without pieces too, so that batches may be others.
            for a, b in zip(rows.rows, expected.rows, strict=True):
                numpy.testing.assert_allclose(a, b, atol=1e-5)
            numpy.testing.assert_allclose(rows.documents[document], expected.documents, atol=1e-5)


def test_they_are_the_same_bit_for_bit_in_the_same_batches(minilm, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS if text.strip()]
    whole = build(minilm, pooling="first")
    found = rows_of_layers(whole, docs)
    assert [rows.depth for rows in found] == [1, 2, 3, 4, 5, 6]
    for rows in (found[0], found[2], found[5]):
        for document in ("mean", "cls"):
            expected, _ = encode(build(minilm, depth=rows.depth, document=document, pooling="first"), docs, False)
            assert_same_rows(rows.rows, expected.rows)
            numpy.testing.assert_array_equal(rows.documents[document], expected.documents)


def test_layers_that_are_shared_give_the_whole_encoder_alone(tmp_path, docs):
    model = build(write_checkpoint(tmp_path / "source", "Albert"))
    (found,) = rows_of_layers(model, docs)
    assert found.depth is None
    for a, b in zip(found.rows, model.predict(docs), strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("texts", [[], [""], ["", "  "]])
def test_no_words_have_rows_of_every_depth(texts, tiny_bert, nlp):
    docs = [nlp.make_doc(text) for text in texts]
    for rows in rows_of_layers(build(tiny_bert), docs):
        assert [r.shape for r in rows.rows] == [(len(doc), 16) for doc in docs]
        assert not rows.documents["mean"].any() and rows.documents["cls"].shape == (len(docs), 16)
        assert not any(r.any() for r in rows.rows)


def copy_of(model, **settings):
    copy = build_transformer_backbone_v1(source="gone", **{"window": 32, "overlap": 8, **settings})
    return copy.from_bytes(model.to_bytes())


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "gpt2"])
def test_what_is_saved_has_the_bottom_layers_alone(kind, tmp_path, docs):
    folder = write_encoder(tmp_path / "source", kind)
    whole, bottom = build(folder), build(folder, depth=1)
    rows = bottom.predict(docs)
    assert len(bottom.to_bytes()) < len(whole.to_bytes())
    # The config says nothing of layers; it asks for as many as there are; it asks for fewer than were saved.
    for copy in (copy_of(bottom), copy_of(bottom, depth=1), copy_of(whole, depth=1)):
        assert copy.shims[0].encoder.n_layers == 1
        assert_same_rows(copy.predict(docs), rows)
    prints = [model.attrs["fingerprint"] for model in (whole, bottom, build(folder, depth=2), build(folder, depth=3))]
    assert len(set(prints)) == 3 and prints[0] == prints[3]
    # Adapters ask the encoder itself.
    assert [m.shims[0].pretrained.fingerprint for m in (whole, bottom)] == prints[:2]
    assert copy_of(whole, depth=1).shims[0].pretrained.fingerprint == prints[1]


def test_the_encoder_of_a_pipeline_is_cut(tmp_path, nlp, docs):
    folder = write_encoder(tmp_path / "source", "Bert")
    block = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": folder, "window": 32}
    nlp.add_pipe("transfer_backbone", config={"model": block})
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    found, whole = build(tmp_path / "pipeline", depth=2), build(tmp_path / "pipeline")
    assert_same_rows(found.predict(docs), build(folder, depth=2).predict(docs))
    assert found.attrs["fingerprint"] != whole.attrs["fingerprint"]


@pytest.mark.parametrize("settings", [{"depth": 0}, {"depth": -2}, {"layers": 1}, {"layers": 0}])
def test_numbers_that_are_none_of_layers(settings, tiny_bert):
    with pytest.raises(ValueError, match=rf"T872.*{next(iter(settings))} = {next(iter(settings.values()))}"):
        build(tiny_bert, **settings)


def test_more_layers_than_there_are(tiny_bert):
    with pytest.raises(ValueError, match="T870.*depth = 3.*has 2 layers"):
        build(tiny_bert, depth=3)
    with pytest.raises(ValueError, match="T870.*depth = 2.*saved pipeline.*has 1 layers"):
        copy_of(build(tiny_bert, depth=1), depth=2)
    with pytest.raises(ValueError, match="T873.*layers = 3.*has 2 layers"):
        build(tiny_bert, layers=3)
    with pytest.raises(ValueError, match="T873.*layers = 2.*has 1 layers"):
        build(tiny_bert, layers=2, depth=1)


def test_layers_that_cannot_be_cut(tmp_path):
    with pytest.raises(ValueError, match="T871.*depth = 1.*share their weights"):
        build(write_checkpoint(tmp_path / "albert", "Albert"), depth=1)
    tiny_funnel(tmp_path / "funnel").save_pretrained(tmp_path / "funnel")
    with pytest.raises(ValueError, match="T871.*depth = 1.*funnel.*num_hidden_layers"):
        build(tmp_path / "funnel", depth=1)
    size = write_bert_tokenizer(tmp_path / "bart")
    sizes = {f"{side}_{key}": n for side in ("encoder", "decoder") for key, n in (("layers", 2), ("ffn_dim", 16))}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16}
    bart = AutoModel.from_config(AutoConfig.for_model("bart", vocab_size=size, **sizes))
    bart.save_pretrained(tmp_path / "bart")
    with pytest.raises(ValueError, match="T110"):
        build(tmp_path / "bart", depth=1)


def test_a_config_without_a_number_of_layers():
    with pytest.raises(ValueError, match="T871.*does not count"):
        cut_config(PretrainedConfig(), 1, "here")


def test_a_config_that_names_the_kind_of_each_layer():
    config = Gemma3TextConfig(num_hidden_layers=8)
    kinds = list(config.layer_types)
    assert cut_config(config, 7, "here") and config.layer_types == kinds[:7]
    assert not cut_config(config, 7, "here")


@pytest.mark.parametrize("freeze, code", [(2, "T614"), (["encoder.layer.1"], "T617")])
def test_no_layer_beyond_can_be_frozen(freeze, code, tiny_bert):
    with pytest.raises(ValueError, match=code):
        build(tiny_bert, depth=1, tuning=Tuning(freeze=freeze))


@pytest.mark.parametrize("kind", KINDS)
def test_top_layers_lie_side_by_side(kind, tmp_path, nlp):
    folder, doc = write_encoder(tmp_path / "source", kind), nlp.make_doc("the cat")
    whole = AutoModel.from_pretrained(folder).eval()
    model = build(folder, layers=2)
    assert model.get_dim("nO") == 32
    pieces, n_prefix = model.shims[0].cut([doc]), len(model.shims[0].encoder.prefix)
    ids = torch.tensor([[*model.shims[0].encoder.prefix, *pieces.ids, *model.shims[0].encoder.suffix]])
    with torch.no_grad():
        states = numpy.concatenate([s[0].numpy() for s in states_of(whole, ids, kind)[-2:]], axis=1)
    encoded, _ = encode(model, [doc], False)
    first, second = numpy.split(pieces.alignment.pieces, pieces.alignment.offsets[1:])
    expected = [states[at + n_prefix].mean(0) for at in (first, second)]
    numpy.testing.assert_allclose(encoded.rows[0], expected, atol=1e-5)
    numpy.testing.assert_allclose(encoded.documents[0], states.mean(0), atol=1e-5)
    encoded, _ = encode(copy_of(model, layers=2, document="cls"), [doc], False)
    numpy.testing.assert_allclose(encoded.documents[0], states[0], atol=1e-5)


def test_they_are_those_of_the_depths(minilm, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS if text.strip()]
    depths = [encode(build(minilm, depth=depth), docs, False)[0] for depth in (3, 4)]
    found, _ = encode(build(minilm, depth=4, layers=2), docs, False)
    for i, rows in enumerate(found.rows):
        numpy.testing.assert_allclose(rows, numpy.hstack([d.rows[i] for d in depths]), atol=1e-6)
    numpy.testing.assert_allclose(found.documents, numpy.hstack([d.documents for d in depths]), atol=1e-6)


def test_no_more_states_are_kept_than_rows_are_made_of(tmp_path):
    transformer = AutoModel.from_pretrained(write_encoder(tmp_path, "Bert")).eval()
    ids, sizes = torch.arange(5, 17), numpy.array([7, 5])
    with torch.inference_mode():
        everything = packed_states(transformer, ids, sizes, n_returned=None)
        for n in (1, 2, 3, 4):
            found = packed_states(transformer, ids, sizes, n_returned=n)
            assert len(found) == n
            assert all(torch.equal(a, b) for a, b in zip(found, everything[-n:], strict=True))
    assert len(everything) == 4


@pytest.mark.parametrize("kind", ["Bert", "gpt2"])
def test_the_gradient_of_several_layers(kind, tmp_path, nlp):
    """One text, one window: the gradient of a weighted sum of all rows, through our backbone and by torch alone."""
    folder, doc = write_encoder(tmp_path / "source", kind), nlp.make_doc("a b c")
    model = build(folder, layers=2)
    shim = model.shims[0]
    for part in shim.encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    for config in {id(part.config): part.config for part in shim.encoder.modules() if hasattr(part, "config")}.values():
        config.attn_pdrop = config.attention_probs_dropout_prob = 0.0
    (rows,), backprop = model.begin_update([doc])
    weights = numpy.linspace(-1, 1, rows.size, dtype="f").reshape(rows.shape)
    backprop([weights])
    whole = AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([[*shim.encoder.prefix, *shim.cut([doc]).ids, *shim.encoder.suffix]])
    begin = len(shim.encoder.prefix)
    expected = torch.cat(states_of(whole, ids, kind)[-2:], dim=-1)[0, begin : begin + len(doc)]
    numpy.testing.assert_allclose(rows, expected.detach().numpy(), atol=1e-5)
    (expected * torch.from_numpy(weights)).sum().backward()
    wanted = dict(whole.named_parameters())
    for name, parameter in shim.encoder.transformer.named_parameters():
        if wanted[name].grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-3, atol=1e-4)


def test_states_of_another_shape_cannot_lie_side_by_side(tmp_path):
    with pytest.raises(ValueError, match=r"T874.*layers = 2.*FunnelBaseModel.*\(1, 6, 16\)"):
        check_top_layers(tiny_funnel(tmp_path, FunnelBaseModel), 2, "here")


def test_a_saved_pipeline_has_rows_of_its_width(tiny_bert):
    with pytest.raises(ValueError, match="T861.*width 16.*asks for 32"):
        copy_of(build(tiny_bert), layers=2)


@pytest.mark.parametrize("settings", [{"depth": 1}, {"layers": 2}])
@pytest.mark.parametrize("component", [{"frozen": True}, {}])
def test_heads_train_on_them_and_are_saved(settings, component, tiny_bert, tmp_path):
    model = {**backbone_config(tiny_bert)["model"], **settings}
    nlp, examples, _ = make_pipeline(tiny_bert, ("tagger",), model=model, **component)
    optimizer, losses = adamw_v1(learn_rate=0.02), []
    for _ in range(4):
        losses.append(step(nlp, examples, optimizer)["tagger"])
    assert losses[-1] < losses[0]
    width = 16 * settings.get("layers", 1)
    doc = nlp("dogs see the cat")
    assert doc.tensor.shape == (4, width) and nlp.get_pipe("transfer_backbone").model.get_dim("nO") == width
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert (loaded("dogs see the cat").tensor == doc.tensor).all()
    assert loaded.get_pipe("transfer_backbone").model.shims[0].encoder.n_layers == settings.get("depth", 2)


def test_adapters_and_rates_by_layer_of_the_bottom_layers(tiny_bert):
    for tuning in ({"adapter": {"method": "lora", "r": 2}}, {"layer_decay": 0.5, "freeze": "embeddings"}):
        block = {"@misc": "spacy-transfer.Tuning.v1", **tuning}
        model = {**backbone_config(tiny_bert)["model"], "depth": 1, "tuning": block}
        nlp, examples, _ = make_pipeline(tiny_bert, ("tagger",), model=model)
        optimizer = adamw_v1(learn_rate=0.02)
        losses = [step(nlp, examples, optimizer)["tagger"] for _ in range(4)]
        assert losses[-1] < losses[0]
        copy = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
        assert (copy("dogs see").tensor == nlp("dogs see").tensor).all()
