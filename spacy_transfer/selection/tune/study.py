"""A search on the disk: Optuna's study in a journal file, the trials that run, and the best pipeline.

The folder has `journal.log`; `trials/`, pipelines of trials that may be the best; `running/`, a locked file for each
trial that runs; `rows/`, rows of frozen encoders; and the results `best/`, `best.cfg` and `tune.html`. The operating
system frees the locks of a process that is killed, so that others see which trials are lost.
"""

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from thinc.api import Config as ThincConfig

from ...errors import Errors
from ...extras import import_extra
from ...integrity import write_whole
from ...types import Config
from .folds import Folds
from .space import Space, digest_of

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

SamplerName = Literal["tpe", "random"]
FIRST, RETRY, ERROR, SCORE = "as_it_stands", "retry", "error", "score"
SCORES, DIGEST = "scores", "digest"
"""User attributes of trials; the last two of those by folds: the score on each, and a hash of the config."""
DIGITS = 4
LOST = "its process was ended from outside, twice"
"""What is said of a trial that could say nothing itself."""
_FOLDERS = ("trials", "running", "rows")
_JUDGED = "way of scoring (--folds and their --seed)"
META = "transfer_tune"
"""Key in the meta.json of a pipeline: the number of its trial."""


@dataclass(frozen=True)
class Claim:
    """A trial that this process runs."""

    trial: "Trial"
    config: Config
    lock: "BaseFileLock"

    @property
    def is_first(self) -> bool:
        """RETURNS (bool): Whether it is the config as it stands."""
        return bool(self.trial.user_attrs.get(FIRST))


