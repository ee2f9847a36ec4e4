"""Pictures of a report, as SVG inside HTML: no file beside it, sharp at any size, colours from the page's style.

Every picture has a role, a label and titles that a screen reader or a pointer finds. What is told apart by colour is
told apart by shape or text as well.
"""

import math
from collections.abc import Sequence
from html import escape

from .numbers import Bin, Score

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 14, 48


def reliability(bins: Sequence[Bin], error: Score) -> str:
    """Accuracy against confidence; on the diagonal a pipeline is as often right as it says."""
    x, y = scale(0, 1, LEFT, WIDTH - RIGHT), scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = [f'<line class="ideal" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>']
    most = max(b.n for b in bins)
    for b in bins:
        left, right = x(b.low) + 1, x(b.high) - 1
        told = (
            f"confidence {b.low:.2f} to {b.high:.2f}: {b.n} predictions, {b.confidence:.1%} sure on average, "
            f"{b.accuracy:.1%} right"
        )
        parts.append(
            f'<g><title>{told}</title><rect class="bar" x="{left:.1f}" y="{y(b.accuracy):.1f}" '
            f'width="{right - left:.1f}" height="{y(0) - y(b.accuracy):.1f}" '
            f'fill-opacity="{0.35 + 0.65 * b.n / most:.2f}"/>'
            f'<circle class="dot" cx="{x(b.confidence):.1f}" cy="{y(b.accuracy):.1f}" r="4"/></g>'
        )
    ticks = [(value / 5, f"{value * 20}%") for value in range(6)]
    told = (
        f"Reliability diagram: share of right predictions by confidence. Expected calibration error {error.value:.3f}."
    )
    return frame(told, parts, (x, ticks, "confidence"), (y, ticks, "right"))


def by_length(groups: Sequence[tuple[int, int, int, Score]]) -> str:
    """A score for docs of several lengths, with its intervals.

    groups (Sequence[Tuple[int, int, int, Score]]): Shortest and longest doc, how many docs, the score.
    """
    ends = [end for *_, score in groups for end in (score.value, score.low, score.high) if not math.isnan(end)]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.05 * (abs(high) or 1.0)
    bottom = max(low - margin, 0.0) if low >= 0 else low - margin
    ticks = round_ticks(bottom, min(high + margin, 1.0) if high <= 1 else high + margin)
    x, y = scale(-0.5, len(groups) - 0.5, LEFT, WIDTH - RIGHT), scale(*ends_of(ticks), HEIGHT - BOTTOM, TOP)
    parts, line = [], []
    for i, (shortest, longest, n, score) in enumerate(groups):
        told = f"{shortest} to {longest} tokens, {n} docs: {score.name} {score.shown}"
        line.append(f"{x(i):.1f},{y(score.value):.1f}")
        bar = ""
        if not math.isnan(score.low):
            place = f'x1="{x(i):.1f}" y1="{y(score.low):.1f}" x2="{x(i):.1f}" y2="{y(score.high):.1f}"'
            bar = f'<line class="interval" {place}/>'
        parts.append(
            f"<g><title>{escape(told)}</title>{bar}"
            f'<circle class="dot" cx="{x(i):.1f}" cy="{y(score.value):.1f}" r="5"/></g>'
        )
    parts.insert(0, f'<polyline class="line" points="{" ".join(line)}"/>')
    names = [(i, f"{a}" if a == b else f"{a}-{b}") for i, (a, b, _, _) in enumerate(groups)]
    name = groups[0][3].name
    told = f"{name} by length of the docs in tokens."
    return frame(told, parts, (x, names, "tokens"), (y, ticks, name))


def scatter(pairs: Sequence[tuple[float, float]], name: str, most: int = 1500) -> str:
    """Predicted against gold numbers; on the diagonal both agree.

    most (int): The most dots; of more, evenly spread ones are drawn.
    """
    step = max(1, -(-len(pairs) // most))
    values = [value for pair in pairs for value in pair]
    ticks = round_ticks(min(values), max(values))
    low, high = ends_of(ticks)
    x, y = scale(low, high, LEFT, WIDTH - RIGHT), scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [f'<line class="ideal" x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" y2="{y(high):.1f}"/>']
    for gold, guess in pairs[::step]:
        parts.append(f'<circle class="point" cx="{x(gold):.1f}" cy="{y(guess):.1f}" r="2.5"/>')
    told = f"Predicted against gold numbers, {name}, {len(pairs[::step])} of {len(pairs)} shown."
    return frame(told, parts, (x, ticks, "gold"), (y, ticks, "predicted"))


Axis = tuple["Line", Sequence[tuple[float, str]], str]


class Line:
    """A straight way from values to places."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.factor, self.start = low, (end - start) / ((high - low) or 1.0), start

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.factor


def scale(low: float, high: float, start: float, end: float) -> Line:
    return Line(low, high, start, end)


def frame(told: str, parts: Sequence[str], across: Axis, up: Axis) -> str:
    x, names, x_title = across
    y, ticks, y_title = up
    lines = []
    for value, name in ticks:
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{escape(name)}</text>')
    for value, name in names:
        lines.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{escape(name)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    titles = (
        f'<text class="title" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f'{escape(x_title)}</text><text class="title" transform="translate(13 {middle:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_title)}</text>'
    )
    return (
        f'<svg role="img" aria-label="{escape(told)}" viewBox="0 0 {WIDTH} {HEIGHT}"><title>{escape(told)}</title>'
        f"{''.join(lines)}{''.join(parts)}{titles}</svg>"
    )


def round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers, about five, from below the lowest to above the highest."""
    width = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(width / 4))
    step = next(factor * unit for factor in (1, 2, 5, 10) if width / (factor * unit) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [(i * step, f"{i * step:.6g}") for i in range(first, max(last, first + 1) + 1)]


def ends_of(ticks: Sequence[tuple[float, str]]) -> tuple[float, float]:
    return ticks[0][0], ticks[-1][0]
