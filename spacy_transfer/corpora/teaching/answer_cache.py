"""Answers on disk, so that a pipeline is asked about each text once."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from spacy.tokens import Doc

from ...errors import Errors
from ...integrity import pack, seal, unpack
from ...types import Config


def default_folder() -> Path:
    """RETURNS (Path): Where answers are kept if nobody says otherwise: the user's folder for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spacy-transfer" / "answers"


def doc_key(doc: Doc) -> bytes:
    """RETURNS (bytes): A key of 16 bytes for a text and its tokens."""
    digest = hashlib.blake2b(digest_size=16)
    for token in doc:
        text = token.text_with_ws.encode("utf8", errors="surrogatepass")
        digest.update(len(text).to_bytes(4, "little") + text)
    return digest.digest()


class AnswerCache:
    """A file of answers by text, each with its checksum. It is written a batch at a time: what was answered before a
    crash is there after it. Several readers may have it open.

    path (Path): The file; its folder is made.
    key (str): Where the folder was named in the config, for messages.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=60.0)
            self._file.execute("PRAGMA synchronous = NORMAL")
            with self._file:
                self._file.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB)")
        except (OSError, sqlite3.Error) as error:
            raise self._error(error) from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Config]:
        """RETURNS (Dict[bytes, Any]): The answers that are there."""
        found = {}
        try:
            for key in keys:
                row = self._file.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = unpack(row[0], "An answer")
        except (sqlite3.Error, ValueError) as error:
            raise self._error(error) from error
        return found

    def put(self, answers: Iterable[tuple[bytes, Config]]) -> None:
        """Keep answers, all or none of them."""
        rows = [(key, seal(pack(answer))) for key, answer in answers]
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _error(self, error: Exception) -> ValueError:
        return ValueError(Errors.T549.format(key=self.key, path=self.path, error=error))
