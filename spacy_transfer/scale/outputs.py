"""Shards: files of annotated rows that are written whole or not at all."""

import contextlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

from spacy.tokens import Doc

from ..corpora.doc_files import UserDataBin
from ..errors import Errors
from ..extras import import_extra
from ..types import Config
from .input_rows import Row
from .output_columns import COLUMNS, Get

if TYPE_CHECKING:
    import pyarrow

Format = Literal["jsonl", "parquet", "spacy"]
_WORDS = ("ORTH", "SPACY")


class Writer(Protocol):
    """Writes the rows of one shard."""

    def add(self, rows: Sequence[Row], docs: Sequence[Doc]) -> None:
        """Write rows and their annotated docs."""

    def close(self) -> None:
        """Write what is left."""


@contextlib.contextmanager
def whole_file(path: Path, work: Path) -> Iterator[IO[bytes]]:
    """A file under another name, which gets its own when all is written and synced.

    work (Path): Folder for the file until then, on the same disk.
    RAISES (ValueError): When it cannot be written: nothing stands under the name then.
    """
    # Two workers may write the same shard, when one was given up too early.
    part = work / f"{path.name}.{uuid.uuid4().hex}.part"
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ValueError(Errors.T968.format(path=path, error=error)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is. Windows opens no folders."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_writer(kind: Format, file: IO[bytes], columns: dict[str, Get]) -> Writer:
    """RETURNS (Writer): Of one shard.

    columns (Dict[str, Callable[[Doc], Any]]): What is taken from a doc.
    """
    kinds: dict[str, type[JsonlWriter | ParquetWriter | DocWriter]] = {
        "jsonl": JsonlWriter,
        "parquet": ParquetWriter,
        "spacy": DocWriter,
    }
    return kinds[kind](file, columns)


def as_line(record: Config) -> bytes:
    """RETURNS (bytes): A line of JSON. Halves of characters, which UTF-8 cannot say, are escaped. JSON has no numbers
    that are not finite: they become null."""
    try:
        line = json.dumps(record, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(record), ensure_ascii=False, default=str, allow_nan=False)
    return (line + "\n").encode("utf8", "backslashreplace")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class JsonlWriter:
    """An object a line: "id", "meta", and the columns."""

    def __init__(self, file: IO[bytes], columns: dict[str, Get]) -> None:
        self._file, self._columns = file, columns

    def add(self, rows: Sequence[Row], docs: Sequence[Doc]) -> None:
        for row, doc in zip(rows, docs, strict=True):
            taken = {name: get(doc) for name, get in self._columns.items()}
            self._file.write(as_line({"id": row.id, **taken, "meta": row.meta}))

    def close(self) -> None:
        pass


class ParquetWriter:
    """A table with the columns "id", "meta" (JSON), and those that were chosen; a row group for each batch."""

    def __init__(self, file: IO[bytes], columns: dict[str, Get]) -> None:
        pyarrow, parquet = check_parquet("--format parquet")
        types = [("id", pyarrow.string()), ("meta", pyarrow.string())]
        types[1:1] = [(name, _arrow_type(pyarrow, COLUMNS[name].arrow)) for name in columns]
        self._arrow, self._schema, self._columns = pyarrow, pyarrow.schema(types), columns
        self._table = parquet.ParquetWriter(file, self._schema)

    def add(self, rows: Sequence[Row], docs: Sequence[Doc]) -> None:
        taken = {name: [get(doc) for doc in docs] for name, get in self._columns.items()}
        for name in taken:
            if COLUMNS[name].arrow.endswith("{}"):
                taken[name] = [list(found.items()) for found in taken[name]]
        meta = [as_line(row.meta).decode().rstrip("\n") for row in rows]
        found = {"id": [row.id for row in rows], **taken, "meta": meta}
        self._table.write_table(self._arrow.table(found, schema=self._schema))

    def close(self) -> None:
        self._table.close()


class DocWriter:
    """spaCy's docs. Id and metadata are in `doc.user_data`."""

    def __init__(self, file: IO[bytes], columns: dict[str, Get]) -> None:
        attributes = [name for column in columns for name in COLUMNS[column].attributes]
        self._docs = UserDataBin(attrs=[*_WORDS, *attributes])
        self._file, self._columns = file, columns

    def add(self, rows: Sequence[Row], docs: Sequence[Doc]) -> None:
        for row, doc in zip(rows, docs, strict=True):
            if "spans" not in self._columns:
                doc.spans.clear()
            if not {"labels", "scores"} & set(self._columns):
                doc.cats = {}
            # msgpack has no place for what JSON cannot say, nor for halves of characters.
            meta = json.dumps(row.meta, ensure_ascii=False, default=str).encode("utf8", "replace")
            doc.user_data |= {"id": row.id, "meta": json.loads(meta)}
            self._docs.add(doc)

    def close(self) -> None:
        self._file.write(self._docs.to_bytes())


def check_parquet(what: str) -> tuple[Any, Any]:
    """RETURNS (Tuple[Module, Module]): pyarrow, and its reader and writer of Parquet.

    what (str): What needs it.
    RAISES (ImportError): When it is not installed.
    """
    missing = Errors.T964.format(what=what)
    return import_extra("pyarrow", missing), import_extra("pyarrow.parquet", missing)


def _arrow_type(arrow: Any, described: str) -> "pyarrow.DataType":
    if described.endswith("[]"):
        return arrow.list_(getattr(arrow, described[:-2])())
    if described.endswith("{}"):
        return arrow.map_(arrow.string(), getattr(arrow, described[:-2])())
    if ":" not in described:
        return getattr(arrow, described)()
    fields = [part.split(":") for part in described.split()]
    return arrow.list_(arrow.struct([(name, getattr(arrow, kind)()) for name, kind in fields]))
