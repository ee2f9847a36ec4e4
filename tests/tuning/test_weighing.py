"""The rules against their closed forms and fixed points."""

import json
import math

import numpy
import pytest

from spacy_transfer.tuning.weighing import Seen, build_task_weights_v1, start


def rule(name, **settings):
    return start(build_task_weights_v1(rule=name, **settings))


def seen(**means):
    return {task: Seen(4.0 * mean, 4, 1.0) for task, mean in means.items()}


def test_fixed_weights_stay():
    weights = rule("fixed", weights={"a": 2.0, "b": 0.0})
    weights.learn(seen(a=5.0, b=1.0))
    assert [weights.of(task) for task in "abc"] == [2.0, 0.0, 1.0]


def test_uncertainty_settles_at_one_over_the_loss():
    """Where d/ds (exp(-s) L + s) = 0."""
    weights = rule("uncertainty", weights={"b": 3.0})
    for _ in range(2000):
        weights.learn(seen(a=5.0, b=0.25))
    assert weights.of("a") == pytest.approx(0.2, rel=1e-3)
    assert weights.of("b") == pytest.approx(3.0 * 4.0, rel=1e-3)
    assert weights.of("c") == 1.0


def test_a_step_of_uncertainty_is_gradient_descent():
    weights, h = rule("uncertainty", rate=0.1), 1e-6

    def objective(s):
        return math.exp(-s) * 1.5 + s

    weights.learn(seen(a=1.5))
    assert math.log(weights.of("a")) == pytest.approx(0.1 * (objective(h) - objective(-h)) / (2 * h), abs=1e-8)
    weights = rule("uncertainty", rate=0.1)
    weights.learn(seen(a=1e9))
    assert math.log(weights.of("a")) == pytest.approx(-0.1)  # no longer than the rate


def test_uncertainty_is_bounded():
    weights = rule("uncertainty", rate=1.0)
    for _ in range(50):
        weights.learn(seen(a=0.0, b=1e9))
    assert weights.of("a") == pytest.approx(100.0) and weights.of("b") == pytest.approx(0.01)


def test_weight_averaging_is_a_softmax_of_ratios():
    weights = rule("dwa", window=2, temperature=2.0)
    losses = {"a": [4.0, 2.0, 1.0, 2.0, 1.0, 0.0], "b": [1.0, 3.0, 2.0, 2.0, 4.0, 2.0]}
    factors = []
    for a, b in zip(losses["a"], losses["b"], strict=True):
        factors.append((weights.of("a"), weights.of("b")))
        weights.learn(seen(a=a, b=b))
    factors.append((weights.of("a"), weights.of("b")))
    assert factors[:4] == [(1.0, 1.0)] * 4
    for step, ratios in ((4, (1.5 / 3.0, 2.0 / 2.0)), (6, (0.5 / 1.5, 3.0 / 2.0))):
        shares = numpy.exp(numpy.array(ratios) / 2.0)
        numpy.testing.assert_allclose(factors[step], 2 * shares / shares.sum())
    assert factors[5] == factors[4]


def test_weight_averaging_counts_examples():
    """A window's loss is that per example: batches of other sizes make no difference."""
    one, two = rule("dwa", window=2), rule("dwa", window=2)
    for batches in ([(8.0, 4), (2.0, 1)], [(3.0, 3), (1.0, 1)]):
        for loss, count in batches:
            one.learn({"a": Seen(loss, count, 1.0), "b": Seen(1.0, 1, 1.0)})
            two.learn({"a": Seen(batches[0][0] / batches[0][1], 1, 1.0), "b": Seen(1.0, 1, 1.0)})
    assert one.of("a") == pytest.approx(two.of("a")) and one.of("a") < 1.0 < one.of("b")


def test_weight_averaging_starves_nobody():
    """A loss near 0 that comes back is hundreds of times what it was: the softmax of that would leave the others no
    weight for a whole window. They keep a hundredth, and then all are made to add up again."""
    weights = rule("dwa", window=1)
    weights.learn(seen(a=1.0, b=2.0, c=1e-4))
    weights.learn(seen(a=0.9, b=1.9, c=2e-2))
    factors = numpy.array([0.01, 0.01, 3.0]) * 3 / 3.02
    numpy.testing.assert_allclose([weights.of(task) for task in "abc"], factors)
    weights.learn(seen(a=0.9, b=1.9, c=2e-2))
    numpy.testing.assert_allclose([weights.of(task) for task in "abc"], 1.0)


def test_weight_averaging_without_a_task():
    """Nothing is made of a task that never came, nor of losses that are 0."""
    weights = rule("dwa", window=1)
    for a in (1.0, 0.5, 0.0, 0.0):
        weights.learn(seen(a=a))
        assert weights.of("a") == pytest.approx(1.0)
    assert weights.of("b") == 1.0


def test_gradnorm_makes_norms_alike():
    """With alpha = 0, and losses that fall alike: weight * norm is the same for all, and weights add up."""
    weights, norms = rule("gradnorm", alpha=0.0, rate=0.002), {"a": 6.0, "b": 1.0, "c": 3.0}
    for _ in range(3000):
        weights.learn({t: Seen(1.0, 1, (weights.of(t) * norm) ** 2) for t, norm in norms.items()})
    scaled = [weights.of(task) * norm for task, norm in norms.items()]
    numpy.testing.assert_allclose(scaled, numpy.mean(scaled), rtol=0.05)
    assert sum(map(weights.of, norms)) == pytest.approx(3.0)


