"""Faults of labelled rows: their kinds, their counts, and what was done. Nothing is dropped without a word."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from statistics import median

from .annotation_exports import LeftOut
from .labelled_rows import Row, SpanOf
from .near_duplicates import normalised

RARE = 3
_ALIKE = 0.8
"""Least likeness of a typing error, as difflib counts it."""
_MOST_COMPARED = 100_000
_SHOWN, _LABELS = 3, 10
_OF_SPANS = ("ner", "spancat")
_OUTSIDE, _OVERLAPS = "entity outside of the text", "entity overlaps a longer one"
Line = tuple[str, str, str]
"""What was found, how often, what was done."""


@dataclass
class Findings:
    """What was found in rows.

    rows (List[Row]): Those that are kept, mended.
    left_out (List[Tuple[Row, str]]): The others, with a reason.
    lines (List[Tuple[str, str, str]]): For a table.
    """

    rows: list[Row] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def leave_out(self, what: str, rows: Iterable[Row], reason: str | Callable[[Row], str]) -> None:
        """Leave rows out.

        reason (Union[str, Callable[[Row], str]]): The reason, or what says it of a row.
        """
        gone = [(row, reason if isinstance(reason, str) else reason(row)) for row in rows]
        self.left_out += gone
        if gone:
            self.lines.append((what, f"{len(gone)} ({places(row for row, _ in gone)})", "left out"))


def places(rows: Iterable[Row]) -> str:
    """RETURNS (str): Where the first of them stand."""
    found = [row.place for row in rows]
    return ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")


def examine(rows: Sequence[Row], task: str) -> Findings:
    """Look for empty texts, rows without annotation, duplicates, conflicting labels, and spans that cannot be.

    task (str): What is to be learned.
    RETURNS (Findings): What was found, and the rows that are kept.
    """
    found = Findings()
    found.leave_out("empty texts", [row for row in rows if not row.text.strip()], "the text is empty")
    kept = [row for row in rows if row.text.strip()]
    lacks = {id(row) for row in kept if not _has_annotation(row, task)}
    found.leave_out("rows without a label", [row for row in kept if id(row) in lacks], "it has no label")
    kept = [row for row in kept if id(row) not in lacks]
    kept = _without_duplicates(kept, found, task)
    if task in _OF_SPANS:
        kept = [_with_possible_spans(row, found, may_overlap=task == "spancat") for row in kept]
        found.lines += _summary(found, label_counts(kept, task))
    found.rows = kept
    return found


def _has_annotation(row: Row, task: str) -> bool:
    if task == "regression":
        return row.score is not None
    if task == "tagger":
        return bool(row.tags)
    return bool(row.labels) if task == "textcat" else row.is_annotated


def _answer(row: Row, task: str) -> object:
    """RETURNS (object): What is to be learned of a row."""
    if task in ("textcat", "multilabel"):
        return tuple(sorted(row.labels))
    return row.score if task == "regression" else (row.spans, row.tags)


def _without_duplicates(rows: Sequence[Row], found: Findings, task: str) -> list[Row]:
    """The first of those that have the same text and answer. Where answers differ, the one of most rows is kept;
    without a majority none is. Sentences with tokens are all kept: they repeat in real texts."""
    if task in (*_OF_SPANS, "tagger"):
        n_again = len(rows) - len({row.text for row in rows})
        if n_again:
            found.lines.append(("texts that stand there again", str(n_again), "kept, all in one split"))
        return list(rows)
    same = defaultdict[str, list[Row]](list)
    for row in rows:
        same[normalised(row.text)].append(row)
    kept, again, conflict, outvoted = set[int](), list[Row](), list[Row](), list[Row]()
    first = dict[int, str]()
    for group in same.values():
        counts = Counter(_answer(row, task) for row in group)
        (best, most), *others = counts.most_common()
        if others and others[0][1] == most:
            conflict += group
            continue
        right = [row for row in group if _answer(row, task) == best]
        kept.add(id(right[0]))
        again += right[1:]
        first |= {id(row): right[0].place for row in right[1:]}
        outvoted += [row for row in group if _answer(row, task) != best]
    found.leave_out("duplicates (case and punctuation aside)", again, lambda row: f"a duplicate of {first[id(row)]}")
    found.leave_out("conflicting labels, outvoted", outvoted, "most rows with this text have another label")
    found.leave_out("conflicting labels, no majority", conflict, "rows with this text have different labels")
    return [row for row in rows if id(row) in kept]


def _with_possible_spans(row: Row, found: Findings, *, may_overlap: bool) -> Row:
    """RETURNS (Row): With spans inside the text, without spaces at their ends, each once, and where they may not
    overlap, the longest of those that do."""
    kept, taken = list[SpanOf](), set[int]()
    for start, end, label in sorted({*row.spans}, key=lambda span: (span[0] - span[1], span)):
        if not 0 <= start < end <= len(row.text) or not row.text[start:end].strip():
            found.left_out.append((replace(row, spans=((start, end, label),)), _OUTSIDE))
            continue
        part = row.text[start:end]
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
        if not may_overlap and taken & set(range(start, end)):
            found.left_out.append((replace(row, spans=((start, end, label),)), _OVERLAPS))
            continue
        taken |= set(range(start, end))
        kept.append((start, end, label))
    return replace(row, spans=tuple(sorted({*kept})))


def _summary(found: Findings, kept: Counter[str]) -> list[Line]:
    """Lines on the entities that are left out.

    kept (Counter[str]): Labels of the others.
    """
    lines = list[Line]()
    for reason, what, hint in (
        (_OUTSIDE, "entities outside of the text", ""),
        (_OVERLAPS, "entities that overlap a longer one", "; --task spancat keeps them"),
    ):
        rows = [row for row, why in found.left_out if why == reason]
        counts = label_counts(rows, "ner")
        names = [f"{label} {count}" for label, count in counts.most_common(_LABELS)]
        more = f", and of {len(counts) - _LABELS} labels more" if len(counts) > _LABELS else ""
        done = f"left out, the text is kept: {', '.join(names)}{more}{hint}"
        gone = sorted(counts.keys() - kept.keys())
        if rows:
            lines.append((what, f"{len(rows)} ({places(rows)})", done))
        if gone and hint:
            lines.append(("labels that are gone with them", f"{len(gone)} ({', '.join(gone)})", hint[2:]))
    return lines


def label_counts(rows: Sequence[Row], task: str) -> Counter[str]:
    """RETURNS (Counter[str]): How often each label is there."""
    if task in _OF_SPANS:
        return Counter(label for row in rows for _, _, label in row.spans)
    return Counter(label for row in rows for label in (row.tags if task == "tagger" else row.labels))


def rare_labels(counts: Counter[str]) -> list[Line]:
    """RETURNS (List[Tuple[str, str, str]]): A line on the labels that are hardly there."""
    rare = [label for label, count in counts.items() if count < RARE]
    if not rare:
        return []
    shown = ", ".join(f"{label} {counts[label]}" for label in rare[:5]) + (", ..." if len(rare) > 5 else "")
    return [(f"labels with less than {RARE} examples", f"{len(rare)} ({shown})", "kept: they are hardly learned")]


def similar_labels(counts: Counter[str]) -> list[Line]:
    """RETURNS (List[Tuple[str, str, str]]): A line on rare labels that may be other labels with a typing error, or in
    other letters."""
    by_letters, pairs = defaultdict[str, list[str]](list), list[str]()
    for label, _ in counts.most_common():
        same = by_letters["".join(filter(str.isalnum, label.lower()))]
        pairs += [f"{label!r} and {same[0]!r}"] if same else []
        same.append(label)
    usual = {label.lower(): label for label, count in counts.items() if count >= RARE}
    rare = [label for label, count in counts.items() if count < RARE]
    # Each rare label is compared with all usual ones: of thousands the first do.
    for label in rare[: _MOST_COMPARED // max(1, len(usual))]:
        near = get_close_matches(label.lower(), usual, n=1, cutoff=_ALIKE)
        if near and near[0] != label.lower():
            pairs.append(f"{label!r} and {usual[near[0]]!r}")
    if not pairs:
        return []
    shown = ", ".join(pairs[:_SHOWN]) + (", ..." if len(pairs) > _SHOWN else "")
    return [("labels that look alike", f"{len(pairs)} ({shown})", "kept: where they are one, mend the file")]


def lengths(counts: Sequence[int]) -> str:
    """RETURNS (str): The middle and the most of some lengths."""
    return f"{median(counts):.0f} in the middle, {max(counts)} at most"
