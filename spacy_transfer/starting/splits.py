"""A split into train, dev and test: seeded, stratified by label, and without a text in two of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy

from ..errors import Errors
from .labelled_rows import Row
from .near_duplicates import groups_of

SHARE = 0.15
LEAST = 6
_BINS = 5
Split = dict[str, list[Row]]


def split(rows: Sequence[Row], given: Split, seed: int) -> tuple[Split, int, int]:
    """Divide rows into the splits that are not given. Groups of near duplicates stay together; what is like a text of
    a split that is given is in no other.

    given (Dict[str, List[Row]]): "dev" and "test", where they are known.
    RETURNS (Tuple[Dict[str, List[Row]], int, int]): Rows by split; how many rows are nearly like others; how many
        training rows are left out for being like a text of a given split (they stand under "leaked").
    RAISES (ValueError): When there are too few.
    """
    known = [(name, row) for name in ("test", "dev") for row in given.get(name, [])]
    groups, near = groups_of([row.text for row in rows] + [row.text for _, row in known])
    taken = {group: name for group, (name, _) in zip(groups[len(rows) :], known, strict=True)}
    free = [i for i in range(len(rows)) if groups[i] not in taken]
    parts: Split = {"train": [], **{name: list(given[name]) for name in given}}
    parts["leaked"] = [rows[i] for i in range(len(rows)) if groups[i] in taken]
    wanted = [name for name in ("test", "dev") if not given.get(name)]
    where = _divide([rows[i] for i in free], [groups[i] for i in free], wanted, seed)
    for i, name in zip(free, where, strict=True):
        parts.setdefault(name, []).append(rows[i])
    if not all(parts.get(name) for name in ("train", "dev", "test")):
        counts = Counter(strata(rows))
        rare = sum(count < 3 for count in counts.values())
        raise ValueError(Errors.T992.format(count=len(rows), least=LEAST, rare=rare, kinds=len(counts)))
    return parts, near, len(parts["leaked"])


def strata(rows: Sequence[Row]) -> list[str]:
    """RETURNS (List[str]): What each row counts for: its rarest label, or the fifth of its number."""
    scores = [row.score for row in rows if row.score is not None]
    edges = numpy.quantile(scores or [0.0], numpy.linspace(0, 1, _BINS + 1)[1:-1])
    labels = [{*row.labels, *(label for _, _, label in row.spans)} for row in rows]
    counts = Counter(label for each in labels for label in each)
    return [
        min(each, key=lambda label: (counts[label], label))
        if each
        else ("" if row.score is None else f"{int(numpy.searchsorted(edges, row.score))}")
        for row, each in zip(rows, labels, strict=True)
    ]


def _divide(rows: Sequence[Row], groups: Sequence[int], wanted: Sequence[str], seed: int) -> list[str]:
    """RETURNS (List[str]): The split of each row. Of a label with three groups or more, each split gets one."""
    members = defaultdict[int, list[int]](list)
    for i, group in enumerate(groups):
        members[group].append(i)
    kinds = strata(rows)
    counts = Counter(kinds)
    # A group counts for the rarest label in it.
    of_kind = defaultdict[str, list[int]](list)
    for group, inside in members.items():
        of_kind[min((kinds[i] for i in inside), key=lambda kind: (counts[kind], kind))].append(group)
    draws = numpy.random.default_rng(seed)
    where = ["train"] * len(rows)
    for kind in sorted(of_kind, key=lambda kind: (counts[kind], kind)):
        own = [of_kind[kind][i] for i in draws.permutation(len(of_kind[kind]))]
        n_rows = sum(len(members[group]) for group in own)
        for name in wanted:
            need = max(1, round(SHARE * n_rows)) if len(own) > 1 else 0
            # Small groups first: a large one would be a whole split.
            for group in sorted(own, key=lambda group: len(members[group])):
                size = len(members[group])
                if need <= 0 or len(own) <= 1 or (size > 1 and size > need and size > 0.5 * SHARE * len(rows)):
                    break
                own.remove(group)
                need -= size
                for i in members[group]:
                    where[i] = name
    return where
