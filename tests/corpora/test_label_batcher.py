"""Batches with several texts of a label."""

from collections import Counter

import pytest
import spacy
from spacy.training import Example

from spacy_transfer.corpora.label_batcher import create_label_batcher_v1

NLP = spacy.blank("en")


def example(i, *labels):
    return Example.from_dict(NLP.make_doc(f"text {i}"), {"cats": {label: float(label in labels) for label in "abcdef"}})


def texts(batches):
    return [eg.text for batch in batches for eg in batch]


@pytest.mark.parametrize("per_label", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 4, 5, 64])
def test_each_example_comes_once_and_batches_are_full(size, per_label):
    examples = [example(i, "abcdef"[(i * 5) % 6]) for i in range(37)]
    batches = list(create_label_batcher_v1(size=size, per_label=per_label)(iter(examples)))
    assert Counter(texts(batches)) == Counter(eg.text for eg in examples)
    assert all(len(batch) <= size for batch in batches)
    assert all(len(batch) > size - min(per_label, size) for batch in batches[:-2])
    assert all(2 * len(batch) >= min(size, 37) - per_label for batch in batches)


def test_no_batch_is_a_single_pair():
    """Two texts more than fit: 64 and 2 would leave nothing to compare in the second batch."""
    examples = [example(i, "abc"[i // 2 % 3]) for i in range(66)]
    batches = list(create_label_batcher_v1(size=64)(examples))
    assert [len(batch) for batch in batches] == [34, 32]
    for batch in batches:
        labels = Counter(label for eg in batch for label, value in eg.reference.cats.items() if value)
        assert len(labels) == 3 and min(labels.values()) > 1


def test_labels_stand_together():
    examples = [example(i, "abcdef"[i % 6]) for i in range(48)]
    for batch in create_label_batcher_v1(size=8)(examples):
        labels = Counter(label for eg in batch for label, value in eg.reference.cats.items() if value)
        assert all(count >= 2 for count in labels.values())


def test_what_finds_no_partner_comes_last():
    examples = [example(0, "a"), example(1), example(2, "b"), example(3, "a"), example(4, "c"), example(5, "b")]
    assert texts(create_label_batcher_v1(size=2)(examples)) == [f"text {i}" for i in (0, 3, 2, 5, 1, 4)]


def test_several_labels():
    """The label with most texts that wait decides."""
    examples = [example(0, "a", "b"), example(1, "c"), example(2, "b", "c"), example(3, "a")]
    assert texts(create_label_batcher_v1(size=2)(examples)) == [f"text {i}" for i in (1, 2, 0, 3)]


def test_no_example():
    assert list(create_label_batcher_v1(size=2)([])) == []


@pytest.mark.parametrize("settings", [{"size": 0}, {"size": 4, "per_label": 0}, {"size": 2.5}])
def test_sizes(settings):
    with pytest.raises(ValueError, match=r"T215.*training\.batcher"):
        create_label_batcher_v1(**settings)
