"""Rows of a frozen backbone, kept between epochs."""

import hashlib
from collections.abc import Sequence

from spacy.attrs import NORM, ORTH, SPACY
from spacy.tokens import Doc
from thinc.types import Floats1d, Floats2d

Rows = tuple[Floats2d, Floats1d]


class RowCache:
    """Rows by text and tokenization, bounded in bytes. When it is full it admits nothing more: over epochs every
    text comes round once, and dropping the least recently used would drop each text just before its turn.

    max_bytes (int): The most bytes of rows that are kept.
    fingerprint (str): Of the backbone that makes the rows; part of every key.
    """

    def __init__(self, max_bytes: int, fingerprint: str) -> None:
        self.max_bytes = max_bytes
        self.fingerprint = fingerprint
        self.used = 0
        self._rows: dict[bytes, Rows] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, doc: Doc) -> bytes:
        """RETURNS (bytes): 16 bytes that stand for the text, its tokens and their norms, and the backbone. The hash
        of every word and whether a space follows say what the text is; building it would cost more."""
        digest = hashlib.blake2b(self.fingerprint.encode("ascii"), digest_size=16)
        digest.update(doc.to_array([ORTH, SPACY, NORM]).tobytes())
        return digest.digest()

    def get(self, docs: Sequence[Doc]) -> tuple[list[bytes], list[Rows | None]]:
        """Look up a batch.

        docs (Sequence[Doc]): The docs.
        RETURNS (Tuple[List[bytes], List[Optional[Rows]]]): Keys, and token rows and document row where known.
        """
        keys = [self.key(doc) for doc in docs]
        return keys, [self._rows.get(key) for key in keys]

    def put(self, key: bytes, rows: Floats2d, document: Floats1d) -> Rows:
        """Keep copies (a slice would keep its whole batch alive), if there is room.

        key (bytes): From `get`.
        rows (Floats2d): Shape (len(doc), width).
        document (Floats1d): Shape (width,).
        RETURNS (Rows): What was kept, or else the arrays as they came.
        """
        size = rows.nbytes + document.nbytes
        if self.used + size > self.max_bytes:
            return rows, document
        kept = (rows.copy(), document.copy())
        self._rows[key] = kept
        self.used += size
        return kept
