"""Rows of labelled data, whatever file they come from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Record = Mapping[str, Any]
"""A row of a table, or an object of JSON."""
TEXTS = (
    *("text", "sentence", "content", "review", "body", "document", "message", "tweet", "comment", "article"),
    *("utterance", "query", "question", "title"),
)
"""Usual names of the column of texts, the most usual first."""
SPLITS = {"train": "train", "training": "train", "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev"}
SPLITS |= {"test": "test", "testing": "test"}
"""Usual names of splits, and ours."""
SPANS_KEY = "sc"
"""Of `doc.spans`, where spans that overlap stand."""
SpanOf = tuple[int, int, str]
"""First character, character after the last, label."""


@dataclass(frozen=True)
class Row:
    """A text with what is known of it. A field that is empty is not annotated.

    place (str): Where it stands, for messages.
    labels (Tuple[str, ...]): Of the whole text.
    score (Optional[float]): Its number.
    spans (Tuple[Tuple[int, int, str], ...]): Entities, by characters.
    words (Tuple[str, ...]): Its tokens, if the file has them.
    spaces (Tuple[bool, ...]): Whether a space follows, for each token.
    tags (Tuple[str, ...]): One for each token.
    is_annotated (bool): False where nobody has said anything of it, not even that there is nothing.
    """

    place: str
    text: str
    labels: tuple[str, ...] = ()
    score: float | None = None
    spans: tuple[SpanOf, ...] = ()
    words: tuple[str, ...] = ()
    spaces: tuple[bool, ...] = ()
    tags: tuple[str, ...] = ()
    is_annotated: bool = True


def task_of_spans(rows: Iterable[Row]) -> str:
    """RETURNS (str): "spancat" where spans overlap, else "ner"."""
    for row in rows:
        spans = sorted({*row.spans})
        if any(following[0] < span[1] for span, following in pairwise(spans)):
            return "spancat"
    return "ner"


@dataclass
class Table:
    """Records of one file, before it is known what they mean.

    name (str): Of the file.
    places (List[str]): Where each record stands.
    notes (List[str]): What was found while reading, to be told.
    classes (Dict[str, List[str]]): Names of numbered labels, by column.
    """

    name: str
    records: Sequence[Record]
    places: Sequence[str]
    notes: list[str] = field(default_factory=list)
    classes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """RETURNS (List[str]): Names of all columns, in their order."""
        return list(dict.fromkeys(key for record in self.records for key in record))


@dataclass
class Found:
    """What a source holds: tables whose columns are still to be guessed, or rows that say what they are.

    tables (Dict[str, Table]), rows (Dict[str, List[Row]]): By split: "train", "dev", "test".
    kind (str): What kind of file it is, to be told.
    task (Optional[str]): Where the format says it.
    notes (List[str]): To be told.
    """

    kind: str
    tables: dict[str, Table] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    task: str | None = None
    notes: list[str] = field(default_factory=list)
