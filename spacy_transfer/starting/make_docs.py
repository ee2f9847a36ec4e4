"""Rows -> docs with gold annotation, in spaCy's format."""

from collections.abc import Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc, Span

from ..corpora.doc_files import UserDataBin
from ..progress import progress
from .labelled_rows import SPANS_KEY, Row

Moved = tuple[Row, str, str]
"""The row of an entity, how it was marked, and the tokens that it has now."""


def to_docs(nlp: Language, rows: Sequence[Row], task: str, labels: Sequence[str]) -> tuple[list[Doc], list[Moved]]:
    """Make docs.

    labels (Sequence[str]): All labels of texts.
    RETURNS (Tuple[List[Doc], List[Tuple[Row, str, str]]]): The docs; and the entities that were widened to tokens.
    """
    docs, moved = list[Doc](), list[Moved]()
    if task == "regression" and not Doc.has_extension("score"):
        Doc.set_extension("score", default=None)
    for row in progress(rows, what="Tokenizing"):
        doc = _tokens(nlp, row)
        if task in ("textcat", "multilabel"):
            doc.cats = {label: float(label in row.labels) for label in labels}
        elif task == "regression":
            doc._.score = row.score
        elif task == "tagger":
            for token, tag in zip(doc, row.tags, strict=True):
                token.tag_ = tag
        else:
            moved += _set_entities(doc, row, may_overlap=task == "spancat")
        docs.append(doc)
    return docs, moved


def _tokens(nlp: Language, row: Row) -> Doc:
    if row.words:
        return Doc(nlp.vocab, words=list(row.words), spaces=list(row.spaces))
    return nlp.make_doc(row.text)


def _set_entities(doc: Doc, row: Row, *, may_overlap: bool) -> list[Moved]:
    """Entities begin and end with tokens: others are widened to the nearest. Two that meet then become one: the
    longer's; where they may overlap, two that are the same then."""
    spans, moved = list[Span](), list[Moved]()
    for start, end, label in sorted(row.spans, key=lambda span: span[0] - span[1]):
        span = doc.char_span(start, end, label)
        if span is None:
            span = doc.char_span(start, end, label, alignment_mode="expand")
            moved.append((row, row.text[start:end], span.text if span else "no token"))
        others = [other for other in spans if not may_overlap or other == span]
        if span is not None and not any(span.start < other.end and other.start < span.end for other in others):
            spans.append(span)
        elif span is not None and not (moved and moved[-1][0] is row and moved[-1][1] == row.text[start:end]):
            moved.append((row, row.text[start:end], f"nothing: {span.text!r} has an entity already"))
    if may_overlap:
        doc.spans[SPANS_KEY] = sorted(spans)
    else:
        doc.set_ents(spans)
    return moved


def write_docs(docs: Sequence[Doc], path: Path) -> None:
    """Write a .spacy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    UserDataBin(docs=docs).to_disk(path)
