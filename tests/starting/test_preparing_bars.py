"""Bars of `transfer init`: what takes long with many rows shows how much is done."""

import pytest
import spacy

from spacy_transfer.progress import progress
from spacy_transfer.starting import choice, make_docs, near_duplicates
from spacy_transfer.starting.labelled_rows import Row

TEXTS = ["a dog sees cats", "the big cat", "dogs sing here"]
RUNS = {
    "Near duplicates": (near_duplicates, lambda source: near_duplicates.groups_of(TEXTS)),
    "Tokenizing": (
        make_docs,
        lambda source: make_docs.to_docs(
            spacy.blank("en"), [Row(text, str(i)) for i, text in enumerate(TEXTS)], "textcat", []
        ),
    ),
    "Measuring the time": (choice, lambda source: choice.measure(spacy.blank("en"), source, TEXTS)),
}


@pytest.mark.parametrize("what", sorted(RUNS))
def test_each_long_part_has_a_bar(what, tiny_bert, monkeypatch):
    module, run = RUNS[what]
    bars = []

    def bar(items, **settings):
        bars.append((settings["what"], len(items)))
        return progress(items, **settings)

    monkeypatch.setattr(module, "progress", bar)
    run(tiny_bert)
    assert bars == [(what, 3)]
