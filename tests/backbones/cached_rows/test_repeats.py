"""Texts that come again in a stream are encoded once, in bounded memory, with the rows of a pass of their own.

Guards also: backbones/encode.py.
"""

import itertools

import numpy
import pytest
import torch

from spacy_transfer.backbones.cached_rows import repeats
from spacy_transfer.backbones.encode import encode

from ...pipelines import TEXTS, make_pipeline

STREAM = [TEXTS[i] for i in (0, 1, 0, 2, 1, 0, 3, 3, 2)] + ["", "  ", ""]


@pytest.fixture
def nlp(tiny_bert):
    return make_pipeline(tiny_bert, frozen=True)[0]


@pytest.fixture
def encoded(nlp, monkeypatch):
    """The texts that go through the encoder."""
    backbone, seen = nlp.get_pipe("transfer_backbone"), []
    before = backbone.predict

    def predict(docs):
        docs = list(docs)
        seen.extend(doc.text for doc in docs)
        return before(docs)

    monkeypatch.setattr(backbone, "predict", predict)
    return seen


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_each_text_is_encoded_once_and_keeps_its_rows(nlp, encoded, batch_size):
    found = list(nlp.pipe(STREAM, batch_size=batch_size))
    assert sorted(encoded) == sorted(set(STREAM))
    for doc, text in zip(found, STREAM, strict=True):
        alone, _ = encode(nlp.get_pipe("transfer_backbone").model, [nlp.make_doc(text)], False)
        assert doc.text == text
        numpy.testing.assert_allclose(doc.tensor, alone.rows[0], atol=1e-5)
        assert [token.tag_ for token in doc] == [token.tag_ for token in nlp(text)]


def test_a_stream_without_repeats_has_the_same_bits_and_another_stream_begins_anew(nlp, encoded):
    backbone = nlp.get_pipe("transfer_backbone")
    docs = [nlp.make_doc(text) for text in TEXTS]
    plain = encode(backbone.model, docs, False)[0]
    for _ in range(2):
        for doc, rows in zip(nlp.pipe(TEXTS), plain.rows, strict=True):
            assert doc.tensor.tobytes() == rows.tobytes()
    assert encoded == [*TEXTS, *TEXTS]


def test_several_calls_can_be_one_stream(nlp, encoded):
    with repeats.one_stream():
        first = list(nlp.pipe(TEXTS))
        second = list(nlp.pipe(TEXTS))
    assert encoded == TEXTS
    assert [doc.tensor.tobytes() for doc in first] == [doc.tensor.tobytes() for doc in second]
    list(nlp.pipe(TEXTS))
    assert encoded == [*TEXTS, *TEXTS]


def test_rows_do_not_depend_on_what_is_done_with_docs(nlp):
    stream = nlp.pipe([TEXTS[0], TEXTS[0], TEXTS[0]], batch_size=1)
    first = next(stream)
    expected = first.tensor.copy()
    first.tensor[:] = 7.0
    assert all(numpy.array_equal(doc.tensor, expected) for doc in stream)


def test_memory_is_bounded_and_the_least_recently_used_go_first(nlp, monkeypatch):
    model, texts = nlp.get_pipe("transfer_backbone").model, [f"cat {letter}" for letter in "abcdefgh"]
    size = 3 * 16 * 4  # Two tokens and the document, float32.
    monkeypatch.setattr(repeats, "_FIRST_MB", 4 * size / 2**20)
    kept, seen = repeats.RepeatedTexts(model, 1), []

    def run(text):
        kept.encode([nlp.make_doc(text)], lambda docs: seen.extend(docs) or encode(model, docs, False)[0])
        return kept.used

    assert max(map(run, texts)) <= 4 * size  # Without repeats, it does not grow.
    seen.clear()
    assert run("cat h") == run("cat e") == 4 * size and not seen
    for text in ("cat e", "cat x", "cat y", "cat z", "cat e"):
        run(text)
    assert [doc.text for doc in seen] == ["cat x", "cat y", "cat z"]
    assert kept.used > 4 * size  # With repeats, it does.


def test_weights_that_change_within_a_stream_change_the_rows(nlp):
    model = nlp.get_pipe("transfer_backbone").model
    stream = nlp.pipe(itertools.repeat(TEXTS[0], 4), batch_size=1)
    before = next(stream).tensor
    with torch.no_grad():
        model.shims[0].encoder.transformer.embeddings.LayerNorm.bias[0] += 1.0
    assert not numpy.allclose(list(stream)[-1].tensor, before)


def test_without_memory_every_text_is_encoded(tiny_bert, monkeypatch):
    nlp = make_pipeline(tiny_bert, frozen=True, cache_mb=0)[0]
    monkeypatch.setattr(repeats, "RepeatedTexts", None)
    assert len(list(nlp.pipe([TEXTS[0]] * 3))) == 3
