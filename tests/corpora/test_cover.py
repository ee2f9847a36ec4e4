"""Few examples that show all labels, against exhaustive search; what counts as a label of which component."""

import random
from itertools import combinations

import pytest
from spacy.training import Example

from spacy_transfer.corpora.cover import Cover, LabelReader

from .readers import pipeline


def shown_by(n_labels, n_examples, seed):
    generator = random.Random(seed)
    labels = [("x", str(i)) for i in range(n_labels)]
    return [set(generator.sample(labels, generator.randint(0, 4))) for _ in range(n_examples)]


def fewest(sets, wanted):
    for n in range(len(sets) + 1):
        if any(wanted <= set().union(*some) for some in combinations(sets, n)):
            return n
    raise AssertionError


@pytest.mark.parametrize("seed", range(20))
def test_all_labels_by_little_more_than_the_fewest(seed):
    sets = shown_by(9, 14, seed)
    cover = Cover()
    for i, labels in enumerate(sets):
        cover.see(i, labels)
    wanted = set().union(*sets)
    chosen = cover.choose()
    assert set().union(*(sets[i] for i in chosen)) == wanted
    assert len(chosen) <= fewest(sets, wanted) + 1
    known = set(list(wanted)[:5])
    rest = cover.choose(known)
    assert set().union(set(), *(sets[i] for i in rest)) >= wanted - known
    assert len(rest) <= len(chosen)


def test_rich_examples_come_first_however_late():
    cover = Cover()
    for i in range(50):
        cover.see(i, {("x", str(i))})
    cover.see("rich", {("x", str(i)) for i in range(50)})
    assert cover.choose() == ["rich"]


def test_covers_are_joined():
    one, two = Cover(), Cover()
    one.see("a", {("x", "1")})
    two.see("b", {("x", "1"), ("x", "2")})
    assert Cover.joined([one, two]).choose() == Cover.joined([two, one]).choose() == ["b"]


def test_labels_by_component():
    nlp = pipeline("tagger", "morphologizer", "parser", "ner", "textcat_multilabel", "trainable_lemmatizer", "spancat")
    nlp.add_pipe("transfer_tagger", config={"attribute": "pos"})
    doc = nlp.make_doc("Anna sees dogs")
    annotation = {
        "tags": ["N", "", "N"],
        "pos": ["PROPN", "VERB", ""],
        "morphs": ["Number=Sing", "", ""],
        "lemmas": ["Anna", "see", "dog"],
        "heads": [1, 1, 1],
        "deps": ["nsubj", "ROOT", "obj"],
        "entities": [(0, 4, "PER")],
        "spans": {"sc": [(0, 4, "SPAN")]},
        "cats": {"yes": 1.0, "no": 0.0},
    }
    example = Example.from_dict(doc, annotation)
    read = LabelReader(nlp, {})
    found = {}
    for name, label in read(example, nlp.pipe_names):
        found.setdefault(name, set()).add(label)
    assert found == {
        "tagger": {"N"},
        "transfer_tagger": {"PROPN", "VERB"},
        "morphologizer": {"PROPN|Number=Sing", "VERB|", "|"},
        "parser": {"nsubj", "ROOT", "obj"},
        "ner": {"PER"},
        "textcat_multilabel": {"yes", "no"},
        "spancat": {"SPAN"},
    }
    assert read(example, ["ner"]) == {("ner", "PER")}
    given = {"initialize": {"components": {"ner": {"labels": ["PER"]}}}}
    assert LabelReader(nlp, given)(example, ["ner", "tagger"]) == {("tagger", "N")}
    nlp.get_pipe("tagger").add_label("N")
    assert ("tagger", "N") in read.known()
