"""Files with tokens, read by spaCy's own converters: CoNLL, IOB, CoNLL-U; and .spacy files."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import cast

from spacy.tokens import Doc, DocBin
from spacy.training import converters
from spacy.vocab import Vocab

from ..errors import Errors
from .labelled_rows import SPANS_KEY, Row, task_of_spans
from .tables import decode

SUFFIXES = {".conll", ".conllu", ".conllx", ".iob", ".iob2", ".bio", ".ner", ".spacy"}
_IOB = re.compile(r"[BIOLUES](-\S+)?\Z")
_SCORE = "score"


def read_tokens(path: Path) -> tuple[list[Row], str, str, list[str]]:
    """Read a file with tokens.

    RETURNS (Tuple[List[Row], str, str, List[str]]): Rows, the kind of file, the task that fits, and notes.
    RAISES (ValueError): When it cannot be read.
    """
    if path.suffix == ".spacy" or path.is_dir():
        rows = list(_of_docs(_docs(path), "doc"))
        return rows, ".spacy", _task(rows), []
    text, notes = decode(path)
    text = text.replace("\r\n", "\n")
    kind, convert = _converter(path, text)
    try:
        rows = list(_of_docs(convert(text), "sentence" if "-DOCSTART-" not in text else "document"))
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(Errors.T983.format(path=path, error=error)) from error
    if not rows:
        raise ValueError(Errors.T983.format(path=path, error="it has no sentence"))
    return rows, kind, _task(rows), notes


def _converter(path: Path, text: str) -> tuple[str, Callable[[str], Iterable[Doc]]]:
    """RETURNS (Tuple[str, Callable]): Name of the format, and what makes docs of it, a sentence each."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    if lines and lines[0].count("\t") == 9:
        return "CoNLL-U", lambda found: converters.conllu_to_docs(found, n_sents=1, no_print=True)
    first = lines[0].split() if lines else []
    if first and all("|" in token for token in first):
        return "IOB, a sentence on each line", lambda found: converters.iob_to_docs(
            found.strip(), n_sents=1, no_print=True
        )
    odd = next((line for line in lines if not _IOB.match(line.split()[-1]) and "-DOCSTART-" not in line), None)
    if odd is not None:
        raise ValueError(Errors.T983.format(path=path, error=f"the last column of {odd!r} is no IOB tag"))
    # Lines of spaces alone end sentences too, and comments are no tokens.
    clean = "\n".join("" if not line.strip() else line for line in text.split("\n") if not line.startswith("# "))
    clean = re.sub(r"-DOCSTART-.*", "-DOCSTART- -X- O O", clean)
    return "CoNLL, a token on each line", lambda _: converters.conll_ner_to_docs(clean, n_sents=1, no_print=True)


def _docs(path: Path) -> Iterator[Doc]:
    files = sorted(path.rglob("*.spacy")) if path.is_dir() else [path]
    try:
        yield from chain.from_iterable(DocBin().from_disk(file).get_docs(Vocab()) for file in files)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(Errors.T217.format(path=path, error=error)) from error


def _of_docs(docs: Iterable[Doc], unit: str) -> Iterator[Row]:
    for number, doc in enumerate(docs, start=1):
        tags = tuple(token.tag_ for token in doc)
        values = cast("Mapping[object, object]", doc.user_data)
        spans = [*doc.ents, *(doc.spans.get(SPANS_KEY) or ())]
        score = values.get(("._.", _SCORE, None, None))
        yield Row(
            f"{unit} {number}",
            doc.text,
            tuple(label for label, value in doc.cats.items() if value >= 0.5),
            float(score) if isinstance(score, int | float) else None,
            tuple(dict.fromkeys((span.start_char, span.end_char, span.label_) for span in spans)),
            tuple(token.text for token in doc),
            tuple(bool(token.whitespace_) for token in doc),
            tags if any(tag not in ("", "-", "_") for tag in tags) else (),
        )


def _task(rows: list[Row]) -> str:
    if any(row.labels for row in rows):
        return "textcat" if all(len(row.labels) <= 1 for row in rows) else "multilabel"
    if any(row.spans for row in rows):
        return task_of_spans(rows)
    return "tagger" if any(row.tags for row in rows) else "regression"
