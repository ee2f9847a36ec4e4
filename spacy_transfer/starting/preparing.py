"""From files to docs in three splits, with all that was found on the way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ..errors import Errors
from .annotation_exports import LeftOut
from .findings import Line, examine, label_counts, lengths, places, rare_labels, similar_labels
from .labelled_rows import SPANS_KEY, Row
from .make_docs import Moved, to_docs
from .reading import read, rows_of
from .splits import split

FEW_TEST = 50
_SHOWN, _MOVED = 20, 3
_COVERED = 0.99
"""Share of the spans that are as short as the longest that is suggested, or shorter."""


@dataclass(frozen=True)
class Given:
    """What the user says of the data; None is guessed.

    text (Optional[str]), label (Optional[str]): Names of columns.
    task (Optional[str]): What is to be learned.
    dev (Optional[Path]), test (Optional[Path]): Data of other splits.
    """

    data: Path
    dev: Path | None = None
    test: Path | None = None
    text: str | None = None
    label: str | None = None
    task: str | None = None
    seed: int = 0


@dataclass
class Prepared:
    """Data that is ready to be written.

    span_sizes (Tuple[int, int]): Tokens of the shortest and longest span that is suggested, for "spancat".
    said (List[str]): What was guessed, a line each.
    lines (List[Tuple[str, str, str]]): What was found, how often, what was done.
    rows (Dict[str, List[Row]]), docs (Dict[str, List[Doc]]): By split.
    """

    task: str = ""
    pairs: bool = False
    span_sizes: tuple[int, int] = (1, 3)
    labels: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    docs: dict[str, list[Doc]] = field(default_factory=dict)


def prepare(nlp: Language, given: Given) -> Prepared:
    """Read, guess, check, split, and make docs.

    RAISES (ValueError): When something cannot be read, guessed or used.
    """
    found = Prepared()
    parts = _read(found, given)
    kept = {name: _examined(found, rows, name if len(parts) > 1 else "") for name, rows in parts.items()}
    _split(found, kept, given.seed)
    everything = [row for rows in found.rows.values() for row in rows]
    counts = label_counts(everything, found.task)
    if found.task != "regression" and len(counts) < (2 if found.task == "textcat" else 1):
        raise ValueError(Errors.T996.format(path=given.data, labels=", ".join(counts) or "none", task=found.task))
    found.lines += [*rare_labels(counts), *(similar_labels(counts) if found.task != "tagger" else [])]
    n_test = len(found.rows["test"])
    if n_test < FEW_TEST:
        found.lines.append(("few test texts", str(n_test), "their score says little: label more, or give --test"))
    found.labels = sorted(counts)
    moved = list[Moved]()
    for name, rows in found.rows.items():
        found.docs[name], more = to_docs(nlp, rows, found.task, found.labels)
        moved += more
    found.lines += _moved(moved)
    if found.task == "spancat":
        found.span_sizes, line = _suggested(found.docs["train"])
        found.lines.append(line)
    return found


def _suggested(docs: Sequence[Doc]) -> tuple[tuple[int, int], Line]:
    """RETURNS (Tuple[Tuple[int, int], Tuple[str, str, str]]): Sizes that nearly all spans have. Each size more is one
    more guess a token, for every text."""
    sizes = sorted(len(span) for doc in docs for span in doc.spans[SPANS_KEY]) or [1]
    low, high = sizes[0], sizes[math.ceil(_COVERED * len(sizes)) - 1]
    longer = sum(size > high for size in sizes)
    done = f"suggested: {low} to {high}" + (f"; longer, and never found: {longer}" if longer else "")
    return (low, high), ("tokens a span", lengths(sizes), done)


def _read(found: Prepared, given: Given) -> dict[str, list[Row]]:
    """RETURNS (Dict[str, List[Row]]): By split. Files of other splits are read as the first one."""
    source, found.left_out = read(given.data)
    parts, found.task, columns = rows_of(source, text=given.text, label=given.label, task=given.task)
    if found.left_out:
        count = f"{len(found.left_out)} ({places(row for row, _ in found.left_out)})"
        found.lines.append(("rows that were rejected or skipped", count, "left out"))
    how = "given by --task" if given.task not in (None, "pair") else "--task for another"
    found.said.append(f"{given.data.name}: {source.kind}")
    found.said += source.notes
    text, label = given.text, given.label
    if columns is not None:
        text, label = ",".join(columns.texts), ",".join(columns.labels)
        found.pairs = len(columns.texts) > 1
        between = f", with {columns.separator!r} between labels" if columns.separator else ""
        found.said.append(f"texts: column {text}. Labels: column {label}{between}. (--text, --label for others)")
    found.said.append(f"task: {found.task}{', pairs of texts' if found.pairs else ''} ({how})")
    if given.task == "pair" and not found.pairs:
        raise ValueError(Errors.T997.format(path=given.data))
    for name, path in (("dev", given.dev), ("test", given.test)):
        if path is not None:
            other, more = read(path)
            found.left_out += more
            is_table = bool(other.tables)
            parts[name] = rows_of(
                other, text=text if is_table else None, label=label if is_table else None, task=found.task
            )[0]["train"]
    return {name: parts[name] for name in ("train", "dev", "test") if name in parts}


def _examined(found: Prepared, rows: Sequence[Row], name: str) -> list[Row]:
    findings = examine(rows, found.task)
    prefix = f"{name}: " if name else ""
    found.left_out += [(row, f"{prefix}{reason}") for row, reason in findings.left_out]
    found.lines += [(f"{prefix}{what}", count, done) for what, count, done in findings.lines]
    return findings.rows


def _split(found: Prepared, kept: dict[str, list[Row]], seed: int) -> None:
    given = {name: rows for name, rows in kept.items() if name != "train"}
    parts, near, n_leaked = split(kept["train"], given, seed)
    leaked = parts.pop("leaked")
    found.left_out += [(row, "the same as a text of dev or test, or nearly") for row in leaked]
    if near:
        found.lines.append(("near duplicates", str(near), "kept, each with its like in one split"))
    if n_leaked:
        count = f"{n_leaked} ({places(leaked)})"
        found.lines.append(("training texts that dev or test have too, or nearly", count, "left out of the training"))
    found.rows = {name: parts[name] for name in ("train", "dev", "test")}


def _moved(moved: Sequence[Moved]) -> list[Line]:
    if not moved:
        return []
    shown = "; ".join(f"{row.place}: {was!r} -> {now}" for row, was, now in moved[:_MOVED])
    more = f"; ... ({len(moved) - _MOVED} more)" if len(moved) > _MOVED else ""
    return [("entities that end inside of a token", str(len(moved)), f"widened to tokens: {shown}{more}")]


def describe(found: Prepared, pieces: Sequence[int], window: int) -> list[Line]:
    """RETURNS (List[Tuple[str, str, str]]): Sizes, labels and lengths, for a table."""
    sizes = {name: len(rows) for name, rows in found.rows.items()}
    split_up = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    lines = [("texts", f"{sum(sizes.values()):,}", split_up)]
    everything = [row for rows in found.rows.values() for row in rows]
    counts = label_counts(everything, found.task)
    for label, count in counts.most_common(_SHOWN):
        lines.append((f"  {label}", f"{count:,}", f"{count / sum(counts.values()):.0%}"))
    if len(counts) > _SHOWN:
        rest = sum(count for _, count in counts.most_common()[_SHOWN:])
        lines.append((f"  ... and {len(counts) - _SHOWN} more", f"{rest:,}", ""))
    scores = [row.score for row in everything if row.score is not None]
    if scores:
        lines.append(("numbers", f"{min(scores):g} to {max(scores):g}", f"mean {sum(scores) / len(scores):.2f}"))
    words = [len(doc) for docs in found.docs.values() for doc in docs]
    lines.append(("words a text", lengths(words), ""))
    if pieces:
        over = sum(count > window - 2 for count in pieces)
        done = f"longer than the window of {window}: {over:,}, read in parts, nothing is cut off" if over else ""
        lines.append(("word pieces a text", lengths(pieces), done))
    return lines
