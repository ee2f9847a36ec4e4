"""Groups of texts that are the same, or nearly: against comparing all pairs."""

import random

import pytest

from spacy_transfer.starting.near_duplicates import ALIKE, groups_of, jaccard, normalised, shingles

WORDS = [a + b for a in ("ka", "lo", "mi", "ne", "pu", "ra") for b in ("ba", "de", "fi", "go", "hu", "ja", "ki")]


def make(n, seed):
    draws = random.Random(seed)
    return [" ".join(draws.choices(WORDS, k=draws.randint(3, 20))) for _ in range(n)]


def test_what_makes_no_difference():
    assert normalised("  Hello,  WORLD! ") == normalised("hello world") == "hello world"
    assert normalised("?!") == "?!" and normalised("ﬁne") == "fine"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_groups_as_all_pairs(seed):
    texts = make(60, seed)
    draws = random.Random(seed)
    for i in range(20):
        words = texts[i].split()
        words[draws.randrange(len(words))] = "changed"
        texts.append(" ".join(words).upper() + "!")
    groups, near = groups_of(texts)
    parent = list(range(len(texts)))
    sets = [shingles(normalised(text)) for text in texts]

    def root(i):
        return i if parent[i] == i else root(parent[i])

    for i in range(len(texts)):
        for j in range(i):
            if jaccard(sets[i], sets[j]) >= ALIKE:
                parent[max(root(i), root(j))] = min(root(i), root(j))
    assert groups == [root(i) for i in range(len(texts))]
    assert near >= 8


def test_texts_without_words():
    groups, near = groups_of(["?!", "?!", "", "...", "a"])
    assert groups == [0, 0, 2, 3, 4] and near == 0
