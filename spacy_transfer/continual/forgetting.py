"""Forgetting over several trainings: a matrix of stages and tasks, with the usual measures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from ..errors import Errors
from ..extras import import_extra
from ..integrity import write_picture
from ..text_table import text_table
from ..types import Config, Floats


@dataclass(frozen=True)
class ForgettingMatrix:
    """Scores of every task after every stage.

    stages (Tuple[str, ...]): Names of the stages, in their order: trainings, and perhaps what there was before.
    tasks (Tuple[str, ...]): Names of the tasks.
    scores (Floats): From 0 to 1, shape (n_stages, n_tasks); NaN where it was not measured.
    learned (Tuple[int, ...]): For each task the index of the stage that taught it.
    gold (Mapping[str, str]): Fingerprints of gold annotation that is a pipeline's own predictions, by task.
    """

    stages: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: Floats
    learned: tuple[int, ...]
    gold: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.stages), len(self.tasks))
        is_in_order = all(0 <= stage < len(self.stages) for stage in self.learned)
        if self.scores.shape != shape or len(self.learned) != len(self.tasks) or not is_in_order:
            raise ValueError(Errors.T797.format(wanted=shape, found=self.scores.shape, learned=self.learned))

    def forgetting(self) -> Floats:
        """How far each task fell from the best it ever was to what it is after the last stage (Chaudhry et al. 2018,
        arXiv 1801.10112, equation 3). Negative where it has risen.

        RETURNS (Floats): Shape (n_tasks,); NaN for tasks that the last stage taught, or that were not
            measured both before and after it.
        """
        found = numpy.full(len(self.tasks), numpy.nan)
        for j in self._old():
            earlier = self.scores[:-1, j]
            known = earlier[~numpy.isnan(earlier)]
            if len(known):
                found[j] = known.max() - self.scores[-1, j]
        return found

    def average_forgetting(self) -> float:
        """RETURNS (float): Mean of `forgetting` over the tasks it is known for; NaN if there is none."""
        return _mean(self.forgetting())

    def backward_transfer(self) -> float:
        """What later stages did to each task since it was learned (Lopez-Paz and Ranzato 2017, arXiv 1706.08840,
        equation 3): negative where it was forgotten, positive where it gained.

        RETURNS (float): Mean over tasks that were taught before the last stage; NaN if there is none.
        """
        return _mean(numpy.array([self.scores[-1, j] - self.scores[self.learned[j], j] for j in self._old()]))

    def average(self) -> float:
        """RETURNS (float): Mean score of all tasks after the last stage."""
        return _mean(self.scores[-1])

    def _old(self) -> list[int]:
        return [j for j, stage in enumerate(self.learned) if stage < len(self.stages) - 1]

    def to_text(self) -> str:
        """RETURNS (str): A table: stages down, tasks across, scores times 100; under it what was forgotten."""

        rows = [(stage, *(_shown(v) for v in line)) for stage, line in zip(self.stages, self.scores, strict=True)]
        rows.append(("forgotten", *(_shown(value) for value in self.forgetting())))
        text = text_table(rows, header=("after", *self.tasks), aligns="l" + "r" * len(self.tasks))
        facts = f"average forgetting {_shown(self.average_forgetting())}, backward transfer "
        return f"{text}\n{facts}{_shown(self.backward_transfer())}, average score {_shown(self.average())}"

    def by_stage(self) -> dict[str, dict[str, float | None]]:
        """RETURNS (Dict[str, Dict[str, Optional[float]]]): Scores by stage and task; None where it was not measured."""
        rows = (dict(zip(self.tasks, map(number, line), strict=True)) for line in self.scores)
        return dict(zip(self.stages, rows, strict=True))

    def learned_in(self) -> dict[str, str]:
        """RETURNS (Dict[str, str]): The stage that taught each task."""
        return dict(zip(self.tasks, (self.stages[i] for i in self.learned), strict=True))

    def to_json(self) -> Config:
        """RETURNS (Dict[str, Any]): All numbers; null for what is not known."""
        return {
            "tasks": list(self.tasks),
            "stages": [{"name": name, "scores": scores} for name, scores in self.by_stage().items()],
            "learned": self.learned_in(),
            "gold": dict(self.gold),
            "forgetting": dict(zip(self.tasks, map(number, self.forgetting()), strict=True)),
            "average_forgetting": number(self.average_forgetting()),
            "backward_transfer": number(self.backward_transfer()),
            "average": number(self.average()),
        }

    @classmethod
    def from_json(cls, data: Config) -> "ForgettingMatrix":
        """Read what `to_json` gave.

        RAISES (KeyError, TypeError, ValueError): When it is something else.
        """
        scores = {stage["name"]: stage["scores"] for stage in data["stages"]}
        return cls.from_scores(list(scores), data["tasks"], scores, data["learned"], data.get("gold"))

    @classmethod
    def from_scores(
        cls,
        stages: Sequence[str],
        tasks: Sequence[str],
        scores: Mapping[str, Mapping[str, float | None]],
        learned: Mapping[str, str],
        gold: Mapping[str, str] | None = None,
    ) -> "ForgettingMatrix":
        """Put a matrix together.

        stages (Sequence[str]), tasks (Sequence[str]): Names.
        scores (Mapping[str, Mapping[str, Optional[float]]]): By stage and task; what is missing was not measured.
        learned (Mapping[str, str]): Which stage taught a task.
        gold (Optional[Mapping[str, str]]): See `ForgettingMatrix`.
        RETURNS (ForgettingMatrix): The matrix.
        """
        lines = [[scores.get(stage, {}).get(task) for task in tasks] for stage in stages]
        values = [[math.nan if value is None else value for value in line] for line in lines]
        array = numpy.array(values, dtype=numpy.float64).reshape(len(stages), len(tasks))
        taught = tuple(list(stages).index(learned[task]) for task in tasks)
        return cls(tuple(stages), tuple(tasks), array, taught, dict(gold or {}))

    def draw(self, path: str | Path, title: str = "") -> None:
        """Draw the matrix: numbers on colours, darker for better, a frame around the stage that taught a task.

        path (Union[str, Path]): The picture; .png, .svg or .pdf.
        title (str): Over it.
        RAISES (ImportError): When matplotlib is not installed.
        """
        check_picture(path)
        from matplotlib.figure import Figure

        figure = Figure(figsize=(2.5 + 1.1 * len(self.tasks), 1.6 + 0.5 * len(self.stages)), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(self.scores, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        for i, line in enumerate(self.scores):
            for j, value in enumerate(line):
                frame = {"edgecolor": "C1", "facecolor": "none", "pad": 3} if self.learned[j] == i else None
                color = "white" if value > 0.6 else "black"
                axes.text(j, i, _shown(value), ha="center", va="center", color=color, bbox=frame)
        axes.set_xticks(range(len(self.tasks)), self.tasks, rotation=30, ha="right")
        axes.set_yticks(range(len(self.stages)), self.stages)
        facts = f"average forgetting {_shown(self.average_forgetting())}"
        axes.set_title(f"{title}\n{facts}" if title else facts, fontsize="medium")
        axes.set_ylabel("after")
        write_picture(figure, Path(path), Path(path).suffix[1:] or "png")


def check_picture(path: str | Path) -> None:
    """Before any work is done, check that a picture can be drawn and written.

    RAISES (ImportError, ValueError): When it cannot.
    """
    import_extra("matplotlib.figure", Errors.T798)
    if Path(path).suffix not in (".png", ".svg", ".pdf") or not Path(path).resolve().parent.is_dir():
        raise ValueError(Errors.T799.format(path=path))


def _mean(values: Floats) -> float:
    known = values[~numpy.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def number(value: float) -> float | None:
    """RETURNS (Optional[float]): JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
