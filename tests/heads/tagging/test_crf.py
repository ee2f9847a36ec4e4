"""The CRF against enumeration of every sequence, and against finite differences; float64.

Guards also: log_chain.py.
"""

import tracemalloc
from itertools import pairwise, product
from unittest import mock

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.heads.soft_losses import soft_crf_loss
from spacy_transfer.heads.tagging.crf import Chain, Transitions, crf_loss, softmax_loss, unlikelihood_loss, viterbi
from spacy_transfer.heads.tagging.schemes import Scheme

LENGTHS = numpy.array([3, 0, 1, 4, 2, 3])
KINDS = ["free", "bio", "biluo"]


def case(kind, seed=0):
    """Scores, transitions with the kind's constraints, and what is known of each token (something, nothing, all)."""
    rng = numpy.random.default_rng(seed)
    scheme = None if kind == "free" else Scheme(["X", "Y"] if kind == "bio" else ["X"], kind)
    n_tags = 3 if scheme is None else len(scheme.tags)
    scores = rng.normal(size=(LENGTHS.sum(), n_tags))
    transitions = Transitions(rng.normal(size=n_tags), rng.normal(size=(n_tags, n_tags)), rng.normal(size=n_tags))
    if scheme is not None:
        transitions = transitions.where(scheme.allowed)
    known = rng.random(scores.shape) < 0.6
    known[:, 0] = True
    known[1] = True
    return scheme, scores, transitions, known


def every(scores, transitions, mask=None):
    """Each sequence of tags of one doc, and its score."""
    n, k = scores.shape
    for tags in product(range(k), repeat=n):
        total = sum(scores[i, tag] for i, tag in enumerate(tags))
        total += sum(transitions.matrix[a, b] for a, b in zip(tags, tags[1:], strict=False))
        total += transitions.start[tags[0]] + transitions.end[tags[-1]] if n else 0.0
        if mask is None or all(mask[i, tag] for i, tag in enumerate(tags)):
            yield tags, total


def docs(*arrays):
    ends = numpy.cumsum(LENGTHS)
    return [[array[end - n : end] for array in arrays] for end, n in zip(ends, LENGTHS, strict=True)]


