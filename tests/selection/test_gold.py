"""Gold labels of every head, against loops over docs and spaCy's own attributes."""

import numpy
import pytest
from spacy.training import biluo_to_iob

from spacy_transfer.selection.gold import gold_of, strata_of

from .tasks import CATS_KEYS, heads_of


def read(factory, **kwargs):
    nlp, heads, examples = heads_of(factory, **kwargs)
    return nlp, heads[0].gold.read(examples), examples


@pytest.mark.parametrize("factory", ["transfer_textcat", "textcat"])
def test_classes(factory):
    _, gold, examples = read(factory)
    wanted = [max(example.reference.cats, key=example.reference.cats.get) for example in examples]
    assert [gold.names[value] for value in gold.values] == wanted
    assert gold.ends.tolist() == [len(example.predicted) for example in examples] and not gold.starts.any()


def test_docs_without_categories_are_left_out():
    def change(doc, i):
        if i % 3 == 0:
            doc.cats = {}

    _, gold, examples = read("transfer_textcat", change=change)
    assert gold.docs.tolist() == [i for i in range(len(examples)) if i % 3]


def test_several_labels():
    _, gold, examples = read("transfer_textcat_multilabel")
    wanted = [[example.reference.cats[name] for name in gold.names] for example in examples]
    assert gold.kind == "multilabel" and gold.values.tolist() == wanted


def test_numbers():
    def change(doc, i):
        doc.cats = {"score": float(i)} if i else {}

    _, gold, examples = read("transfer_regressor", settings=CATS_KEYS, change=change)
    assert gold.values[:, 0].tolist() == [float(i) for i in range(1, len(examples))]
    assert gold.docs.tolist() == list(range(1, len(examples)))


@pytest.mark.parametrize("factory", ["transfer_ner", "ner"])
def test_entities(factory):
    _, gold, examples = read(factory)
    wanted = [tag for example in examples for tag in example.get_aligned_ner()]
    wanted = wanted if factory == "ner" else biluo_to_iob(wanted)
    assert [gold.names[value] for value in gold.values] == list(wanted)
    places = [(i, at) for i, example in enumerate(examples) for at in range(len(example.predicted))]
    assert list(zip(gold.docs.tolist(), gold.starts.tolist(), strict=True)) == places


@pytest.mark.parametrize("factory", ["transfer_tagger", "tagger"])
def test_tags(factory):
    def change(doc, i):
        if i == 1:
            doc[0].tag_ = ""

    _, gold, examples = read(factory, change=change)
    wanted = [token.tag_ for example in examples for token in example.reference if token.tag_]
    assert [gold.names[value] for value in gold.values] == wanted


def test_heads_that_cannot_be_scored():
    nlp, _, _ = heads_of("transfer_tagger", "parser")
    assert gold_of(nlp.get_pipe("parser")) is None and gold_of(nlp.get_pipe("transfer_backbone")) is None


def test_strata_are_rarest_labels_and_tenths():
    _, gold, examples = read("transfer_tagger")
    counts = numpy.bincount([v for i in range(len(examples)) for v in set(gold.values[gold.docs == i].tolist())])
    for i, group in enumerate(strata_of(gold, len(examples))):
        own = set(gold.values[gold.docs == i].tolist())
        assert int(group) in own and counts[int(group)] == min(counts[value] for value in own)

    def change(doc, i):
        doc.cats = {"score": float(i % 20)} if i < 20 else {}

    _, gold, examples = read("transfer_regressor", settings=CATS_KEYS, change=change)
    groups = strata_of(gold, len(examples))
    assert groups[:20] == [str(i // 2) for i in range(20)] and set(groups[20:]) == {""}
