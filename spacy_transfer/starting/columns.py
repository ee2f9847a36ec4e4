"""The columns of the text and of the label, and the task: guessed, or as given."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ..errors import Errors
from .labelled_rows import TEXTS, Record, Row, Table

LABELS = (
    *("label", "labels", "category", "categories", "class", "target", "intent", "sentiment", "topic", "tag", "tags"),
    *("stars", "rating", "score", "y"),
)
PAIRS = ("sentence1 sentence2", "premise hypothesis", "question1 question2", "text1 text2", "text_a text_b")
SEPARATOR = " [SEP] "
_MOST_CLASSES = 20
_MOSTLY = 0.8
"""Share of the cells that are numbers where a column is one of numbers."""
_NO_NUMBER = {"na", "n/a", "nan", "null", "none", "-", "?"}


@dataclass(frozen=True)
class Columns:
    """What the columns of a table mean.

    texts (Tuple[str, ...]): One, or two for pairs.
    labels (Tuple[str, ...]): One; or several, each of which says yes or no to a label.
    separator (str): Between several labels in one cell; empty if there is none.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    task: str
    separator: str = ""


def guess(table: Table, text: str | None = None, label: str | None = None, task: str | None = None) -> Columns:
    """Find the columns.

    text (Optional[str]): Name of the column with texts; of two with a comma between, for pairs.
    label (Optional[str]): Name of the column with labels; of several with commas between.
    task (Optional[str]): What is to be learned.
    RAISES (ValueError): When a column is missing, or no guess can be made.
    """
    texts = _named(table, text, "--text") or _guess_texts(table)
    rest = [column for column in table.columns if column not in texts]
    labels = _named(table, label, "--label") or _guess_labels(table, rest, task)
    if not labels:
        raise ValueError(Errors.T985.format(name=table.name, columns=", ".join(table.columns), texts=", ".join(texts)))
    if len(labels) > 1:
        return Columns(texts, labels, "multilabel")
    values = [value for record in table.records if not _is_empty(value := record.get(labels[0]))]
    _check_labels(table, labels[0], values)
    separator = _separator(values, is_given=task == "multilabel") if task in (None, "multilabel", "pair") else ""
    found = task if task not in (None, "pair") else _guess_task(values, separator, labels[0], table)
    return Columns(texts, labels, str(found), separator if found == "multilabel" else "")


def to_rows(table: Table, columns: Columns) -> Iterator[Row]:
    """YIELDS (Row): Each record, as the columns say.

    RAISES (ValueError): When a number is to be learned, and a cell is none.
    """
    names = table.classes.get(columns.labels[0])
    for place, record in zip(table.places, table.records, strict=True):
        text = SEPARATOR.join("" if _is_empty(cell := record.get(column)) else str(cell) for column in columns.texts)
        text = "" if not text.replace(SEPARATOR.strip(), "").strip() else text
        cells = [record.get(column) for column in columns.labels]
        if columns.task == "regression":
            yield Row(place, text, score=_number(table.name, place, columns.labels[0], cells[0]))
        elif len(columns.labels) > 1:
            yes = tuple(name for name, cell in zip(columns.labels, cells, strict=True) if _is_yes(cell))
            yield Row(place, text, yes, is_annotated=not all(map(_is_empty, cells)))
        else:
            labels = tuple(_labels(cells[0], columns.separator, names))
            is_list = columns.task == "multilabel" and cells[0] is not None
            yield Row(place, text, labels, is_annotated=bool(labels) or is_list)


def _check_labels(table: Table, column: str, values: Sequence[Any]) -> None:
    """RAISES (ValueError): When an object stands where a label should."""
    for value in values:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict | list):
                raise ValueError(Errors.T957.format(name=table.name, column=column, found=str(each)[:60]))


def _named(table: Table, names: str | None, option: str) -> tuple[str, ...]:
    if names is None:
        return ()
    known = table.columns
    wanted = (names,) if names in known else tuple(name.strip() for name in names.split(","))
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                Errors.T986.format(option=option, found=name, name=table.name, columns=", ".join(known), hint=hint)
            )
    return wanted


def _guess_texts(table: Table) -> tuple[str, ...]:
    by_name = {column.lower(): column for column in table.columns}
    for pair in PAIRS:
        if all(name in by_name for name in pair.split()):
            return tuple(by_name[name] for name in pair.split())
    for name in TEXTS:
        if name in by_name and _length(table, by_name[name]):
            return (by_name[name],)
    return (max(table.columns, key=lambda column: _length(table, column)),)


