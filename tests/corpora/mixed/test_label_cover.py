"""Few examples that show all labels, against exhaustive search; what counts as a label of which component."""

import os
import random
import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.training import Example

from spacy_transfer.corpora.mixed.label_cover import LabelCover, LabelReader

from ..readers import HEADS, pipeline


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
    cover = LabelCover()
    for i, labels in enumerate(sets):
        cover.add(i, labels)
    wanted = set().union(*sets)
    chosen = cover.choose()
    assert set().union(*(sets[i] for i in chosen)) == wanted
    assert len(chosen) <= fewest(sets, wanted) + 1
    known = set(list(wanted)[:5])
    rest = cover.choose(known)
    assert set().union(set(), *(sets[i] for i in rest)) >= wanted - known
    assert len(rest) <= len(chosen)


LABELS = st.sets(st.tuples(st.just("x"), st.sampled_from("abcdefg")), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(LABELS, max_size=8), LABELS, st.data())
def test_any_labels_are_covered(sets, known, data):
    """Against exhaustive search: all labels by no more examples than the greedy rule promises (Johnson 1974: the
    harmonic number of the largest set, of the examples that are kept), each label also where it holds."""
    holding = [data.draw(st.sets(st.sampled_from(sorted(one)), max_size=4)) if one else set() for one in sets]
    cover = LabelCover()
    for i, (labels, held) in enumerate(zip(sets, holding, strict=True)):
        cover.add(i, labels, held)
    wanted = set().union(*sets) - known
    chosen = cover.choose(known)
    assert len(chosen) == len(set(chosen))
    assert wanted <= set().union(*(sets[i] for i in chosen))
    # What is kept for each label: the first of the largest sets that have it.
    kept = [max((s for s in sets if label in s), key=len) for label in sorted(wanted)]
    largest = max((len(s & wanted) for s in kept), default=0)
    assert len(chosen) <= fewest(kept, wanted) * sum(1 / n for n in range(1, largest + 1)) + 1e-9
    # Each step adds a label: no example is shown for nothing.
    assert len(chosen) <= len(wanted)
    more = cover.choose(known, most=99)
    assert more[: len(chosen)] == chosen
    assert set().union(*holding) - known <= set().union(*(holding[i] for i in more))
    assert len(cover.choose(known, most=len(chosen) + 1)) <= len(chosen) + 1


def test_rich_examples_come_first_however_late():
    cover = LabelCover()
    for i in range(50):
        cover.add(i, {("x", str(i))})
    cover.add("rich", {("x", str(i)) for i in range(50)})
    assert cover.choose() == ["rich"]


def test_covers_are_joined():
    one, two = LabelCover(), LabelCover()
    one.add("a", {("x", "1")})
    two.add("b", {("x", "1"), ("x", "2")})
    assert LabelCover.joined([one, two]).choose() == LabelCover.joined([two, one]).choose() == ["b"]


CHOICE = """
import random
from spacy_transfer.corpora.mixed.label_cover import LabelCover
for seed in range(20):
    generator, cover = random.Random(seed), LabelCover()
    for i in range(60):
        cover.add(i, {("ner", f"L{generator.randrange(12)}") for _ in range(generator.choice([1, 2, 2, 3]))})
    print(cover.choose())
"""


def test_the_choice_does_not_hang_on_how_python_hashes_strings():
    """Which differs from process to process: so would pipelines of the same seed."""

    def choice(hash_seed):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run([sys.executable, "-c", CHOICE], env=env, check=True, capture_output=True).stdout

    assert choice("1") == choice("2")


