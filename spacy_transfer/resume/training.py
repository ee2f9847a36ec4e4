"""The wrappers around a `spacy train`: they write checkpoints, and replay the steps that are done.

In a replay spaCy goes through its loop as before, so that its counts, schedules, best score and patience come right.
Examples are read, batched and shuffled as before. But the pipeline is disabled while a step is made, the evaluation
gives the scores of the log, and nothing is written. At the end of the last step that is done all state is set.
"""

import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import IO, Any, TypeAlias

from spacy import registry
from spacy.language import DisabledPipes, Language
from spacy.training import Example
from thinc.api import Optimizer

from .._compat import clean_output, intercept_output
from ..errors import Errors, Warnings
from ..ranks.shared_training import SharedTraining, shared_training_of
from ..types import Config
from . import random_states
from .agreement import Agreement
from .changes import differences, environment, flat, schedules
from .checkpoints import Checkpoint, Checkpoints
from .draws import Draws
from .saving import Saving
from .settings import Settings
from .state import Keeper
from .watched_pipeline import TrainingData, WatchedPipeline

logger = logging.getLogger("spacy")

Batcher: TypeAlias = Callable[[Iterable[Example]], Iterable[list[Example]]]
BeforeUpdate: TypeAlias = Callable[[Language, dict[str, int]], None]
LogStep: TypeAlias = Callable[[Config | None], None]
Logger: TypeAlias = Callable[[Language, IO[str], IO[str]], tuple[LogStep, Callable[[], None]]]
_START = "start."
_NOT_KEPT = ("checkpoints", "output_path")


