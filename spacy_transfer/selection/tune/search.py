"""The search: trials one after the other, until there are enough or the time is up."""

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ...backbones.cached_rows.row_folder import rows_shared_in
from ...errors import Errors
from .by_folds import scores_by_fold, train_best
from .study import META, Claim, SamplerName, Search, make_sampler
from .trial import Evaluation, train_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_MOST_CHARACTERS = 600


@dataclass(frozen=True)
class Options:
    """How to search.

    trials (int): How many, those of earlier calls and other processes with them.
    minutes (Optional[float]): The time of this call. A trial that runs ends at its next evaluation.
    sampler (str): "tpe" or "random".
    seed (int): Of the sampler.
    n_startup (int): Trials that TPE draws at random.
    prune (bool): End trials early (successive halving): after one evaluation, and after 3, 9 and so on, the best
        third of those that came so far goes on. By folds: once, after half of them. The config as it stands always
        goes on.
    use_gpu (int): Id of a GPU, or -1.
    rows_mb (int): The most megabytes of rows of a frozen encoder on the disk.
    trained (Callable[[float], None]): Called with the seconds of each training on folds.
    """

    trials: int = 30
    minutes: float | None = None
    sampler: SamplerName = "tpe"
    seed: int = 0
    n_startup: int = 10
    prune: bool = True
    use_gpu: int = -1
    rows_mb: int = 8192
    trained: Callable[[float], None] = lambda seconds: None


class _Stopped(Exception):
    """The trial ends here: it is hopeless, or the time is up."""


def run(search: Search, options: Options, ended: "Callable[[FrozenTrial], None]") -> None:
    """Run trials.

    search (Search): The study.
    options (Options): How to search.
    ended (Callable[[FrozenTrial], None]): Called after each trial of this process.
    RAISES (ValueError): When no trial gave a score.
    """
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    training = search.as_it_stands["training"]
    if not any((training.get("score_weights") or {}).values()):
        raise ValueError(Errors.T910)
    end = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
    first = training["eval_frequency"] if search.folds is None else (search.folds.count + 1) // 2
    halving = SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    search.study.pruner = halving if options.prune else NopPruner()
    search.settle()
    try:
        while time.monotonic() < end:
            claim = search.claim(options.trials, partial(_sampler, options))
            if claim is None:
                break
            with rows_shared_in(search.folder / "rows", options.rows_mb):
                _run_trial(search, claim, options, end)
            free_memory()
            ended(search.study.get_trials(deepcopy=False)[claim.trial.number])
        if search.folds is not None:
            with rows_shared_in(search.folder / "rows", options.rows_mb):
                train_best(search, options.use_gpu)
    finally:
        gc.unfreeze()
    failed = [trial.user_attrs["error"] for trial in search.trials() if "error" in trial.user_attrs]
    if failed and search.best() is None:
        raise ValueError(Errors.T909.format(count=len(failed), messages=" ".join(dict.fromkeys(failed))))


def _sampler(options: Options, number: int) -> "BaseSampler":
    return make_sampler(options.sampler, (options.seed * 1_000_003 + number) % 2**32, options.n_startup)


def _run_trial(search: Search, claim: Claim, options: Options, end: float) -> None:
    """Train, and record how it ended."""
    watcher = _Watcher(search, claim, end)
    try:
        if search.folds is None:
            train_trial(claim.config, watcher, use_gpu=options.use_gpu)
        else:
            means = scores_by_fold(search, search.folds, claim, options.use_gpu, options.trained)
            for count, mean in enumerate(means, start=1):
                watcher.take(mean, count, is_last=count == search.folds.count)
                free_memory()
        state, error = "COMPLETE", None
    except _Stopped:
        state, error = "PRUNED", None
    except Exception as problem:  # Whatever a setting leads to is a result of the search.
        state, error = "FAIL", _in_one_line(problem)
    score = watcher.best if math.isfinite(watcher.best) else None
    search.finish(claim, state, score=score, error=error)


class _Watcher:
    """Reports each evaluation to Optuna, and keeps the pipeline if none of another trial is better so far."""

    def __init__(self, search: Search, claim: Claim, end: float) -> None:
        self.search, self.claim, self.end = search, claim, end
        self.best = -math.inf

    def __call__(self, evaluation: Evaluation) -> None:
        trial = self.claim.trial
        trial.report(evaluation.score, evaluation.step)
        if evaluation.score > self.best:
            self.best = evaluation.score
            others = self.search.best()
            if others is None or self.best > others.user_attrs["score"]:
                evaluation.save(self.search.pipeline_of(trial.number), {META: trial.number})
                self.search.write_config(trial.number, self.claim.config)
        self._end_early()

    def take(self, mean: float, count: int, *, is_last: bool) -> None:
        """Report the mean over so many folds. No pipeline of theirs is kept."""
        self.claim.trial.report(mean, count)
        self.best = mean
        if not is_last:
            self._end_early()

    def _end_early(self) -> None:
        trial = self.claim.trial
        is_hopeless = trial.should_prune() and not self.claim.is_first
        if is_hopeless or time.monotonic() >= self.end:
            raise _Stopped


def free_memory() -> None:
    """Give back what a training has held, also after it ran out of memory. What stays, as modules do, is not looked at
    again: that would take longer than a short trial.
    """
    import torch

    gc.collect()
    gc.freeze()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _in_one_line(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    text = text if text.startswith("[T") else f"{type(problem).__name__}: {text}"
    return text[:_MOST_CHARACTERS]
