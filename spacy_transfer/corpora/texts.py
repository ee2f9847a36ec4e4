"""Raw texts from any file."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from spacy.tokens import DocBin
from spacy.vocab import Vocab

from ..errors import Errors

_JSONL = {".jsonl", ".ndjson"}
_TABLES = {".csv", ".tsv", ".tab", ".json", ".parquet", ".arrow", ".xlsx", ".xls", ".ods"}


def read_texts(path: Path, key: str, field: str = "text") -> Iterator[str]:
    """Texts one after the other; of a large file no more than a line is in memory.

    path (Path): A file, or a folder of which all files are read in the order of their names. A .spacy file gives the
        texts of its docs, a .jsonl or .ndjson file what each object has under `field`; other files are text in UTF-8,
        one on each line, if their names do not say that they are tables. Each may be packed (.gz).
    key (str): Where it was named in the config, for messages.
    YIELDS (str): The texts that are not blank.
    RAISES (ValueError): When there is no file, no text, no such field, or a file that is of another kind.
    """
    if not path.exists():
        raise ValueError(Errors.T553.format(key=key, path=path))
    found = False
    for file in _files(path):
        if _kind(file) in _TABLES:
            raise ValueError(Errors.T565.format(key=key, path=file))
        for text in _readable(_of_file(file, field), file, key):
            if text.strip():
                found = True
                yield text
    if not found:
        raise ValueError(Errors.T545.format(key=key, path=path))


def _readable(texts: Iterator[str], path: Path, key: str) -> Iterator[str]:
    try:
        yield from texts
    except (UnicodeDecodeError, OSError, EOFError, zlib.error, _NoDocs) as error:
        raise ValueError(Errors.T560.format(key=key, path=path, error=error)) from error


class _NoDocs(ValueError):
    """spaCy's error of a .spacy file does not name it."""


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    inside = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return [path / file for file in sorted(inside) if not any(part.startswith(".") for part in file.parts)]


def _kind(path: Path) -> str:
    """RETURNS (str): The suffix in small letters, without that of a packed file."""
    path = Path(path.name.lower())
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def _of_file(path: Path, field: str) -> Iterator[str]:
    kind, is_packed = _kind(path), path.suffix.lower() == ".gz"
    if kind == ".spacy":
        packed = path.read_bytes()
        try:
            docs = DocBin().from_bytes(gzip.decompress(packed) if is_packed else packed)
        except ValueError as error:
            raise _NoDocs(str(error)) from error
        for doc in docs.get_docs(Vocab()):
            yield doc.text
        return
    with gzip.open(path) if is_packed else path.open("rb") as raw:
        # No universal newlines of str.splitlines: a form feed does not end a text.
        for number, line in enumerate(io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n"), start=1):
            yield line.strip() if kind not in _JSONL else _of_json(line, path, number, field) if line.strip() else ""


def _of_json(line: str, path: Path, number: int, field: str) -> str:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        found = None
    text = found.get(field) if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise ValueError(Errors.T552.format(path=path, line=number, field=field, found=line.strip()[:60]))
    return text
