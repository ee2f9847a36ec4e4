"""Backbones with fewer layers, and rows of several layers, against transformers' hidden states."""

import numpy
import pytest
import torch
from transformers import AutoConfig, AutoModel

from spacy_transfer.backbones.encode import encode
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1, rows_of_layers

from ...checkpoints import write_checkpoint
from ...tiny_tokenizers import write_bert_tokenizer

TEXTS = ["the cat sings", "", "a dog, a cat.", "   ", "big words in a long line of words. " * 6, "x"]
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


def states_of(whole, ids, kind):
    """Of each layer, with the norm at the end of the encoder."""
    output = whole(ids, output_hidden_states=True)
    lower = output.hidden_states[1:-1]
    if kind in WITH_NORM:
        lower = [whole.get_submodule(WITH_NORM[kind])(states) for states in lower]
    return [*lower, output.last_hidden_state]


def build(source, **settings):
    model = build_transformer_backbone_v1(source=str(source), **{"window": 32, "overlap": 8, **settings})
    model.initialize()
    return model


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
