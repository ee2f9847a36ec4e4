"""Rows of input files: a text with its id and metadata, read from any place in a file."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, NamedTuple

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from ..errors import Errors
from ..extras import import_extra
from ..types import Config
from .input_files import InputFile

_BATCH = 1000  # Rows of Parquet in memory.
_MOST = 60  # Characters of a broken row in a message.


class Fields(NamedTuple):
    """Keys or columns of text and id."""

    text: str = "text"
    id: str = "id"


@dataclass
class Row:
    """One text of the input.

    number (int): Of its line, row or doc in the file, from 1.
    offset (int): Byte where it begins, in files that are read by lines.
    id (str): Given in the file, or made from name and number.
    has_id (bool): It was given.
    doc (Optional[Doc]): Of .spacy files: the doc.
    error (str): Why it has no text.
    """

    number: int
    offset: int
    id: str
    text: str
    meta: Config = field(default_factory=dict)
    has_id: bool = False
    doc: Doc | None = None
    error: str = ""


def read_rows(
    file: InputFile, fields: Fields, vocab: Vocab, number: int = 1, offset: int = 0, count: int | None = None
) -> Iterator[Row]:
    """Read rows of a file.

    vocab (Vocab): Of the docs of .spacy files.
    number (int), offset (int): Of the first row.
    count (Optional[int]): How many; None for all.
    YIELDS (Row): Each row, also one that has no text that can be read.
    RAISES (ValueError): When the file has vanished, was changed, cannot be read at all, or has no column for the text.
    """
    with file.open() as opened, file.readable():
        yield from islice(_READERS[file.kind](_Source(opened, file, fields, vocab, number, offset)), count)


class _Source(NamedTuple):
    """What a reader needs: the open file, and the first row that is wanted."""

    opened: IO[bytes]
    file: InputFile
    fields: Fields
    vocab: Vocab
    number: int
    at: int

    def row(self, number: int, at: int = 0) -> Row:
        return Row(number, at, f"{self.file.name}:{number}", "")

    def check_column(self, names: Iterable[str]) -> None:
        """RAISES (ValueError): When the file has no column for the text."""
        names, field = list(names), self.fields.text
        if field not in names:
            raise ValueError(Errors.T965.format(file=self.file.url, field=field, names=", ".join(names) or "none"))


def _of_text(source: _Source) -> Iterator[Row]:
    for number, at, line in _lines(source):
        yield _decoded(source.row(number, at), line.rstrip(b"\r\n"))


def _of_jsonl(source: _Source) -> Iterator[Row]:
    for number, at, line in _lines(source):
        if not line.strip():
            continue
        row = _decoded(source.row(number, at), line)
        if not row.error:
            try:
                row = _filled(row, json.loads(row.text), source.fields)
            except (ValueError, RecursionError) as error:
                row.error, row.meta, row.text = f"it is no JSON: {error}", {"row": row.text[:_MOST]}, ""
        yield row


def _of_csv(source: _Source) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    sign = "\t" if source.file.kind == "tsv" else ","
    lines = _Lines(source.opened)
    names = next(csv.reader(lines, delimiter=sign), [])
    source.check_column(names)
    twice = next((name for name in source.fields if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(Errors.T963.format(file=source.file.url, error=f"two columns are called {twice!r}"))
    if source.at:
        source.opened.seek(source.at)
        lines.at = source.at
    # A cell may have line breaks: `lines.at` is where the next row begins.
    at, number = lines.at, source.number
    try:
        # Without `strict`, a quotation mark that is a letter takes all rows up to the next one into its cell.
        for cells in csv.reader(lines, delimiter=sign, strict=True):
            if cells:
                yield _of_cells(source.row(number, at), cells, names, source.fields)
                number += 1
            at = lines.at
    except csv.Error as error:
        said = (
            f"row {number}: {error}. A cell that begins with a quotation mark ends with one, and doubles those inside"
        )
        raise ValueError(Errors.T963.format(file=source.file.url, error=said)) from error


def _of_cells(row: Row, cells: list[str], names: list[str], fields: Fields) -> Row:
    if any(_is_broken(cell) for cell in cells):
        row.error = "it is not UTF-8"
    elif len(cells) > len(names):
        row.error = f"it has {len(cells)} cells, the first row {len(names)}"
    else:
        return _filled(row, dict(zip(names, cells, strict=False)), fields)
    shown = ", ".join(cells)[:_MOST].encode("utf8", "surrogateescape")
    row.meta = {"row": shown.decode("utf8", "backslashreplace")}
    return row


def _of_parquet(source: _Source) -> Iterator[Row]:
    table = import_extra("pyarrow.parquet", Errors.T964.format(what=source.file.url)).ParquetFile(source.opened)
    source.check_column(table.schema_arrow.names)
    first = 1
    for group in range(table.num_row_groups):
        size = table.metadata.row_group(group).num_rows
        if first + size > source.number:
            yield from _of_group(source, table.iter_batches(batch_size=_BATCH, row_groups=[group]), first)
        first += size


def _of_group(source: _Source, batches: Iterable[Any], first: int) -> Iterator[Row]:
    for batch in batches:
        if first + len(batch) > source.number:
            for number, found in enumerate(batch.to_pylist(), start=first):
                if number >= source.number:
                    yield _filled(source.row(number), found, source.fields)
        first += len(batch)


def _of_spacy(source: _Source) -> Iterator[Row]:
    docs = DocBin().from_bytes(source.opened.read())
    for part in ("tokens", "spaces", "cats", "span_groups", "user_data", "flags"):
        setattr(docs, part, getattr(docs, part)[source.number - 1 :])
    for number, doc in enumerate(docs.get_docs(source.vocab), start=source.number):
        known = {key: value for key, value in doc.user_data.items() if isinstance(key, str)}
        more = known.pop("meta", {})
        found = {**known, **(more if isinstance(more, dict) else {"meta": more}), source.fields.text: doc.text}
        row = _filled(source.row(number), found, source.fields)
        row.doc = doc
        yield row


_READERS = {
    "text": _of_text,
    "jsonl": _of_jsonl,
    "csv": _of_csv,
    "tsv": _of_csv,
    "parquet": _of_parquet,
    "spacy": _of_spacy,
}


class _Lines:
    """Lines as text, and the byte where the next one begins. What is not UTF-8 becomes surrogates."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened, self.at = opened, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._opened.readline()
        if not line:
            raise StopIteration
        start = 3 if self.at == 0 and line.startswith(b"\xef\xbb\xbf") else 0
        self.at += len(line)
        return line[start:].decode("utf8", "surrogateescape")


