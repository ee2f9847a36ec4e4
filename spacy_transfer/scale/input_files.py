"""The files that are annotated: what fsspec opens, with names, kinds, and stamps by which a changed file is known."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal, cast

from ..errors import Errors, WrongUsage

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Kind = Literal["text", "jsonl", "csv", "tsv", "parquet", "spacy"]
_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".spacy": "spacy",
}
_PACKED = {".gz", ".bz2", ".xz", ".zst"}
_OTHER = {".json", ".xlsx", ".xls", ".ods", ".arrow", ".feather"}
"""Kinds that are no lines of text."""


@dataclass(frozen=True)
class InputFile:
    """A file of texts.

    url (str): As fsspec opens it, from every process.
    name (str): Under the folder that was given. Rows without an id have it in theirs.
    size (int), stamp (str): Others when the file was changed.
    """

    url: str
    name: str
    size: int
    stamp: str

    @property
    def kind(self) -> Kind:
        """By the name; one that is not known is text, a line a text."""
        return _KINDS.get(_suffix(self.name), "text")

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open and unpack it.

        RAISES (ValueError): When it has vanished, was changed, or cannot be read.
        """
        with self.readable():
            system, path = _system(self.url)
            if not system.exists(path):
                raise ValueError(Errors.T961.format(file=self.url))
            if (now := _stamped(system, path)) != (self.size, self.stamp):
                raise ValueError(Errors.T962.format(file=self.url, was=self.size, now=now[0]))
            with system.open(path, "rb", compression="infer") as file:
                yield file

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Turn the errors of libraries that read files into one that names the file."""
        try:
            yield
        except Exception as error:  # Each library has its own.
            if str(error).startswith("[T"):
                raise
            raise ValueError(Errors.T963.format(file=self.url, error=f"{type(error).__name__}: {error}")) from error


def find_files(source: str) -> list[InputFile]:
    """The files behind a path or an address: one file, all in a folder, or all that a pattern with * finds; in the
    order of their names, without hidden ones.

    RAISES (ValueError): When there are none, or fsspec cannot look there.
    """
    try:
        system, root = _system(source)
        # A name with brackets is a file before it is a pattern.
        if not system.exists(root) and any(sign in root for sign in "*?["):
            paths = [path for path in system.glob(root) if system.isfile(path)]
            root = root[: min(root.index(sign) for sign in "*?[" if sign in root)].rpartition("/")[0]
        else:
            paths = system.find(root) if system.isdir(root) else [root] if system.exists(root) else []
        found = sorted(_as_files(system, root, paths), key=lambda file: file.name)
    except (OSError, ImportError, ValueError) as error:
        raise ValueError(Errors.T960.format(source=source, error=f"{type(error).__name__}: {error}")) from error
    if not found:
        raise WrongUsage(Errors.T960.format(source=source, error="no file is there"))
    return found


def _suffix(name: str) -> str:
    """RETURNS (str): In small letters, without that of a packed file."""
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in _PACKED else path).suffix


def _as_files(system: "AbstractFileSystem", root: str, paths: list[str]) -> Iterator[InputFile]:
    for path in paths:
        name = path.rpartition("/")[2] if path == root else path[len(root) :].lstrip("/")
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if _suffix(name) in _OTHER:
            raise ValueError(f"{path} is no file of texts: save it as JSON lines (.jsonl) or .csv, or name the others")
        if Path(path).is_symlink() and Path(path).is_dir():
            raise ValueError(f"{path} is a link to a folder: name that folder")
        yield InputFile(system.unstrip_protocol(path), name, *_stamped(system, path))


def _system(url: str) -> "tuple[AbstractFileSystem, str]":
    from fsspec.core import url_to_fs

    return cast("tuple[AbstractFileSystem, str]", url_to_fs(url))


def _stamped(system: "AbstractFileSystem", path: str) -> tuple[int, str]:
    info = system.info(path)
    # What else a local file system tells changes when a file is copied or linked.
    stamp = str(info["mtime"]) if "mtime" in info else system.ukey(path)
    return int(info["size"] or 0), stamp
