"""The rows that spaCy's console logger prints, with columns that can be told apart, and the rates beside them."""

import re
from collections.abc import Callable, Sequence
from typing import IO

from spacy.language import Language

from ...tuning.table import show_rate
from ..parameter_table import is_ever_trained
from .component import Backbone

FIRST = 2
"""Columns before those of losses: epoch and step."""


class Columns:
    """A stream for spaCy's logger. Names of losses are spelled out: spaCy cuts both "Loss transfer_backbone" and "Loss
    transfer_textcat" to "LOSS TRANS...". Each row ends with the rates of the step before it. A backbone that
    is never trained has no column: its loss, the squares of its gradient, stays 0.

    nlp (Language): The pipeline.
    stream (IO): Where it goes.
    rates (Callable[[], Dict[str, float]]): The rates of the last step, by group of the optimizer.
    """

    WIDTH = 13

    def __init__(self, nlp: Language, stream: IO, rates: Callable[[], dict[str, float]] = dict) -> None:
        self._stream, self._rates = stream, rates
        self._losses = {name: pipe for name, pipe in nlp.pipeline if getattr(pipe, "is_trainable", False)}
        self._text = ""
        self._header: str | None = None
        self._spans: list[tuple[int, int]] = []
        self._widths: list[int] = []
        self._dropped: set[int] = set()
        self._groups: list[str] = []

    def write(self, text: str) -> int:
        """Write a text, by whole lines. The header waits for the first row, which decides about columns."""
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            for shown in self._lines(line):
                self._stream.write(f"{shown}\n")
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def _lines(self, line: str) -> list[str]:
        """RETURNS (List[str]): What is printed for a line of spaCy's."""
        if self._header is None:
            if line.split()[:2] != ["E", "#"]:
                return [line]
            self._header = line
            return []
        if not self._spans:
            self._spans = [match.span() for match in re.finditer("-+", line)]
            return []
        cells = line.split()
        if len(cells) != len(self._spans):
            return [line]
        header = [] if self._widths else self._start(cells)
        rates = self._rates()
        shown = [show_rate(rates[group]) if group in rates else "-" for group in self._groups]
        return [*header, self._row([*cells, *shown], str.rjust)]

    def _start(self, cells: Sequence[str]) -> list[str]:
        """Decide about the columns by the first row.

        RETURNS (List[str]): The header and the line below it.
        """
        self._dropped = {
            i
            for i, (name, pipe) in enumerate(self._losses.items(), start=FIRST)
            if isinstance(pipe, Backbone) and not is_ever_trained(name, pipe)
        }
        self._groups = list(self._rates())
        names = [(self._header or "")[start:end] for start, end in self._spans]
        for i, name in enumerate(self._names(), start=FIRST):
            names[i] = name.ljust(len(names[i]))
        names += [f"RATE {group.upper()}".strip() for group in self._groups]
        self._widths = [max(len(name), 8 * (i >= len(cells))) for i, name in enumerate(names)]
        return [self._row(names, str.ljust), self._row(["-" * width for width in self._widths], str.ljust)]

    def _row(self, cells: Sequence[str], align: Callable[[str, int], str]) -> str:
        kept = (align(cells[i], width) for i, width in enumerate(self._widths) if i not in self._dropped)
        return "  ".join(kept).rstrip()

    def _names(self) -> list[str]:
        """RETURNS (List[str]): Of the columns of losses: as long as a column where they are different then."""
        names = [name.removeprefix("transfer_").upper() for name in self._losses]
        cut = [f"LOSS {name}" if len(name) + 5 <= self.WIDTH else name[: self.WIDTH] for name in names]
        return [name if cut.count(short) > 1 else short for name, short in zip(names, cut, strict=True)]