def _lines(source: _Source) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and bytes of each line. Only a line feed ends a line."""
    at = source.at
    source.opened.seek(at)
    for number, line in enumerate(source.opened, start=source.number):
        if at == 0 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ValueError(Errors.T963.format(file=source.file.url, error="it is UTF-16, not UTF-8"))
        yield number, at, line.removeprefix(b"\xef\xbb\xbf") if at == 0 else line
        at += len(line)


def _decoded(row: Row, line: bytes) -> Row:
    try:
        row.text = line.decode("utf8")
    except UnicodeDecodeError as error:
        row.error, row.meta = f"it is not UTF-8: {error}", {"row": line.decode("utf8", "backslashreplace")[:_MOST]}
    return row


def _filled(row: Row, found: object, fields: Fields) -> Row:
    """The row, with what was found for it: an object with keys, or something else that has no text."""
    row.text = ""
    if not isinstance(found, dict):
        row.error, row.meta = f"it is no object with the key {fields.text!r}", {"row": str(found)[:_MOST]}
        return row
    row.meta = {key: value for key, value in found.items() if key not in fields}
    if found.get(fields.id) not in (None, ""):
        row.id, row.has_id = str(found[fields.id]).encode("utf8", "backslashreplace").decode(), True
    text = found.get(fields.text)
    if isinstance(text, str):
        row.text = text
    else:
        what = f"no {fields.text!r}" if fields.text not in found else f"{fields.text!r} of type {type(text).__name__}"
        row.error = f"it has {what}"
    return row


def _is_broken(cell: str) -> bool:
    return not cell.isascii() and any("\udc80" <= sign <= "\udcff" for sign in cell)
