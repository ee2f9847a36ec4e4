"""Scores that are no numbers: a NaN never decides what was predicted, is sure of nothing, and hides no mistake."""

import math

import numpy
import pytest
from spacy.language import Language

from spacy_transfer.reports.collect import collect
from spacy_transfer.reports.page import make_page
from spacy_transfer.reports.parts import NONE

from .test_page import classifiers, confidence_to_set, entity_examples, nlp_of_words  # noqa: F401 (fixtures)

NAN = float("nan")


def with_scores(nlp, name, monkeypatch, values):
    """The classifier gives these scores to the docs, one after the other."""
    pipe = nlp.get_pipe(name)

    def give(docs, scores):
        for doc in docs:
            doc.cats = dict(zip(pipe.labels, next(rows), strict=True))

    rows = iter(values)
    monkeypatch.setattr(pipe, "set_annotations", give)


def test_classes(tiny_bert, monkeypatch):
    nlp, examples = classifiers(tiny_bert, ["transfer_textcat"])
    assert nlp.get_pipe("transfer_textcat").labels == ("long", "short")
    with_scores(nlp, "transfer_textcat", monkeypatch, [[NAN, 0.4], [0.3, NAN], [NAN, NAN], [0.1, 0.9], [0.2, 0.8]])
    (part,) = collect(nlp, examples, resamples=5)
    assert [eg.reference.cats["long"] for eg in examples] == [1.0, 0.0, 1.0, 0.0, 0.0]
    table = part.confusion
    found = {(g, p): table.counts[i, j] for i, g in enumerate(table.rows) for j, p in enumerate(table.columns)}
    assert {pair: n for pair, n in found.items() if n} == {
        ("long", "short"): 1,
        ("short", "long"): 1,
        ("long", NONE): 1,
        ("short", "short"): 2,
    }
    scores = {score.name: score.value for score in part.scores}
    assert scores["accuracy"] == pytest.approx(2 / 5) and len(part.calibration.confidence) == 4
    assert not math.isnan(scores["expected calibration error"])
    assert [mistake.weight for mistake in part.mistakes] == ["40.0% sure", "30.0% sure", "no score"]
    assert "nan" not in make_page([part], {}, resamples=5)


def test_nothing_but_no_numbers(tiny_bert, monkeypatch):
    nlp, examples = classifiers(tiny_bert, ["transfer_textcat"])
    with_scores(nlp, "transfer_textcat", monkeypatch, [[NAN, NAN]] * 5)
    (part,) = collect(nlp, examples, resamples=5)
    assert part.calibration is None and part.scores[0].value == 0.0
    make_page([part], {}, resamples=5)


def test_labels_of_which_any_number_may_hold(tiny_bert, monkeypatch):
    nlp, examples = classifiers(tiny_bert, ["transfer_textcat_multilabel"])
    for eg in examples[3:]:
        eg.reference.cats = {"long": NAN, "short": 1.0}
    rows = [[NAN, 0.9], [0.6, 0.7], [0.8, NAN], [0.1, 0.9], [0.1, 0.2]]
    with_scores(nlp, "transfer_textcat_multilabel", monkeypatch, rows)
    (part,) = collect(nlp, examples, resamples=5)
    # Of the last two texts nobody has said whether they are long.
    assert part.confusion.counts.sum() == 8 and len(part.calibration.confidence) == 6
    shown = [mistake.weight for mistake in part.mistakes]
    assert shown == ["score 0.900", "score 0.200", "score 0.600", "no score"]
    assert not math.isnan(part.scores[-1].value)


def test_confidence_of_entities(nlp_of_words, confidence_to_set):  # noqa: F811
    sure = {"A B": [NAN, 0.6], "B B": [NAN, 0.9]}

    @Language.component("unsure_of_the_test")
    def say_confidence(doc):
        for ent, value in zip(doc.ents, sure[doc.text], strict=True):
            ent._.confidence = value
        return doc

    nlp_of_words.add_pipe("unsure_of_the_test")
    part = collect(nlp_of_words, entity_examples(nlp_of_words, list(sure)), resamples=5)[0]
    assert sorted(part.calibration.confidence) == [0.6, 0.9]
    assert [mistake.text for mistake in part.mistakes] == ["B B", "A B"]
    assert "nan" not in "".join(mistake.weight for mistake in part.mistakes)


def test_numbers(tiny_bert, monkeypatch):
    nlp, examples = classifiers(tiny_bert, ["transfer_regressor"])
    pipe = nlp.get_pipe("transfer_regressor")
    values = iter([0.5, NAN, 2.5, 3.0, 1.0])

    def give(docs, scores):
        for doc in docs:
            doc._.score = next(values)

    monkeypatch.setattr(pipe, "set_annotations", give)
    (part,) = collect(nlp, examples, resamples=5)
    assert [mistake.guess for mistake in part.mistakes] == ["nan", "1", "0.5", "2.5"]
    assert len(part.pairs) == 4 and numpy.isfinite(part.pairs).all()
    make_page([part], {}, resamples=5)
