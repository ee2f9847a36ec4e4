"""Resume.v1: a `spacy train` or `spacy pretrain` that was killed goes on when the same command is typed again."""

import math
from collections.abc import Callable
from itertools import count
from typing import Any, cast

from spacy import registry
from spacy.language import Language
from thinc.api import Config, Optimizer

from ..errors import Errors
from ..pretraining.running import running_pretraining
from .resumed_pretraining import ResumedPretraining
from .settings import Settings
from .training import Batcher, BeforeUpdate, Logger, Training

_NAME = "spacy-transfer.resume.{}"
_trainings: dict[int, Training] = {}
_numbers = count()


def create_resume_v1(
    *,
    path: str | None = None,
    every_steps: int = 0,
    minutes: float = 5.0,
    despite_changes: bool = False,
    then: Callable[[Language], object] | None = None,
) -> Callable[[Language], None]:
    """For `[initialize.after_init]`: a training that was killed goes on when the same command is typed again, and ends
    with the same pipelines, byte for byte on a CPU. What is saved is whole or absent: model-best and model-last are
    replaced in one step. `spacy pretrain` goes alike, and so does a training by ranks (`spacy-transfer.Ranks.v1`).

    path (Optional[str]): Folder of the checkpoints; null for `checkpoints` in the output folder.
    every_steps (int): Write a checkpoint every so many steps; 0 to go by minutes alone.
    minutes (float): Write one after so many minutes; 0 to go by steps alone.
    despite_changes (bool): Go on although config, data, weights at the start or versions have changed. By default that
        is refused. training.max_steps and training.patience may change in any case.
    then (Optional[Callable[[Language], None]]): Another callback for `after_init`, which is called first: spaCy has one
        place for both.
    RETURNS (Callable[[Language], None]): The callback.
    RAISES (ValueError): When neither steps nor minutes are given.
    """
    if every_steps < 0 or not 0 <= minutes < math.inf or not (every_steps or minutes):
        raise ValueError(Errors.T943.format(every_steps=every_steps, minutes=minutes))
    settings = Settings(path, every_steps, float(minutes), despite_changes)

    def prepare(nlp: Language) -> None:
        if then is not None:
            then(nlp)
        running = running_pretraining()
        if running is not None:
            ResumedPretraining(nlp, settings, running)
            return
        number = next(_numbers)
        training = Training(nlp, settings, close=lambda: _trainings.pop(number, None))
        for old, other in list(_trainings.items()):
            if other.nlp is nlp:
                del _trainings[old]
        _trainings[number] = training
        nlp.config = ResumeConfig.of(training.config, number)

    return prepare


class ResumeConfig(Config):
    """The config of a pipeline that will be trained. It is saved as it was written. Resolved, which `spacy train` does
    after it has interpolated it, it has our wrappers around batcher, optimizer, logger and `before_to_disk`."""

    number: int | None = None

    @classmethod
    def of(cls, config: Config, number: int) -> "ResumeConfig":
        """RETURNS (ResumeConfig): The same config; blocks are shared."""
        found = cls(config, is_interpolated=config.is_interpolated, section_order=config.section_order)
        found.number = number
        return found

    def interpolate(self) -> Config:  # type: ignore[override]
        """RETURNS (Config): A copy with variables replaced, and our wrappers in it."""
        found = Config(self, section_order=self.section_order, is_interpolated=self.is_interpolated).interpolate()
        if self.number in _trainings:
            blocks = found["training"]
            for key, kind in _WRAPPED.items():
                blocks[key] = {f"@{kind}": _NAME.format(key), "inner": blocks.get(key), "number": self.number}
        return found


# What spaCy resolves. These names stand in no file, so they have no entry points.

_WRAPPED = {
    "batcher": "batchers",
    "optimizer": "optimizers",
    "logger": "loggers",
    "before_update": "callbacks",
    "before_to_disk": "callbacks",
}


def _batcher(inner: Batcher, number: int) -> Batcher:
    return _trainings[number].wrap_batcher(inner)


def _optimizer(inner: Optimizer, number: int) -> Optimizer:
    return _trainings[number].watch_optimizer(inner)


def _logger(inner: Logger, number: int) -> Logger:
    return _trainings[number].wrap_logger(inner)


def _before_to_disk(number: int, inner: Callable[[Language], Any] | None = None) -> Callable[[Language], Language]:
    return _trainings[number].wrap_before_to_disk(inner)


def _before_update(number: int, inner: BeforeUpdate | None = None) -> BeforeUpdate:
    return _trainings[number].wrap_before_update(inner)


registry.batchers.register(_NAME.format("batcher"), func=_batcher)
cast(Any, registry.optimizers).register(_NAME.format("optimizer"), func=_optimizer)
registry.loggers.register(_NAME.format("logger"), func=_logger)
registry.callbacks.register(_NAME.format("before_update"), func=_before_update)
registry.callbacks.register(_NAME.format("before_to_disk"), func=_before_to_disk)