def log_sum(scores):
    return numpy.logaddexp.reduce(numpy.array(list(scores), dtype="d"), initial=-numpy.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_log_z_and_likelihoods(kind):
    _, scores, transitions, known = case(kind)
    log_z = Chain(scores, LENGTHS, transitions).log_z
    expected = [log_sum(s for _, s in every(part, transitions)) for (part,) in docs(scores)]
    numpy.testing.assert_allclose(log_z, expected, atol=1e-9)
    loss, _, _ = crf_loss(scores, LENGTHS, transitions, known)
    partial = [log_sum(s for _, s in every(part, transitions, mask)) for part, mask in docs(scores, known)]
    assert loss == pytest.approx(sum(expected) - sum(partial), abs=1e-9)
    single = numpy.zeros_like(known)
    best = viterbi(scores, LENGTHS, transitions)
    single[numpy.arange(len(best)), best] = True
    loss, _, _ = crf_loss(scores, LENGTHS, transitions, single)
    path = [max(s for _, s in every(part, transitions)) for (part,) in docs(scores)]
    assert loss == pytest.approx(sum(expected) - sum(path), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_token_marginals(kind):
    _, scores, transitions, _ = case(kind)
    marginals = Chain(scores, LENGTHS, transitions).marginals
    for part, found in docs(scores, marginals):
        total = log_sum(s for _, s in every(part, transitions))
        expected = numpy.zeros_like(part)
        for tags, score in every(part, transitions):
            expected[numpy.arange(len(part)), list(tags)] += numpy.exp(score - total)
        numpy.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["bio", "biluo"])
def test_span_marginals(kind):
    """Of every span and label: the summed probability of the sequences whose entities have it."""
    scheme, scores, transitions, _ = case(kind)
    chain, begin = Chain(scores, LENGTHS, transitions), 0
    asked, expected = [], []
    for (part,) in docs(scores):
        total, found = log_sum(s for _, s in every(part, transitions)), {}
        first = numpy.arange(len(part)) == 0
        for tags, score in every(part, transitions):
            if not numpy.isfinite(score):
                continue
            for start, end, label in zip(*scheme.entities(numpy.array(tags, dtype=int), first), strict=True):
                found[start, end, label] = found.get((start, end, label), 0.0) + numpy.exp(score - total)
        for start, end in ((a, b) for b in range(len(part) + 1) for a in range(b)):
            for label in range(len(scheme.tags) // len(scheme.parts)):
                asked.append((begin + start, begin + end, label))
                expected.append(found.get((start, end, label), 0.0))
        begin += len(part)
    starts, ends, labels = (numpy.array(column) for column in zip(*asked, strict=True))
    tags = []
    for start, end, label in asked:
        at = numpy.arange(start, end)
        tags.append(scheme.entity_tags(numpy.full(end - start, label), at == start, at == end - 1))
    found = chain.span_marginals(starts, ends, numpy.concatenate(tags), scheme.may_follow)
    assert max(expected) > 0.1 and len(labels) > 20
    numpy.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_viterbi_is_exhaustive_search(kind, dtype):
    for seed in range(5):
        _, scores, transitions, known = case(kind, seed)
        masked = numpy.where(known, scores, -numpy.inf).astype(dtype)
        for some in (scores.astype(dtype), masked):
            found = viterbi(some, LENGTHS, transitions)
            for part, tags in docs(some, found):
                best, _ = max(every(part, transitions), key=lambda pair: pair[1])
                assert tuple(tags) == best


def differences(loss_of, given):
    """Gradient of a loss by central differences, -inf left alone."""
    gradient = numpy.zeros_like(given)
    for place in numpy.ndindex(given.shape):
        if numpy.isfinite(given[place]):
            ends, kept = [], given[place]
            for sign in (1, -1):
                given[place] = kept + sign * 1e-5
                ends.append(loss_of())
            given[place] = kept
            gradient[place] = (ends[0] - ends[1]) / 2e-5
    return gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [crf_loss, unlikelihood_loss])
def test_gradients(kind, loss):
    _, scores, transitions, known = case(kind)
    if loss is unlikelihood_loss:
        known[numpy.cumsum(LENGTHS) - 1] = [True] + [False] * (scores.shape[1] - 1)
    _, d_scores, d_transitions = loss(scores, LENGTHS, transitions, known)

    def value():
        return loss(scores, LENGTHS, transitions, known)[0]

    if loss is unlikelihood_loss:  # A doc of no tokens always agrees: it adds a constant.
        keep = LENGTHS > 0
        value = lambda: loss(scores, LENGTHS[keep], transitions, known)[0]  # noqa: E731
    numpy.testing.assert_allclose(d_scores, differences(value, scores), atol=1e-6)
    for name in ("start", "matrix", "end"):
        expected = differences(value, getattr(transitions, name))
        numpy.testing.assert_allclose(getattr(d_transitions, name), expected, atol=1e-6)


def test_unlikelihood_is_that_of_enumeration():
    _, scores, transitions, known = case("bio")
    keep = LENGTHS > 0
    loss, _, _ = unlikelihood_loss(scores, LENGTHS[keep], transitions, known)
    expected = 0.0
    for part, mask in docs(scores, known):
        if len(part):
            total = log_sum(s for _, s in every(part, transitions))
            expected -= numpy.log1p(-numpy.exp(log_sum(s for _, s in every(part, transitions, mask)) - total))
    assert loss == pytest.approx(expected, abs=1e-9)


def test_gradients_of_parts_add_up():
    _, scores, transitions, known = case("bio")
    loss, d_scores, d_transitions = crf_loss(scores, LENGTHS, transitions, known)
    parts = [crf_loss(part, [len(part)], transitions, mask) for part, mask in docs(scores, known) if len(part)]
    assert loss == pytest.approx(sum(part[0] for part in parts))
    numpy.testing.assert_allclose(d_scores, numpy.concatenate([part[1] for part in parts]), atol=1e-12)
    numpy.testing.assert_allclose(d_transitions.matrix, sum(part[2].matrix for part in parts), atol=1e-12)


def test_nothing_known_teaches_nothing_and_the_impossible_is_left_out():
    scheme, scores, transitions, known = case("bio")
    known[:] = True
    loss, d_scores, d_transitions = crf_loss(scores, LENGTHS, transitions, known)
    assert loss == pytest.approx(0, abs=1e-12) and abs(d_scores).max() < 1e-12
    assert abs(d_transitions.matrix).max() < 1e-12
    known[0] = scheme.part == "I"  # The first token of a doc.
    loss, d_scores, _ = crf_loss(scores, LENGTHS, transitions, known)
    assert loss == pytest.approx(0, abs=1e-12) and abs(d_scores).max() < 1e-12


def test_no_tokens():
    transitions = Transitions(numpy.zeros(2), numpy.zeros((2, 2)), numpy.zeros(2))
    for lengths in ([], [0, 0]):
        loss, d_scores, d = crf_loss(numpy.zeros((0, 2)), numpy.array(lengths, "i"), transitions, numpy.zeros((0, 2)))
        assert loss == 0 and d_scores.shape == (0, 2) and not d.matrix.any()
        assert viterbi(numpy.zeros((0, 2)), numpy.array(lengths, "i"), transitions).shape == (0,)


def test_long_texts_and_large_scores():
    """Scores that overflow exp, over thousands of tokens, against log-sum-exp step by step."""
    rng = numpy.random.default_rng(1)
    scores = 300 * rng.normal(size=(3000, 3))
    transitions = Transitions(*(100 * rng.normal(size=shape) for shape in (3, (3, 3), 3)))
    reached = transitions.start + scores[0]
    for row in scores[1:]:
        reached = numpy.logaddexp.reduce(reached[:, None] + transitions.matrix, axis=0) + row
    chain = Chain(scores, [3000], transitions)
    assert chain.log_z[0] == pytest.approx(numpy.logaddexp.reduce(reached + transitions.end), rel=1e-9)
    numpy.testing.assert_allclose(chain.marginals.sum(axis=1), 1, atol=1e-9)


def test_softmax_loss():
    rng = numpy.random.default_rng(0)
    scores, known = rng.normal(size=(5, 4)), rng.random((5, 4)) < 0.5
    known[:, 1], known[2] = True, True
    loss, gradient = softmax_loss(scores, known)
    probabilities = numpy.exp(scores) / numpy.exp(scores).sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-sum(numpy.log(p[k].sum()) for p, k in zip(probabilities, known, strict=True)))
    numpy.testing.assert_allclose(gradient, differences(lambda: softmax_loss(scores, known)[0], scores), atol=1e-6)
    assert abs(gradient[2]).max() < 1e-12


