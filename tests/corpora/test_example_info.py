"""What a reader tells components about an example, and what copies of docs keep.

Guards also: doc_copies.py.
"""

import numpy
import spacy
from spacy.training import Example

from spacy_transfer.corpora.doc_copies import copy_with_info
from spacy_transfer.corpora.example_info import (
    corpus_of,
    may_train,
    note_origin,
    open_of,
    set_open,
    set_soft,
    soft_of,
    training_mask,
    trains_of,
)


def examples(n):
    nlp = spacy.blank("en")
    return [Example.from_dict(nlp.make_doc(f"text {i}"), {"cats": {"A": 1.0}}) for i in range(n)]


def rebuilt(example):
    """As spaCy's training loop does with `annotating_components`."""
    return Example(example.predicted.copy(), example.reference)


def test_marks_survive_the_rebuilding_of_examples():
    first, second, third = examples(3)
    note_origin(first.reference, "reviews", ["transfer_textcat"])
    note_origin(second.reference, "news", [])
    set_soft(first.reference, "transfer_textcat", {"logits": numpy.ones(2)})
    batch = [rebuilt(example) for example in (first, second, third)]
    assert [corpus_of(eg.reference) for eg in batch] == ["reviews", "news", None]
    assert training_mask(batch, "transfer_textcat").tolist() == [True, False, True]
    assert training_mask(batch, "ner").tolist() == [False, False, True]
    found = soft_of(batch, "transfer_textcat")
    assert found[0]["logits"].tolist() == [1.0, 1.0] and found[1:] == [None, None]
    assert all(not eg.predicted.user_data for eg in batch)


def test_a_new_mark_takes_the_place_of_the_old():
    (example,) = examples(1)
    note_origin(example.reference, "a", ["x"])
    note_origin(example.reference, "b")
    assert corpus_of(example.reference) == "b" and may_train(example.reference, "y")


def test_copies_have_the_marks_and_share_arrays():
    (example,) = examples(1)
    note_origin(example.reference, "old", ["ner"])
    set_soft(example.reference, "ner", {"logits": numpy.ones(2)})
    copied = copy_with_info(example.reference)
    assert trains_of(copied) == ("ner",) and copied.cats == {"A": 1.0}
    given, shared = soft_of([example, Example(example.predicted, copied)], "ner")
    assert given["logits"] is shared["logits"]
    set_soft(copied, "ner", {"logits": numpy.zeros(2)})
    set_soft(copied, "tagger", {})
    copied.cats = {}
    assert soft_of([example], "ner") == [given] and soft_of([example], "tagger") == [None]
    assert example.reference.cats == {"A": 1.0}


def test_labels_that_nobody_has_looked_for():
    first, second = examples(2)
    set_open(first.reference, "ner", ["NEW"])
    batch = [rebuilt(example) for example in (first, second)]
    assert open_of(batch, "ner") == [("NEW",), ()] and open_of(batch, "other") == [(), ()]
