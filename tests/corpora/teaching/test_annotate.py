"""What of a pipeline's answer becomes annotation, token by token."""

import pytest
from spacy.tokens import Doc, Span

from spacy_transfer.corpora.teaching.annotate import Filter, annotate, set_entities
from spacy_transfer.corpora.teaching.answers import annotation

WORDS = "Anna of Acme bought a Gizmo in Rome".split()


def doc(nlp, ents=None, missing=()):
    made = Doc(nlp.vocab, words=WORDS)
    if ents is not None:
        gaps = [made[i : i + 1] for i in missing]
        made.set_ents([Span(made, *ent) for ent in ents], missing=gaps, default="outside")
    return made


def shown(made):
    """A letter per token: of its label, "." for outside, "?" for missing."""
    return "".join(token.ent_type_[:1] or {0: "?", 2: "."}[token.ent_iob] for token in made)


ENTS = [(0, 1, "PERSON"), (2, 3, "ORG"), (5, 6, "WORK"), (7, 8, "GPE")]
SCORES = {"ents": [(*ent, score) for ent, score in zip(ENTS, (0.9, 0.4, 0.8, 0.7), strict=True)]}
DOUBT = {**SCORES, "outside": [0.1, 1.0, 0.6, 1.0, 0.5, 0.2, 1.0, 0.3]}


@pytest.mark.parametrize(
    ("gold", "answer", "least", "decided", "settings", "expected"),
    [
        # A text that nobody has annotated.
        (None, {"ents": ENTS}, 0.0, (), {"outside": True}, "P.O..W.G"),
        (None, {"ents": ENTS}, 0.0, ("WORK",), {"outside": True}, "P.O..?.G"),
        (None, {"ents": ENTS, "confidence": SCORES}, 0.75, (), {"outside": True}, "P.?..W.?"),
        (None, {"ents": ENTS, "confidence": DOUBT}, 0.75, (), {"outside": True}, "P.?.?W.?"),
        (None, {"ents": ENTS}, 0.0, (), {"outside": True, "unknown": [(1, 3), (4, 5)]}, "P??.?W.G"),
        (None, {"ents": ENTS}, 0.0, (), {}, "P?O??W?G"),
        (None, {"ents": [], "confidence": {"ents": [], "outside": [1.0] * 8}}, 0.5, (), {"outside": True}, "........"),
        # One that somebody has: the new label is NEW.
        ([(5, 6, "NEW")], {"ents": ENTS}, 0.0, ("NEW",), {}, "P.O..N.G"),
        ([(4, 6, "NEW")], {"ents": [(5, 8, "WORK")]}, 0.0, ("NEW",), {}, "....NN??"),
        ([(5, 6, "NEW")], {"ents": ENTS, "confidence": DOUBT}, 0.75, ("NEW",), {}, "P.?.?N.?"),
        ([(2, 3, "NEW")], {"ents": ENTS}, 0.0, ("NEW", "WORK"), {}, "P.N....G"),
        ([(2, 3, "NEW")], {"ents": ENTS, "confidence": DOUBT}, 0.75, ("NEW", "WORK"), {}, "P.N.?..?"),
        # Parts of which nobody has annotated.
        (([(5, 6, "NEW")], (0, 1, 6)), {"ents": ENTS}, 0.0, ("NEW",), {}, "P?O..N?G"),
        (([(2, 3, "NEW")], (0, 5)), {"ents": ENTS}, 0.0, ("NEW", "WORK"), {}, "P.N..?.G"),
    ],
)
def test_entities(nlp, gold, answer, least, decided, settings, expected):
    ents, missing = gold if isinstance(gold, tuple) else (gold, ())
    made = doc(nlp, ents, missing)
    set_entities(made, answer, Filter(least, frozenset(decided)), **settings)
    assert shown(made) == expected


def test_an_entity_that_the_beam_does_not_have_is_not_sure(nlp):
    made = doc(nlp)
    set_entities(made, {"ents": ENTS, "confidence": {"ents": [(*ENTS[0], 1.0)]}}, Filter(0.5), outside=True)
    assert shown(made) == "P.?..?.?"


def test_tokens_are_filled_where_nothing_is(nlp):
    made = Doc(nlp.vocab, words=["dogs", "bark", "loudly"], tags=["", "MINE", ""])
    answer = {
        "token.tag": ["NNS", "VBP", "RB"],
        "token.pos": ["NOUN", "VERB", "ADV"],
        "token.morph": ["Number=Plur", "", "Degree=Pos"],
        "token.lemma": ["dog", "bark", "loudly"],
        "heads": [1, 1, 1],
        "deps": ["nsubj", "ROOT", "advmod"],
    }
    annotate(made, answer, True, Filter())
    assert [token.tag_ for token in made] == ["NNS", "MINE", "RB"]
    assert [token.pos_ for token in made] == answer["token.pos"]
    assert [str(token.morph) for token in made] == answer["token.morph"]
    assert [token.lemma_ for token in made] == answer["token.lemma"]
    assert [token.head.i for token in made] == [1, 1, 1] and [token.dep_ for token in made] == answer["deps"]
    assert [sent.text for sent in made.sents] == ["dogs bark loudly"]
    before = made.to_json()
    annotate(made, {"heads": [0, 0, 0], "deps": ["a", "b", "c"], "token.tag": ["x", "y", "z"]}, True, Filter())
    assert made.to_json() == before