def tokens_of(kind, scale, seed=0):
    scheme, scores, transitions, known = case(kind, seed)
    return scheme, scores * scale, transitions.map(lambda part: part * scale), known


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [30.0, 400.0, 1e4])
def test_sums_of_scores_that_lie_far_apart(kind, scale):
    """As at a temperature of 0.02 and below: the exponentials of most are 0 in a float."""
    _, scores, transitions, known = tokens_of(kind, scale)
    chain = Chain(scores, LENGTHS, transitions)
    wanted, between = numpy.zeros_like(scores), numpy.zeros_like(transitions.matrix)
    sums, begin = [], 0
    for (part,) in docs(scores):
        sums.append(log_sum(s for _, s in every(part, transitions)))
        for tags, score in every(part, transitions):
            chance = numpy.exp(score - sums[-1])
            wanted[numpy.arange(begin, begin + len(part)), list(tags)] += chance
            for pair in zip(tags, tags[1:], strict=False):
                between[pair] += chance
        begin += len(part)
    numpy.testing.assert_allclose(chain.log_z, sums, rtol=1e-12)
    numpy.testing.assert_allclose(chain.marginals, wanted, atol=1e-9)
    expected, d_transitions = chain.expected(numpy.ones(len(LENGTHS)))
    numpy.testing.assert_allclose(expected, wanted, atol=1e-9)
    numpy.testing.assert_allclose(d_transitions.matrix, between, atol=1e-9)
    loss, d_scores, _ = crf_loss(scores, LENGTHS, transitions, known)
    assert numpy.isfinite(loss) and numpy.isfinite(d_scores).all()


