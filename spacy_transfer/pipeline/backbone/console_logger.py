"""ConsoleLogger.v1: spaCy's own, with the table of parameter groups, the rates, and the layers that move."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, cast

from spacy.language import Language
from spacy.util import registry
from thinc.api import Optimizer

from ...tuning.table import to_text
from ...types import pipe_of
from ..parameter_table import overview
from ..parameters import register_names
from .component import Backbone
from .log_columns import Columns

LogStep = Callable[[dict[str, object] | None], None]


def console_logger_v1(
    *,
    progress_bar: bool | Literal["train", "eval"] | None = None,
    console_output: bool = True,
    output_file: str | Path | None = None,
) -> Callable[..., tuple[LogStep, Callable[[], None]]]:
    """spaCy's console logger, with the arguments of `spacy.ConsoleLogger.v1` to `.v3`. Before the training it prints
    the table of parameter groups. Each row ends with the rates of the step before it. After it stands which layers of
    each `transfer_backbone` move, where that has changed. A backbone that is never trained has no column (`Columns`).
    Where a backbone has several tasks, it prints the loss per example and the weight of each, and the mean cosine
    between the gradients of any two since the row before: of the parameters' gradients with `surgery = "pcgrad"`, and
    otherwise of those of the rows, in docs that give both tasks a gradient.

    progress_bar (Union[bool, str, None]): "train" for a bar to the end, "eval" or true for one to the next evaluation,
        null or false for none.
    console_output (bool): Print to the console.
    output_file (Union[str, Path, None]): A jsonl file for the rows.
    RETURNS (Callable): The logger.
    """
    make = registry.get("loggers", "spacy.ConsoleLogger.v3")
    bar = ("eval" if progress_bar else None) if isinstance(progress_bar, bool) else progress_bar
    setup_rows = make(progress_bar=bar, console_output=console_output, output_file=output_file)

    def setup(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> tuple[LogStep, Callable[[], None]]:
        if console_output:
            print(planned_table(nlp), file=stdout, flush=True)
            for _, pipe in nlp.components:
                if isinstance(pipe, Backbone):
                    pipe.tasks.record_cosines()
        log_row, finalize = setup_rows(nlp, cast(IO, Columns(nlp, stdout, lambda: _rates(nlp))), stderr)
        moving: list[str] = []

        def log_step(info: dict[str, object] | None) -> None:
            log_row(info)
            if info is not None and console_output:
                for line in _lines(nlp, moving):
                    print(line, file=stdout, flush=True)

        return log_step, finalize

    return setup


def planned_table(nlp: Language, optimizer: Optimizer | None = None) -> str:
    """The table of a pipeline that is about to be trained by its config. The components do
    not log theirs then.

    optimizer (Optional[Optimizer]): A fresh one of the config's; made if not given.
    """
    training = nlp.config.interpolate()["training"]
    if optimizer is None:
        optimizer = registry.resolve({"optimizer": training["optimizer"]})["optimizer"]
    frozen = list(training["frozen_components"])
    # While spaCy sets a logger up, what is frozen is disabled.
    shown = [name for name in nlp.component_names if name in frozen or name in nlp.pipe_names]
    pipes = [(name, pipe_of(nlp, name)) for name in shown]
    for _, pipe in pipes:
        if isinstance(pipe, Backbone):
            pipe.training_log.skip_table()
    register_names(optimizer, [(name, pipe) for name, pipe in pipes if name not in frozen])
    return to_text(overview(pipes, optimizer, excluded=frozen))


def _lines(nlp: Language, moving: list[str]) -> list[str]:
    """The lines after a row.

    moving (List[str]): What the row before said of the layers that move, which is not said again. It is set to what
        holds now.
    """
    pipes = _backbones(nlp)
    moves = [f"{name}: {what}" for name, p in pipes if _rates(nlp) for what in p.training_log.trained_layers(p)]
    lines = [line for line in moves if line not in moving]
    lines += [f"{name}: {what}" for name, pipe in pipes for what in pipe.tasks.lines()]
    moving[:] = moves
    return [f"     {line}" for line in lines]


def _backbones(nlp: Language) -> list[tuple[str, Backbone]]:
    return [(name, pipe) for name, pipe in nlp.pipeline if isinstance(pipe, Backbone)]


def _rates(nlp: Language) -> dict[str, float]:
    """RETURNS (Dict[str, float]): The rates of the last step; nothing before it."""
    return next((pipe.training_log.rates for _, pipe in _backbones(nlp) if pipe.training_log.rates), {})
