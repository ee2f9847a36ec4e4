"""One training of a search: spaCy's own initialisation and loop, with a callback at each evaluation."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Corpus, Example, dont_augment
from spacy.training.loop import create_evaluation_callback, create_train_batches, train_while_improving, update_meta
from spacy.util import registry, resolve_dot_names
from thinc.api import Config as ThincConfig
from thinc.api import Optimizer, fix_random_seed, set_gpu_allocator

from ...errors import Errors
from ...types import Config

Save = Callable[[Path, Config], None]
"""Writes the pipeline of an evaluation, as `spacy train` would write it, with some more keys in its meta.json."""


Reader = Callable[[Language], Iterable[Example]]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on the dev corpus. `score` is the weighted one."""

    step: int
    score: float
    save: Save


def train_trial(config: Config, evaluated: Callable[[Evaluation], None], *, use_gpu: int = -1) -> None:
    """Train a config as `spacy train` does, without its output and without the config's logger.

    config (Dict[str, Any]): The config, with its variables.
    evaluated (Callable[[Evaluation], None]): Called after each evaluation. What it raises ends the training.
    use_gpu (int): Id of a GPU, or -1.
    RAISES (ValueError): When a loss or the score is not finite, or nothing is measured that the config weighs.
    """
    training = _begin(config, use_gpu)
    nlp, settings = training.nlp, training.settings
    frozen = settings["frozen_components"]
    save = partial(_save, nlp, training.optimizer, settings["before_to_disk"], _frozen(nlp, frozen))
    evaluate = create_evaluation_callback(nlp, _read_once(training.dev_corpus), settings["score_weights"])
    info: Config = {"step": 0, "other_scores": {}}
    for _, info, is_best in training.steps(evaluate):
        if is_best is not None:
            with nlp.select_pipes(disable=frozen):
                update_meta(settings, nlp, info)
            _check(info, settings["score_weights"])
            evaluated(Evaluation(int(info["step"]), float(info["score"]), save))
    if not info["other_scores"] and not info["step"]:
        raise ValueError(Errors.T914.format(step=0, wanted=list(settings["score_weights"]), found=[]))


def train_to_end(
    config: Config, *, held_out: Reader | None = None, save: Callable[[Language], None] | None = None, use_gpu: int = -1
) -> float:
    """Train a config without evaluations. What counts is the pipeline of the end as it is saved: `model-last` of `spacy
    train`, after `[training.before_to_disk]`.

    held_out (Optional[Callable]): Reads the texts that it is scored on.
    save (Optional[Callable[[Language], None]]): Gets it.
    RETURNS (float): The weighted score; 0 where nothing is held out.
    RAISES (ValueError): When a loss or the score is not finite, or nothing is measured that the config weighs.
    """
    training = _begin(config, use_gpu)
    nlp, settings = training.nlp, training.settings
    info: Config = {"step": 0, "losses": {}}
    for _, info, _ in training.steps(lambda: (0.0, {})):
        _check_losses(info)
    before_to_disk, score = settings["before_to_disk"], 0.0
    with nlp.use_params(training.optimizer.averages):
        saved = nlp if before_to_disk is None else before_to_disk(nlp)
        if held_out is not None:
            score, measured = create_evaluation_callback(saved, held_out, settings["score_weights"])()
            _check({**info, "score": score, "other_scores": measured}, settings["score_weights"])
        if save is not None:
            save(saved)
    return float(score)


@dataclass(frozen=True)
class _Training:
    """A training that has not begun."""

    nlp: Language
    settings: Config
    optimizer: Optimizer
    train_corpus: Reader
    dev_corpus: Reader

    def steps(self, evaluate: Callable[[], tuple[float, Config]]) -> Iterator[tuple[Any, Config, bool | None]]:
        """RETURNS (Iterator): Of spaCy's own loop."""
        settings = self.settings
        return train_while_improving(
            self.nlp,
            self.optimizer,
            create_train_batches(self.nlp, self.train_corpus, settings["batcher"], settings["max_epochs"]),
            evaluate,
            dropout=settings["dropout"],
            accumulate_gradient=settings["accumulate_gradient"],
            patience=settings["patience"],
            max_steps=settings["max_steps"],
            eval_frequency=settings["eval_frequency"],
            exclude=settings["frozen_components"],
            annotating_components=settings["annotating_components"],
            before_update=settings["before_update"],
        )


def _begin(config: Config, use_gpu: int) -> _Training:
    from spacy.training.initialize import init_nlp

    nlp = init_nlp(ThincConfig(config), use_gpu=use_gpu)
    config = nlp.config.interpolate()
    training = config["training"]
    if training["seed"] is not None:
        fix_random_seed(training["seed"])
    if use_gpu >= 0 and training["gpu_allocator"]:
        set_gpu_allocator(training["gpu_allocator"])
    settings = registry.resolve(training, schema=ConfigSchemaTraining)
    train_corpus, dev_corpus = resolve_dot_names(config, [settings["train_corpus"], settings["dev_corpus"]])
    return _Training(nlp, settings, settings["optimizer"], train_corpus, dev_corpus)


def _read_once(corpus: Reader) -> Reader:
    """A dev corpus that keeps its examples, where spaCy's own reader would make the same ones at each evaluation: those
    that are evaluated are copies."""
    if not isinstance(corpus, Corpus) or corpus.augmenter is not dont_augment or corpus.shuffle:
        return corpus
    kept: list[Example] = []

    def read(nlp: Language) -> Iterable[Example]:
        if not kept:
            kept.extend(corpus(nlp))
        return kept

    return read


def _save(
    nlp: Language,
    optimizer: Optimizer,
    before_to_disk: Callable[[Language], Language] | None,
    frozen: list[str],
    path: Path,
    meta: Config,
) -> None:
    """What is frozen is written once: in a trial it is the same at all evaluations."""
    with nlp.use_params(optimizer.averages):
        saved = nlp if before_to_disk is None else before_to_disk(nlp)
        saved.meta.update(meta)
        saved.to_disk(path, exclude=[name for name in frozen if (path / name).exists()])


def _frozen(nlp: Language, frozen: list[str]) -> list[str]:
    return [name for name, pipe in nlp.pipeline if name in frozen or getattr(pipe, "frozen", False) is True]


def _check(info: Config, weights: dict[str, float | None]) -> None:
    step, measured = info["step"], info["other_scores"]
    wanted = [name for name, weight in weights.items() if weight]
    if not set(wanted) & set(measured):
        raise ValueError(Errors.T914.format(step=step, wanted=wanted, found=sorted(measured)))
    _check_losses(info)
    if not math.isfinite(info["score"]):
        raise ValueError(Errors.T912.format(step=step, what="the score", found=info["score"]))


def _check_losses(info: Config) -> None:
    for name, loss in info["losses"].items():
        if not math.isfinite(loss):
            raise ValueError(Errors.T912.format(step=info["step"], what=f"the loss of {name!r}", found=loss))