class Search:
    """The study in a folder. Several processes may have one each on the same folder.

    folder (Path): The folder; it is made.
    space (Space): What may change.
    config (Dict[str, Any]): The config with its variables.
    as_it_stands (Dict[str, Any]): The config, filled and interpolated.
    folds (Optional[Folds]): How the train corpus is split; None to score on the dev corpus.
    RAISES (ValueError): When the folder holds something else, or a search with another space or config.
    """

    def __init__(
        self, folder: Path, space: Space, config: Config, as_it_stands: Config, folds: Folds | None = None
    ) -> None:
        import_extra("optuna", Errors.T911)
        import optuna
        from filelock import FileLock
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal = folder / "journal.log"
        if folder.is_file() or (not journal.exists() and not _is_new(folder)):
            raise ValueError(Errors.T913.format(folder=folder))
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.space, self.config, self.as_it_stands = folder, space, config, as_it_stands
        self.folds = folds
        self._lock = FileLock(folder / "running" / "search.lock")
        with self._lock:
            lock = FileLock(folder / "running" / "journal.lock")
            with lock:
                _drop_torn_line(journal)
            backend = JournalFileBackend(str(journal), lock_obj=lock)  # type: ignore[arg-type]
            self.study = optuna.create_study(
                study_name="tune", storage=JournalStorage(backend), direction="maximize", load_if_exists=True
            )
            own = {"space": space.digest(), "config": digest_of(config), _JUDGED: str(folds)}
            self._check_same(own)
            first = self._first()
            if first is None or _failed_at_once(first) or _was_cut_short(first):
                self.study.enqueue_trial(space.params_of(as_it_stands), user_attrs={FIRST: True})

    def _check_same(self, own: dict[str, str]) -> None:
        # Searches that were begun earlier do not say how they judge.
        known = {_JUDGED: str(None), **self.study.user_attrs} if self.study.user_attrs else own
        for what, digest in own.items():
            if known.get(what, digest) != digest:
                raise ValueError(Errors.T908.format(folder=self.folder, what=what))
        for what, digest in own.items():
            self.study.set_user_attr(what, digest)

    def trials(self) -> "list[FrozenTrial]":
        """RETURNS (List[FrozenTrial]): Those that run or have ended, without those in whose place another came."""
        from optuna.trial import TrialState

        trials, first = self.study.get_trials(deepcopy=False), self._first()
        number = 0 if first is None else first.number
        return [trial for trial in trials if trial.state != TrialState.WAITING and not _is_replaced(trial, number)]

    def _first(self) -> "FrozenTrial | None":
        """The config as it stands, as it was begun last."""
        trials = reversed(self.study.get_trials(deepcopy=False))
        return next((trial for trial in trials if FIRST in trial.user_attrs), None)

    def is_broken(self) -> bool:
        """RETURNS (bool): Whether the config as it stands failed before its first evaluation, and nothing has a score:
        all others would fail too. The next call begins it again."""
        first = self._first()
        return first is not None and _failed_at_once(first) and self.best() is None

    def best(self) -> "FrozenTrial | None":
        """RETURNS (Optional[FrozenTrial]): The first with the highest score, of those that ended without failing. By
        folds: of those that were scored on all, and up to four digits, which are those that are shown."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED) if self.folds is None else (TrialState.COMPLETE,)
        ended = [trial for trial in self.trials() if trial.state in states and SCORE in trial.user_attrs]
        digits = None if self.folds is None else DIGITS

        def order(trial: "FrozenTrial") -> tuple[float, int]:
            score = float(trial.user_attrs[SCORE])
            return (score if digits is None else round(score, digits)), -trial.number

        return max(ended, key=order, default=None)

    def kept(self) -> int | None:
        """RETURNS (Optional[int]): The number of the trial whose pipeline is in OUTPUT/best."""
        return _trial_of(self.folder / "best")

    def keep(self, trial: "FrozenTrial", pipeline: Path, config: Config) -> None:
        """Move the pipeline of the best trial to OUTPUT/best, its config beside it."""
        with self._lock:
            pipeline.rename(self.pipeline_of(trial.number))
            self.write_config(trial.number, config)
            self._settle()

    def claim(self, most: int, sampler: "Callable[[int], BaseSampler]") -> Claim | None:
        """Begin a trial, which no other process begins.

        most (int): How many trials there may be.
        sampler (Callable[[int], BaseSampler]): Makes a sampler from the number of the trial, so that draws do not
            depend on which process makes them, and whether one was killed.
        RETURNS (Optional[Claim]): None when there are as many, or the search is broken.
        """
        from filelock import FileLock
        from optuna.trial import TrialState

        with self._lock, without_warnings():
            self._replace_lost()
            if self.is_broken() or len(self.trials()) >= most:
                return None
            everything = self.study.get_trials(deepcopy=False)
            waiting = [trial.number for trial in everything if trial.state == TrialState.WAITING]
            self.study.sampler = sampler(waiting[0] if waiting else len(everything))
            trial = self.study.ask()
            lock = FileLock(self._lock_of(trial.number))
            lock.acquire()
            if trial.user_attrs.get(FIRST):
                self.space.register(trial, self.space.params_of(self.as_it_stands))
                return Claim(trial, self.config, lock)
            return Claim(trial, self.space.draw(trial, self.config), lock)

    def finish(self, claim: Claim, state: str, *, score: float | None, error: str | None = None) -> None:
        """Record the end of a trial, and keep its pipeline if it is the best.

        state (str): "COMPLETE", "PRUNED" or "FAIL".
        score (Optional[float]): The highest of its evaluations.
        error (Optional[str]): What a failed trial said.
        """
        from optuna.trial import TrialState

        trial = claim.trial
        if error is not None:
            trial.set_user_attr(ERROR, error)
        if score is not None:
            trial.set_user_attr(SCORE, score)
        with self._lock:
            values = score if state == "COMPLETE" else None
            self.study.tell(trial, values, state=TrialState[state])
            claim.lock.release()
            self._lock_of(trial.number).unlink(missing_ok=True)
            self._settle()

    def pipeline_of(self, number: int) -> Path:
        """RETURNS (Path): Where a trial keeps its pipeline; NUMBER.cfg beside it is its config."""
        return self.folder / "trials" / str(number)

    def settle(self) -> None:
        """See that `best` is what the study says, and delete what is left of other trials. A kill at any point is
        mended by the next call."""
        with self._lock:
            self._replace_lost()
            self._settle()

    def _settle(self) -> None:
        best, old = self.folder / "best", self.folder / "best.old"
        if not best.exists() and old.exists():
            old.rename(best)
        found = self.best()
        if found is not None:
            new, config = self.pipeline_of(found.number), self.config_of(found.number)
            if new.exists() and _trial_of(best) != found.number:
                shutil.rmtree(old, ignore_errors=True)
                if best.exists():
                    best.rename(old)
                new.rename(best)
            if config.exists():
                config.replace(self.folder / "best.cfg")
        shutil.rmtree(old, ignore_errors=True)
        self._delete_others()

    def config_of(self, number: int) -> Path:
        """RETURNS (Path): Where a trial keeps its config."""
        return self.pipeline_of(number).with_suffix(".cfg")

    def write_config(self, number: int, config: Config) -> None:
        """Keep the config of a trial, for the case that it is the best."""
        write_whole(self.config_of(number), ThincConfig(config).to_str(interpolate=False).encode("utf8"))

    def _delete_others(self) -> None:
        running = {str(trial.number) for trial in self.trials() if not trial.state.is_finished()}
        for path in (self.folder / "trials").iterdir():
            if path.name.partition(".")[0] not in running:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _replace_lost(self) -> None:
        """Trials of processes that are gone are begun again, once: what kills its process twice has failed."""
        from filelock import FileLock, Timeout
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = FileLock(self._lock_of(trial.number))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            retried = {other.user_attrs.get(RETRY) for other in self.study.get_trials(deepcopy=False)}
            if RETRY not in trial.user_attrs and trial.number not in retried:
                self.study.enqueue_trial(trial.params, user_attrs={**trial.user_attrs, RETRY: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)
            lock.release()

    def _lock_of(self, number: int) -> Path:
        return self.folder / "running" / f"{number}.lock"


def make_sampler(name: SamplerName, seed: int, n_startup: int) -> "BaseSampler":
    """RETURNS (BaseSampler): Optuna's sampler.

    seed (int): Of its draws.
    n_startup (int): Trials that TPE draws at random.
    """
    from optuna.samplers import RandomSampler, TPESampler

    with without_warnings():
        if name == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=n_startup, group=True)


def _is_replaced(trial: "FrozenTrial", first: int) -> bool:
    """A failed trial without a message was lost with its process. The config as it stands has been begun again where
    its number is below that of the last one."""
    lost = trial.state.name == "FAIL" and ERROR not in trial.user_attrs and RETRY not in trial.user_attrs
    return lost or ((_failed_at_once(trial) or _was_cut_short(trial)) and trial.number < first)


def _failed_at_once(trial: "FrozenTrial") -> bool:
    """Whether this is the config as it stands, which failed before its first evaluation."""
    attrs = trial.user_attrs
    return trial.state.name == "FAIL" and FIRST in attrs and ERROR in attrs and SCORE not in attrs


def _was_cut_short(trial: "FrozenTrial") -> bool:
    """Whether this is the config as it stands, for which the time was up before the last fold. It is never hopeless."""
    return trial.state.name == "PRUNED" and {FIRST, SCORES} <= trial.user_attrs.keys()


def _trial_of(pipeline: Path) -> int | None:
    """The number of the trial that a pipeline is from."""
    meta = pipeline / "meta.json"
    return cast("int | None", json.loads(meta.read_text(encoding="utf8")).get(META)) if meta.exists() else None


def _is_new(folder: Path) -> bool:
    """Whether nothing is there but what another process may have made a moment ago, before its journal."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    locks = {name for name in names if name.startswith("running/") and name.endswith(".lock")}
    return "journal.log" in names or names - locks <= set(_FOLDERS)


def _drop_torn_line(journal: Path) -> None:
    """A line that was cut off would make the next one unreadable."""
    if not journal.exists():
        return
    data = journal.read_bytes()
    if data and not data.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Optuna says that groups of settings are experimental, and that few trials tell little about their importance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
