"""The optimum of the output layer, against Newton's method on the losses as they are written in losses.py.

Guards also: optimum.py.
"""

from dataclasses import replace

import numpy
import pytest

from spacy_transfer.heads import maxent
from spacy_transfer.heads.losses import binary_cross_entropy, cross_entropy
from spacy_transfer.heads.maxent import N_FOLDS, rarest_labels, solve_maxent, stratified_folds, weigh

N, WIDTH, LABELS = 60, 5, 4


def make(exclusive, *, soft=False, n=N, width=WIDTH, noise=1.0, scale=1.0, seed=0):
    """States, targets and mask of a corpus in which labels go with directions."""
    rng = numpy.random.default_rng(seed)
    states = scale * (rng.normal(size=(n, width)) + 3.0)
    logits = (states / scale - 3.0) @ rng.normal(size=(width, LABELS)) + noise * rng.normal(size=(n, LABELS))
    if soft:
        shares = numpy.exp(logits) if exclusive else 1.0 / (1.0 + numpy.exp(-logits))
        truths = shares / shares.sum(axis=1, keepdims=True) if exclusive else shares
    elif exclusive:
        truths = numpy.eye(LABELS)[logits.argmax(axis=1)]
    else:
        truths = (logits > 0).astype(float)
    return states.astype("f"), truths.astype("f"), numpy.ones((n, LABELS), dtype="f")


def slow_loss(states, truths, mask, weights, amount, exclusive, strength, W, b):
    """The component's own loss with the prior, and its gradient."""
    logits = states.astype(float) @ W.T + b
    if exclusive:
        scores = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    else:
        scores = 1.0 / (1.0 + numpy.exp(-logits))
    loss_of = cross_entropy if exclusive else binary_cross_entropy
    loss, d_logits = loss_of(numpy, scores, truths.astype(float), mask, weights, amount)
    d_W = d_logits.T @ states + strength * W
    return loss + strength / 2 * (W**2).sum(), numpy.hstack([d_W, d_logits.sum(axis=0)[:, None]])


def newton(states, truths, mask, weights, amount, exclusive, strength):
    """Newton's method, its Hessian by differences of the gradient."""
    place = numpy.zeros(LABELS * (states.shape[1] + 1))

    def gradient(flat):
        full = flat.reshape(LABELS, -1)
        return slow_loss(states, truths, mask, weights, amount, exclusive, strength, full[:, :-1], full[:, -1])[1]

    for _ in range(50):
        now = gradient(place).ravel()
        columns = [(gradient(place + e) - gradient(place - e)).ravel() / 2e-4 for e in 1e-4 * numpy.eye(len(place))]
        step = numpy.linalg.lstsq(numpy.array(columns), now, rcond=1e-8)[0]
        place -= step / max(1.0, numpy.abs(step).max())
        if numpy.abs(step).max() < 1e-9:
            break
    full = place.reshape(LABELS, -1)
    return full[:, :-1], full[:, -1]


CASES = {
    "hard": {},
    "soft": {"soft": True},
    "smoothed": {"amount": 0.1},
    "weighted": {"weights": numpy.array([0.5, 1.0, 2.0, 4.0], dtype="f")},
    "masked": {"missing": True},
    "large states": {"scale": 100.0},
    "more columns than docs": {"n": 24, "width": 30},
}


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("case", sorted(CASES))
def test_the_optimum_is_newtons(case, exclusive):
    settings = dict(CASES[case])
    amount, weights, missing = settings.pop("amount", 0.0), settings.pop("weights", None), settings.pop("missing", 0)
    states, truths, mask = make(exclusive, **settings)
    if missing:
        mask[::3] = 0.0
        if not exclusive:
            mask[1::3, :2] = 0.0
    strength = 0.5 * settings.get("scale", 1.0) ** 2
    given = (truths, mask, weights, amount, exclusive)
    solution = solve_maxent(states, weigh(*given), strength)
    assert solution.strength == strength
    assert solution.accuracy is solution.log_likelihood is None
    _, gradient = slow_loss(states, *given, strength, solution.W, solution.b)
    _, at_zero = slow_loss(states, *given, strength, 0 * solution.W, 0 * solution.b)
    assert numpy.abs(gradient).max() < 1e-4 * numpy.abs(at_zero).max()
    W, b = newton(states, *given, strength)
    numpy.testing.assert_allclose(solution.W, W, atol=3e-4 * numpy.abs(W).max())
    if exclusive:
        b = b - b.mean()
    numpy.testing.assert_allclose(solution.b, b, atol=1e-3 * max(1.0, numpy.abs(b).max()))