@pytest.mark.parametrize("kind", ["bio", "biluo"])
@pytest.mark.parametrize("scale", [1.0, 400.0])
def test_both_ways_of_summing_agree_on_spans(kind, scale, monkeypatch):
    """A cold distribution is that of the best sequence alone; and at 1 logs give what scaled probabilities give."""
    scheme, scores, transitions, _ = tokens_of(kind, scale)
    tags, first = viterbi(scores, LENGTHS, transitions), numpy.zeros(len(scores), dtype=bool)
    first[(numpy.cumsum(LENGTHS) - LENGTHS)[LENGTHS > 0]] = True
    starts, ends, _ = scheme.entities(tags, first)
    given = (starts, ends, tags[tags > 0], scheme.may_follow)
    plain = Chain(scores, LENGTHS, transitions).span_marginals(*given)
    monkeypatch.setattr("spacy_transfer.heads.tagging.crf._WIDEST", -1.0)
    as_logs = Chain(scores, LENGTHS, transitions)
    numpy.testing.assert_allclose(as_logs.span_marginals(*given), plain, atol=1e-12)
    assert len(plain) > 2 and (scale == 1.0 or plain.min() > 0.99)


def test_a_way_that_is_nearly_lost_comes_back():
    """After two tokens one tag has 1e-400 of the other's probability; but only it may stand at the last token."""
    scores = numpy.array([[0.0, -460.0], [0.0, -460.0], [-numpy.inf, 0.0]])
    transitions = Transitions(numpy.zeros(2), numpy.array([[0.0, -numpy.inf], [-numpy.inf, 0.0]]), numpy.zeros(2))
    chain = Chain(scores, numpy.array([3]), transitions)
    assert chain.log_z == pytest.approx(-920.0)
    numpy.testing.assert_allclose(chain.marginals, [[0, 1]] * 3)


@st.composite
def chains(draw):
    """A few sequences, with whole numbers as scores, so that many sequences of tags are equally good."""
    n_tags, lengths = draw(st.integers(1, 4)), draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    rng = numpy.random.default_rng(draw(st.integers(0, 10**6)))
    whole = draw(st.booleans())

    def numbers(*shape):
        return rng.integers(-2, 3, shape) if whole else rng.normal(size=shape)

    dtype = draw(st.sampled_from("fd"))
    scores, matrix = numbers(sum(lengths), n_tags).astype(dtype), numbers(n_tags, n_tags)
    return scores, numpy.array(lengths), Transitions(numbers(n_tags), matrix, numbers(n_tags))


def best_of(scores, lengths, transitions):
    """The best tags by enumeration. Of several: the first tag at the last token, then at the one before, and so on."""
    found, begin = [], 0
    for n in lengths:
        ways = list(every(scores[begin : begin + n].astype("d"), transitions))
        most = max(score for _, score in ways)
        found += min((tags for tags, score in ways if score >= most - 1e-5), key=lambda tags: tags[::-1])
        begin += n
    return found


@settings(max_examples=150, deadline=None)
@given(chains(), st.sampled_from([1, 2**16]))
def test_viterbi_against_enumeration(chain, room):
    """Ties included, whether the tags before are looked at together or one after the other."""
    with mock.patch("spacy_transfer.heads.tagging.log_chain._ROOM", room):
        assert viterbi(*chain).tolist() == best_of(*chain)


