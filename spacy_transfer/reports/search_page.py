"""The page of a search: history, importance of the settings, slices, and all that was tried."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .page import figure, whole_page
from .pictures import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ends_of, frame, round_ticks, scale

OPTIMISTIC = (
    "The scores are those on the dev corpus, by which the best trial was chosen, so the best of them is optimistic: "
    "the more trials, the more. Evaluate the pipeline on other texts before you tell a score to anyone."
)
BY_FOLDS = OPTIMISTIC.replace("those on the dev corpus", "means over folds of the train corpus")
BY_FOLDS += " ± is the standard error of the mean: trials that differ by less are about as good."


@dataclass(frozen=True)
class Tried:
    """A trial.

    number (int): 0 is the config as it stands.
    state (str): How it ended, in a word.
    score (Optional[float]): The highest of its evaluations.
    step (int): The last evaluation's; by folds, how many of them were done.
    params (Dict[str, Any]): Values by setting.
    error (str): What a failed trial said.
    deviation (Optional[float]): The standard error of the score, over folds.
    """

    number: int
    state: str
    score: float | None
    step: int
    seconds: float
    params: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    deviation: float | None = None

    @property
    def shown(self) -> str:
        """RETURNS (str): The score in digits."""
        within = "" if self.deviation is None else f" ± {self.deviation:.4f}"
        return "-" if self.score is None else f"{self.score:.4f}{within}"


def make_search_page(
    trials: Sequence[Tried],
    importances: Mapping[str, float],
    logs: set[str],
    facts: dict[str, str],
    *,
    by_folds: bool = False,
) -> str:
    """The whole page.

    trials (Sequence[Tried]): In the order of their numbers.
    importances (Mapping[str, float]): Shares by setting, the largest first.
    logs (Set[str]): Settings to draw on a logarithmic axis.
    facts (Dict[str, str]): For the header.
    by_folds (bool): Whether scores are those on folds of the train corpus.
    """
    scored = [trial for trial in trials if trial.score is not None]
    pictures = []
    if scored:
        caption = "The line is the best so far. Full dots: trained to the end. Rings: ended early."
        pictures.append(figure("History", history(scored), caption))
    if importances:
        caption = (
            "PED-ANOVA (Watanabe et al. 2023) over all trials with a score; one that ended early counts as it was."
        )
        pictures.append(figure("Importance", importance(importances), caption))
    names = list(dict.fromkeys(name for trial in scored for name in trial.params))
    slices = "".join(figure(escape(name), slice_of(scored, name, name in logs), "") for name in names)
    body = f'<div class="pictures">{"".join(pictures)}</div><h2>Slices</h2><div class="pictures">{slices}</div>'
    table = (
        f'<h2>What was tried</h2><div class="wide" tabindex="0">{_table(trials, "folds" if by_folds else "step")}</div>'
    )
    return whole_page("Search", facts, BY_FOLDS if by_folds else OPTIMISTIC, f"<main>{body}{table}</main>")


def history(trials: Sequence[Tried]) -> str:
    """RETURNS (str): SVG: the score of each trial, and the best so far."""
    y_ticks = round_ticks(*_range_of([_score(trial) for trial in trials]))
    last = max(trials[-1].number, 1)
    x, y = scale(0, last, LEFT, WIDTH - RIGHT), scale(*ends_of(y_ticks), HEIGHT - BOTTOM, TOP)
    best, line = -math.inf, []
    for trial in trials:
        best = max(best, _score(trial))
        line.append(f"{x(trial.number):.1f},{y(best):.1f}")
    parts = [f'<polyline class="line" points="{" ".join(line)}"/>']
    parts += [_dot(trial, x(trial.number), y(_score(trial))) for trial in trials]
    step = max(1, -(-last // 6))
    x_ticks = [(float(i), str(i)) for i in range(0, last + 1, step)]
    return frame("Scores by trial.", parts, (x, x_ticks, "trial"), (y, y_ticks, "score"))


def importance(importances: Mapping[str, float]) -> str:
    """RETURNS (str): SVG: a bar for each setting, with its name and share in it."""
    height = 34
    bars = []
    for i, (name, share) in enumerate(importances.items()):
        width = (WIDTH - 8) * share / max(max(importances.values()), 1e-12)
        bars.append(
            f'<text x="4" y="{i * height + 12}">{escape(name)} {share:.0%}</text>'
            f'<rect class="bar" x="4" y="{i * height + 16}" width="{width:.1f}" height="12"/>'
        )
    told = "Importance: " + ", ".join(f"{name} {share:.0%}" for name, share in importances.items())
    return (
        f'<svg role="img" aria-label="{escape(told)}" viewBox="0 0 {WIDTH} {height * len(bars)}">'
        f"<title>{escape(told)}</title>{''.join(bars)}</svg>"
    )


def slice_of(trials: Sequence[Tried], name: str, log: bool) -> str:
    """RETURNS (str): SVG: scores by the value of one setting.

    log (bool): Draw its values on a logarithmic axis.
    """
    trials = [trial for trial in trials if name in trial.params]
    values = [trial.params[name] for trial in trials]
    if all(isinstance(value, (int, float)) for value in values):
        places = [math.log10(value) if log else float(value) for value in values]
        low, high = _range_of(places)
        ticks = [(low + i * (high - low) / 3, low + i * (high - low) / 3) for i in range(4)]
        x_ticks = [(place, f"{10**value if log else value:.3g}") for place, value in ticks]
    else:
        kinds = sorted({str(value) for value in values})
        places = [float(kinds.index(str(value))) for value in values]
        low, high = -0.5, len(kinds) - 0.5
        x_ticks = [(float(i), kind[: 60 // len(kinds)]) for i, kind in enumerate(kinds)]
    y_ticks = round_ticks(*_range_of([_score(trial) for trial in trials]))
    x, y = scale(low, high, LEFT + 10, WIDTH - RIGHT - 10), scale(*ends_of(y_ticks), HEIGHT - BOTTOM, TOP)
    parts = [_dot(trial, x(place), y(_score(trial))) for trial, place in zip(trials, places, strict=True)]
    return frame(f"Scores by {name}.", parts, (x, x_ticks, name), (y, y_ticks, "score"))


def show(value: Any) -> str:
    """RETURNS (str): A number with few digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _score(trial: Tried) -> float:
    return -math.inf if trial.score is None else trial.score


def _range_of(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))


def _dot(trial: Tried, x: float, y: float) -> str:
    told = f"trial {trial.number}: {_score(trial):.4f}, {trial.state}"
    told += "".join(f", {name} = {show(value)}" for name, value in trial.params.items())
    style = "" if trial.state == "complete" else ' style="fill:none;stroke:var(--orange);stroke-width:2"'
    return f'<g><title>{escape(told)}</title><circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5"{style}/></g>'


def _table(trials: Sequence[Tried], unit: str) -> str:
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    head = "".join(
        f'<th scope="col">{escape(name)}</th>' for name in ("trial", "score", "ended", unit, "seconds", *names, "")
    )
    rows = []
    for trial in sorted(trials, key=lambda trial: (-_score(trial), trial.number)):
        cells = [trial.shown, trial.state, str(trial.step), f"{trial.seconds:.0f}"]
        cells += [show(trial.params.get(name, "")) for name in names] + [trial.error]
        rows.append(
            f'<tr><th scope="row">{trial.number}</th>' + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
