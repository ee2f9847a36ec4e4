"""Progress and held-out loss of a pretraining, on the screen and in a file."""

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spacy.tokens import Doc
from tqdm import tqdm

from ..corpora.raw_text import RawText
from ..types import Config

if TYPE_CHECKING:
    from .objective import Measured, Pretraining


class Monitor:
    """Shows a progress bar for each epoch, and the loss on held-out texts before the first step and at each save.

    log (Optional[Path]): A file to which each held-out loss is added, a JSON object on each line; null for none.
    progress (bool): Show the bar where a terminal looks on.
    """

    def __init__(self, log: Path | None, progress: bool) -> None:
        self._log, self._progress = None if log is None else Path(log), progress
        self._pretraining: Pretraining | None = None
        self._reader: RawText | None = None
        self._docs: list[Doc] = []
        self._first: Measured | None = None
        self._bar: tqdm | None = None
        self._evaluated = -1
        self._start = self._epoch = 0.0
        self._total, self._count = 0.0, 0
        self._is_silent = False

    def silence(self) -> None:
        """Say and write nothing: another process does."""
        self._log, self._progress, self._is_silent = None, False, True

    def begin(self, pretraining: "Pretraining", reader: RawText | None) -> None:
        """At the first step, take the held-out docs and say their loss; at the first of an epoch, begin a bar.

        pretraining (Pretraining): The objective at work.
        reader (Optional[RawText]): What gives the docs.
        """
        if self._pretraining is None:
            self._pretraining, self._reader, self._start = pretraining, reader, time.perf_counter()
            self._docs = [] if reader is None or self._is_silent else reader.held_out_docs()
            self.evaluate()
            self._epoch = -1
        if reader is not None and reader.epoch != self._epoch:
            self._end_bar()
            self._epoch = reader.epoch
            hidden = None if self._progress else True
            self._bar = tqdm(
                total=reader.n_docs, desc=f"Epoch {reader.epoch}", unit=" docs", leave=False, disable=hidden
            )

    @property
    def log(self) -> Path | None:
        """RETURNS (Optional[Path]): The file of held-out losses."""
        return self._log

    def training_state(self) -> Config:
        """RETURNS (Dict[str, Any]): What a pretraining that goes on needs, for JSON."""
        first = None if self._first is None else [self._first.total, self._first.count]
        seconds = time.perf_counter() - self._start
        state = {"first": first, "evaluated": self._evaluated, "total": self._total, "count": self._count}
        return {**state, "seconds": seconds}

    def set_training_state(self, state: Config, pretraining: "Pretraining", reader: RawText | None) -> None:
        """Begin with what `training_state` gave, as after the first step."""
        from .objective import NOTHING, Measured

        self._pretraining, self._reader, self._epoch = pretraining, reader, -1
        self._docs = [] if reader is None or self._is_silent else reader.held_out_docs()
        self._first = (
            None if state["first"] is None else Measured(state["first"][0], state["first"][1], NOTHING.backprop)
        )
        self._evaluated, self._total, self._count = state["evaluated"], state["total"], state["count"]
        self._start = time.perf_counter() - state["seconds"]

    def count(self, measured: "Measured", n_docs: int) -> None:
        """Add a training batch."""
        self._total, self._count = self._total + measured.total, self._count + measured.count
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{measured.mean:.3f}", refresh=False)
            self._bar.update(n_docs)

    def evaluate(self) -> None:
        """Say the held-out loss, unless no step was made since the last time."""
        pretraining = self._pretraining
        if pretraining is None or not self._docs or pretraining.steps == self._evaluated:
            return
        self._evaluated = pretraining.steps
        measured = pretraining.held_out(self._docs)
        if not measured.count:
            tqdm.write(f"Held out, {len(self._docs)} docs: nothing to predict. Hold more texts out.")
            return
        if self._first is None:
            self._first = measured
        objective = pretraining.objective
        line = f"Held out, {len(self._docs)} docs: loss {_say(measured.mean, objective.is_likelihood)}"
        if measured is not self._first:
            line += f"; at the start {_say(self._first.mean, objective.is_likelihood)}"
        tqdm.write(f"{line}. Mean over each {objective.unit}.")
        self._write(pretraining, measured)
        self._total, self._count = 0.0, 0

    def _write(self, pretraining: "Pretraining", measured: "Measured") -> None:
        if self._log is None:
            return
        line: Config = {
            "epoch": None if self._reader is None else self._reader.epoch,
            "step": pretraining.steps,
            "loss": self._total / self._count if self._count else None,
            "held_out_loss": measured.mean,
            "unit": pretraining.objective.unit,
            "seconds": round(time.perf_counter() - self._start, 1),
        }
        if pretraining.objective.is_likelihood:
            line["held_out_perplexity"] = math.exp(min(measured.mean, 700.0))
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _say(loss: float, is_likelihood: bool) -> str:
    return f"{loss:.4f}" + (f" (perplexity {math.exp(min(loss, 700.0)):,.1f})" if is_likelihood else "")
