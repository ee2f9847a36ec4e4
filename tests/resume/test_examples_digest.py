"""A checksum of examples: the same in every process, another one for every change of words or annotation."""

import pytest
from spacy.tokens import Doc
from spacy.training import Example

from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.resume.examples_digest import ExamplesDigest

GOLD = {"tags": ["A", "B"], "cats": {"X": 1.0}, "entities": [(0, 1, "E")], "spans": {"sc": [(0, 1, "S")]}}
OTHERS = [
    {"tags": ["A", "C"]},
    {"cats": {"X": 0.0}},
    {"cats": {"Y": 1.0}},
    {"entities": [(0, 1, "F")]},
    {"entities": []},
    {"spans": {"sc": [(0, 3, "S")]}},
    {"spans": {"tc": [(0, 1, "S")]}},
    {"lemmas": ["a", "b"]},
]


def digest(nlp, *examples):
    found = ExamplesDigest()
    found.add(Example.from_dict(nlp.make_doc(text), gold) for text, gold in examples)
    return found.value()


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_every_change_is_seen(nlp, change):
    assert digest(nlp, ("a b", GOLD)) == digest(nlp, ("a b", GOLD)) != digest(nlp, ("a b", {**GOLD, **change}))


def test_words_spaces_order_and_corpora(nlp):
    plain = digest(nlp, ("a b", {}), ("c", {}))
    assert len({plain, digest(nlp, ("c", {}), ("a b", {})), digest(nlp, ("a  b", {}), ("c", {}))}) == 3
    example, found = Example.from_dict(nlp.make_doc("a b"), {}), ExamplesDigest()
    note_origin(example.reference, "corpus", ["tagger"])
    found.add([example])
    assert found.value() != digest(nlp, ("a b", {}))


def test_values_of_extensions(nlp):
    """A regressor learns from them."""
    if not Doc.has_extension("digest_score"):
        Doc.set_extension("digest_score", default=None)
    found = []
    for score in (1.0, 2.0, 1.0):
        example = Example.from_dict(nlp.make_doc("a b"), {})
        example.reference._.digest_score = score
        one = ExamplesDigest()
        one.add([example])
        found.append(one.value())
    assert found[0] == found[2] != found[1] and found[1] != digest(nlp, ("a b", {}))
