"""What the training texts say of labels: texts that come twice and contradict each other."""

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.training import Example

from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.pipeline.heads.categories import SeenTexts

from .test_textcat import pipeline

NAMES = ["transfer_textcat", "transfer_textcat_multilabel"]
PET, CAR = {"pet": 1.0, "car": 0.0}, {"pet": 0.0, "car": 1.0}
CODES = {True: "W926", False: "W927"}


@pytest.mark.parametrize("start", [{}, {"fit": "maxent", "strength": 0.1}])
@pytest.mark.parametrize("name", NAMES)
def test_a_text_with_labels_that_contradict_each_other_is_reported(tiny_bert, caplog, name, start):
    nlp, examples = pipeline(tiny_bert, name=name)
    nlp.config["initialize"]["components"][name] = start
    twice = [Example.from_dict(nlp.make_doc("a cat sings"), {"cats": cats}) for cats in (PET, CAR, PET, CAR)]
    for more, is_said in (([], False), (twice[:1], False), (twice, True)):
        caplog.clear()
        with caplog.at_level("WARNING", "spacy"):
            nlp.initialize(lambda more=more: examples + more)
        codes = [record.getMessage().count(CODES[name == NAMES[0]]) for record in caplog.records]
        assert sum(codes) == is_said
    assert "1 training texts come twice" in caplog.text and "'a cat sings'" in caplog.text and "'pet'" in caplog.text


def test_texts_of_another_component_do_not_count(tiny_bert, caplog):
    nlp, examples = pipeline(tiny_bert)
    other = Example.from_dict(nlp.make_doc("a cat sings"), {"cats": CAR})
    note_origin(other.reference, "other", ["another"])
    with caplog.at_level("WARNING", "spacy"):
        nlp.initialize(lambda: [*examples, other])
    assert "W926" not in caplog.text


VALUES = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.0, 0.4, 1.0]))
TEXTS = st.lists(st.tuples(st.sampled_from(["x", "x y", "x  y"]), VALUES), max_size=8)


@given(TEXTS, st.booleans())
def test_all_pairs_find_the_same(pairs, exclusive):
    """Each text against each other one, with nothing but `==`. Missing labels say nothing."""
    make_doc, seen = spacy.blank("en").make_doc, SeenTexts("it", exclusive)
    if exclusive:
        pairs = [
            (text, {label: value for label, value in cats.items() if value < 0.5} | held(cats)) for text, cats in pairs
        ]

    def clash(one, other):
        if exclusive:
            return held(one) and held(other) and held(one) != held(other)
        return any((one[label] > 0.5) != (other[label] > 0.5) for label in one.keys() & other.keys())

    for text, cats in pairs:
        seen.add(make_doc(text), cats)
    expected = {
        text for i, (text, one) in enumerate(pairs) for of, other in pairs[:i] if of == text and clash(one, other)
    }
    assert seen.count == len(expected)
    assert seen.with_example == {label for _, cats in pairs for label, value in cats.items() if value > 0.5}


def held(cats):
    return dict([(label, value) for label, value in cats.items() if value > 0.5][:1])