@settings(max_examples=100, deadline=None)
@given(chains(), st.sampled_from([0.1, 1.0, 300.0]))
def test_sums_against_enumeration(chain, scale):
    scores, lengths, transitions = chain
    scores, transitions = scores.astype("d") * scale, transitions.map(lambda part: part * scale)
    ends = numpy.cumsum(lengths)
    wanted = [log_sum(s for _, s in every(scores[e - n : e], transitions)) for e, n in zip(ends, lengths, strict=True)]
    found = Chain(scores, lengths, transitions)
    numpy.testing.assert_allclose(found.log_z, wanted, rtol=1e-9, atol=1e-9)
    tokens, pairs = numpy.zeros_like(scores), numpy.zeros_like(transitions.matrix)
    for begin, n, total in zip(ends - lengths, lengths, wanted, strict=True):
        for tags, score in every(scores[begin : begin + n], transitions):
            tokens[begin + numpy.arange(n), list(tags)] += numpy.exp(score - total)
            for pair in pairwise(tags):
                pairs[pair] += numpy.exp(score - total)
    numpy.testing.assert_allclose(found.marginals, tokens, atol=1e-9)
    numpy.testing.assert_allclose(found.expected(numpy.ones(len(lengths)))[1].matrix, pairs, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(chains(), st.integers(0, 10**6))
def test_losses_against_enumeration(chain, seed):
    """Of tags of which something is known: all sequences that agree; none may."""
    scores, lengths, transitions = chain
    scores, transitions = scores.astype("d"), transitions.map(lambda part: part.astype("d"))
    ends = numpy.cumsum(lengths)
    known = numpy.random.default_rng(seed).random(scores.shape) < 0.5
    wanted = 0.0
    for end, n in zip(ends, lengths, strict=True):
        part, mask = scores[end - n : end], known[end - n : end]
        agreeing = log_sum(s for _, s in every(part, transitions, mask))
        wanted += 0.0 if numpy.isneginf(agreeing) else log_sum(s for _, s in every(part, transitions)) - agreeing
    loss, d_scores, _ = crf_loss(scores, lengths, transitions, known)
    assert loss == pytest.approx(wanted, abs=1e-9)
    numpy.testing.assert_allclose(d_scores.sum(axis=1), 0.0, atol=1e-9)


def test_memory_does_not_grow_with_sequences_times_tags_squared():
    n_tags, n_sequences = 400, 40
    rng, lengths = numpy.random.default_rng(0), numpy.full(n_sequences, 5)
    scores = rng.normal(size=(lengths.sum(), n_tags)).astype("f")
    transitions = Transitions(*(rng.normal(size=size) for size in (n_tags, (n_tags, n_tags), n_tags)))
    tracemalloc.start()
    viterbi(scores, lengths, transitions)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * 4 * n_tags**2 + 4 * scores.nbytes < n_sequences * 4 * n_tags**2 / 4


def test_a_nan_is_seen_in_the_loss():
    """What cannot be is left out; what is no number is not."""
    _, scores, transitions, known = case("bio")
    scores[4] = numpy.nan
    assert numpy.isnan(crf_loss(scores, LENGTHS, transitions, known)[0])
    assert numpy.isnan(soft_crf_loss(scores, LENGTHS, transitions, scores, transitions, 2.0, numpy.ones(6))[0])


@pytest.mark.parametrize("labels", [1, 3, 6, 40])
def test_tags_that_few_may_precede_get_the_best_of_all_before_them(labels):
    """BIO: a plain loop over tokens and pairs of tags finds the same."""
    rng, n = numpy.random.default_rng(1), 2 * labels + 1
    start, matrix, end = (rng.normal(size=shape).astype("f") for shape in ((n,), (n, n), (n,)))
    inner = numpy.arange(2, n, 2)
    kept = matrix[inner - 1, inner], matrix[inner, inner]
    matrix[:, inner] = -numpy.inf
    matrix[inner - 1, inner], matrix[inner, inner] = kept
    start[inner] = -numpy.inf
    lengths = numpy.array([3, 0, 7, 1, 7])
    scores = rng.normal(size=(int(lengths.sum()), n)).astype("f")
    found = viterbi(scores, lengths, Transitions(start, matrix, end))
    for length, first in zip(lengths, numpy.cumsum(lengths) - lengths, strict=True):
        best, came_from = (scores[first] + start if length else scores[:0]), []
        for row in scores[first + 1 : first + length]:
            sums = best[:, None] + matrix
            came_from.append(sums.argmax(axis=0))
            best = sums.max(axis=0) + row
        tags = [int((best + end).argmax())] if length else []
        for pointers in reversed(came_from):
            tags.insert(0, int(pointers[tags[0]]))
        assert found[first : first + length].tolist() == tags
