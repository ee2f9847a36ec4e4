"""Samples of a corpus, stratified by label."""

from collections import defaultdict
from collections.abc import Sequence

import numpy

from ..types import Ints

AT_LEAST = 5
"""Texts of a group that are kept where there are so many, however rare the group is."""


def stratified(groups: Sequence[str], most: int, seed: int) -> Ints:
    """Choose texts: of each group the same share, but of rare ones some at least.

    groups (Sequence[str]): The group of each text.
    most (int): About how many to choose; rare groups may add some.
    RETURNS (Array): Their numbers, in random order; all if there are no more than `most`.
    """
    draws = numpy.random.default_rng(seed)
    if len(groups) <= most:
        return draws.permutation(len(groups))
    members = defaultdict[str, list[int]](list)
    for i, group in enumerate(groups):
        members[group].append(i)
    least, chosen = min(AT_LEAST, most // len(members)), list[int]()
    for group in sorted(members):
        own = draws.permutation(members[group])
        chosen += own[: max(min(least, len(own)), round(len(own) * most / len(groups)))].tolist()
    return draws.permutation(numpy.array(chosen, dtype="int64"))
