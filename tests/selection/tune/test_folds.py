"""How a train corpus is split: disjoint folds that cover it, labels spread over them, equal texts together."""

from collections import Counter

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.training import Example
from spacy.util import load_config, load_model_from_config, registry, resolve_dot_names
from thinc.api import Config

import spacy_transfer.selection.tune.folds as module
from spacy_transfer.selection.tune.folds import Folds

from ...training import write_training

NLP = spacy.blank("en")


def example(text, label, kind="cats"):
    doc = NLP.make_doc(text)
    span = spacy.tokens.Span(doc, 0, 1, label=label)
    match kind:
        case "cats":
            doc.cats = {label: 1.0, "other": 0.0}
        case "ents":
            doc.ents = [span]
        case "spans":
            doc.spans["sc"] = [span]
        case "tags":
            doc[0].tag_ = label
    return Example(NLP.make_doc(text), doc)


@pytest.mark.parametrize("kind", ["cats", "ents", "spans", "tags"])
def test_labels_are_spread(kind):
    examples = [
        example(f"text {label} {i}", label, kind) for label, n in (("a", 10), ("b", 5), ("c", 2)) for i in range(n)
    ]
    fold_of = Folds(5).deal(examples)
    held = Counter((text.split()[1], fold) for text, fold in fold_of.items())
    assert [held["a", fold] for fold in range(5)] == [2] * 5
    assert [held["b", fold] for fold in range(5)] == [1] * 5
    assert sorted(held["c", fold] for fold in range(5)) == [0, 0, 0, 1, 1]
    assert sorted(Counter(fold_of.values()).values()) == [3, 3, 3, 4, 4]
    assert Folds(5).deal(examples[::-1]) == fold_of != Folds(5, seed=1).deal(examples)


def test_labels_that_come_together_are_spread():
    """Each of four labels is in half of the texts: dealt out by one label of a text alone, others would be together."""
    examples = []
    for i in range(16):
        doc = NLP.make_doc(f"text {i}")
        doc.cats = {label: float(i >> place & 1) for place, label in enumerate("abcd")}
        examples.append(Example(NLP.make_doc(doc.text), doc))
    fold_of = Folds(2).deal(examples)
    for label in "abcd":
        held = Counter(fold_of[eg.reference.text] for eg in examples if eg.reference.cats[label])
        assert held == {0: 4, 1: 4}


@given(st.lists(st.tuples(st.sampled_from("pqrstuvw"), st.sampled_from("ab")), min_size=2), st.integers(2, 4))
def test_each_text_is_held_out_once(pairs, count):
    """Equal texts together, whatever their labels."""
    examples = [example(text, label) for text, label in pairs]
    registry.readers.register("test.Pairs.v1", func=lambda: lambda nlp: examples)
    config = Config({"corpora": {"train": {"@readers": "test.Pairs.v1"}, "dev": {"@readers": "test.Never.v1"}}})
    config["training"] = {"train_corpus": "corpora.train", "dev_corpus": "corpora.dev"}
    folds, seen = Folds(count), list[str]()
    for fold in range(count):
        drawn = folds.without(config, fold)
        rest, dev = (
            [eg.reference.text for eg in read(NLP)]
            for read in resolve_dot_names(drawn, list(drawn["training"].values()))
        )
        out = [eg.reference.text for eg in folds.held_out(config, fold)(NLP)]
        assert not set(rest) & set(out) and sorted(rest + out) == sorted(text for text, _ in pairs) and dev == rest
        seen += out
    assert sorted(seen) == sorted(text for text, _ in pairs)
    assert config["corpora"]["train"] == {"@readers": "test.Pairs.v1"}


def checked(folder, source, count=3, **overrides):
    config = load_config(write_training(folder, source, overrides=overrides), interpolate=False)
    return Folds(count).check(load_model_from_config(config, auto_fill=True))


def test_rare_labels_are_named(tiny_bert, tmp_path):
    found = checked(tmp_path, tiny_bert, 4)
    assert found.n_texts == 4 and found.rare


@pytest.mark.parametrize("count", [1, 0, -3])
def test_too_few_folds(count):
    with pytest.raises(ValueError, match=rf"T915.*--folds {count}"):
        Folds(count)


def test_more_folds_than_texts(tiny_bert, tmp_path):
    with pytest.raises(ValueError, match="T916.*--folds 9.*only 4 different"):
        checked(tmp_path, tiny_bert, 9)


AUGMENTER = {"@augmenters": "spacy.lower_case.v1", "level": 0.5}


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"training.max_epochs": -1}, "streamed"),
        ({"corpora.train.augmenter": AUGMENTER}, "augmenter"),
        ({"training.train_corpus": "corpora.both.train", "corpora.both": {"@readers": "test.Both.v1"}}, "no block"),
        ({"corpora.train": {"@readers": "test.Endless.v1"}}, "no end"),
        ({"corpora.train": {"@readers": "test.Other.v1"}}, "other texts each time"),
    ],
)
def test_what_cannot_be_split(tiny_bert, tmp_path, monkeypatch, overrides, problem):
    monkeypatch.setattr(module, "MOST", 50)

    @registry.readers("test.Endless.v1")
    def endless():
        return lambda nlp: (example(f"text {i}", "a") for i in iter(int, 1))

    @registry.readers("test.Both.v1")
    def both():
        return {"train": lambda nlp: [], "dev": lambda nlp: []}

    @registry.readers("test.Other.v1")
    def other():
        drawn = iter(range(100))
        return lambda nlp: [example(f"text {next(drawn)}", "a") for _ in range(4)]

    with pytest.raises(ValueError, match=f"T917.*{problem}"):
        checked(tmp_path, tiny_bert, **overrides)


def test_trainings_that_would_not_end(tiny_bert, tmp_path):
    with pytest.raises(ValueError, match="T918"):
        checked(tmp_path, tiny_bert, **{"training.max_steps": 0, "training.max_epochs": 0})
