"""Plans of label changes, and the rows they make: against sums of probabilities and paths, computed one by one."""

import itertools

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_transfer.pipeline.labels import plan as plans

OLD = ("a", "b", "c", "d")


@pytest.fixture
def layer():
    rng = numpy.random.default_rng(0)
    return rng.normal(size=(4, 6)).astype("f"), rng.normal(size=4).astype("f"), rng.normal(size=(50, 6)).astype("f")


def softmax(logits):
    shares = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("plan", "labels", "sources"),
    [
        (plans.add(OLD, ["e"], name="x"), "abcde", ["a", "b", "c", "d", ""]),
        (plans.remove(OLD, ["b", "d"], name="x"), "ac", ["a", "c"]),
        (plans.rename(OLD, {"a": "b", "b": "a"}, name="x"), "bacd", ["a", "b", "c", "d"]),
        (plans.merge(OLD, ["d", "b"], "n", name="x"), "anc", ["a", "bd", "c"]),
        (plans.merge(OLD, ["a", "b"], "b", name="x"), "bcd", ["ab", "c", "d"]),
        (plans.between(OLD, ["n", "c", "z"], {"a": "n"}, name="x"), "ncz", ["a", "c", ""]),
        (plans.between(OLD, ["n"], {"a": "n", "b": "n"}, name="x", may_merge=True), "n", ["ab"]),
    ],
)
def test_plans(plan, labels, sources):
    assert "".join(plan.labels) == labels
    assert ["".join(parts) for parts in plan.sources] == sources


