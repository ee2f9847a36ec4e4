"""A `spacy pretrain` that was killed goes on.

spaCy's loop runs again: its epochs and batches are ours to give. Texts of steps that are done are read and batched as
before, so that readers, schedules and random numbers are where they were, but the loop does not see them. Then all
state is set, and the loop begins in the middle of an epoch.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model, Optimizer

from ..corpora.raw_text import RawText
from ..errors import Errors
from ..pretraining.objective import Pretraining, PretrainingAttrs, PretrainingModel, pretraining_of
from ..pretraining.running import Batch, RunningPretraining
from ..ranks.shared_pretraining import shared_pretraining_of
from ..types import Config
from . import random_states
from .agreement import Agreement
from .changes import differences, environment, flat
from .checkpoints import Checkpoint, Checkpoints
from .draws import Draws
from .examples_digest import ExamplesDigest
from .settings import Settings
from .state import Keeper
from .whole_files import WholeFiles

logger = logging.getLogger("spacy")
_START, _PART = "start.", "pretraining"
_COUNTS = ("loss", "prev_loss", "nr_word", "last_update", "epoch_loss")


class ResumedPretraining:
    """One pretraining.

    running (RunningPretraining): spaCy's loop, before its first step.
    """

    def __init__(self, nlp: Language, settings: Settings, running: RunningPretraining) -> None:
        self.nlp, self.settings, self._running = nlp, settings, running
        self._flat = flat(nlp.config.interpolate())
        self._is_seeded = self._flat["training.seed"] is not None
        self._draws, self._digest = Draws(), ExamplesDigest()
        self._step, self._epoch, self._first_epoch = -1, 0, 0
        self._replayed: Checkpoint | None = None
        self._checkpoints: Checkpoints | None = None
        self._files: WholeFiles | None = None
        running.begin.append(self.begin)
        running.epochs, running.batches = self.epochs, self.batches

    # What the loop works with: it is there when the loop begins.

    @property
    def _model(self) -> Model:
        found: Model = self._running.local("model")
        return found

    @property
    def _optimizer(self) -> Optimizer:
        found: Optimizer = self._running.local("optimizer")
        return found

    @property
    def _objective(self) -> Pretraining | None:
        return pretraining_of(self._model) if PretrainingAttrs.fits(self._model) else None

    @property
    def _logs(self) -> list[Path]:
        """The files to which rows are added: spaCy's, and that of our objective."""
        monitor = None if self._objective is None else self._objective.monitor
        own = [] if monitor is None or monitor.log is None else [monitor.log]
        return [self._running.output_dir / "log.jsonl", *own]

    # The beginning

    def begin(self) -> None:
        """Look for a checkpoint.

        RAISES (ValueError): When it is that of another pretraining. Nothing has changed then.
        """
        shared = shared_pretraining_of(self._running)
        self._ranks = Agreement(None if shared is None else shared.group)
        self._first_epoch = self._running.local("epoch_resume")
        self._start = random_states.take(0)
        self._keeper = Keeper(self.nlp, not self._is_seeded, [(_PART, SimpleNamespace(model=self._model))])
        found = self._find() if self._ranks.is_first else None
        self._replayed = found = self._ranks.on_checkpoint(found)
        if self._checkpoints is not None:
            self._files = WholeFiles(self._running.output_dir)
            self._files.recover()
            self._running.output = self._files
            self._checkpoints.forget(found)
            if found is None:
                self._begin_logs(self._checkpoints.folder)
        if found is not None:
            self._begin_replay(found)
        self._written = monotonic()

    def _find(self) -> Checkpoint | None:
        self._checkpoints = Checkpoints(self.settings.folder(self._running.output_dir))
        found = self._checkpoints.read()
        if found is None:
            return None
        if _PART not in found.state.values:
            raise ValueError(Errors.T493.format(path=found.path, other="spacy train"))
        saved = found.state.values[_PART]
        max_epochs = self._running.local("P")["max_epochs"]
        if saved["epoch"] >= max_epochs:
            raise ValueError(Errors.T491.format(max_epochs=max_epochs, epoch=saved["epoch"], path=found.path))
        changes = differences(saved["environment"], self._environment) + differences(saved["config"], self._flat)
        if saved["first_epoch"] != self._first_epoch:
            changes.append(f"--epoch-resume was {saved['first_epoch']}, is {self._first_epoch}")
        if self._is_seeded:
            now = self._keeper.unchanged
            others = [name for name, digest in found.state.values["unchanged"].items() if now.get(name) != digest]
            changes += [f"the weights of {name} at the start are others" for name in others]
        self.settings.refuse(changes, found)
        return found

    @property
    def _environment(self) -> dict[str, object]:
        return environment(self._ranks.size)

    def _begin_logs(self, folder: Path) -> None:
        """Rows of a process that was killed before its first checkpoint go."""
        sizes, new = folder / "logs.json", folder / ".logs.json.new"
        if sizes.exists():
            for path, size in json.loads(sizes.read_text(encoding="utf8")).items():
                _shorten(Path(path), size)
            return
        folder.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(self._log_sizes()), encoding="utf8")
        new.replace(sizes)

    def _log_sizes(self) -> dict[str, int]:
        return {str(path): path.stat().st_size if path.exists() else 0 for path in self._logs}

    def _begin_replay(self, found: Checkpoint) -> None:
        arrays, saved = found.state.arrays, found.state.values[_PART]
        self._draws.replay(arrays)
        if not self._is_seeded:
            self._start = {n.removeprefix(_START): a for n, a in arrays.items() if n.startswith(_START)}
            random_states.give(self._start, 0)
        if self._files is not None:
            self._files.is_silent = True
            logger.info("Going on after step %s, from %s", saved["step"], found.path)

    # In place of the loop's own iterators

    def epochs(self, first: int, end: int) -> Iterator[int]:
        """YIELDS (int): The epochs that are not done."""
        for self._epoch in range(first, end):
            if self._replayed is None or self._epoch >= self._replayed.state.values[_PART]["epoch"]:
                yield self._epoch
                continue
            for _ in self.batches(self._running.local("batcher")(self._running.local("corpus")(self.nlp))):
                break  # It has fewer texts than before.

    def batches(self, found: Iterable[Batch]) -> Iterator[tuple[int, Batch]]:
        """YIELDS (Tuple[int, Batch]): The batches of an epoch that are not done, with their numbers."""
        for number, batch in enumerate(self._drawn(found)):
            self._step += 1
            self._digest.add_docs(one if isinstance(one, Doc) else one.reference for one in batch)
            if self._replayed is not None:
                self._replay_step(self._replayed)
                continue
            yield number, batch
            if self.settings.is_due(self._ranks, self._step + 1, self._written):
                self._write()
        if self._replayed is not None and self._epoch >= self._replayed.state.values[_PART]["epoch"]:
            self._end_replay(self._replayed)  # The texts have changed: fewer batches than before.

    def _drawn(self, found: Iterable[Batch]) -> Iterator[Batch]:
        """Follow the random numbers that drawing takes. Training goes on between two batches."""
        batches = iter(found)
        while True:
            self._draws.begin()
            batch = next(batches, None)
            self._draws.end()
            if batch is None:
                return
            yield list(batch)

    def _replay_step(self, found: Checkpoint) -> None:
        if isinstance(self._model, PretrainingModel):
            self._optimizer.step_schedules()  # Our model does this in its step, spaCy's never does.
        if self._step == found.state.values[_PART]["step"]:
            self._end_replay(found)

    def _write(self) -> None:
        self._written = monotonic()
        states = self._ranks.on_random_states(random_states.take(self._step))
        if self._checkpoints is None:  # Another rank writes.
            return
        state, tracker = self._keeper.take(self._optimizer), self._running.tracker
        state.values[_PART] = {
            "step": self._step,
            "epoch": self._epoch,
            "first_epoch": self._first_epoch,
            "tracker": {name: getattr(tracker, name) for name in _COUNTS},
            "words": sorted(tracker.words_per_epoch.items()),
            "objective": None if self._objective is None else self._objective.training_state(),
            "logs": self._log_sizes(),
            "data": self._digest.value(),
            "config": self._flat,
            "environment": self._environment,
        }
        state.arrays |= self._draws.to_arrays() | states
        if not self._is_seeded:
            state.arrays |= {_START + name: array for name, array in self._start.items()}
        self._checkpoints.write(self._step, state, None)
        self._written = monotonic()

    def _end_replay(self, found: Checkpoint) -> None:
        """Set the state after the last step that is done."""
        saved = found.state.values[_PART]
        if saved["data"] != self._digest.value():
            self.settings.refuse(["the texts of pretraining.corpus are others"], found)
        if self._objective is not None:
            reader = self._running.local("corpus")
            self._objective.set_training_state(saved["objective"], reader if isinstance(reader, RawText) else None)
        self._keeper.set(found.state, self._optimizer)
        self._set_tracker(saved)
        if self._files is not None:
            self._files.is_silent = False
            for path, size in saved["logs"].items():
                _shorten(Path(path), size)
        self._replayed, self._draws.is_replay = None, False
        self._written = monotonic()
        random_states.give(self._ranks.own_random_states(found.state.arrays), saved["step"])

    def _set_tracker(self, saved: Config) -> None:
        tracker: Any = self._running.tracker
        vars(tracker).update(saved["tracker"])
        tracker.words_per_epoch.update(dict(saved["words"]))


def _shorten(path: Path, size: int) -> None:
    """Remove the rows that were added after a checkpoint: they will be added again."""
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
