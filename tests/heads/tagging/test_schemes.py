"""BIO and BILUO against spaCy's own functions and plain loops."""

from itertools import product

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.training import biluo_to_iob
from spacy.training.iob_utils import tags_to_entities

from spacy_transfer.heads.tagging.lenient import entities as read_leniently
from spacy_transfer.heads.tagging.schemes import NO_LABEL, Scheme, find_runs

LABELS = ["X", "Y-Z"]


def well_formed(tags, kind):
    """A loop over the rules."""
    before = "O"
    for tag in [*tags, "O"]:
        part, label = tag[0], tag[2:]
        is_open = before[0] in ("B", "I")
        if part in ("I", "L") and not (is_open and before[2:] == label):
            return False
        if kind == "biluo" and is_open and part not in ("I", "L"):
            return False
        before = tag
    return True


@pytest.mark.parametrize("kind", ["bio", "biluo"])
def test_constraints_and_entities(kind):
    scheme = Scheme(LABELS, kind)
    assert scheme.tags[:3] == ("O", "B-X", "I-X") and scheme.tags[-1] == ("I" if kind == "bio" else "U") + "-Y-Z"
    first, n_good = numpy.array([True, False, False]), 0
    for rows in product(range(len(scheme.tags)), repeat=3):
        tags = [scheme.tags[row] for row in rows]
        allowed = scheme.allowed
        may = allowed.start[rows[0]] and allowed.end[rows[-1]]
        may = may and all(allowed.matrix[a, b] for a, b in zip(rows, rows[1:], strict=False))
        assert bool(may) == well_formed(tags, kind), tags
        if not may:
            continue
        n_good += 1
        starts, ends, labels = scheme.entities(numpy.array(rows), first)
        found = [(LABELS[label], a, b - 1) for a, b, label in zip(starts, ends, labels, strict=True)]
        biluo = tags if kind == "biluo" else as_biluo(tags)
        assert found == tags_to_entities(biluo), tags
        # And back: gold of these entities allows these tags alone.
        iob = numpy.array([{"B": 3, "I": 1, "O": 2}[tag[0]] for tag in biluo_to_iob(biluo)])
        mask = scheme.mask(iob, scheme.label[list(rows)], first)
        assert (mask.argmax(axis=1) == rows).all() and (mask.sum(axis=1) == 1).all(), tags
    assert n_good > 20


def as_biluo(tags):
    parts = []
    for tag, after in zip(tags, [*tags[1:], "O"], strict=True):
        goes_on = after.startswith("I")
        part = {"O": "O", "B": "B" if goes_on else "U", "I": "I" if goes_on else "L"}[tag[0]]
        parts.append(part + tag[1:])
    return parts


@pytest.mark.parametrize("kind", ["bio", "biluo"])
def test_missing_tokens_allow_all_but_going_on_with_an_entity(kind):
    scheme = Scheme(["X"], kind)
    first = numpy.array([True, False, False, False, True, False])
    iob, labels = numpy.array([0, 3, 0, 0, 0, 3]), numpy.array([-1, 0, -1, -1, -1, NO_LABEL])
    allowed = [
        {tag for tag, may in zip(scheme.tags, row, strict=True) if may} for row in scheme.mask(iob, labels, first)
    ]
    everything, single = set(scheme.tags), {"B-X"} if kind == "bio" else {"U-X"}
    after = {tag for tag in everything if tag[0] not in "IL"}
    assert allowed == [everything, single, after, everything, everything, {"O"}]


def test_entities_end_with_their_doc():
    scheme = Scheme(["X"], "bio")
    starts, ends, _ = scheme.entities(numpy.array([1, 2, 1, 2, 2, 0]), numpy.array([1, 0, 1, 0, 0, 1], dtype=bool))
    assert (starts.tolist(), ends.tolist()) == ([0, 2], [2, 5])
    assert not len(scheme.entities(numpy.zeros(0, dtype=int), numpy.zeros(0, dtype=bool))[0])


@st.composite
def spans_of_docs(draw):
    """Docs of a few tokens, and spans in them that do not overlap: (start, end, label), counted through all docs."""
    first, spans = [], []
    for _ in range(draw(st.integers(1, 4))):
        for i in range(draw(st.integers(0, 3))):
            begin = len(first)
            gap, length = draw(st.integers(0, 2)), draw(st.integers(1, 3))
            first += [i == 0, *[False] * (gap + length - 1)]
            spans.append((begin + gap, begin + gap + length, draw(st.integers(0, len(LABELS) - 1))))
    return numpy.array(first, dtype=bool), spans


@settings(max_examples=100, deadline=None)
@given(spans_of_docs(), st.sampled_from(["bio", "biluo"]))
def test_spans_become_tags_and_spans_again(docs, kind):
    """By the strict reading and by the lenient one; neighbours without a gap included."""
    first, spans = docs
    scheme = Scheme(LABELS, kind)
    iob, labels = numpy.full(len(first), 2), numpy.full(len(first), NO_LABEL)
    for start, end, label in spans:
        iob[start:end], labels[start:end] = 1, label
        iob[start] = 3
    mask = scheme.mask(iob, labels, first)
    assert (mask.sum(axis=1) == 1).all()
    tags = mask.argmax(axis=1)
    for read in (scheme.entities, lambda tags, first: read_leniently(scheme, tags, first)):
        assert [tuple(map(int, span)) for span in zip(*read(tags, first), strict=True)] == spans
    runs = find_runs(iob, labels, first)
    assert numpy.flatnonzero(runs.starts).tolist() == [start for start, _, _ in spans]
    assert (numpy.flatnonzero(runs.lasts) + 1).tolist() == [end for _, end, _ in spans]
    follows = ~first[1:]
    assert scheme.allowed.matrix[tags[:-1], tags[1:]][follows].all()
    assert (
        scheme.allowed.start[tags[first]].all()
        and scheme.allowed.end[tags[numpy.append(first[1:], True)[: len(first)]]].all()
    )
    for start, end, label in spans:
        assert scheme.span_mask(len(first), start, end, label)[numpy.arange(start, end), tags[start:end]].all()
