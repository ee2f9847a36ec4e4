"""Alignment against a slow, obvious second implementation, on random Unicode and random tokenizations."""

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_transfer.backbones.transformer.alignment import align, token_spans
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1

VOCAB = spacy.blank("en").vocab
CHARACTERS = st.one_of(
    st.sampled_from("abc .,[]\u200b\u00a0\x00\ue000\U0001f44d\U0001f3fd\u0301\ufb01"),
    st.characters(codec="utf-8"),
)
WORDS = st.lists(st.tuples(st.text(CHARACTERS, min_size=1, max_size=6), st.booleans()), max_size=12)


def make_doc(words):
    return Doc(VOCAB, words=[word for word, _ in words], spaces=[space for _, space in words])


def slow_alignment(docs, offsets):
    """For every token of every doc the numbers of the pieces with which it shares a character."""
    found, before = [], 0
    for doc, spans in zip(docs, offsets, strict=True):
        for token in doc:
            mine = set(range(token.idx, token.idx + len(token)))
            found.append([before + i for i, (a, b) in enumerate(spans) if mine & set(range(a, b))])
        before += len(spans)
    return found


def as_lists(alignment):
    ends = [*alignment.offsets[1:].tolist(), len(alignment.pieces)][: len(alignment.offsets)]
    return [alignment.pieces[a:b].tolist() for a, b in zip(alignment.offsets, ends, strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=4), st.data())
def test_random_pieces(texts, data):
    docs = [make_doc(words) for words in texts]
    offsets = []
    for doc in docs:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(doc.text)), max_size=12)))
        offsets.append(list(zip(cuts[:-1], cuts[1:], strict=True)))
    begin, end, doc_start = token_spans(docs)
    shift = numpy.repeat(doc_start, [len(spans) for spans in offsets])
    flat = numpy.array([span for spans in offsets for span in spans], dtype=numpy.int64).reshape(-1, 2)
    arguments = (begin, end, flat[:, 0] + shift, flat[:, 1] + shift)
    expected = slow_alignment(docs, offsets)
    assert as_lists(align(*arguments)) == expected
    assert as_lists(align(*arguments, "first")) == [pieces[:1] for pieces in expected]


@pytest.fixture(scope="module")
def backbone(tiny_bert):
    model = build_transformer_backbone_v1(source=tiny_bert, window=12, overlap=4, max_batch_items=48)
    model.initialize()
    return model


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(WORDS, min_size=1, max_size=3))
def test_rows_of_random_texts(backbone, texts):
    """End to end: every token the mean of its pieces' states, each state from the window with most context."""
    import torch

    docs = [make_doc(words) for words in texts]
    rows = backbone.predict(docs)
    shim = backbone.shims[0]
    transformer, tokenizer = shim.encoder.transformer, shim.pretrained.tokenizer
    for doc, got in zip(docs, rows, strict=True):
        encoding = tokenizer.encode(doc.text, add_special_tokens=False)
        states = slow_states(transformer, encoding.ids, budget=10, overlap=4, torch=torch)
        expected = numpy.zeros((len(doc), 16), dtype="f")
        for row, pieces in enumerate(slow_alignment([doc], [encoding.offsets])):
            if pieces:
                expected[row] = numpy.mean([states[piece] for piece in pieces], axis=0)
        numpy.testing.assert_allclose(got, expected, atol=2e-5)


def slow_states(transformer, ids, budget, overlap, torch):
    n = 1 if len(ids) <= budget else -(-(len(ids) - overlap) // (budget - overlap))
    size = min(budget, len(ids))
    best = [(-1, None)] * len(ids)
    for i in range(n):
        start = i * (len(ids) - size) // max(n - 1, 1)
        if not size:
            continue
        window = torch.tensor([[2, *ids[start : start + size], 3]])
        with torch.no_grad():
            hidden = transformer(input_ids=window).last_hidden_state[0].numpy()
        for p in range(size):
            context = min(p, size - 1 - p)
            if context > best[start + p][0]:
                best[start + p] = (context, hidden[1 + p])
    return [state for _, state in best]
