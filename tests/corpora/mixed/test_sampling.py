"""Shares against closed forms written out here; draws against their sums, and against independent draws."""

import random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.corpora.mixed.sampling import Draws, Rule, check_rule

SIZES = [9000, 900, 100]
N = 10_000
RULES = {
    "proportional": ({}, lambda t: [0.9, 0.09, 0.01]),
    "temperature": ({"temperature": 2.0}, lambda t: numpy.sqrt(SIZES)),
    "annealed": ({"anneal": 6000}, lambda t: numpy.power(SIZES, max(0.0, 1 - t / 6000))),
    "round_robin": ({}, lambda t: [1, 1, 1]),
    "weights": ({"weights": [2.0, 0.0, 6.0]}, lambda t: [1, 0, 3]),
}


def make(name, seed=0):
    settings, expected = RULES[name]
    return Draws(Rule(name, SIZES, **settings), random.Random(seed)), expected


@pytest.mark.parametrize("name", RULES)
def test_frequencies_are_the_rules(name):
    """Within 1% of the rule over 10,000 draws, as promised; within a few draws in fact, at all times."""
    draws, expected = make(name)
    found = numpy.zeros((N, 3))
    found[numpy.arange(N), [draws.next() for _ in range(N)]] = 1
    wanted = numpy.array([numpy.divide(expected(t), numpy.sum(expected(t))) for t in range(N)])
    numpy.testing.assert_allclose(found.mean(0), wanted.mean(0), atol=0.01)
    assert abs(found.cumsum(0) - wanted.cumsum(0)).max() < 3
    assert (found.sum(0) > 0).tolist() == (wanted.sum(0) > 0).tolist()


@pytest.mark.parametrize(("temperature", "expected"), [(0.01, [1, 0, 0]), (1e-9, [1, 0, 0]), (1e9, [1 / 3] * 3)])
def test_any_temperature_has_shares(temperature, expected):
    """Powers of sizes may be no numbers; their shares are."""
    shares = Rule("temperature", SIZES, temperature=temperature).shares(0)
    assert shares == pytest.approx(expected, abs=1e-6)
    close = Rule("temperature", [10**6, 10**6 - 1], temperature=1e-3).shares(0)
    assert close[1] / close[0] == pytest.approx(numpy.exp(1000 * numpy.log1p(-1e-6)))


@st.composite
def rules(draw):
    """Any rule over one to six corpora, with what it needs."""
    name = draw(st.sampled_from(list(RULES)))
    sizes = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
    given_weights = st.lists(st.floats(0.0, 1e3), min_size=len(sizes), max_size=len(sizes)).filter(any)
    options = {
        "temperature": {"temperature": draw(st.floats(0.01, 1e3))},
        "annealed": {"anneal": draw(st.integers(1, 500))},
        "weights": {"weights": draw(given_weights)},
    }
    return Rule(name, sizes, **options.get(name, {}))


@settings(max_examples=150, deadline=None)
@given(rules(), st.integers(0, 10**6))
def test_shares_are_never_negative_and_sum_to_one(rule, n_draws):
    shares = rule.shares(n_draws)
    assert sum(shares) == pytest.approx(1.0) and all(0.0 <= share <= 1.0 for share in shares)


@settings(max_examples=100, deadline=None)
@given(rules(), st.integers(1, 300), st.integers(0, 10**6))
def test_counts_keep_to_the_shares_at_all_times(rule, n_draws, seed):
    """Each corpus has less than one draw too many, so that none lacks more than the number of the others."""
    draws = Draws(rule, random.Random(seed))
    due = numpy.zeros(len(rule.shares(0)))
    counts = numpy.zeros_like(due)
    for t in range(n_draws):
        shares = numpy.array(rule.shares(t))
        due += shares
        counts[draws.next()] += 1
        assert (counts - due).max() < 1.0 + 1e-6
        assert (due - counts).max() <= len(due) - 1 + 1e-6
    assert not counts[due == 0.0].any()


@settings(max_examples=50, deadline=None)
@given(rules(), st.integers(0, 10**6))
def test_a_seed_decides_all_draws(rule, seed):
    one, same = (Draws(rule, random.Random(seed)) for _ in range(2))
    assert [one.next() for _ in range(100)] == [same.next() for _ in range(100)]


def test_independent_draws_would_stray():
    found = random.Random(0).choices(range(3), [0.9, 0.09, 0.01], k=N)
    assert abs(numpy.cumsum(numpy.equal(found, 0) - 0.9)).max() > 20


def test_annealed_begins_proportional_and_ends_equal():
    draws, _ = make("annealed")
    found = [draws.next() for _ in range(N)]
    assert numpy.bincount(found[:100], minlength=3)[0] >= 85
    assert numpy.bincount(found[-3000:], minlength=3).tolist() == pytest.approx([1000] * 3, abs=5)


def test_round_robin_is_a_circle_and_the_others_are_random():
    draws, _ = make("round_robin")
    assert [draws.next() for _ in range(300)] == [0, 1, 2] * 100
    one, same, other = (make("temperature", seed)[0] for seed in (0, 0, 1))
    found = [[draws.next() for _ in range(200)] for draws in (one, same, other)]
    assert found[0] == found[1] != found[2]
    # No order within a period: after one corpus any may come.
    assert len({tuple(found[0][i : i + 2]) for i in range(199)}) >= 7


def test_draws_that_were_made_otherwise_are_made_up_for():
    draws, _ = make("temperature")
    for _ in range(70):
        draws.count(2)
    found = [2] * 70 + [draws.next() for _ in range(1430)]
    wanted = numpy.sqrt(SIZES) / numpy.sqrt(SIZES).sum() * 1500
    numpy.testing.assert_allclose(numpy.bincount(found), wanted, atol=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "weights", "weights": {"a": 1.0, "b": -1.0}}, "T516.*b = -1"),
        ({"sampling": "weights", "weights": {"a": 0.0, "b": 0.0}}, "T516.*all = 0"),
        ({"sampling": "weights", "weights": {"a": float("nan"), "b": 1.0}}, "T516.*a = nan"),
        ({"sampling": "weights", "weights": {"a": 1.0}}, "T517.*'a'.*'b'"),
        ({"sampling": "weights", "weights": {"a": 1.0, "b": 1.0, "bb": 1.0}}, r"T517.*\['b'\]"),
        ({"sampling": "weights"}, "T518.*weights"),
        ({"sampling": "proportional", "weights": {"a": 1.0, "b": 1.0}}, "T518.*weights"),
        ({"sampling": "temperature", "temperature": 0.0}, "T518.*temperature = 0"),
        ({"sampling": "annealed"}, "T518.*anneal = 0"),
        ({"sampling": None, "anneal": 5}, "T518.*anneal = 5"),
    ],
)
def test_errors(settings, message):
    given = {"temperature": 1.0, "anneal": 0, "weights": None, **settings}
    with pytest.raises(ValueError, match=message):
        check_rule(names=["a", "b"], **given)
