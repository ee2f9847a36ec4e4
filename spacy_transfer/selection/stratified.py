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
    order = numpy.concatenate([draws.permutation(members[group]) for group in sorted(members)])
    # Evenly spaced through the groups: each gets its share, also where there are more groups than texts to choose.
    spaced = order[((numpy.arange(most) + draws.random()) * len(order) / most).astype("int64")]
    chosen, least = set(spaced.tolist()), min(AT_LEAST, most // len(members))
    for group in sorted(members):
        own = [i for i in members[group] if i not in chosen]
        missing = least - (len(members[group]) - len(own))
        chosen.update(own[: max(0, missing)])
    return draws.permutation(numpy.array(sorted(chosen), dtype="int64"))