def test_the_optimum_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    states, truths, mask = make(True)
    solution = solve_maxent(states, weigh(truths, mask, None, 0.0, True), 0.1)
    other = linear_model.LogisticRegression(C=10.0, tol=1e-8, max_iter=9999).fit(
        states.astype(float), truths.argmax(axis=1)
    )
    numpy.testing.assert_allclose(solution.W, other.coef_, atol=2e-3)


def test_docs_that_are_masked_change_nothing():
    states, truths, mask = make(True)
    mask[40:] = 0.0
    some = solve_maxent(states, weigh(truths, mask, None, 0.0, True))
    fewer = solve_maxent(states[:40], weigh(truths[:40], mask[:40], None, 0.0, True), some.strength)
    numpy.testing.assert_allclose(some.W, fewer.W, atol=1e-4)


def held_out_likelihood(states, truths, strength):
    """Leave one out: slow, and no fold decides."""
    total = 0.0
    for i in range(len(states)):
        rest = numpy.arange(len(states)) != i
        solution = solve_maxent(states[rest], weigh(truths[rest], 1 + 0 * truths[rest], None, 0.0, True), strength)
        logits = states[i] @ solution.W.T + solution.b
        total += logits[truths[i].argmax()] - numpy.log(numpy.exp(logits).sum())
    return total / len(states)


@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_cross_validation_finds_the_better_strength(noise):
    """The noisier the labels, the stronger the prior; and it is as good as what leaving one out says."""
    states, truths, mask = make(True, noise=noise, n=40)
    solution = solve_maxent(states, weigh(truths, mask, None, 0.0, True))
    ours = held_out_likelihood(states, truths, solution.strength)
    for factor in (1e-3, 1e3):
        assert held_out_likelihood(states, truths, solution.strength * factor) < ours
    assert solution.log_likelihood == pytest.approx(ours, abs=0.25)
    assert 0.0 < solution.accuracy <= 1.0
    assert (solution.strength > 3.0) == (noise > 1.0)


@pytest.mark.parametrize("exclusive", [True, False])
def test_texts_of_labels_are_in_every_fold_and_never_held_out(exclusive):
    states, truths, mask = make(exclusive, n=44)
    n_docs = 40
    evidence = replace(weigh(truths, mask, None, 0.0, exclusive), n_texts=4)
    solution = solve_maxent(states, evidence)
    folds = stratified_folds(rarest_labels(evidence.holds[:n_docs]), 0)
    total, count = 0.0, 0
    for fold in range(N_FOLDS):
        rest = numpy.append(folds != fold, [True] * 4)
        part = solve_maxent(states[rest], weigh(truths[rest], mask[rest], None, 0.0, exclusive), solution.strength)
        logits = states[:n_docs][~rest[:n_docs]].astype(float) @ part.W.T + part.b
        held = truths[:n_docs][~rest[:n_docs]]
        if exclusive:
            logs = logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
            total, count = total + (held * logs).sum(), count + len(held)
        else:
            signed = numpy.where(held > 0, logits, -logits)
            total, count = total - numpy.log1p(numpy.exp(-signed)).sum(), count + held.size
    assert solution.log_likelihood == pytest.approx(total / count, abs=0.01)


def test_texts_of_labels_alone_leave_nothing_to_hold_out():
    states, truths, mask = make(True, n=4)
    solution = solve_maxent(states, replace(weigh(truths, mask, None, 0.0, True), n_texts=4))
    assert solution.accuracy is None and solution.log_likelihood is None
    assert ((states @ solution.W.T + solution.b).argmax(axis=1) == truths.argmax(axis=1)).all()


def test_cross_validation_of_labels_that_do_not_exclude_each_other():
    states, truths, mask = make(False, noise=0.5)
    solution = solve_maxent(states, weigh(truths, mask, None, 0.0, False))
    assert solution.accuracy > 0.75
    assert -0.6 < solution.log_likelihood < 0.0


