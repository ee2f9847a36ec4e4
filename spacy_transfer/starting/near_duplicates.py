"""Texts that are the same, or nearly: groups that must stay in one split."""

import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy

from ..progress import progress
from ..types import Ints

ALIKE = 0.65
"""Share of words and pairs of words that two texts have in common, from which on they are near duplicates."""
_BANDS, _ROWS = 32, 4
_PRIME = (1 << 31) - 1
_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """RETURNS (str): A text without case, punctuation and spaces, as duplicates are compared."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORD.findall(folded)) or folded.strip()


def shingles(text: str) -> frozenset[int]:
    """RETURNS (FrozenSet[int]): Hashes of the words of a normalised text, and of those that stand side by side."""
    words = text.split()
    pairs = [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]
    return frozenset(zlib.crc32(part.encode("utf8")) % _PRIME for part in (*words, *pairs))


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """RETURNS (float): What two sets have in common, over what they have together."""
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0


def groups_of(texts: Sequence[str]) -> tuple[list[int], int]:
    """Put texts that are alike into groups: by MinHash (Broder 1997) in bands, then by comparing the sets.

    RETURNS (Tuple[List[int], int]): The number of the group of each text: that of its first member; and how many
        texts joined a group by being nearly, not exactly, alike.
    """
    plain = [normalised(text) for text in texts]
    first = dict[str, int]()
    parent = [first.setdefault(text, i) for i, text in enumerate(plain)]
    distinct = list(first.values())
    sets = {i: shingles(plain[i]) for i in distinct}
    near = 0
    for i, j in _candidates(distinct, sets):
        a, b = _root(parent, i), _root(parent, j)
        if a != b and jaccard(sets[i], sets[j]) >= ALIKE:
            parent[max(a, b)] = min(a, b)
            near += 1
    return [_root(parent, i) for i in range(len(texts))], near


def _candidates(numbers: Sequence[int], sets: dict[int, frozenset[int]]) -> Iterable[tuple[int, int]]:
    draws = numpy.random.default_rng(0)
    factors = draws.integers(1, _PRIME, _BANDS * _ROWS)
    shifts = draws.integers(0, _PRIME, _BANDS * _ROWS)
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i in progress(numbers, what="Near duplicates"):
        if sets[i]:
            lowest = _signature(sets[i], factors, shifts).reshape(_BANDS, _ROWS)
            for band in range(_BANDS):
                buckets[band, lowest[band].tobytes()].append(i)
    for members in buckets.values():
        # In a large bucket each is compared with the first and with the one before.
        for k in range(1, len(members)):
            yield members[0], members[k]
            if k > 1:
                yield members[k - 1], members[k]


def _signature(found: frozenset[int], factors: Ints, shifts: Ints) -> Ints:
    values = numpy.fromiter(found, dtype="int64", count=len(found))
    # int64 holds the products: both are less than 2 ** 31.
    hashed = (values[:, None] * factors + shifts) % _PRIME
    return numpy.asarray(hashed.min(axis=0))


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
