"""Rows of the transformer backbone against transformers' own forward pass, and its gradients against torch.

Guards also: encoder.py, packed.py, precision.py, pretrained.py, transformer_shim.py.
"""

import numpy
import pytest
import torch
from thinc.api import Adam
from transformers import AutoModel, AutoTokenizer

from spacy_transfer.backbones.encode import encode
from spacy_transfer.backbones.transformer.packed import can_pack
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.types import Encoded

from .small_windows import TEXTS, build


@pytest.fixture
def docs(nlp):
    return [nlp.make_doc(text) for text in TEXTS]


def plain_rows(folder, text, doc):
    """One text, one window: mean of the last states of the pieces that touch a token."""
    tokenizer, transformer = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = batch.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        output = transformer(**batch, output_hidden_states=True)
    states = output.last_hidden_state[0]
    rows = []
    for token in doc:
        hit = [i for i, (a, b) in enumerate(offsets) if a < token.idx + len(token) and b > token.idx and a < b]
        rows.append(states[hit].mean(0).numpy() if hit else numpy.zeros(states.shape[1]))
    return numpy.array(rows), states.numpy(), [s[0].numpy() for s in output.hidden_states]


def test_rows_are_those_of_automodel(minilm, nlp):
    text = "Unbelievably, transfer learning wasn't invented in 2018: see Pratt (1993)."
    doc = nlp.make_doc(text)
    expected, states, _ = plain_rows(minilm, text, doc)
    model = build(minilm, window=256)
    encoded, _ = encode(model, [doc], False)
    assert numpy.abs(encoded.rows[0] - expected).max() <= 1e-5
    assert numpy.abs(encoded.documents[0] - states.mean(0)).max() <= 1e-5
    model = build(minilm, window=256, document="cls")
    assert numpy.abs(encode(model, [doc], False)[0].documents[0] - states[0]).max() <= 1e-5


def test_a_batch_gives_what_each_doc_gives(tiny_bert, docs):
    """Batching, padding, packing and order change nothing beyond float precision."""
    model = build(tiny_bert)
    together = model.predict(docs)
    for doc, rows in zip(docs, together, strict=True):
        numpy.testing.assert_allclose(rows, model.predict([doc])[0], atol=1e-5)
    small = build(tiny_bert, max_batch_items=32).predict(docs[::-1])[::-1]
    for a, b in zip(together, small, strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-5)


def tiny(kind, tmp_path):
    """A tiny encoder of another family behind the letters' tokenizer."""
    from transformers import AutoConfig

    from tests.conftest import write_bert_tokenizer

    shape = {"vocab_size": write_bert_tokenizer(tmp_path), "hidden_size": 16, "num_hidden_layers": 2}
    shape |= {
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
    }
    if kind == "distilbert":
        shape |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    if kind == "modernbert":
        shape |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "albert":
        shape |= {"embedding_size": 8}
    torch.manual_seed(1)
    AutoModel.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["roberta", "electra", "distilbert", "mpnet", "albert", "deberta-v2", "modernbert"])
