"""Tables: CSV, TSV, JSON lines, JSON, Parquet, Excel, and folders that the library datasets saved."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import Errors
from ..extras import import_extra
from .labelled_rows import SPLITS, Table

DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = {".jsonl", ".ndjson", ".json"}
EXCEL = {".xlsx", ".xls", ".ods"}
# Signs of UTF-8 that was read as Windows-1252 and saved again.
_BROKEN = ("Ã©", "Ã¨", "Ã¤", "Ã¶", "Ã¼", "â€™", "â€œ", "Â ", "\N{REPLACEMENT CHARACTER}")
_KNOWN_HEADERS = {"text", "label", "content", "sentence", "category", "class", "target", "score", "tag", "intent"}


def read_tables(path: Path) -> dict[str, Table]:
    """Read a file by its suffix.

    RETURNS (Dict[str, Table]): By split: "train" alone, except for JSON with a list of objects for each split.
    RAISES (ValueError): When it is damaged or empty. (ImportError): When a library for it is missing.
    """
    suffix = path.suffix.lower()
    if suffix in JSON:
        return _json(path)
    read = _delimited if suffix in DELIMITED else _parquet if suffix == ".parquet" else _excel
    return {"train": read(path)}


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
    try:
        cells, lines = _cells(text, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error as error:
        # Many tables with tabs are written without any quoting.
        if delimiter != "\t":
            said = f"{error}. A cell that begins with a quotation mark ends with one, and doubles those inside"
            raise ValueError(Errors.T983.format(path=path, error=said)) from error
        cells, lines = _cells(text, delimiter, csv.QUOTE_NONE)
        notes.append(f"quotation marks are letters like others: as such, {error}")
    if not cells:
        raise ValueError(Errors.T983.format(path=path, error="it is empty"))
    header, cells, lines = _header(cells, lines, notes)
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ValueError(Errors.T983.format(path=path, error=f"two columns are called {twice!r}"))
    rows = list(zip(cells, lines, strict=True))
    for how, odd in {
        f"more than {len(header)} columns, and are left out": [line for row, line in rows if len(row) > len(header)],
        f"fewer than {len(header)} columns": [line for row, line in rows if len(row) < len(header)],
    }.items():
        if odd:
            notes.append(f"{len(odd)} lines have {how} (the first: line {odd[0]})")
    kept = [(row, line) for row, line in rows if len(row) <= len(header)]
    if not kept:
        raise ValueError(Errors.T983.format(path=path, error=f"no line has {len(header)} columns, as the first one"))
    records = [dict(zip(header, [*row, *[""] * (len(header) - len(row))], strict=True)) for row, _ in kept]
    return Table(path.name, records, [f"line {line}" for _, line in kept], notes)


def _cells(text: str, delimiter: str, quoting: Literal[0, 3]) -> tuple[list[list[str]], list[int]]:
    """Without `strict`, a quotation mark that is a letter takes all lines up to the next one into its cell.

    RETURNS (Tuple[List[List[str]], List[int]]): Cells of the lines that are not empty, and where each ends.
    RAISES (csv.Error): When quotation marks are not closed.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    cells, lines = list[list[str]](), list[int]()
    try:
        for row in reader:
            if row:
                cells.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num}: {error}") from error
    return cells, lines


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


def _json(path: Path) -> dict[str, Table]:
    text, notes = decode(path)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, list):
        return {"train": _records(path, whole, "object", notes)}
    if isinstance(whole, dict):
        return _lists(path, whole, notes)
    records = list[Any]()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(Errors.T983.format(path=path, error=f"line {number} is no JSON: {error}")) from error
    return {"train": _records(path, records, "line", notes)}


def _lists(path: Path, whole: dict[str, Any], notes: list[str]) -> dict[str, Table]:
    """The lists of objects in an object: all, where they are called like splits; else the longest."""
    lists = {
        name: value
        for name, value in whole.items()
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    }
    if not lists:
        return {"train": _records(path, [whole], "object", notes)}
    names: dict[str, str] = {}
    for name in lists:
        if name.lower() in SPLITS:
            names.setdefault(SPLITS[name.lower()], name)
    if "train" not in names:
        names = {"train": max(lists, key=lambda name: len(lists[name]))}
    others = [f"{name!r} ({len(value)} objects)" for name, value in lists.items() if name not in names.values()]
    if others:
        read = ", ".join(map(repr, names.values()))
        notes.append(f"of its lists {read} {'are' if len(names) > 1 else 'is'} read, and not {', '.join(others)}")
    unit = "object" if len(names) == 1 else "{} object"
    return {
        split: _records(path, lists[name], unit.format(split), notes if split == "train" else [])
        for split, name in names.items()
    }


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
    except Exception as error:  # Each library that reads Excel files has its own.
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
