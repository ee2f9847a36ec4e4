"""Samples: shares of groups, rare groups, seeds."""

from collections import Counter

from spacy_transfer.selection.stratified import AT_LEAST, stratified

GROUPS = ["a"] * 600 + ["b"] * 300 + ["c"] * 90 + ["d"] * 7 + ["e"] * 3


def test_shares_and_rare_groups():
    chosen = stratified(GROUPS, 100, 0)
    assert len(set(chosen.tolist())) == len(chosen)
    counts = Counter(GROUPS[i] for i in chosen)
    assert counts["d"] == AT_LEAST and counts["e"] == 3
    assert all(abs(counts[name] - share) <= 1 for name, share in {"a": 60, "b": 30, "c": 9}.items())


def test_all_and_the_seed():
    assert sorted(stratified(GROUPS, 1000, 0).tolist()) == list(range(1000))
    assert (
        stratified(GROUPS, 50, 1).tolist() == stratified(GROUPS, 50, 1).tolist() != stratified(GROUPS, 50, 2).tolist()
    )


def test_more_groups_than_texts_to_choose():
    chosen = stratified([str(i) for i in range(100)], 10, 0)
    assert len(chosen) == len(set(chosen.tolist())) == 10