def _length(table: Table, column: str) -> float:
    """RETURNS (float): Mean of the characters in it; 0 for numbers."""
    cells = [cell for record in table.records[:500] if isinstance(cell := record.get(column), str)]
    return sum(map(len, cells)) / len(cells) if cells else 0.0


def _guess_labels(table: Table, rest: Sequence[str], task: str | None) -> tuple[str, ...]:
    by_name = {column.lower(): column for column in rest}
    named = next((by_name[name] for name in LABELS if name in by_name), None)
    if named:
        return (named,)
    flags = [column for column in rest if _is_flag(table, column)]
    if len(flags) > 1 and task in (None, "multilabel"):
        return tuple(flags)
    counts = {column: len({str(record.get(column)) for record in table.records}) for column in rest}
    few = [column for column in rest if 1 < counts[column] <= max(2, len(table.records) // 2)]
    if task == "regression":
        few = [column for column in rest if all(_is_number(record.get(column)) for record in table.records)]
    return (min(few, key=lambda column: counts[column]),) if few else tuple(rest[:1]) if len(rest) == 1 else ()


def _is_flag(table: Table, column: str) -> bool:
    return {str(record.get(column)).strip().lower() for record in table.records} <= {
        "0",
        "1",
        "true",
        "false",
        "0.0",
        "1.0",
    }


def _is_yes(cell: Any) -> bool:
    return str(cell).strip().lower() in ("1", "true", "1.0", "yes")


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == "" or cell != cell or (isinstance(cell, str) and not cell.strip())


def _is_number(cell: Any) -> bool:
    try:
        return not isinstance(cell, bool) and math.isfinite(float(cell))
    except (TypeError, ValueError, OverflowError):
        return False


def _lacks_number(cell: Any) -> bool:
    return _is_empty(cell) or (isinstance(cell, str) and cell.strip().lower() in _NO_NUMBER)


def _separator(values: Sequence[Any], *, is_given: bool) -> str:
    """RETURNS (str): What stands between labels, if cells have several labels that stand alone too.

    is_given (bool): Whether it is known that there may be several.
    """
    texts = [value for value in values if isinstance(value, str)]
    for sign in "|;,":
        parts = [[part.strip() for part in text.split(sign)] for text in texts]
        several = [each for each in parts if len(each) > 1]
        counts = Counter(part for each in parts for part in each)
        is_short = all(len(part) <= 40 for each in several for part in each)
        is_usual = len(several) >= max(2, 0.05 * len(texts)) and len(counts) < 0.5 * sum(counts.values())
        if several and is_short and (is_given or is_usual):
            return sign
    return ""


def _guess_task(values: Sequence[Any], separator: str, column: str, table: Table) -> str:
    if separator or any(isinstance(value, list) for value in values):
        return "multilabel"
    known = [value for value in values if not _lacks_number(value)]
    found = [value for value in known if _is_number(value)]
    if column in table.classes or not known or len(found) < _MOSTLY * len(known):
        return "textcat"
    numbers = {float(value) for value in found}
    if len(found) < len(known) and len(numbers) <= _MOST_CLASSES:
        return "textcat"
    is_whole = all(number == int(number) for number in numbers)
    return "textcat" if is_whole and len(numbers) <= _MOST_CLASSES else "regression"


def _labels(cell: Any, separator: str, names: Sequence[str] | None) -> Iterator[str]:
    if _is_empty(cell):
        return
    parts = cell if isinstance(cell, list) else str(cell).split(separator) if separator else [cell]
    for part in parts:
        if names and isinstance(part, int):
            # -1 stands for a label that is not known, as in the test parts of GLUE.
            if 0 <= part < len(names):
                yield names[part]
        elif isinstance(part, float) and part == int(part):
            yield str(int(part))
        elif part is not None and str(part).strip():
            yield re.sub(r"\s+", " ", str(part)).strip()


def _number(name: str, place: str, column: str, cell: Any) -> float | None:
    if _lacks_number(cell):
        return None
    if not _is_number(cell):
        raise ValueError(Errors.T987.format(name=name, place=place, column=column, found=cell))
    return float(cell)


def has_columns(record: Record, columns: Columns) -> bool:
    """RETURNS (bool): Whether a record of another file has the same columns."""
    return all(column in record for column in (*columns.texts, *columns.labels))
