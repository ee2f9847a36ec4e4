"""Which columns hold texts and labels, and what is to be learned.

Guards also: labelled_rows.py.
"""

import pytest

from spacy_transfer.starting.columns import SEPARATOR, guess, to_rows
from spacy_transfer.starting.labelled_rows import Table


def table(**columns):
    names, values = list(columns), list(zip(*columns.values(), strict=True))
    records = [dict(zip(names, each, strict=True)) for each in values]
    return Table("x.csv", records, [f"line {i + 2}" for i in range(len(records))])


LONG = ["the film was long and dull", "what a fine evening it was", "no", "we laughed a lot tonight"]


@pytest.mark.parametrize(
    ("columns", "texts", "labels", "task"),
    [
        ({"text": LONG, "label": list("abab")}, "text", "label", "textcat"),
        ({"id": list("1234"), "words": LONG, "kind": list("abab")}, "words", "kind", "textcat"),
        ({"Review": LONG, "Stars": [1, 5, 3, 4]}, "Review", "Stars", "textcat"),
        ({"text": LONG, "score": ["0.5", "1.25", "3", "4"]}, "text", "score", "regression"),
        ({"text": LONG * 8, "score": ["n/a", *(0.5 + i for i in range(30)), "-"]}, "text", "score", "regression"),
        ({"text": LONG, "label": [float("inf"), 1, 2, 3]}, "text", "label", "textcat"),
        ({"text": LONG, "labels": [["a"], ["a", "b"], [], ["b"]]}, "text", "labels", "multilabel"),
        ({"text": LONG, "label": ["a|b", "a", "b|a", "b"]}, "text", "label", "multilabel"),
        ({"text": LONG, "toxic": [0, 1, 0, 1], "rude": [1, 1, 0, 0]}, "text", "toxic,rude", "multilabel"),
        ({"premise": LONG, "hypothesis": LONG[::-1], "label": list("abab")}, "premise,hypothesis", "label", "textcat"),
        (
            {"sentence1": LONG, "sentence2": LONG, "score": [0.1, 2, 3, 4.5]},
            "sentence1,sentence2",
            "score",
            "regression",
        ),
    ],
)
def test_guesses(columns, texts, labels, task):
    found = guess(table(**columns))
    assert (",".join(found.texts), ",".join(found.labels), found.task) == (texts, labels, task)


def test_what_is_given_counts():
    columns = {"text": LONG, "label": list("abab"), "other": LONG[::-1], "stars": ["1", "2", "3", "4"]}
    found = guess(table(**columns), text="other", label="stars", task="regression")
    assert (found.texts, found.labels, found.task) == (("other",), ("stars",), "regression")
    rows = list(to_rows(table(**columns), found))
    assert [(row.text, row.score) for row in rows] == list(zip(LONG[::-1], [1.0, 2.0, 3.0, 4.0], strict=True))


def test_rows():
    several = table(text=LONG, label=["a|b", "a", "", "b"])
    rows = list(to_rows(several, guess(several, task="multilabel")))
    assert [row.labels for row in rows] == [("a", "b"), ("a",), (), ("b",)]
    flags = table(text=LONG, toxic=["0", "1", "0", "1"], rude=["1", "1", "0", "0"])
    assert [row.labels for row in to_rows(flags, guess(flags))] == [("rude",), ("toxic", "rude"), (), ("toxic",)]
    pairs = table(premise=LONG, hypothesis=LONG[::-1], label=list("abab"))
    assert next(to_rows(pairs, guess(pairs))).text == f"{LONG[0]}{SEPARATOR}{LONG[3]}"
    numbered = table(text=LONG, label=[0, 1, 1, 0])
    numbered.classes = {"label": ["bad", "good"]}
    assert [row.labels for row in to_rows(numbered, guess(numbered))] == [("bad",), ("good",), ("good",), ("bad",)]
    hidden = table(text=LONG, label=[0, -1, 1, 0])
    hidden.classes = numbered.classes
    rows = list(to_rows(hidden, guess(hidden)))
    assert [(row.labels, row.is_annotated) for row in rows][:2] == [(("bad",), True), ((), False)]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="T986.*--label 'labels'.*label.*Did you mean 'label'"):
        guess(table(text=LONG, label=list("abab")), label="labels")
    with pytest.raises(ValueError, match="T985.*--label"):
        guess(table(text=LONG, a=["k", "l", "m", "n"], b=["q", "r", "s", "t"]))
    scores = table(text=LONG, score=["1.5", "n/a", "", "4"])
    assert [row.score for row in to_rows(scores, guess(scores, task="regression"))] == [1.5, None, None, 4.0]
    odd = table(text=LONG, label=["1", "2", "x", "4"])
    with pytest.raises(ValueError, match="T987.*line 4.*'x'"):
        list(to_rows(odd, guess(odd, task="regression")))


@pytest.mark.parametrize("cell", [{"from": 0, "to": 3}, [{"from": 0}], [[1, 2]]], ids=str)
def test_objects_are_no_labels(cell):
    with pytest.raises(ValueError, match="T957.*'label'.*--label.*entities"):
        guess(table(text=LONG, label=[cell] * 4))