def test_what_a_plan_says():
    plan = plans.between(OLD, ["n", "c", "z"], {"a": "n"}, name="x")
    assert plan.carried == {"n": "a", "c": "c"} and plan.new == ("z",) and plan.dropped == ("b", "d")
    assert plan.describe() == "carried 2 (n, c); renamed (a -> n); new 1 (z); dropped 2 (b, d)"
    merged = plans.merge(OLD, ["a", "b"], "n", name="x")
    assert merged.merged == {"n": ("a", "b")} and merged.dropped == ()
    assert "merged (a + b -> n)" in merged.describe()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: plans.add(OLD, ["e", "b"], name="x"), r"T361.*\['b'\]"),
        (lambda: plans.add(OLD, ["e", "e"], name="x"), "T362"),
        (lambda: plans.add(OLD, [], name="x"), "T365"),
        (lambda: plans.add(OLD, [""], name="x"), "T365"),
        (lambda: plans.add(OLD, [3], name="x"), "T365.*3"),
        (lambda: plans.remove(("cart", "dog"), ["card"], name="x"), "T360.*labels names 'card'.*'cart'"),
        (lambda: plans.rename(OLD, {"a": "b"}, name="x"), r"T362.*\['b'\]"),
        (lambda: plans.rename(OLD, {"z": "y"}, name="x"), "T360.*'z'"),
        (lambda: plans.merge(OLD, ["a"], "n", name="x"), "T363"),
        (lambda: plans.merge(OLD, ["a", "b"], "c", name="x"), "T362"),
        (lambda: plans.between(OLD, OLD, {"z": "a"}, name="x"), "T360.*label_map names 'z'"),
        (lambda: plans.between(OLD, OLD, {"a": "z"}, name="x"), "T360.*label_map names 'z'"),
        (lambda: plans.between(OLD, ["n"], {"a": "n", "b": "n"}, name="x"), "T364.*merge = true"),
        (lambda: plans.between(OLD, ["b"], {"a": "b"}, name="x"), r"T364.*\['a', 'b'\]"),
    ],
)
def test_what_is_no_plan(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_rows_that_stay_are_bit_identical_and_others_are_gone(layer, kind):
    W, b, _ = layer
    plan = plans.between(OLD, ["d", "z", "n"], {"a": "n"}, name="x")
    new_W, new_b = plans.move_rows(plan, W, b, kind)
    assert new_W.shape == (3, 6) and new_W.dtype == new_b.dtype == numpy.float32
    assert new_W[[0, 2]].tobytes() == W[[3, 0]].tobytes() and new_b[[0, 2]].tobytes() == b[[3, 0]].tobytes()
    assert not new_W[1].any()
    assert new_b[1] == b.min() if kind == "softmax" else new_b[1] == min(b.min(), 0)
    assert plans.move_rows(plan, W, b + 9, "sigmoid")[1][1] == 0


def test_merged_softmax_is_the_sum_at_zero_and_where_the_rows_agree(layer):
    W, b, X = layer
    plan = plans.merge(OLD, ["b", "c"], "n", name="x")
    new_W, new_b = plans.move_rows(plan, W, b, "softmax")
    before = softmax(b)
    numpy.testing.assert_allclose(softmax(new_b), [before[0], before[1] + before[2], before[3]], rtol=1e-5)
    # Elsewhere the merged logit is below the log-sum-exp of its parts, and tangent to it.
    parts = numpy.logaddexp(*(X @ W[[1, 2]].T + b[[1, 2]]).T)
    assert (X @ new_W[1] + new_b[1] <= parts + 1e-5).all()
    tiny = 1e-3 * X
    gap = numpy.logaddexp(*(tiny @ W[[1, 2]].T + b[[1, 2]]).T) - (tiny @ new_W[1] + new_b[1])
    assert abs(gap).max() < 1e-4 < abs(tiny @ new_W[1]).max()
    W[2] = W[1]
    new_W, new_b = plans.move_rows(plan, W, b, "softmax")
    before, after = softmax(X @ W.T + b), softmax(X @ new_W.T + new_b)
    numpy.testing.assert_allclose(after[:, 1], before[:, 1] + before[:, 2], rtol=1e-4)


def test_merged_sigmoid_is_noisy_or_at_zero(layer):
    W, b, X = layer
    new_W, new_b = plans.move_rows(plans.merge(OLD, ["b", "c", "d"], "n", name="x"), W, b, "sigmoid")

    def logit_of_any(points):
        none = numpy.prod(1 - 1 / (1 + numpy.exp(-(points @ W[1:].T + b[1:]).astype("f8"))), axis=-1)
        return numpy.log((1 - none) / none)

    assert new_b[1] == pytest.approx(logit_of_any(numpy.zeros(6)), rel=1e-5)
    slope = [(logit_of_any(1e-4 * unit) - logit_of_any(-1e-4 * unit)) / 2e-4 for unit in numpy.eye(6)]
    numpy.testing.assert_allclose(new_W[1], slope, rtol=1e-3, atol=1e-4)


def test_merged_rows_far_from_zero_are_finite():
    W = numpy.ones((2, 3), dtype="f")
    for kind, bias in itertools.product(("softmax", "sigmoid"), (-200.0, 200.0)):
        row, logit = plans.merged_row(W, numpy.array([bias, bias], dtype="f"), kind)
        assert numpy.isfinite(row).all() and numpy.isfinite(logit)


def test_rows_of_tags_follow_their_labels():
    plan = plans.between(["PER", "LOC", "X-Y"], ["NAME", "NEW", "X-Y"], {"PER": "NAME"}, name="x")
    old = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-X-Y", "I-X-Y"]
    new = ["O", "B-NAME", "I-NAME", "B-NEW", "I-NEW", "B-X-Y", "I-X-Y"]
    rows = plans.by_rows(plan, old, new)
    assert rows.sources == (("O",), ("B-PER",), ("I-PER",), (), (), ("B-X-Y",), ("I-X-Y",))
    assert rows.dropped == ("B-LOC", "I-LOC")


def test_transitions_stay_and_merged_paths_sum_up():
    """At states of zeros the score of a path through merged tags is that of all paths through its parts."""
    rng = numpy.random.default_rng(1)
    b, start, end = rng.normal(size=(3, 4)).astype("f")
    transition = rng.normal(size=(4, 4)).astype("f")
    plan = plans.merge(OLD, ["b", "d"], "n", name="x")
    _, new_b = plans.move_rows(plan, numpy.zeros((4, 2), "f"), b, "softmax")
    new_start, new_transition, new_end = plans.move_transitions(plan, start, transition, end, b)
    assert new_transition[numpy.ix_([0, 2], [0, 2])].tobytes() == transition[numpy.ix_([0, 2], [0, 2])].tobytes()
    parts = {0: [0], 1: [1, 3], 2: [2]}

    def total(path, s, t, e, emission):
        return s[path[0]] + t[path[0], path[1]] + e[path[1]] + emission[path[0]] + emission[path[1]]

    for path in itertools.product((0, 2), repeat=2):
        assert total(path, new_start, new_transition, new_end, new_b) == pytest.approx(
            numpy.logaddexp.reduce(
                [total(p, start, transition, end, b) for p in itertools.product(*map(parts.get, path))]
            ),
            rel=1e-4,
        )
    for new, old in ((new_start, start), (new_end, end)):
        assert new[1] + new_b[1] == pytest.approx(numpy.logaddexp(old[1] + b[1], old[3] + b[3]), rel=1e-4)
    inside = new_transition[0, 1] + new_b[1]
    assert inside == pytest.approx(numpy.logaddexp(transition[0, 1] + b[1], transition[0, 3] + b[3]), rel=1e-4)
    outside = new_transition[1, 0] + new_b[1]
    assert outside == pytest.approx(numpy.logaddexp(transition[1, 0] + b[1], transition[3, 0] + b[3]), rel=1e-4)
    grown = plans.move_transitions(plans.add(OLD, ["e"], name="x"), start, transition, end, b)
    assert grown[1].shape == (5, 5) and not grown[1][4].any() and grown[0][:4].tobytes() == start.tobytes()


def test_what_is_forbidden_stays_forbidden():
    transition = numpy.zeros((4, 4), "f")
    transition[0, 1] = transition[0, 3] = -numpy.inf
    zeros = numpy.zeros(4, "f")
    found = plans.move_transitions(plans.merge(OLD, ["b", "d"], "n", name="x"), zeros, transition, zeros, zeros)
    assert found[1][0, 1] == -numpy.inf and found[1][1, 0] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcdefg"), unique=True), st.lists(st.sampled_from("abcdefg"), unique=True), st.data())
def test_any_two_label_sets_against_plain_recomputation(old, new, data):
    names = data.draw(st.dictionaries(st.sampled_from(old), st.sampled_from(new))) if old and new else {}
    plan = plans.between(old, new, names, name="x", may_merge=True)
    W = numpy.arange(3.0 * len(old), dtype="f").reshape(-1, 3)
    new_W, new_b = plans.move_rows(plan, W, W[:, 0], "number")
    for label, row, bias in zip(new, new_W, new_b, strict=True):
        parts = [W[i] for i, name in enumerate(old) if names.get(name, name) == label]
        expected = sum(parts) / len(parts) if parts else numpy.zeros(3)
        assert numpy.allclose(row, expected) and numpy.isclose(bias, expected[0])
    assert set(plan.dropped) == {name for name in old if names.get(name, name) not in new}


@st.composite
def edits(draw):
    """RETURNS: Labels, and changes of them in turn, as the function and its arguments."""
    old = draw(st.lists(st.sampled_from("abcdef"), min_size=2, unique=True))
    labels, changes = list(old), []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from([plans.add, plans.rename, plans.remove, plans.merge]))
        some = draw(st.lists(st.sampled_from(labels), min_size=1, unique=True))
        if kind in (plans.remove, plans.merge) and (len(labels) < 3 or len(some) in (1, len(labels))):
            continue
        given_ = {
            plans.add: ([f"new{number}"],),
            plans.rename: ({label: f"{label}{number}" for label in some},),
            plans.remove: (some,),
            plans.merge: (some, f"merged{number}"),
        }[kind]
        labels = list(kind(labels, *given_, name="x").labels)
        changes.append((kind, given_))
    return old, changes


