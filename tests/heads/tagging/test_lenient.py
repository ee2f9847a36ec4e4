"""Entities in tags that need not be well-formed, against a reading tag by tag and a sum over all tags."""

from itertools import pairwise, product

import numpy
import pytest

from spacy_transfer.heads.tagging.lenient import read_leniently
from spacy_transfer.heads.tagging.schemes import Scheme

LABELS = ["PER", "LOC"]


def read_one_by_one(tags, breaks):
    """A plain loop over names of tags: entities as (start, end, label)."""
    found = []
    open_label = None
    for i, tag in enumerate(tags):
        part, _, label = tag.partition("-")
        if part in ("I", "L") and label == open_label and not breaks[i]:
            found[-1][1] = i + 1
        elif part != "O":
            found.append([i, i + 1, label])
        open_label = label if part in ("B", "I") else None
    return [tuple(entity) for entity in found]


def parts_of(read):
    return [read.starts, read.ends, read.labels]


@pytest.mark.parametrize(("kind", "length"), [("bio", 4), ("biluo", 3)])
def test_every_sequence(kind, length):
    scheme, counts = Scheme(LABELS, kind), []
    for tags in product(range(len(scheme.tags)), repeat=length):
        for breaks in ([True] + [False] * (length - 1), [True, False, True, False][:length]):
            logits = numpy.eye(len(scheme.tags))[list(tags)]
            read = read_leniently(scheme, logits, numpy.array(breaks), numpy.zeros(length, bool))
            found = list(zip(read.starts.tolist(), read.ends.tolist(), [LABELS[i] for i in read.labels], strict=True))
            assert found == read_one_by_one([scheme.tags[i] for i in tags], breaks)
            counts.append(len(found))
    assert set(counts) == set(range(length + 1))


@pytest.mark.parametrize(("kind", "length"), [("bio", 4), ("biluo", 3)])
def test_probabilities_are_sums_over_all_sequences(kind, length):
    scheme, chance = Scheme(LABELS, kind), numpy.random.default_rng(0)
    n_tags, checked = len(scheme.tags), 0
    for breaks in ([True] + [False] * (length - 1), [True, False, True, False][:length]):
        for _ in range(6):
            logits = chance.normal(size=(length, n_tags)) * 1.5
            logits[chance.random(logits.shape) < 0.1] = -numpy.inf
            shares = numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True)
            summed = dict[tuple, float]()
            for tags in product(range(n_tags), repeat=length):
                share = numpy.prod(shares[range(length), tags])
                for entity in read_one_by_one([scheme.tags[i] for i in tags], breaks):
                    summed[entity] = summed.get(entity, 0.0) + share
            # A temperature divides logits.
            read = read_leniently(scheme, logits * 3.0, numpy.array(breaks), numpy.zeros(length, bool))
            for start, end, label, probability in zip(*parts_of(read), read.scores(3.0), strict=True):
                assert probability == pytest.approx(summed[start, end, LABELS[label]], abs=1e-12)
                checked += 1
    assert checked > 15


def test_skipped_tokens_are_as_if_they_were_not_there():
    scheme, chance = Scheme(LABELS, "bio"), numpy.random.default_rng(1)
    joined = 0
    for _ in range(200):
        logits = chance.normal(size=(7, len(scheme.tags)))
        skipped, breaks = chance.random(7) < 0.4, numpy.array([True, *(chance.random(6) < 0.3)])
        kept = numpy.flatnonzero(~skipped)
        # A break at a skipped token parts what stands on its sides.
        parted = [True][: len(kept)] + [bool(breaks[a + 1 : b + 1].any()) for a, b in pairwise(kept)]
        read = read_leniently(scheme, logits, breaks, skipped)
        found = [*parts_of(read), read.scores()]
        rest = read_leniently(scheme, logits[kept], numpy.array(parted, dtype=bool), numpy.zeros(len(kept), bool))
        without = [*parts_of(rest), rest.scores()]
        assert found[0].tolist() == kept[without[0]].tolist()
        assert found[1].tolist() == [kept[end - 1] + 1 for end in without[1]]
        assert found[2].tolist() == without[2].tolist() and numpy.allclose(found[3], without[3])
        joined += sum(skipped[a:b].any() for a, b in zip(*found[:2], strict=True))
    assert joined > 3