def test_gradnorm_favours_slow_tasks():
    """Norms settle in the ratio of the relative losses to the power of alpha."""
    weights = rule("gradnorm", alpha=1.0, rate=0.001)
    weights.learn(seen(a=1.0, b=1.0))
    for _ in range(4000):
        weights.learn({"a": Seen(0.9, 1, weights.of("a") ** 2), "b": Seen(0.3, 1, weights.of("b") ** 2)})
    assert weights.of("a") / weights.of("b") == pytest.approx(3.0, rel=0.05)


def test_gradnorm_step_against_the_numeric_gradient():
    """Of sum |w_i |g_i| - mean * r_i^alpha|, the aim held fixed, and relative to the mean."""
    settings = {"alpha": 1.5, "rate": 0.01}
    norms, first, now = numpy.array([3.0, 1.0]), numpy.array([2.0, 4.0]), numpy.array([1.0, 3.0])
    weights = rule("gradnorm", **settings)
    weights.learn({t: Seen(loss, 1, 0.0) for t, loss in zip("ab", now, strict=True)})
    assert weights.factors == {}, "without a gradient there is nothing to learn from"
    weights.learn({t: Seen(loss, 1, 4.0) for t, loss in zip("ab", first, strict=True)})
    w = numpy.ones(2)
    assert [weights.of("a"), weights.of("b")] == list(w), "norms that are alike already"
    weights.learn({t: Seen(loss, 1, norm**2) for t, loss, norm in zip("ab", now, norms, strict=True)})
    speed = (now / first) / (now / first).mean()
    aim = norms.mean() * speed**1.5

    def loss(w):
        return numpy.abs(w * norms - aim).sum() / norms.mean()

    h = 1e-6 * numpy.eye(2)
    moved = w - 0.01 * numpy.array([(loss(w + d) - loss(w - d)) / 2e-6 for d in h])
    numpy.testing.assert_allclose([weights.of("a"), weights.of("b")], 2 * moved / moved.sum(), rtol=1e-6)


def test_gradnorm_with_one_task_a_batch():
    """Tasks that never meet count with what was last seen of them."""
    weights, norms = rule("gradnorm", alpha=0.0, rate=0.005), {"a": 4.0, "b": 1.0}
    for i in range(4000):
        task = "ab"[i % 2]
        weights.learn({task: Seen(1.0, 1, (weights.of(task) * norms[task]) ** 2)})
    assert weights.of("a") * 4.0 == pytest.approx(weights.of("b"), rel=0.1)


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("T661.*'b'", {"weights": {"a": 1.0, "b": -0.1}}),
        ("T661", {"weights": {"a": math.nan}}),
        ("T661", {"weights": {"a": math.inf}}),
        ("T663.*rate", {"rate": 0.0}),
        ("T663.*window", {"window": 0}),
        ("T663.*temperature", {"temperature": -1.0}),
        ("T663.*alpha", {"alpha": -0.1}),
    ],
)
def test_wrong_settings(code, settings):
    with pytest.raises(ValueError, match=code):
        build_task_weights_v1(**settings)


def test_all_zero():
    weights = rule("fixed", weights={"a": 0.0, "b": 0.0})
    with pytest.raises(ValueError, match="T662"):
        weights.check(["a", "b"])
    weights.check(["a", "b", "c"])


@pytest.mark.parametrize("name", ["uncertainty", "dwa", "gradnorm"])
@pytest.mark.parametrize("broken", [Seen(math.nan, 4, 1.0), Seen(math.inf, 4, 1.0), Seen(1.0, 4, math.inf)])
def test_a_loss_that_is_not_finite_changes_nothing(name, broken):
    """`min` and `max` would take a NaN for a bound; an infinite loss would stay in the means of a window."""
    plain, hit = (rule(name, **({"window": 2} if name == "dwa" else {})) for _ in range(2))
    for step in range(8):
        found = seen(a=2.0 / (step + 1), b=1.0)
        if step == 3:
            found.pop("a")
        plain.learn(found)
        hit.learn({**found, "a": broken} if step == 3 else found)
        assert hit.factors == plain.factors and all(map(math.isfinite, hit.factors.values()))


@pytest.mark.parametrize("rule", ["fixed", "uncertainty", "dwa", "gradnorm"])
def test_weights_go_on_where_they_were(rule):
    settings = build_task_weights_v1(rule=rule, window=2)
    whole, first, second = start(settings), start(settings), start(settings)
    steps = [{"a": Seen(4.0 / i, 2, 3.0 * i), "b": Seen(6.0, 1 + i, 1.0)} for i in range(1, 8)]
    for i, seen in enumerate(steps):
        whole.learn(seen)
        if i == 4:
            second.set_training_state(json.loads(json.dumps(first.training_state())))
        (first if i < 4 else second).learn(seen)
    assert second.factors == whole.factors and second.training_state() == whole.training_state()
