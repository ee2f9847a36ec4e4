"""The split: no text in two parts, every label in each, the same for the same seed."""

import random
from collections import Counter

import pytest

from spacy_transfer.starting.labelled_rows import Row
from spacy_transfer.starting.near_duplicates import ALIKE, jaccard, normalised, shingles
from spacy_transfer.starting.splits import SHARE, split, strata

from .test_near_duplicates import make


def rows_with_duplicates(n=120, seed=0):
    """Of every third text a copy, of every fifth one with a word changed, in other places."""
    draws = random.Random(seed)
    rows = [Row(f"line {i}", text, ("abc"[i % 3],)) for i, text in enumerate(make(n, seed))]
    rows += [Row(f"copy {i}", f"{rows[i].text.title()}.", rows[i].labels) for i in range(0, n, 3)]
    for i in range(0, n, 5):
        rows.append(Row(f"near {i}", f"{rows[i].text} more", rows[i].labels))
    draws.shuffle(rows)
    return rows


def test_planted_duplicates_do_not_leak():
    rows = rows_with_duplicates()
    parts, near, _ = split(rows, {}, seed=0)
    assert sorted(row.place for part in parts.values() for row in part) == sorted(row.place for row in rows)
    assert near > 0
    sets = {name: [shingles(normalised(row.text)) for row in part] for name, part in parts.items()}
    for one, other in (("train", "test"), ("train", "dev"), ("dev", "test")):
        assert not [1 for a in sets[one] for b in sets[other] if jaccard(a, b) >= ALIKE]


def test_shares_labels_and_seeds():
    rows = rows_with_duplicates()
    parts = split(rows, {}, seed=0)[0]
    everything = Counter(row.labels for row in rows)
    for name in ("dev", "test"):
        for label, count in Counter(row.labels for row in parts[name]).items():
            assert abs(count / everything[label] - SHARE) < 0.06
    again, other = split(rows, {}, seed=0)[0], split(rows, {}, seed=1)[0]
    assert again == parts and other["test"] != parts["test"]


def test_a_label_with_three_texts_is_in_each():
    rows = [*rows_with_duplicates(), *(Row(f"rare {i}", f"rare number{i} zz{i}", ("rare",)) for i in range(3))]
    parts = split(rows, {}, seed=0)[0]
    assert all(any(row.labels == ("rare",) for row in parts[name]) for name in ("train", "dev", "test"))


def test_what_is_like_a_given_test_is_not_trained_on():
    rows = rows_with_duplicates()
    given = {"test": [Row("t1", rows[0].text.upper(), ("a",)), Row("t2", "quite another text", ("b",))]}
    parts, _, n_leaked = split(rows, given, seed=0)
    assert parts["test"] == given["test"] and n_leaked == len(parts["leaked"]) > 0
    same = [row for row in rows if normalised(row.text) == normalised(rows[0].text)]
    assert set(same) <= set(parts["leaked"])


def test_numbers_are_split_by_size():
    rows = [Row(str(i), f"text number{i} w{i}", score=float(i)) for i in range(100)]
    assert Counter(strata(rows)) == {str(i): 20 for i in range(5)}
    test = [row.score for row in split(rows, {}, seed=0)[0]["test"]]
    assert Counter(int(score // 20) for score in test) == dict.fromkeys(range(5), 3)


def test_too_few():
    with pytest.raises(ValueError, match="T992.*2 texts"):
        split([Row("1", "a b c", ("x",)), Row("2", "d e f", ("y",))], {}, seed=0)
