"""A ranking as a table, as JSON, and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from ..integrity import write_picture
from ..text_table import text_table
from ..types import Config
from .ranking import Line, Ranking

MOST = 30
"""Lines of the table that are shown; all are in the JSON."""


def as_text(found: Ranking) -> str:
    """RETURNS (str): The table, the recommendation, and what could not be read."""
    heads = [head.name for head in found.heads]
    shown = _shown(found)
    rows = [
        (_mark(found, line), line.candidate.name, _depth(line), *_scores(found, line), *_cost(line)) for line in shown
    ]
    scores = [name for head in heads for name in (head, "reads")]
    rank = ["mean rank"] if len(heads) > 1 else []
    header = ("", "backbone", "depth", *rank, *scores, "words/s", "MB", "+memory", "frozen", "tuned")
    aligns = "llr" + "r" * len(rank) + "rl" * len(heads) + "rrrrr"
    text = text_table(rows, header=header, aligns=aligns)
    left = len(found.lines) - len(shown)
    parts = [text, _legend(found, left), _recommendation(found), *found.notes]
    parts += [f"Not read: {one.name}: {one.reason}" for one in found.unread]
    return "\n\n".join(parts)


def as_dict(found: Ranking) -> Config:
    """RETURNS (Dict[str, Any]): All lines, the best first, for JSON."""
    return {
        "texts": found.n_texts,
        "sampled": found.n_sampled,
        "words": found.n_words,
        "heads": {head.name: {"weight": head.weight, "reads": head.gold.reads} for head in found.heads},
        "candidates": [
            {
                "name": line.candidate.name,
                "is_own": line.candidate.is_own,
                "depth": line.depth,
                "poolings": {head: list(pooling) for head, pooling in line.poolings.items()},
                "scores": {head: one.score for head, one in line.scores.items()},
                "combined": line.combined,
                "half_width": line.half_width,
                "fits": line.fits,
                "is_equal_to_best": line.is_equal,
                "is_within_one_error": line.is_close,
                "is_on_frontier": line.on_frontier,
                "is_best": line is found.best,
                "is_chosen": line is found.chosen,
                **vars(line.cost),
                "model": line.block,
            }
            for line in found.lines
        ],
        "not_read": [vars(one) for one in found.unread],
        "notes": found.notes,
    }


def draw(found: Ranking, path: Path) -> None:
    """Draw quality against speed, with the frontier: what no other candidate is both better and faster than.

    path (Path): A file .png or .svg.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(line.candidate.name for line in found.lines))
    for i, name in enumerate(names):
        own = [line for line in _shown(found, most=len(found.lines)) if line.candidate.name == name]
        own.sort(key=lambda line: line.cost.speed)
        speeds, values = [line.cost.speed for line in own], [line.combined for line in own]
        errors = [line.half_width for line in own]
        axes.errorbar(speeds, values, errors, fmt="osD^vP*X"[i % 8], color=f"C{i % 10}", capsize=2, label=name)
        for line in own:
            if line.depth is not None:
                axes.annotate(f" {line.depth}", (line.cost.speed, line.combined), fontsize=8)
    frontier = [line for line in found.lines if line.on_frontier]
    speeds, values = [line.cost.speed for line in frontier], [line.combined for line in frontier]
    axes.plot(speeds, values, color="0.5", linewidth=1, zorder=0, label="frontier")
    chosen = found.chosen
    axes.plot([chosen.cost.speed], [chosen.combined], "o", markersize=15, fillstyle="none", color="k", label="chosen")
    axes.set_xscale("log")
    axes.set(xlabel="words a second", ylabel=_quality(found))
    axes.legend(fontsize=8)
    write_picture(figure, path, path.suffix.removeprefix("."))


def _shown(found: Ranking, most: int = MOST) -> list[Line]:
    """The best form of each backbone at each depth, and the best and the chosen one."""
    seen, lines = set[tuple[str, int | None]](), list[Line]()
    for line in found.lines:
        key = line.candidate.name, line.depth
        if key not in seen or line is found.best or line is found.chosen:
            lines.append(line)
        seen.add(key)
    first = lines[:most]
    return first + [line for line in (found.best, found.chosen) if not any(line is other for other in first)]


def _mark(found: Ranking, line: Line) -> str:
    if line is found.chosen:
        return ">"
    if line is found.best:
        return "*"
    return "-" if not line.fits else "=" if line.is_equal else ""


def _depth(line: Line) -> str:
    if line.depth is None:
        return ""
    layers = line.block.get("layers")
    top = f", top {layers}" if isinstance(layers, int) else ""
    return f"{line.depth} (all){top}" if line.is_whole else f"{line.depth}{top}"


def _scores(found: Ranking, line: Line) -> list[str]:
    cells = [f"{-line.combined:.2f} ± {line.half_width:.2f}"] if len(found.heads) > 1 else []
    for head in found.heads:
        score = f"{line.scores[head.name].score:.3f}"
        cells += [score if cells else f"{score} ± {line.half_width:.3f}", " + ".join(line.poolings[head.name])]
    return cells


def _cost(line: Line) -> list[str]:
    cost = line.cost
    memory = "" if cost.memory_mb is None else f"{cost.memory_mb:,.0f}"
    tuned = "" if cost.tuned_epoch is None else _seconds(cost.tuned_epoch)
    return [f"{cost.speed:,.0f}", f"{cost.mb:,.1f}", memory, _seconds(cost.frozen_epoch), tuned]


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"


def _quality(found: Ranking) -> str:
    return found.heads[0].name if len(found.heads) == 1 else "mean rank of the heads, times -1"


def _legend(found: Ranking, left: int) -> str:
    more = f" {left} more lines, other poolings among them, are in the JSON." if left else ""
    return (
        f"Scores of {found.n_sampled:,} of {found.n_texts:,} texts ({found.n_words:,} words), ± 95%. > recommended, * "
        "the best, = cannot be told apart from the best, - outside of the constraints. frozen, tuned: seconds of an "
        f"epoch, with the backbone frozen (the first epoch; its rows are cached then) or trained.{more}"
    )


def _recommendation(found: Ranking) -> str:
    best, chosen = found.best, found.chosen
    if chosen is best:
        return f"Recommended: {_name(chosen)}. It has the best score, and nothing within one standard error is faster."
    times = chosen.cost.speed / best.cost.speed
    than = f"as the best, {_name(best)}"
    return (
        f"Recommended: {_name(chosen)}. It is {times:.1f} x as fast {than}, and within one standard error of its score."
    )


def _name(line: Line) -> str:
    depth = "" if line.depth is None or line.is_whole else f", depth {line.depth}"
    poolings: Sequence[str] = [" + ".join(pooling) for pooling in line.poolings.values() if pooling != ("tokens",)]
    return f"{line.candidate.name}{depth}" + (f" ({', '.join(poolings)})" if poolings else "")
