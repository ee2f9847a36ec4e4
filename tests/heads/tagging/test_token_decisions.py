"""Tags and entities as decisions, against enumeration of all sequences; temperatures that are known beforehand."""

from itertools import product

import numpy
import pytest
import torch

from spacy_transfer.heads.calibration import error_of, fit_temperature, mean_nll
from spacy_transfer.heads.tagging.crf import Transitions, viterbi
from spacy_transfer.heads.tagging.schemes import Scheme
from spacy_transfer.heads.tagging.token_decisions import EntityDecisions, TagDecisions

SCHEMES = [Scheme(["A", "B"], kind) for kind in ("bio", "biluo")]


def random_transitions(rng, n_tags, size=1.0):
    return Transitions(*(rng.normal(size=shape) * size for shape in (n_tags, (n_tags, n_tags), n_tags)))


def all_sequences(logits, transitions):
    """Every sequence of tags with its exp-score."""
    n_tokens, n_tags = logits.shape
    for tags in product(range(n_tags), repeat=n_tokens):
        score = (
            sum(logits[i, tag] for i, tag in enumerate(tags)) + transitions.start[tags[0]] + transitions.end[tags[-1]]
        )
        yield tags, numpy.exp(score + sum(transitions.matrix[a, b] for a, b in zip(tags, tags[1:], strict=False)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_probabilities_of_tags(temperature):
    rng = numpy.random.default_rng(0)
    logits, tags, golds = rng.normal(size=(5, 3)) * 2, numpy.array([0, 2, 1, 1, 0]), numpy.array([0, 1, -1, 1, 2])
    lengths = numpy.array([3, 0, 2])
    found = TagDecisions(logits, lengths, None, tags, golds)
    expected = torch.softmax(torch.from_numpy(logits) / temperature, dim=1)
    numpy.testing.assert_allclose(found.scores(temperature), expected.numpy(), rtol=1e-9)
    known = torch.from_numpy(golds[golds >= 0])
    nll = torch.nn.functional.nll_loss(expected.log()[golds >= 0], known, reduction="sum")
    assert len(found) == 4 and found.nll(temperature) == pytest.approx(nll.item())
    scores, right = found.confidences(temperature)
    assert right.tolist() == [1, 0, 1, 0]
    assert scores == pytest.approx([expected[i, tags[i]].item() for i in (0, 1, 3, 4)])
    transitions = random_transitions(rng, 3)
    found = TagDecisions(logits, lengths, transitions, tags, golds).scores(temperature)
    for begin, end in ((0, 3), (3, 5)):
        marginals, total = numpy.zeros((end - begin, 3)), 0.0
        scaled = transitions.map(lambda part: part / temperature)
        for sequence, weight in all_sequences(logits[begin:end] / temperature, scaled):
            total += weight
            marginals[numpy.arange(end - begin), sequence] += weight
        numpy.testing.assert_allclose(found[begin:end], marginals / total, rtol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_probabilities_of_entities(scheme, temperature):
    rng = numpy.random.default_rng(1)
    logits, first = rng.normal(size=(4, len(scheme.tags))) * 2, numpy.arange(4) == 0
    transitions = random_transitions(rng, len(scheme.tags)).where(scheme.allowed)
    lengths = numpy.array([4])
    tags = viterbi(logits, lengths, transitions)
    starts, ends, labels = scheme.entities(tags, first)
    assert len(starts)
    found = EntityDecisions(logits, lengths, transitions, starts, ends, tags[tags > 0], scheme.may_follow)
    total, wanted = 0.0, {span: 0.0 for span in zip(starts, ends, labels, strict=True)}
    scaled = transitions.map(lambda part: part / temperature)
    for sequence, weight in all_sequences(logits / temperature, scaled):
        if weight:
            total += weight
            for span in zip(*scheme.entities(numpy.array(sequence), first), strict=True):
                wanted[span] = wanted.get(span, 0.0) + weight
    expected = [wanted[span] / total for span in zip(starts, ends, labels, strict=True)]
    numpy.testing.assert_allclose(found.scores(temperature), expected, rtol=1e-9)
    # The best sequence is the best at any temperature.
    assert (viterbi(logits / temperature, lengths, scaled) == tags).all()


def sampled(scheme, truth, seed, n_docs=250, length=4):
    """Docs whose tags are drawn from a CRF, and a head that is surer of them, by the factor `truth`."""
    rng = numpy.random.default_rng(seed)
    between = random_transitions(rng, len(scheme.tags), 0.5).where(scheme.allowed)
    logits = rng.normal(size=(n_docs, length, len(scheme.tags))) * 1.5
    sequences = numpy.array(list(product(range(len(scheme.tags)), repeat=length)))
    paths = between.start[sequences[:, 0]] + between.end[sequences[:, -1]]
    paths += sum(between.matrix[sequences[:, i], sequences[:, i + 1]] for i in range(length - 1))
    sequences, paths = sequences[numpy.isfinite(paths)], paths[numpy.isfinite(paths)]
    golds = []
    for doc in logits:
        weights = numpy.exp(paths + sum(doc[i, sequences[:, i]] for i in range(length)))
        golds.append(sequences[rng.choice(len(sequences), p=weights / weights.sum())])
    return (
        logits.reshape(-1, len(scheme.tags)) * truth,
        between.map(lambda part: part * truth),
        numpy.concatenate(golds),
    )


def entity_decisions(scheme, logits, between, golds, length=4):
    lengths = numpy.full(len(logits) // length, length)
    first = numpy.arange(len(logits)) % length == 0
    tags = viterbi(logits, lengths, between)
    starts, ends, labels = scheme.entities(tags, first)
    true = set(zip(*scheme.entities(golds, first), strict=True))
    right = numpy.array([float(span in true) for span in zip(starts, ends, labels, strict=True)])
    right[0] = numpy.nan  # Of one nobody knows.
    return EntityDecisions(logits, lengths, between, starts, ends, tags[tags > 0], scheme.may_follow, right)


@pytest.mark.parametrize("truth", [0.4, 3.0])
def test_a_known_temperature_is_found_from_entities(truth):
    scheme = SCHEMES[0]
    found = entity_decisions(scheme, *sampled(scheme, truth, 0))
    assert len(found) == len(found.starts) - 1 > 200 and 0.2 < numpy.nanmean(found.right) < 0.9
    best = fit_temperature([found])
    assert best == pytest.approx(truth, rel=0.15)
    grid = numpy.exp(numpy.linspace(-3, 3, 61))
    assert mean_nll([found], best) <= min(mean_nll([found], t) for t in grid) + 1e-6
    other = entity_decisions(scheme, *sampled(scheme, truth, 0, n_docs=251))
    assert error_of([other], best) < 0.5 * error_of([other], 1.0)
    known = numpy.isfinite(found.right)
    scores = torch.from_numpy(found.scores(2.0)[known])
    expected = torch.nn.functional.binary_cross_entropy(scores, torch.from_numpy(found.right[known]), reduction="sum")
    assert found.nll(2.0) == pytest.approx(expected.item())


@pytest.mark.parametrize("has_transitions", [True, False])
def test_a_known_temperature_is_found_from_tags(has_transitions):
    scheme = SCHEMES[0]
    logits, between, golds = sampled(scheme, 2.0, 1)
    lengths = numpy.full(len(logits) // 4, 4)
    if not has_transitions:
        rng, weights = numpy.random.default_rng(2), numpy.exp(logits / 2.0)
        golds = numpy.array([rng.choice(len(row), p=row / row.sum()) for row in weights])
        tags, between = logits.argmax(axis=1), None
    else:
        tags = viterbi(logits, lengths, between)
    found = TagDecisions(logits, lengths, between, tags, golds)
    best = fit_temperature([found])
    assert best == pytest.approx(2.0, rel=0.1)
    assert error_of([found], best) < 0.5 * error_of([found], 1.0)


def test_extremes_and_nothing():
    scheme = SCHEMES[0]
    found = entity_decisions(scheme, *sampled(scheme, 50.0, 3, n_docs=40))
    assert all(numpy.isfinite(found.nll(t)) for t in (0.02, 1.0, 50.0))
    found = entity_decisions(scheme, *sampled(scheme, 1.0, 3, n_docs=40))
    found.right[:] = 1.0
    assert fit_temperature([found]) is None  # All right: the colder, the better.
    none = numpy.zeros(0, dtype="int64")
    allowed = scheme.allowed.map(lambda part: part.astype("d"))
    empty = EntityDecisions(numpy.zeros((0, 5)), none, allowed, none, none, none, scheme.may_follow, numpy.zeros(0))
    assert len(empty) == 0 and empty.nll(1.0) == 0.0 and len(empty.confidences(1.0)[0]) == 0
    tags = TagDecisions(numpy.zeros((0, 3)), none, None, none, none)
    assert len(tags) == 0 and tags.nll(1.0) == 0.0
