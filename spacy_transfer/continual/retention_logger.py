"""`spacy-transfer.RetentionLogger.v1`: scores on old development sets in the course of a training."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from spacy.language import Language
from spacy.util import logger as log
from spacy.util import registry

from ..errors import Errors, Warnings
from ..integrity import write_whole
from ..pipeline.labels.carry import load
from ..types import Config
from .forgetting import ForgettingMatrix, check_picture, number
from .retention import OldSkills, Scores, as_json, as_rows, as_text, skills_from

Info: TypeAlias = Config
"""What spaCy tells a logger of a step."""
LogStep = Callable[[Info | None], None]
SetUp = Callable[..., tuple[LogStep, Callable[[], None]]]
KEY = "training.logger"
START = "start"
SCORES = "retention"
SAME = 0.005
"""Scores that differ by no more may be those of the same pipeline."""


def retention_logger_v1(
    *,
    skills: dict[str, Config],
    before: str | None = None,
    output: str | None = None,
    picture: str | None = None,
    stage: str = "training",
    earlier: str | None = None,
    logger: SetUp | None = None,
) -> SetUp:
    """A logger around another. With each evaluation it scores old development sets, and prints a table: before, now,
    difference. At the end comes the forgetting matrix: tasks by stages, with average forgetting (Chaudhry et al. 2018)
    and backward transfer (Lopez-Paz and Ranzato 2017). What stands at the end is the evaluation that was best, as in
    model-best. Scores are those of the averages of weights where the optimizer keeps any (`use_averages`), as spaCy
    evaluates and saves them.

    skills (Dict[str, Dict[str, Any]]): By name: `data`, a reader, a .spacy file or raw text; `scores`, names of scores
        (null for those that are weighed); `labels`, to count entities of these alone; `agreement`, true to take the
        old pipeline's predictions for gold; `new`, true for what this training teaches.
    before (Optional[str]): The old pipeline: a folder or package; null for the pipeline as its training begins.
    output (Optional[str]): A JSON file for all numbers, written at each evaluation.
    picture (Optional[str]): A file for a picture of the matrix; needs matplotlib.
    stage (str): The name of this training in the matrix.
    earlier (Optional[str]): The output of a training before this one, whose stages come first in the matrix. For what
        it did not measure, its last stage has the score before this training.
    logger (Optional[Callable]): The logger that prints the rest; null for `spacy-transfer.ConsoleLogger.v1`.
    RETURNS (Callable): The logger.
    """
    found = skills_from(skills, f"{KEY}.skills")
    for path in (output, picture):
        if path is not None and not Path(path).resolve().parent.is_dir():
            raise ValueError(Errors.T780.format(path=path))
    if picture is not None:
        check_picture(picture)
    setup_inner: SetUp = registry.get("loggers", "spacy-transfer.ConsoleLogger.v1")() if logger is None else logger

    def setup(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> tuple[LogStep, Callable[[], None]]:
        history = None if earlier is None else read_stages(earlier)
        with _all_enabled(nlp):
            old = OldSkills(nlp if before is None else load(before, f"{KEY}.before"), found, f"{KEY}.skills")
        log_inner, finalize_inner = setup_inner(nlp, stdout, stderr)
        course = Course(old, stage, history, is_start=before is None)
        at_evaluation = AtEvaluation(nlp, old)

        def log_step(info: Info | None) -> None:
            log_inner(info)
            if info is not None:
                # Resume.v1 logs the rows of a training that was killed again: they have the scores.
                if SCORES not in info:
                    info[SCORES] = at_evaluation.take()
                course.add(int(info["step"]), float(info["score"]), info[SCORES])
                print(f"\n{as_text(as_rows(old.before, course.last))}\n", file=stdout, flush=True)
                if output is not None:
                    course.write(Path(output))

        def finalize() -> None:
            at_evaluation.stop()
            finalize_inner()
            if course.steps:
                matrix = course.matrix()
                print(f"\n{as_text(as_rows(old.before, course.best))}\n", file=stdout)
                print(f"{matrix.to_text()}\n", file=stdout, flush=True)
                if picture is not None:
                    matrix.draw(picture)

        return log_step, finalize

    return setup


class AtEvaluation:
    """Scores old skills within `nlp.evaluate`: spaCy puts averages of weights in place for that alone.

    No hook of spaCy 3.8 could do it. `train` keeps the optimizer, and with it the averages, in a local variable: a
    logger is given `nlp`, stdout and stderr, and `log_step` a dictionary of numbers. When `log_step` is called, the
    averages have been taken out again (`train_while_improving` leaves `use_params` before it yields). Between the two,
    spaCy calls the reader of the development set, `nlp.evaluate`, and the scorer of each component; of these, a logger
    reaches `nlp` alone. Weights of now are not what is saved: the table would not be that of model-best.
    """

    def __init__(self, nlp: Language, old: OldSkills) -> None:
        self.nlp, self.old = nlp, old
        self._scores: Scores | None = None
        self._was = vars(nlp).get("evaluate")
        evaluate = nlp.evaluate

        def evaluate_both(*args: Any, **kwargs: Any) -> Config:
            scores = evaluate(*args, **kwargs)
            self._scores = old.score(nlp)
            return scores

        nlp.evaluate = evaluate_both  # type: ignore[method-assign]

    def take(self) -> Scores:
        """RETURNS (Scores): Those of the last evaluation; of now, if something else than `nlp.evaluate` made it."""
        found, self._scores = self._scores, None
        return self.old.score(self.nlp) if found is None else found

    def stop(self) -> None:
        """From now on `nlp.evaluate` is what it was."""
        vars(self.nlp).pop("evaluate", None)
        if self._was is not None:
            vars(self.nlp)["evaluate"] = self._was


class Course:
    """Scores of old skills in the course of a training.

    is_start (bool): Whether the training begins with the old pipeline. If not, it may be that of any stage.
    """

    def __init__(
        self, old: OldSkills, stage: str, history: ForgettingMatrix | None = None, *, is_start: bool = True
    ) -> None:
        self.old, self.stage = old, stage
        self.steps: list[tuple[int, float, Scores]] = []
        taken = (START,) if history is None else history.stages
        if stage in taken:
            raise ValueError(Errors.T781.format(stage=stage, taken=list(taken)))
        self._start = {_task(skill, n): number(v) for skill, each in old.before.items() for n, v in each.items()}
        self._gold = {_task(skill, n): mark for skill, mark in old.gold.items() for n in old.before[skill]}
        if history is None:
            history = ForgettingMatrix.from_scores([START], [], {}, {})
        self._earlier = _comparable(history, self._start, self._gold)
        self._begin = _stage_of(self._start, self._earlier, is_start)

    @property
    def last(self) -> Scores:
        return self.steps[-1][2]

    @property
    def best_step(self) -> tuple[int, float, Scores]:
        """RETURNS (Tuple[int, float, Scores]): That of model-best: of equal ones the last. NaN is no best."""
        return max(self.steps, key=lambda step: (not math.isnan(step[1]), step[1], step[0]))

    @property
    def best(self) -> Scores:
        return self.best_step[2]

    def add(self, step: int, score: float, scores: Scores) -> None:
        """Remember an evaluation: its step, the score that chooses model-best, and those of the skills."""
        self.steps.append((step, score, scores))

    def matrix(self) -> ForgettingMatrix:
        """RETURNS (ForgettingMatrix): Of the trainings before this one, and of this one at its best step."""
        now = {_task(skill, name): number(v) for skill, each in self.best.items() for name, v in each.items()}
        is_new = {_task(s.name, name): s.new for s in self.old.skills for name in self.old.before[s.name]}
        earlier, scores = self._earlier, self._earlier.by_stage()
        scores[self._begin] |= {t: v for t, v in self._start.items() if scores[self._begin].get(t) is None}
        scores[self.stage] = now
        tasks = [*earlier.tasks, *(task for task in now if task not in earlier.tasks)]
        learned = {task: self.stage if is_new.get(task, True) else self._begin for task in tasks}
        learned |= earlier.learned_in()
        return ForgettingMatrix.from_scores(list(scores), tasks, scores, learned, {**earlier.gold, **self._gold})

    def write(self, path: Path) -> None:
        """Write all numbers. A file that is there is replaced when the new one is whole."""
        before, (best_step, _, best) = self.old.before, self.best_step
        history = [{"step": i, "score": score, "retention": as_json(as_rows(before, s))} for i, score, s in self.steps]
        found = {
            "retention": as_json(as_rows(before, best)),
            "best_step": best_step,
            "last": as_json(as_rows(before, self.last)),
            "history": history,
            "matrix": self.matrix().to_json(),
        }
        write_json(path, found)


def write_json(path: Path, found: object) -> None:
    """Write a JSON file, whole or not at all."""
    write_whole(path, json.dumps(found, indent=1).encode("utf8"))


def read_stages(path: str) -> ForgettingMatrix:
    """The matrix in the output of an earlier training.

    RAISES (ValueError): When it cannot be read.
    """
    try:
        return ForgettingMatrix.from_json(json.loads(Path(path).read_text(encoding="utf8"))["matrix"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(Errors.T782.format(path=path, error=repr(error))) from error


def _comparable(
    history: ForgettingMatrix, start: Mapping[str, float | None], gold: Mapping[str, str]
) -> ForgettingMatrix:
    """The matrix so far, without tasks whose gold annotation is now the predictions of another pipeline."""
    other = [task for task in history.tasks if task in start and history.gold.get(task) != gold.get(task)]
    if not other:
        return history
    log.warning(Warnings.W780.format(tasks=other))
    tasks = [task for task in history.tasks if task not in other]
    return ForgettingMatrix.from_scores(history.stages, tasks, history.by_stage(), history.learned_in(), history.gold)


def _stage_of(start: Mapping[str, float | None], earlier: ForgettingMatrix, is_start: bool) -> str:
    """The stage whose pipeline has these scores: the last one where the training begins with it, or any."""
    stages = earlier.by_stage()
    last = earlier.stages[-1]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for stage in [last] if is_start else reversed(earlier.stages):
        pairs = {task: (value, stages[stage].get(task)) for task, value in start.items()}
        found[stage] = {task: (a, b) for task, (a, b) in pairs.items() if a is not None and b is not None}
    gaps = {stage: max(abs(a - b) for a, b in pairs.values()) for stage, pairs in found.items() if pairs}
    nearest = min(gaps, key=lambda stage: gaps[stage], default=last)
    if gaps.get(nearest, 0.0) <= SAME:
        return nearest
    far = {task: pair for task, pair in found[nearest].items() if abs(pair[0] - pair[1]) > SAME}
    scores = ", ".join(f"{task}: {a:.4f} (was {b:.4f} after {nearest!r})" for task, (a, b) in far.items())
    log.warning(Warnings.W781.format(scores=scores, stage=last))
    return last


def _task(skill: str, score: str) -> str:
    return f"{skill} {score}"


@contextmanager
def _all_enabled(nlp: Language) -> Iterator[None]:
    """While spaCy sets a logger up, frozen components are disabled: enable them."""
    frozen = nlp.config.interpolate()["training"].get("frozen_components", [])
    names = [name for name in nlp.disabled if name in frozen]
    for name in names:
        nlp.enable_pipe(name)
    try:
        yield
    finally:
        for name in names:
            nlp.disable_pipe(name)