def test_the_strength_goes_with_the_scale_of_the_states():
    """States a thousand times as large want weights a thousandth as large, and so a prior a million times as strong."""
    small = solve_maxent(*(lambda s, t, m: (s, weigh(t, m, None, 0.0, True)))(*make(True)))
    large = solve_maxent(*(lambda s, t, m: (s, weigh(t, m, None, 0.0, True)))(*make(True, scale=1000.0)))
    assert large.strength == pytest.approx(small.strength * 1e6, rel=1e-2)
    numpy.testing.assert_allclose(large.W * 1000.0, small.W, atol=1e-2 * numpy.abs(small.W).max())


def test_rare_labels():
    """A label in one doc cannot be held out; one in none at all stands in nobody's way."""
    states, truths, mask = make(True)
    truths[truths[:, 3] == 1] = numpy.eye(LABELS)[0]
    for once in ([], [5]):
        truths[once] = numpy.eye(LABELS)[3]
        solution = solve_maxent(states, weigh(truths, mask, None, 0.0, True))
        assert numpy.isfinite(solution.W).all() and numpy.isfinite(solution.log_likelihood)
        assert solution.log_likelihood > -1.5
        scores = numpy.exp(states @ solution.W.T + solution.b)
        scores /= scores.sum(axis=1, keepdims=True)
        assert scores[:, 3].sum() == pytest.approx(len(once), abs=1e-3)  # Biases are free: that is their optimum.


def test_without_a_label_that_comes_twice_there_is_no_cross_validation():
    states, _, mask = make(True, n=LABELS)
    truths = numpy.eye(LABELS, dtype="f")
    solution = solve_maxent(states, weigh(truths, mask, None, 0.0, True))
    assert solution.accuracy is None and solution.strength > 0
    assert ((states @ solution.W.T + solution.b).argmax(axis=1) == range(LABELS)).all()
    alone = solve_maxent(states[:1], weigh(truths[:1], mask[:1], None, 0.0, True))
    assert numpy.isfinite(alone.W).all() and alone.b.argmax() == 0


def test_states_that_are_all_alike():
    states, truths, mask = make(True)
    solution = solve_maxent(0 * states + 1, weigh(truths, mask, None, 0.0, True))
    scores = numpy.exp(solution.b + solution.W.sum(axis=1))
    numpy.testing.assert_allclose(scores / scores.sum(), truths.mean(axis=0), atol=1e-3)


def test_folds_are_stratified():
    groups = numpy.repeat([0, 1, 2, -1], [10, 2, 7, 3])
    folds = stratified_folds(groups, seed=0)
    sizes = numpy.bincount(folds)
    assert len(sizes) == N_FOLDS and sizes.max() - sizes.min() <= 1
    for group in (0, 1, 2, -1):
        counts = numpy.bincount(folds[groups == group], minlength=N_FOLDS)
        assert counts.max() - counts.min() <= 1
    assert (folds == stratified_folds(groups, seed=0)).all()
    assert (folds != stratified_folds(groups, seed=1)).any()


def test_the_same_twice():
    states, truths, mask = make(True)
    once, again = (solve_maxent(states, weigh(truths, mask, None, 0.0, True)) for _ in range(2))
    assert once.W.tobytes() == again.W.tobytes() and once.b.tobytes() == again.b.tobytes()
    assert once.strength == again.strength


@pytest.mark.parametrize("exclusive", [False, True])
def test_states_too_large_for_single_precision(exclusive):
    """Their squares are infinite there; scores are those of states of an ordinary size."""
    states, truths, mask = make(exclusive)
    evidence = weigh(truths, mask, None, 0.0, exclusive)
    plain, large = solve_maxent(states, evidence), solve_maxent(states * numpy.float32(1e25), evidence)
    assert numpy.isfinite(large.W).all() and large.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-2)
    assert large.strength == pytest.approx(plain.strength * 1e50, rel=1e-3)
    numpy.testing.assert_allclose(large.W * 1e25, plain.W, atol=1e-3)


def test_a_log_likelihood_that_is_no_number_is_not_the_best(monkeypatch):
    states, truths, mask = make(True)
    evidence, calls, inner = weigh(truths, mask, None, 0.0, True), [], maxent.loss_of

    def broken(logits, positive, negative):
        loss, gradient = inner(logits, positive, negative)
        calls.append(loss)
        return (loss * numpy.nan if len(calls) <= 2 * N_FOLDS else loss), gradient

    monkeypatch.setattr(maxent, "loss_of", broken)
    found = solve_maxent(states, evidence)
    assert len(calls) > 3 * N_FOLDS and numpy.isfinite(found.log_likelihood)
