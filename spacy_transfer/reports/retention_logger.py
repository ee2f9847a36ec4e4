"""RetentionLogger.v1: while a training learns something new, a table says what it still knows of the old."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spacy.language import Language
from spacy.util import registry

from ..errors import Errors
from ..pipeline.carry import load
from ..pipeline.retention import OldSkills, Scores, as_json, as_rows, as_text, number, skills_from
from .forgetting import ForgettingMatrix, check_picture

LogStep = Callable[[dict[str, Any] | None], None]
SetUp = Callable[..., tuple[LogStep, Callable[[], None]]]
KEY = "training.logger"
START = "start"


def retention_logger_v1(
    *,
    skills: dict[str, dict[str, Any]],
    before: str | None = None,
    output: str | None = None,
    picture: str | None = None,
    stage: str = "training",
    earlier: str | None = None,
    logger: Callable | None = None,
) -> Callable[..., tuple[LogStep, Callable[[], None]]]:
    """A logger around another. With each evaluation it scores old development sets, and prints a table: before, now,
    difference. At the end comes the forgetting matrix: tasks by stages, with average forgetting (Chaudhry et al. 2018)
    and backward transfer (Lopez-Paz and Ranzato 2017). What stands at the end is the evaluation that was best, as in
    model-best. Scores are those of the averages of weights where the optimizer keeps any (`use_averages`), as spaCy
    evaluates and saves them.

    skills (Dict[str, Dict[str, Any]]): By name: `data`, a reader, a .spacy file or raw text; `scores`, names of scores
        (null for those that are weighed); `labels`, to count entities of these alone; `agreement`, true to take what
        the old pipeline says for gold; `new`, true for what this training learns.
    before (Optional[str]): The old pipeline: a folder or package; null for the pipeline as its training begins.
    output (Optional[str]): A JSON file for all numbers. It is written anew at each evaluation.
    picture (Optional[str]): A file for a picture of the matrix; needs matplotlib.
    stage (str): What this training is called in the matrix.
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
        course = Course(old, stage, history)
        watch = AtEvaluation(nlp, old)

        def log_step(info: dict[str, Any] | None) -> None:
            log_inner(info)
            if info is not None:
                course.add(int(info["step"]), float(info["score"]), watch.take())
                print(f"\n{as_text(as_rows(old.before, course.last))}\n", file=stdout, flush=True)
                if output is not None:
                    course.write(Path(output))

        def finalize() -> None:
            watch.stop()
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

    nlp (Language): The pipeline in training.
    old (OldSkills): The skills.
    """

    def __init__(self, nlp: Language, old: OldSkills) -> None:
        self.nlp, self.old = nlp, old
        self._scores: Scores | None = None
        self._was = vars(nlp).get("evaluate")
        evaluate = nlp.evaluate

        def evaluate_both(*args: Any, **kwargs: Any) -> dict[str, Any]:
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
    """What became of old skills in the course of a training.

    old (OldSkills): The skills.
    stage (str): What the training is called.
    history (Optional[ForgettingMatrix]): Of those before it.
    """

    def __init__(self, old: OldSkills, stage: str, history: ForgettingMatrix | None = None) -> None:
        self.old, self.stage, self.history = old, stage, history
        self.steps: list[tuple[int, float, Scores]] = []
        taken = (START,) if history is None else history.stages
        if stage in taken:
            raise ValueError(Errors.T781.format(stage=stage, taken=list(taken)))

    @property
    def last(self) -> Scores:
        return self.steps[-1][2]

    @property
    def best_step(self) -> tuple[int, float, Scores]:
        """RETURNS (Tuple[int, float, Scores]): That of model-best: of equal ones spaCy keeps the last."""
        return max(self.steps, key=lambda step: (step[1], step[0]))

    @property
    def best(self) -> Scores:
        return self.best_step[2]

    def add(self, step: int, score: float, scores: Scores) -> None:
        """Remember an evaluation.

        step (int): The step.
        score (float): That which the training goes by.
        scores (Scores): Of the skills.
        """
        self.steps.append((step, score, scores))

    def matrix(self) -> ForgettingMatrix:
        """RETURNS (ForgettingMatrix): Of the trainings before this one, and of this one as it was best."""
        now = {_task(skill, name): value for skill, each in self.best.items() for name, value in each.items()}
        is_new = {_task(s.name, name): s.new for s in self.old.skills for name in self.old.before[s.name]}
        start = {_task(skill, n): number(v) for skill, each in self.old.before.items() for n, v in each.items()}
        if self.history is None:
            stages, tasks, scores, learned = [START], list(start), {START: start}, dict[str, str]()
        else:
            data = self.history.to_json()
            stages, tasks = list(self.history.stages), list(self.history.tasks)
            scores = {each["name"]: each["scores"] for each in data["stages"]}
            learned = data["learned"]
            # The pipeline as this training began is the one as the last training left it.
            latest = scores[stages[-1]]
            latest |= {task: value for task, value in start.items() if latest.get(task) is None}
        tasks += [task for task in now if task not in tasks]
        for task in tasks:
            learned.setdefault(task, self.stage if is_new.get(task, True) else stages[-1])
        clean = {task: number(value) for task, value in now.items()}
        return ForgettingMatrix.from_scores([*stages, self.stage], tasks, {**scores, self.stage: clean}, learned)

    def write(self, path: Path) -> None:
        """Write all numbers. A file that is there is replaced when the new one is whole.

        path (Path): The file.
        """
        best = self.best_step
        found = {
            "retention": as_json(as_rows(self.old.before, best[2])),
            "best_step": best[0],
            "last": as_json(as_rows(self.old.before, self.last)),
            "history": [
                {"step": step, "score": score, "retention": as_json(as_rows(self.old.before, scores))}
                for step, score, scores in self.steps
            ],
            "matrix": self.matrix().to_json(),
        }
        write_json(path, found)


def write_json(path: Path, found: Any) -> None:
    """Write a JSON file beside its place first, so that it is never half-written.

    path (Path): The file.
    found (Any): What to write.
    """
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(found, indent=1), encoding="utf8")
    part.replace(path)


def read_stages(path: str) -> ForgettingMatrix:
    """The matrix in the output of an earlier training.

    path (str): The file.
    RETURNS (ForgettingMatrix): The matrix.
    RAISES (ValueError): When it cannot be read.
    """
    try:
        return ForgettingMatrix.from_json(json.loads(Path(path).read_text(encoding="utf8"))["matrix"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(Errors.T782.format(path=path, error=repr(error))) from error


def _task(skill: str, score: str) -> str:
    return f"{skill} {score}"


@contextmanager
def _all_enabled(nlp: Language) -> Iterator[None]:
    """While spaCy sets a logger up, what is frozen is disabled."""
    frozen = nlp.config.interpolate()["training"].get("frozen_components", [])
    names = [name for name in nlp.disabled if name in frozen]
    for name in names:
        nlp.enable_pipe(name)
    try:
        yield
    finally:
        for name in names:
            nlp.disable_pipe(name)