def test_other_encoders(kind, tmp_path, docs):
    model = build(tiny(kind, tmp_path))
    copy = build_transformer_backbone_v1(source="gone", window=32, overlap=8).from_bytes(model.to_bytes())
    transformer = model.shims[0].encoder.transformer
    for doc, rows, again in zip(docs, model.predict(docs), copy.predict(docs), strict=True):
        assert (rows == again).all()
        ids = model.shims[0].pretrained.tokenizer.encode(doc.text, add_special_tokens=False).ids
        if 0 < len(ids) <= 30:
            with torch.no_grad():
                states = transformer(input_ids=torch.tensor([[2, *ids, 3]])).last_hidden_state[0, 1:-1]
            first = model.shims[0].cut([doc]).alignment
            expected = states[first.pieces[first.offsets[0] : first.offsets[1]] if len(doc) > 1 else first.pieces]
            numpy.testing.assert_allclose(rows[0], expected.mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("layers", ["last", "mix"])
def test_packed_states_are_the_padded_ones(kind, layers, tmp_path, docs, monkeypatch):
    model = build(tiny(kind, tmp_path), layers=layers)
    assert can_pack(model.shims[0].encoder.transformer)
    packed = model.predict(docs)
    monkeypatch.setattr("spacy_transfer.backbones.transformer.encoder.find_way", lambda transformer: None)
    for a, b in zip(packed, model.predict(docs), strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-5)


def test_training_and_prediction_agree_without_dropout(tiny_bert, docs):
    model = build(tiny_bert)
    trained, _ = model.begin_update(docs)
    for a, b in zip(model.predict(docs), trained, strict=True):
        numpy.testing.assert_allclose(a, b, atol=1e-5)


def test_first_piece(tiny_bert, nlp):
    doc = nlp.make_doc("abc de")
    rows = build(tiny_bert, pooling="first").predict([doc])[0]
    _, states, _ = plain_rows(tiny_bert, doc.text, doc)
    numpy.testing.assert_allclose(rows, states[[1, 4]], atol=1e-5)


def test_mix_of_layers(tiny_bert, nlp):
    doc = nlp.make_doc("a b c")
    model = build(tiny_bert, layers="mix")
    mix = model.shims[0].encoder.mix
    mix.weights.data = torch.tensor([0.3, -1.0, 2.0])
    mix.gamma.data = torch.tensor([1.5])
    _, _, states = plain_rows(tiny_bert, doc.text, doc)
    share = numpy.exp([0.3, -1.0, 2.0])
    share /= share.sum()
    expected = 1.5 * sum(w * s for w, s in zip(share, states, strict=True))[1:4]
    numpy.testing.assert_allclose(model.predict([doc])[0], expected, atol=1e-5)
    copy = build_transformer_backbone_v1(source="gone", window=32, overlap=8, layers="mix")
    copy.from_bytes(model.to_bytes())
    assert (copy.predict([doc])[0] == model.predict([doc])[0]).all()


def test_mix_learns(tiny_bert, nlp):
    model = build(tiny_bert, layers="mix")
    before = model.shims[0].encoder.mix.weights.detach().clone()
    rows, backprop = model.begin_update([nlp.make_doc("a b c")])
    backprop([numpy.ones_like(rows[0]) * numpy.arange(16, dtype="f")])
    model.finish_update(Adam(0.01))
    assert (model.shims[0].encoder.mix.weights.detach() - before).abs().max() > 1e-3


def test_special_tokens_are_text_unless_asked(tiny_bert, nlp):
    doc = nlp.make_doc("a [SEP] b")
    plain, special = build(tiny_bert), build(tiny_bert, special_tokens=True)
    assert 3 not in plain.shims[0].cut([doc]).ids
    assert 3 in special.shims[0].cut([doc]).ids
    assert (
        build_from(special, special_tokens=False).shims[0].cut([doc]).ids.tolist()
        == plain.shims[0].cut([doc]).ids.tolist()
    )


def build_from(model, **settings):
    copy = build_transformer_backbone_v1(source="gone", **{"window": 32, "overlap": 8, **settings})
    return copy.from_bytes(model.to_bytes())


def test_bf16_is_near_and_float32(tiny_bert, docs, monkeypatch):
    monkeypatch.setattr("spacy_transfer._compat.cpu_has_bf16", lambda: True)
    for a, b in zip(build(tiny_bert, precision="bf16").predict(docs), build(tiny_bert).predict(docs), strict=True):
        assert a.dtype == numpy.float32
        if a.any():
            assert 0 < numpy.abs(a - b).max() < 0.2


def test_gradients_are_those_of_autograd(tiny_bert, nlp):
    """Token rows and document rows both: against a plain loop over texts in torch."""
    texts = ["abc d ef", "a b"]
    docs = [nlp.make_doc(text) for text in texts]
    rng = numpy.random.default_rng(0)
    d_rows = [rng.normal(size=(len(doc), 16)).astype("f") for doc in docs]
    d_documents = rng.normal(size=(2, 16)).astype("f")
    model = build(tiny_bert)
    _, backprop = encode(model, docs, True)
    backprop(Encoded(d_rows, d_documents))
    ours = {name: p.grad for name, p in model.shims[0].encoder.transformer.named_parameters()}

    tokenizer, transformer = AutoTokenizer.from_pretrained(tiny_bert), AutoModel.from_pretrained(tiny_bert)
    loss = torch.zeros(())
    for text, doc, d_row, d_document in zip(texts, docs, d_rows, d_documents, strict=True):
        batch = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        offsets = batch.pop("offset_mapping")[0].tolist()
        states = transformer(**batch).last_hidden_state[0]
        loss = loss + (states.mean(0) * torch.from_numpy(d_document)).sum()
        for token, d in zip(doc, d_row, strict=True):
            hit = [i for i, (a, b) in enumerate(offsets) if token.idx <= a < b <= token.idx + len(token)]
            loss = loss + (states[hit].mean(0) * torch.from_numpy(d)).sum()
    loss.backward()
    for name, param in transformer.named_parameters():
        if param.grad is not None:
            torch.testing.assert_close(ours[name], param.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n\t",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd",
        "\x00\x01\u200b\ue000",
        "a" * 5000,
    ],
)
def test_strange_texts(tiny_bert, nlp, text):
    doc = nlp.make_doc(text)
    rows = build(tiny_bert).predict([doc])[0]
    assert rows.shape == (len(doc), 16) and numpy.isfinite(rows).all()


def test_a_very_long_doc_is_read_to_the_end(tiny_bert, nlp):
    from spacy.tokens import Doc

    words = ["a", "b", "dog", "."] * 25_000
    doc = Doc(nlp.vocab, words=words)
    rows = build(tiny_bert).predict([doc])[0]
    assert rows.shape == (100_000, 16)
    assert rows.any(axis=1).all()
    # Its last token depends on its last neighbours: nothing was cut off.
    other = build(tiny_bert).predict([Doc(nlp.vocab, words=[*words[:-2], "cat", "."])])[0]
    assert numpy.abs(rows[-1] - other[-1]).max() > 1e-3


def test_predicting_before_initialize(nlp):
    with pytest.raises(ValueError, match="T108.*nlp.initialize"):
        build_transformer_backbone_v1(source="somewhere").predict([nlp.make_doc("a")])


def test_a_builder_opens_no_file():
    assert build_transformer_backbone_v1(source="/nowhere/at/all").has_dim("nO") is None