def weights(start, transition, end, b):
    """How much one tag, and a pair of tags, counts in a CRF at states of zeros."""
    start, transition, end, b = (numpy.asarray(array, dtype="f8") for array in (start, transition, end, b))
    return numpy.exp(b), numpy.exp(b + start), numpy.exp(b + end), numpy.exp(transition + b[:, None] + b)


@settings(max_examples=60, deadline=None)
@given(edits(), st.integers(0, 99))
def test_any_changes_in_turn_give_what_sums_over_the_tags_give(found, seed):
    """A merged tag counts as much as its parts together, a removed one nothing, and a new one begins as the least."""
    labels, changes = found
    rng = numpy.random.default_rng(seed)
    start, end, b = rng.normal(size=(3, len(labels))).astype("f")
    transition, W = (rng.normal(size=(len(labels), n)).astype("f") for n in (len(labels), 3))
    for change, given_ in changes:
        plan = change(labels, *given_, name="x")
        before = weights(start, transition, end, b)
        places = [[labels.index(name) for name in parts] for parts in plan.sources]
        start, transition, end = plans.move_transitions(plan, start, transition, end, b)
        W, b = plans.move_rows(plan, W, b, "softmax")
        after = weights(start, transition, end, b)
        least = before[0].min()
        for i, parts in enumerate(places):
            for old, new in zip(before[:3], after[:3], strict=True):
                assert new[i] == pytest.approx(old[parts].sum() if parts else least, rel=1e-4)
            for j, others in enumerate(places):
                if parts and others:
                    assert after[3][i, j] == pytest.approx(before[3][numpy.ix_(parts, others)].sum(), rel=1e-4)
                else:
                    assert after[3][i, j] == pytest.approx(after[0][i] * after[0][j], rel=1e-4)
        labels = list(plan.labels)
    assert W.shape == (len(labels), 3)
