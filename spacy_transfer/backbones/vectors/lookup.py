"""Rows of word types: from a table, in another case, or computed. NumPy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy
from numpy.typing import NDArray
from spacy.strings import StringStore, get_string_id

from ...types import Config
from ..shims.thinc_weights import FinetuneAttrs
from .subwords import Floats, Subwords, make_subwords

Strings: TypeAlias = StringStore | Mapping[int, str]
Case: TypeAlias = Literal["exact", "fallback"]
OOV: TypeAlias = Literal["subwords", "hash", "zero"]

# The caches of word types are emptied at this size: in a stream of texts they would grow forever.
_MOST_REMEMBERED = 50_000


class Lookup:
    """Finds rows for word types. It is built from saved state, and not saved itself.

    keys (NDArray[uint64]): spaCy's hashes of the words, in the order of the table's rows.
    case (str): "exact", or "fallback" to lower and then to title case.
    oov (str): "subwords", "hash" or "zero" for words without a row.
    subwords (Dict[str, Any]): State for `make_subwords`.
    """

    def __init__(
        self,
        keys: NDArray[numpy.uint64],
        width: int,
        case: Case,
        oov: OOV,
        subwords: Config,
    ) -> None:
        self._order = numpy.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._width, self._case, self._oov = width, case, oov
        self._make_subwords = make_subwords(subwords) if oov == "subwords" else None
        self._made: dict[int, Floats] = {}
        self._other_case: dict[int, int] = {}

    @property
    def has_subwords(self) -> bool:
        """RETURNS (bool): Whether rows of other words are computed from their parts."""
        return self._make_subwords is not None

    def rows(self, types: NDArray[numpy.uint64], strings: Strings) -> NDArray[numpy.int64]:
        """Row of every word type, -1 for those without.

        types (NDArray[uint64]): Hashes of the types, shape (n_types,).
        strings (StringStore): To read a type, where its case matters.
        RETURNS (NDArray[int64]): Shape (n_types,).
        """
        rows = self._exact(types)
        if self._case == "fallback":
            for i in numpy.flatnonzero(rows < 0):
                rows[i] = self._in_other_case(int(types[i]), strings)
        return rows

    def made(self, orth: int, strings: Strings) -> Floats:
        """The row of a word type that is not in the table.

        RETURNS (Floats1d): Shape (width,).
        """
        row = self._made.get(orth)
        if row is None:
            if len(self._made) >= _MOST_REMEMBERED:
                self._made.clear()
            row = self._made[orth] = self._make(orth, strings)
        return row

    def _exact(self, types: NDArray[numpy.uint64]) -> NDArray[numpy.int64]:
        if not len(self._keys):
            return numpy.full(len(types), -1, dtype=numpy.int64)
        at = numpy.minimum(numpy.searchsorted(self._keys, types), len(self._keys) - 1)
        return numpy.where(self._keys[at] == types, self._order[at], -1)

    def _in_other_case(self, orth: int, strings: Strings) -> int:
        row = self._other_case.get(orth)
        if row is None:
            word = strings[orth]
            forms = numpy.array([get_string_id(form) for form in (word.lower(), word.title())], dtype=numpy.uint64)
            found = self._exact(forms)
            row = int(found[0] if found[0] >= 0 else found[1])
            if len(self._other_case) >= _MOST_REMEMBERED:
                self._other_case.clear()
            self._other_case[orth] = row
        return row

    def _make(self, orth: int, strings: Strings) -> Floats:
        row: Floats | None = None
        if self._make_subwords is not None and orth:
            row = self._make_subwords(strings[orth])
        elif self._oov == "hash" and orth:
            # Of about unit length; the same for each occurrence of a word.
            row = numpy.random.default_rng(orth).normal(0, self._width**-0.5, self._width).astype(numpy.float32)
        return numpy.zeros(self._width, dtype=numpy.float32) if row is None else row.astype(numpy.float32)


@dataclass(kw_only=True)
class LookupAttrs(FinetuneAttrs):
    """Of the node that looks words up: what `Lookup` is built from, and it itself as soon as it is needed.

    keys (bytes): spaCy's hashes of the words, as uint64.
    """

    case: Case
    oov: OOV
    keys: bytes = b""
    subwords: Subwords = field(default_factory=Subwords)
    lookup: Lookup | None = field(default=None, init=False)

    def forget(self) -> None:
        """Build it anew: the words are others."""
        vars(self).pop("lookup", None)
