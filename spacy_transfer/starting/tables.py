"""Tables: CSV, TSV, JSON lines, JSON, Parquet, Excel, and folders that the library datasets saved."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import Errors
from ..extras import import_extra
from .labelled_rows import Table

DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = {".jsonl", ".ndjson", ".json"}
EXCEL = {".xlsx", ".xls", ".ods"}
# Signs of UTF-8 that was read as Windows-1252 and saved again.
_BROKEN = ("Ã©", "Ã¨", "Ã¤", "Ã¶", "Ã¼", "â€™", "â€œ", "Â ", "\N{REPLACEMENT CHARACTER}")
_KNOWN_HEADERS = {"text", "label", "content", "sentence", "category", "class", "target", "score", "tag", "intent"}


def read_table(path: Path) -> Table:
    """Read a file by its suffix.

    RAISES (ValueError): When it is damaged or empty. (ImportError): When a library for it is missing.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITED:
        return _delimited(path)
    if suffix in JSON:
        return _json(path)
    if suffix == ".parquet":
        return _parquet(path)
    return _excel(path)


def decode(path: Path) -> tuple[str, list[str]]:
    """RETURNS (Tuple[str, List[str]]): The text of a file, and trouble with its encoding."""
    raw, notes = path.read_bytes(), list[str]()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf16"), ["encoding: UTF-16, by its first two bytes"]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        text = raw.decode("cp1252", errors="replace")
        notes.append(f"encoding: not UTF-8 (line {line}), so it was read as Windows-1252: look at its special letters")
    broken = sum(any(sign in line for sign in _BROKEN) for line in text.splitlines())
    if broken:
        notes.append(f"encoding: {broken} lines have letters that were decoded wrongly before; they were left as found")
    return text, notes


def _delimited(path: Path) -> Table:
    text, notes = decode(path)
    sample = text[:50_000]
    delimiter = DELIMITED[path.suffix.lower()]
    first = sample.partition("\n")[0]
    if delimiter == "," and "," not in first:
        delimiter = max(";\t|", key=first.count) if any(sign in first for sign in ";\t|") else ","
        notes.append(f"the columns are separated by {delimiter!r}")
    csv.field_size_limit(2**31 - 1)
    quoting: Literal[0, 3] = (
        csv.QUOTE_NONE if delimiter == "\t" and '"' not in first and sample.count('"') % 2 else csv.QUOTE_MINIMAL
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    cells, lines = list[list[str]](), list[int]()
    try:
        for row in reader:
            if row:
                cells.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(Errors.T983.format(path=path, error=f"line {reader.line_num}: {error}")) from error
    if not cells:
        raise ValueError(Errors.T983.format(path=path, error="it is empty"))
    header, cells, lines = _header(cells, lines, notes)
    ragged = [line for row, line in zip(cells, lines, strict=True) if len(row) != len(header)]
    if ragged:
        notes.append(f"{len(ragged)} lines do not have {len(header)} columns (the first: line {ragged[0]})")
    records = [dict(zip(header, [*row, *[""] * len(header)][: len(header)], strict=True)) for row in cells]
    return Table(path.name, records, [f"line {line}" for line in lines], notes)


def _header(cells: list[list[str]], lines: list[int], notes: list[str]) -> tuple[list[str], list[list[str]], list[int]]:
    """Whether the first line has names: no name is long, empty, a number, or stands in its column again."""
    first = [cell.strip() for cell in cells[0]]
    again = any(name in {row[i].strip() for row in cells[1:] if len(row) > i} for i, name in enumerate(first))
    is_data = again or any(not name or len(name) > 40 or name.replace(".", "").isdigit() for name in first)
    if len(cells) == 1 or (is_data and not {name.lower() for name in first} & _KNOWN_HEADERS):
        names = [f"column{i}" for i in range(1, len(first) + 1)]
        notes.append(f"no line with names of columns: they are called {', '.join(names)}")
        return names, cells, lines
    return [name or f"column{i}" for i, name in enumerate(first, start=1)], cells[1:], lines[1:]


def _json(path: Path) -> Table:
    text, notes = decode(path)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, list):
        return _records(path, whole, "object", notes)
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        return _records(path, max(lists, key=len) if lists else [whole], "object", notes)
    records = list[Any]()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(Errors.T983.format(path=path, error=f"line {number} is no JSON: {error}")) from error
    return _records(path, records, "line", notes)


def _records(path: Path, records: list[Any], unit: str, notes: list[str]) -> Table:
    bad = next((i for i, record in enumerate(records, start=1) if not isinstance(record, dict)), None)
    if bad is not None:
        raise ValueError(Errors.T983.format(path=path, error=f"{unit} {bad} is no JSON object with names"))
    if not records:
        raise ValueError(Errors.T983.format(path=path, error="it is empty"))
    return Table(path.name, records, [f"{unit} {i}" for i in range(1, len(records) + 1)], notes)


def _parquet(path: Path) -> Table:
    parquet = import_extra("pyarrow.parquet", Errors.T984.format(kind="Parquet", packages="pyarrow"))
    try:
        records = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(Errors.T983.format(path=path, error=error)) from error
    return _records(path, records, "row", [])


def _excel(path: Path) -> Table:
    pandas = import_extra("pandas", Errors.T984.format(kind="Excel", packages="pandas openpyxl"))
    try:
        frame = pandas.read_excel(path)
    except ImportError as error:
        raise ImportError(Errors.T984.format(kind="Excel", packages="pandas openpyxl")) from error
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(Errors.T983.format(path=path, error=error)) from error
    frame = frame.astype(object).where(frame.notna(), None)
    records = [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]
    table = _records(path, records, "row", [])
    # The first row of the sheet has the names.
    table.places = [f"row {i}" for i in range(2, len(records) + 2)]
    return table


def is_saved_dataset(folder: Path) -> bool:
    """RETURNS (bool): Whether `save_to_disk` of the library datasets wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json"))


def read_saved_dataset(folder: Path) -> dict[str, Table]:
    """RETURNS (Dict[str, Table]): By split; "train" where there are none."""
    listed = folder / "dataset_dict.json"
    names = json.loads(listed.read_text(encoding="utf8"))["splits"] if listed.is_file() else []
    return {name: _arrow(folder / name) for name in names} or {"train": _arrow(folder)}


def _arrow(folder: Path) -> Table:
    pyarrow = import_extra("pyarrow", Errors.T984.format(kind="a saved dataset", packages="pyarrow"))
    records = list[Any]()
    for file in sorted(folder.glob("*.arrow")):
        try:
            with pyarrow.memory_map(str(file)) as source:
                records.extend(pyarrow.ipc.open_stream(source).read_all().to_pylist())
        except (OSError, ValueError) as error:
            raise ValueError(Errors.T983.format(path=file, error=error)) from error
    table = _records(folder, records, "row", [])
    info = folder / "dataset_info.json"
    features = (json.loads(info.read_text(encoding="utf8")).get("features") or {}) if info.is_file() else {}
    table.classes = dict(_classes(features.items()))
    return table


def _classes(features: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    for name, feature in features:
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, dict) and inner.get("names"):
            yield name, list(inner["names"])
