"""Copies and pickles of what belongs to one training."""

import copy
import pickle

import pytest

from spacy_transfer.transient import Transient


class Counter(Transient):
    built_from = ("start",)

    def __init__(self, start):
        self.start, self.count = start, start


class Empty(Transient):
    def __init__(self):
        self.kept = 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_are_built_anew(copied):
    counter, empty = Counter([1]), Empty()
    counter.count, empty.kept = [2], 3
    found = copied(counter)
    assert type(found) is Counter and (found.start, found.count) == ([1], [1])
    assert copied(empty).kept == 1
