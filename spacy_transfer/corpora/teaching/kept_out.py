"""Raw texts without those of a test set: a score on texts that were trained on says nothing."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from spacy.util import logger

from ...errors import Errors, Warnings
from ..texts import read_texts


class RawTextFiles:
    """Raw texts of files, without those that are kept out. These are found by their hashes: case and white space do
    not count.

    path (Path), field (str): See `read_texts`.
    key (str): Of the block in the config, for messages.
    held_out (Optional[Path]): Texts of a test set, in files of the same kinds; None to keep all.
    """

    def __init__(self, path: Path, field: str, key: str, held_out: Path | None = None) -> None:
        self.path, self.field, self.key = Path(path), field, key
        self.held_out = None if held_out is None else Path(held_out)
        self._hashes: frozenset[bytes] | None = None
        self._has_warned = False

    def __iter__(self) -> Iterator[str]:
        """YIELDS (str): The texts in the order of the files.

        RAISES (ValueError): When all are kept out.
        """
        texts = read_texts(self.path, f"{self.key}.texts", self.field)
        if self.held_out is None:
            yield from texts
            return
        if self._hashes is None:
            held_out = read_texts(self.held_out, f"{self.key}.held_out", self.field)
            self._hashes = frozenset(hash_of(text) for text in held_out)
        found = False
        for text in texts:
            if hash_of(text) not in self._hashes:
                found = True
                yield text
            elif not self._has_warned:
                self._has_warned = True
                facts = {"key": self.key, "path": self.path, "held_out": self.held_out}
                logger.warning(Warnings.W460.format(text=text[:60], **facts))
        if not found:
            raise ValueError(Errors.T460.format(key=self.key, path=self.path, held_out=self.held_out))


def hash_of(text: str) -> bytes:
    """RETURNS (bytes): 16 bytes. Texts that differ only in case and white space have the same."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()