def test_where_a_label_holds_is_shown_as_far_as_there_is_room():
    cover = LabelCover()
    labels = [("x", str(i)) for i in range(9)]
    cover.add("all named", labels)
    for i in range(8):
        cover.add(i, labels[i : i + 1], labels[i : i + 1])
    assert cover.choose() == ["all named"]
    assert sorted(cover.choose(most=99)[1:]) == list(range(8))
    assert len(cover.choose(most=5)) == 5 and len(cover.choose(most=1)) == 1
    assert cover.choose(labels, most=99) == []
    assert LabelCover.joined([LabelCover(), cover]).choose(most=99) == cover.choose(most=99)
    # What holds in a text that is shown already needs no other.
    cover.add("all hold", labels, labels)
    assert cover.choose(most=99) == ["all named", "all hold"]


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
        "morphologizer": {"Number=Sing|POS=PROPN", "POS=VERB", "_"},
        "parser": {"L-nsubj", "B-ROOT", "R-obj"},
        "ner": {"PER"},
        "textcat_multilabel": {"yes", "no"},
        "spancat": {"SPAN"},
    }
    assert read(example, ["ner"]) == {("ner", "PER")}
    given = {"initialize": {"components": {"ner": {"labels": ["PER"]}}}}
    assert LabelReader(nlp, given)(example, ["ner", "tagger"]) == {("tagger", "N")}
    nlp.get_pipe("tagger").add_label("N")
    assert ("tagger", "N") in read.known()


def test_categories_that_hold():
    nlp = pipeline("textcat_multilabel", "ner")
    annotation = {"cats": {"yes": 1.0, "soft": 0.2, "no": 0.0}, "entities": [(0, 4, "PER")]}
    example = Example.from_dict(nlp.make_doc("Anna sees"), annotation)
    read = LabelReader(nlp, {})
    assert read.holding(example, nlp.pipe_names) == {("textcat_multilabel", "yes"), ("textcat_multilabel", "soft")}
    assert read.holding(example, ["ner"]) == set()


def test_numbers_have_targets():
    """A name for each where they stand in doc.cats, and the spans that count."""
    nlp = pipeline()
    nlp.add_pipe("transfer_regressor", name="price", config={"source": "cats"})
    nlp.add_pipe("transfer_regressor", name="spans", config={"attribute": "rate", "spans_key": "sc"})
    annotation = {"cats": {"price": 0.0, "age": 7.0}, "spans": {"sc": [(0, 4, "X")]}}
    example = Example.from_dict(nlp.make_doc("Anna sees"), annotation)
    read = LabelReader(nlp, {})
    assert read(example, nlp.pipe_names) == {("price", "price"), ("price", "age")}
    example.reference.spans["sc"][0]._.rate = 3.0
    assert read(example, ["spans"]) == {("spans", "rate")}


def annotated(nlp):
    rows = [
        {"pos": ["NOUN", "", "VERB"], "morphs": ["Number=Sing|Case=Nom", "", "Tense=Past"], "heads": [2, 2, 2]}
        | {"deps": ["subj", "x", "root"]},
        {"pos": ["X", "", "VERB"], "morphs": ["", "", ""], "heads": [1, 1, 0], "deps": ["subj", "ROOT", "x"]},
        {"pos": ["X", "X", "X"], "heads": [0, 0, 0], "deps": ["ROOT", "", "x"]},
    ]
    crossing = {"heads": [2, 3, 2, 2, 1], "deps": ["x", "y", "ROOT", "z", "y"]}
    yield from (Example.from_dict(nlp.make_doc("a b c"), row) for row in rows)
    yield Example.from_dict(nlp.make_doc("a b c d e"), crossing)
    yield Example.from_dict(nlp.make_doc("a text of which nothing is known"), {})
    yield Example.from_dict(nlp.make_doc(""), {})


@pytest.mark.parametrize("head", ["morphologizer", "parser"])
def test_labels_are_called_as_spacy_calls_them(head):
    """Those that are read are those that spaCy finds, crossing arcs included, and are known from then on."""
    nlp = pipeline()
    pipe = nlp.add_pipe(head, config=HEADS[head])
    nlp.initialize(lambda: list(annotated(nlp))[:-1])
    read = LabelReader(nlp, {})
    found = set().union(*(read(example, [head]) for example in annotated(nlp)))
    # The parser can always shift and reduce, break, and fall back on "dep".
    always = {(head, name) for name in ("S", "D", "B", "L-dep", "R-dep")} if head == "parser" else set()
    assert found and read.known() - always == found
    if head == "parser":
        assert any("||" in name for _, name in found)
        assert {name for _, name in read.known()} == set(pipe.move_names)