class Training:
    """One training.

    close (Callable[[], None]): Called when it is over.
    """

    def __init__(self, nlp: Language, settings: Settings, close: Callable[[], object]) -> None:
        self.nlp, self.settings, self.config = nlp, settings, nlp.config
        self._close = close
        found = self.config.interpolate()
        self._flat, self._block = flat(found), found["training"]
        # Without a seed the next random numbers, and the weights at the start, are not those of another start.
        self._is_seeded = self._block["seed"] is not None
        self._shared: SharedTraining | None = None
        self._start = random_states.take(0)
        self._optimizer: Optimizer | None = None
        self._keeper: Keeper | None = None
        self._checkpoints: Checkpoints | None = None
        self._replayed: Checkpoint | None = None
        self._saving: Saving | None = None
        self._ranks: Agreement | None = None
        self._restore_spacy: Callable[[], None] = lambda: None
        self._watched: WatchedPipeline | None = None
        self._draws, self._data = Draws(), TrainingData(settings)
        self._disabled: DisabledPipes | None = None
        self._rows: list[Config] = []
        self._step, self._words, self._seconds = -1, 0, 0
        self._written = self._began = monotonic()

    @property
    def is_replay(self) -> bool:
        """RETURNS (bool): Whether the steps that are done are being replayed."""
        return self._replayed is not None

    # What spaCy resolves

    def watch_optimizer(self, inner: Optimizer) -> Optimizer:
        """RETURNS (Optimizer): The same."""
        self._optimizer = inner
        return inner

    def wrap_batcher(self, inner: Batcher) -> Batcher:
        """RETURNS (Callable): A batcher whose batches are empty in a replay."""
        return lambda examples: self._batches(inner, examples)

    def wrap_before_update(self, inner: BeforeUpdate | None) -> BeforeUpdate:
        """RETURNS (Callable): Disables the pipeline for a step that is replayed: no component counts it."""

        def before_update(nlp: Language, info: dict[str, int]) -> None:
            names = nlp.pipe_names
            if inner is not None:
                inner(nlp, info)  # Anchor.v1 adds a component, which takes itself out at the end of the step.
            if self.is_replay:
                self._disabled = nlp.select_pipes(disable=names)

        return before_update

    def wrap_before_to_disk(self, inner: Callable[[Language], Any] | None) -> Callable[[Language], Language]:
        """RETURNS (Callable): Gives a pipeline that is written whole, or not at all; in a replay it is not written."""

        def before_to_disk(nlp: Language) -> Language:
            if self._saving is None:
                return nlp if inner is None else inner(nlp)
            return self._saving.wrap(nlp, inner)

        return before_to_disk

    def wrap_logger(self, inner: Logger) -> Logger:
        """RETURNS (Callable): A logger that writes checkpoints. spaCy sets it up next, after it has cleared the
        output folder."""
        self._restore_spacy = intercept_output(self.begin, shutil.rmtree, shutil.copytree)

        def setup(nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr) -> Any:
            log_row, finalize = self._logger_for_replay(inner)(nlp, stdout, stderr)
            self._watched = WatchedPipeline(nlp, self._data, self._rows)

            def log_step(info: Config | None) -> None:
                self._step += 1
                if self.is_replay:
                    self._replay_row(info, log_row)
                else:
                    self._log(info, log_row)

            def finish() -> None:
                self._finish()
                finalize()

            return log_step, finish

        return setup

    # The beginning

    def begin(self, output: Path | None) -> None:
        """Look for a checkpoint; without one, clear the output folder as spaCy does.

        output (Optional[Path]): The output folder.
        RAISES (ValueError): When the checkpoint is that of another training. Nothing has changed then.
        """
        self._restore_spacy()
        self.nlp.config = self.config
        try:
            self._begin(output)
        except BaseException:
            self._close()
            raise

    def _begin(self, output: Path | None) -> None:
        self._keeper = Keeper(self.nlp, keeps_all=not self._is_seeded)
        self._saving = Saving(output)
        self._shared = shared_training_of(self.nlp)
        self._ranks = Agreement(None if self._shared is None else self._shared.group)
        found = self._find(output) if self._ranks.is_first else None
        found = self._ranks.on_checkpoint(found)
        self._saving.recover()
        if self._checkpoints is not None:
            self._checkpoints.forget(found)
        if found is None:
            clean_output(output)
        else:
            self._begin_replay(found, output)
        self._restore_spacy = intercept_output(clean_output, self._saving.keep, self._saving.copy_best)

    def _find(self, output: Path | None) -> Checkpoint | None:
        self._checkpoints = Checkpoints(self.settings.folder(output))
        found = self._checkpoints.read()
        if found is not None:
            self._check(found)
        return found

    def _check(self, found: Checkpoint) -> None:
        values = found.state.values
        if "training" not in values:
            raise ValueError(Errors.T493.format(path=found.path, other="spacy pretrain"))
        saved = values["training"]
        max_steps = self._block["max_steps"]
        if max_steps and saved["step"] > max_steps:
            raise ValueError(Errors.T942.format(max_steps=max_steps, step=saved["step"], path=found.path))
        changes = differences(saved["environment"], self._environment) + differences(saved["config"], self._flat)
        moved = schedules(saved["config"], self._flat)
        if moved:
            logger.warning(Warnings.W943.format(keys=", ".join(moved), now=max_steps))
        if self._is_seeded and self._keeper is not None:
            now = self._keeper.unchanged
            others = [name for name, digest in values["unchanged"].items() if now.get(name) != digest]
            changes += [f"the weights of {name} at the start are others" for name in others]
        self.settings.refuse(changes, found)

    @property
    def _environment(self) -> dict[str, object]:
        assert self._ranks is not None
        return environment(self._ranks.size)

    def _begin_replay(self, found: Checkpoint, output: Path | None) -> None:
        assert self._saving is not None
        self._replayed = self._data.found = found
        saved = found.state.values["training"]
        self._rows, self._seconds = saved["rows"], saved["seconds"]
        self._draws.replay(found.state.arrays)
        self._saving.begin_replay(found.best)
        if not self._is_seeded:
            self._start = {n.removeprefix(_START): a for n, a in found.state.arrays.items() if n.startswith(_START)}
            random_states.give(self._start, 0)
        if self._checkpoints is not None:
            logger.info("Going on after step %s, from %s", saved["step"], found.path)

    def _logger_for_replay(self, inner: Logger) -> Logger:
        """A console logger writes no file where there is one. In a replay it writes all rows anew."""
        block = self._block["logger"]
        file = block.get("output_file")
        is_first = self._ranks is None or self._ranks.is_first
        if not (self.is_replay and is_first and isinstance(file, str) and Path(file).exists()):
            return inner
        Path(file).unlink()
        if self._shared is not None:
            return inner
        return registry.resolve({"logger": block})["logger"]

    # Batches

    def _batches(self, inner: Batcher, examples: Iterable[Example]) -> Iterator[list[Example]]:
        if self._draws.count == 0:
            self._draws.begin()
        if self._block["max_epochs"] != -1 and not self._data.has("train"):
            examples = examples if isinstance(examples, list) else list(examples)
            self._data.see("train", examples)
        for batch in inner(examples):
            if self._block["max_epochs"] == -1:
                batch = list(batch)
                self._data.stream.add(batch)
            self._words += sum(len(example) for example in batch)
            self._draws.end()
            yield [] if self.is_replay else batch
            self._enable()
            self._draws.begin()

    def _enable(self) -> None:
        disabled, self._disabled = self._disabled, None
        if disabled is not None:
            disabled.restore()

    # Steps

    def _log(self, info: Config | None, log_row: LogStep) -> None:
        assert self._ranks is not None and self._watched is not None
        if info is not None:
            info = {**info, "words": self._words, "seconds": info["seconds"] + self._seconds}
            log_row(info)
            row = {key: value for key, value in info.items() if key not in _NOT_KEPT}
            self._rows.append({**row, "losses": dict(info["losses"])})
            self._watched.losses = {}
        else:
            log_row(None)
        if self.settings.is_due(self._ranks, self._step + 1, self._written):
            self._write()

    def _write(self) -> None:
        assert self._keeper is not None and self._optimizer is not None and self._ranks is not None
        assert self._watched is not None
        self._written = monotonic()
        states = self._ranks.on_random_states(random_states.take(self._step))
        if self._checkpoints is None:  # Another rank writes.
            return
        state = self._keeper.take(self._optimizer)
        state.values["training"] = {
            "step": self._step,
            "rows": self._rows,
            "seconds": self._seconds + int(monotonic() - self._began),
            "losses": self._watched.losses,
            "data": self._data.values(),
            "config": self._flat,
            "environment": self._environment,
        }
        state.arrays |= self._draws.to_arrays()
        state.arrays |= {_START + name: array for name, array in self._start.items()}
        state.arrays |= states
        self._checkpoints.write(self._step, state, None if self._saving is None else self._saving.best)
        self._written = monotonic()

    def _replay_row(self, info: Config | None, log_row: LogStep) -> None:
        assert self._replayed is not None
        if info is None:
            log_row(None)
        else:
            log_row({**info, **self._rows[len(info["checkpoints"]) - 1]})
        if self._step == self._replayed.state.values["training"]["step"]:
            self._end_replay(self._replayed)

    def _end_replay(self, found: Checkpoint) -> None:
        """Set the state after the last step that is done."""
        assert self._keeper is not None and self._optimizer is not None and self._saving is not None
        assert self._ranks is not None and self._watched is not None
        saved = found.state.values["training"]
        if self._block["max_epochs"] == -1:
            self._data.compare("stream", self._data.stream)
        self._enable()
        self._keeper.set(found.state, self._optimizer)
        self._watched.losses_before = saved["losses"]
        self._replayed = self._data.found = None
        self._draws.is_replay, self._saving.is_replay = False, False
        if self._shared is not None:
            self._shared.go_on(saved["step"])
        self._written = self._began = monotonic()
        random_states.give(self._ranks.own_random_states(found.state.arrays), saved["step"])

    def _finish(self) -> None:
        """The training is over, or has failed. spaCy still saves model-last."""
        self._restore_spacy()
        self._enable()
        if self._watched is not None:
            self._watched.forget()
        if self._replayed is not None and sys.exc_info()[0] is None:
            logger.warning(Warnings.W942.format(step=self._step, path=self._replayed.path))
        self._close()
