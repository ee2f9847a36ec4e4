"""Reads DATA into rows by split: a file, a folder of splits, a folder per label, or a saved data set."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import Errors
from .annotation_exports import LeftOut, read_export
from .columns import Columns, guess, has_columns, to_rows
from .labelled_rows import SPLITS, Found, Row, Table
from .tables import DELIMITED, EXCEL, JSON, decode, is_saved_dataset, read_saved_dataset, read_tables
from .token_files import SUFFIXES, read_tokens

_TABLES = {*DELIMITED, *JSON, *EXCEL, ".parquet"}


def read(path: Path) -> tuple[Found, list[LeftOut]]:
    """Read a source, without guessing columns.

    RETURNS (Tuple[Found, List[Tuple[Row, str]]]): What it holds; rows that are left out, with reasons.
    RAISES (ValueError): When it is none of the known kinds, or cannot be read.
    """
    if not path.exists():
        raise ValueError(Errors.T988.format(path=path, problem="does not exist"))
    left_out = list[LeftOut]()
    found = _folder(path, left_out) if path.is_dir() else _file(path, left_out)
    return found, left_out


def _file(path: Path, left_out: list[LeftOut]) -> Found:
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        tables = read_tables(path)
        if len(tables) > 1:
            return _merge("JSON with splits", {name: _of_table(table, left_out) for name, table in tables.items()})
        (table,) = tables.values()
        return read_export(table, left_out) or Found(_kind(path), tables={"train": table}, notes=table.notes)
    if suffix in SUFFIXES or (suffix == ".txt" and _has_tokens(path)):
        rows, kind, task, notes = read_tokens(path)
        return Found(kind, rows={"train": rows}, task=task, notes=notes)
    raise ValueError(Errors.T988.format(path=path, problem="is of no kind that can be read"))


def _has_tokens(path: Path) -> bool:
    lines = [line for line in decode(path)[0].splitlines()[:50] if line.strip()]
    return bool(lines) and all(len(line.split()) in (2, 3, 4) for line in lines)


def _kind(path: Path) -> str:
    return {".jsonl": "JSON lines", ".ndjson": "JSON lines"}.get(path.suffix, path.suffix.lstrip(".").upper())


def _folder(path: Path, left_out: list[LeftOut]) -> Found:
    if is_saved_dataset(path):
        tables = read_saved_dataset(path)
        parts = {SPLITS.get(name, name): table for name, table in tables.items()}
        return _merge("a saved dataset", {name: _of_table(table, left_out) for name, table in parts.items()})
    inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    named = {SPLITS[p.stem.lower()]: p for p in inside if p.stem.lower() in SPLITS}
    if "train" in named:
        parts_read = {split: read(part) for split, part in named.items()}
        left_out += [each for _, more in parts_read.values() for each in more]
        return _merge("a folder of splits", {split: part for split, (part, _) in parts_read.items()})
    if any(p.suffix == ".spacy" for p in inside):
        rows, kind, task, notes = read_tokens(path)  # spaCy reads a folder of them as one corpus.
        return Found(kind, rows={"train": rows}, task=task, notes=notes)
    labelled = [folder for folder in inside if folder.is_dir() and any(folder.glob("*.txt"))]
    if len(labelled) > 1:
        rows, notes = _folder_per_label(labelled)
        return Found("a folder per label", rows={"train": rows}, task="textcat", notes=notes)
    raise ValueError(Errors.T988.format(path=path, problem="is a folder that holds nothing known"))


def _of_table(table: Table, left_out: list[LeftOut]) -> Found:
    return read_export(table, left_out) or Found("", tables={"train": table}, notes=table.notes)


def _merge(kind: str, parts: dict[str, Found]) -> Found:
    """RETURNS (Found): The "train" of each part, by its split."""
    whole = Found(kind, task=parts["train"].task if "train" in parts else None)
    for split, part in parts.items():
        if "train" in part.tables:
            whole.tables[split] = part.tables["train"]
        if "train" in part.rows:
            whole.rows[split] = part.rows["train"]
        whole.notes += [f"{split}: {note}" for note in part.notes]
    return whole


def _folder_per_label(folders: Sequence[Path]) -> tuple[list[Row], list[str]]:
    rows, notes = list[Row](), list[str]()
    for folder in folders:
        for file in sorted(folder.glob("*.txt")):
            text, trouble = decode(file)
            rows.append(Row(f"{folder.name}/{file.name}", text, (folder.name,)))
            notes += [f"{folder.name}/{file.name}: {note}" for note in trouble]
    shown = notes[:3] + ([f"... and {len(notes) - 3} files more"] if len(notes) > 3 else [])
    return rows, shown


def rows_of(
    found: Found, *, text: str | None = None, label: str | None = None, task: str | None = None
) -> tuple[dict[str, list[Row]], str, Columns | None]:
    """Rows of all splits.

    text (Optional[str]), label (Optional[str]), task (Optional[str]): What is given; None to guess it.
    RETURNS (Tuple[Dict[str, List[Row]], str, Optional[Columns]]): Rows by split, the task, and the columns of tables.
    """
    if "train" not in found.rows and "train" not in found.tables:
        names = ", ".join([*found.rows, *found.tables])
        raise ValueError(Errors.T998.format(kind=found.kind, names=names))
    if found.rows:
        if text or label:
            raise ValueError(Errors.T989.format(kind=found.kind))
        return found.rows, _task_of(found, task), None
    columns = guess(found.tables["train"], text, label, task)
    rows = dict[str, list[Row]]()
    for split, table in found.tables.items():
        if not has_columns(table.records[0], columns):
            raise ValueError(
                Errors.T990.format(
                    name=table.name,
                    columns=", ".join(table.columns),
                    wanted=", ".join((*columns.texts, *columns.labels)),
                )
            )
        rows[split] = list(to_rows(table, columns))
    return rows, columns.task, columns


def _task_of(found: Found, task: str | None) -> str:
    """RETURNS (str): What is to be learned of rows that say what they hold.

    RAISES (ValueError): When they do not hold what is wanted.
    """
    if task in (None, "pair"):
        return str(found.task)
    has = {
        "textcat": any(row.labels for row in found.rows["train"]),
        "ner": any(row.spans for row in found.rows["train"]),
        "spancat": any(row.spans for row in found.rows["train"]),
        "tagger": any(row.tags for row in found.rows["train"]),
        "regression": any(row.score is not None for row in found.rows["train"]),
    }
    has["multilabel"] = has["textcat"]
    if not has[str(task)]:
        can = ", ".join(name for name, is_there in has.items() if is_there)
        raise ValueError(Errors.T991.format(task=task, kind=found.kind, can=can or "none"))
    return str(task)