@pytest.mark.parametrize(("starts", "is_taken"), [([0], True), ([0, 2], True), ([0, 1], False), ([0, 2, 3], False)])
def test_a_tree_is_not_written_over_other_sentences(nlp, starts, is_taken):
    """What the doc says of sentences stands; what it leaves open does not."""
    made = Doc(nlp.vocab, words=["a", "b", "c", "d"])
    for token in made:
        if token.i in starts:
            token.is_sent_start = True
    if len(starts) > 1:
        for token in made:
            token.is_sent_start = token.i in starts
    before = made.to_json()
    annotate(made, {"heads": [1, 1, 2, 2], "deps": ["x", "ROOT", "ROOT", "x"]}, True, Filter())
    assert made.has_annotation("DEP") == is_taken and (is_taken or made.to_json() == before)


def test_entities_of_the_doc_keep_their_ids(nlp):
    made = doc(nlp)
    made.set_ents([Span(made, 2, 3, "ORG", kb_id="Q1", span_id="id1")], default="outside")
    set_entities(made, {"ents": ENTS}, Filter())
    assert [(ent.text, ent.kb_id_, ent.ent_id_) for ent in made.ents][:2] == [("Anna", "", ""), ("Acme", "Q1", "id1")]


def test_a_morphology_without_features_is_known(nlp):
    """ "_" in CoNLL-U, and not the same as a morphology that nobody has looked at."""
    made = nlp.make_doc("the sheep run fast")
    made[1].set_morph("_")
    annotate(made, {"token.morph": ["Definite=Def", "Number=Sing", "_", ""]}, True, Filter())
    assert [str(token.morph) for token in made] == ["Definite=Def", "", "", ""]
    assert [token.has_morph() for token in made] == [True, True, True, False]
    assert annotation(["token.morph"], made)["token.morph"] == ["Definite=Def", "_", "_", ""]


def test_entities_of_other_components_are_left_open(nlp):
    made = nlp.make_doc("Anna sees the dog here")
    set_entities(made, {"ents": [[0, 1, "PERSON"]], "others": [[3, 4, "ANIMAL"]]}, Filter(), outside=True)
    assert [token.ent_iob for token in made] == [3, 2, 2, 0, 2]
    made.set_ents([], default="outside")
    set_entities(made, {"ents": [[0, 1, "PERSON"]], "others": [[3, 4, "ANIMAL"]]}, Filter())
    assert [token.ent_iob for token in made] == [3, 2, 2, 2, 2]


def test_from_which_score_on_a_category_holds(nlp):
    made = nlp.make_doc("text")
    annotate(made, {"cats": {"a": 0.4, "b": 0.4}, "thresholds": {"a": 0.3, "b": 0.5}}, False, Filter())
    assert made.cats == {"a": 1.0, "b": 0.0}


def test_categories_of_others_exclude_nothing(nlp):
    made = nlp.make_doc("text")
    made.cats = {"urgent": 1.0}
    annotate(made, {"cats": {"a": 0.1, "b": 0.9}}, True, Filter(), {})
    assert made.cats == {"urgent": 1.0, "a": 0.0, "b": 1.0}


def test_categories_beside_new_ones(nlp):
    made = nlp.make_doc("text")
    made.cats = {"NEW": 1.0, "a": 1.0}
    annotate(made, {"cats": {"a": 0.1, "b": 0.9}}, False, Filter())
    assert made.cats == {"NEW": 1.0, "a": 1.0, "b": 1.0}
    annotate(made, {"cats": {"c": 0.9}}, True, Filter())
    assert "c" not in made.cats


def test_unsure_tags_and_sentence_starts(nlp):
    made = Doc(nlp.vocab, words=["a", "b", "c"])
    answer = {"token.tag": ["X", "Y", "Z"], "starts": [True, False, True], "confidence": {"tokens": [0.9, 0.4, 0.5]}}
    annotate(made, answer, True, Filter(0.5))
    assert [token.tag_ for token in made] == ["X", "", "Z"]
    assert [sent.text for sent in made.sents] == ["a b", "c"]


@pytest.mark.parametrize(
    ("exclusive", "least", "expected"),
    [
        (True, 0.0, {"a": 0.0, "b": 1.0, "c": 0.0}),
        (True, 0.7, {}),
        (False, 0.0, {"a": 0.0, "b": 1.0, "c": 0.0}),
        (False, 0.7, {"a": 0.0, "c": 0.0}),
    ],
)
def test_categories(nlp, exclusive, least, expected):
    made = nlp.make_doc("text")
    annotate(made, {"cats": {"a": 0.3, "b": 0.6, "c": 0.1}}, exclusive, Filter(least))
    assert made.cats == expected
    annotate(made, {"cats": {"a": 1.0}}, exclusive, Filter())
    assert made.cats == (expected or {"a": 1.0})


NAN = float("nan")


@pytest.mark.parametrize("cats", [{"a": NAN, "b": 0.9}, {"b": 0.9, "a": NAN}])
def test_a_category_that_is_no_number_is_never_the_best(nlp, cats):
    """Whatever the order of the labels: of exclusive ones nothing is known then, of others only that one is missing."""
    exclusive, several = doc(nlp), doc(nlp)
    annotate(exclusive, {"cats": cats}, True, Filter())
    annotate(several, {"cats": cats}, False, Filter())
    assert exclusive.cats == {} and several.cats == {"b": 1.0}


def test_a_confidence_that_is_no_number_is_not_sure(nlp):
    scores = [(*ENTS[0], NAN), *((*ent, 0.9) for ent in ENTS[1:])]
    made = doc(nlp)
    set_entities(made, {"ents": ENTS, "confidence": {"ents": scores, "outside": [1.0, NAN, *[1.0] * 6]}}, Filter(0.5))
    assert shown(made)[:3] == "??O"
    made = doc(nlp)
    sure = {"ents": scores, "outside": [1.0, NAN, *[1.0] * 6]}
    set_entities(made, {"ents": ENTS, "confidence": sure}, Filter(0.5), outside=True)
    assert shown(made) == "??O..W.G"
