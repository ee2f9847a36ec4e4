"""Learning rates over steps, for Thinc 8.3, whose schedules are generators: one number a step."""

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from ..checks import BELOW_ONE, NOT_NEGATIVE, POSITIVE, SHARE, Range, require
from ..errors import Errors


def linear_v1(
    *, learn_rate: float, total_steps: int | str, warmup_steps: int = 0, warmup_share: float = 0.0
) -> Iterator[float]:
    """Rise from 0 over the warm-up, then fall to 0 in a straight line (Devlin et al. 2019).

    learn_rate (float): The highest rate.
    total_steps (int): Steps after which the rate is 0, warm-up included. In a config `${training.max_steps}`. In a
        loop of one's own (`nlp.resume_training`) spaCy does not fill that in: the rate does not fall then.
    warmup_steps (int): Steps of the warm-up.
    warmup_share (float): The same as a share of all steps, where warmup_steps = 0.
    RETURNS (Iterator[float]): Rates.
    """
    if isinstance(total_steps, str):
        return _endless("linear", total_steps, warmup_steps, learn_rate=learn_rate)
    warmup_steps = _warmup("Linear.v1", total_steps, warmup_steps, warmup_share)
    _check(total_steps, warmup_steps, learn_rate=learn_rate)

    def rate(step: int) -> float:
        return learn_rate * max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))

    return _generate("linear", learn_rate, _warm(rate, learn_rate, warmup_steps))


def cosine_v1(
    *,
    learn_rate: float,
    total_steps: int | str,
    warmup_steps: int = 0,
    warmup_share: float = 0.0,
    lowest: float = 0.0,
) -> Iterator[float]:
    """Rise from 0 over the warm-up, then fall along half a cosine (Loshchilov and Hutter 2017).

    learn_rate (float): The highest rate.
    total_steps (int): Steps after which the rate stays at its lowest, warm-up included; see Linear.v1.
    warmup_steps (int): Steps of the warm-up.
    warmup_share (float): The same as a share of all steps, where warmup_steps = 0.
    lowest (float): The rate at the end.
    RETURNS (Iterator[float]): Rates.
    """
    if isinstance(total_steps, str):
        return _endless("cosine", total_steps, warmup_steps, learn_rate=learn_rate, lowest=lowest)
    warmup_steps = _warmup("Cosine.v1", total_steps, warmup_steps, warmup_share)
    _check(total_steps, warmup_steps, learn_rate=learn_rate, lowest=lowest)

    def rate(step: int) -> float:
        share = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return lowest + (learn_rate - lowest) * 0.5 * (1.0 + math.cos(math.pi * share))

    return _generate("cosine", learn_rate, _warm(rate, learn_rate, warmup_steps))


def one_cycle_v1(
    *,
    learn_rate: float,
    total_steps: int | str,
    warmup_share: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 10_000.0,
) -> Iterator[float]:
    """One cycle of cosines: up from learn_rate / start_divisor, then down to that over end_divisor (Smith 2018).

    learn_rate (float): The highest rate.
    total_steps (int): Steps of the cycle; the last rate stays. See Linear.v1.
    warmup_share (float): Share of the steps that go up.
    start_divisor (float), end_divisor (float): How far below the highest the cycle begins, and below that ends.
    RETURNS (Iterator[float]): Rates.
    """
    if isinstance(total_steps, str):
        return _endless("one_cycle", total_steps, 0, learn_rate=learn_rate)
    _check(total_steps, 0, learn_rate=learn_rate)
    require("OneCycle.v1", SHARE, warmup_share=warmup_share)
    require("OneCycle.v1", POSITIVE, start_divisor=start_divisor, end_divisor=end_divisor)
    first = learn_rate / start_divisor
    top = warmup_share * total_steps - 1
    last = total_steps - 1

    def between(begin: float, end: float, share: float) -> float:
        return end + (begin - end) * 0.5 * (1.0 + math.cos(math.pi * share))

    def rate(step: int) -> float:
        step = min(step, last)
        if step <= top:
            return between(first, learn_rate, step / top if top > 0 else 1.0)
        return between(learn_rate, first / end_divisor, (step - top) / max(1e-9, last - top))

    return _generate("one_cycle", learn_rate, rate)


def slanted_triangular_v1(
    *, learn_rate: float, total_steps: int | str, warmup_share: float = 0.1, ratio: float = 32.0
) -> Iterator[float]:
    """A short rise and a long fall in straight lines (ULMFiT; Howard and Ruder 2018).

    learn_rate (float): The highest rate.
    total_steps (int): Steps of the triangle; the lowest rate stays. See Linear.v1.
    warmup_share (float): Share of the steps that go up.
    ratio (float): The highest rate over the lowest.
    RETURNS (Iterator[float]): Rates.
    """
    if isinstance(total_steps, str):
        return _endless("slanted_triangular", total_steps, 0, learn_rate=learn_rate)
    _check(total_steps, 0, learn_rate=learn_rate)
    require("SlantedTriangular.v1", Range(high=1, has_low=False, has_high=False), warmup_share=warmup_share)
    require("SlantedTriangular.v1", Range(1), ratio=ratio)
    cut = max(1, math.floor(total_steps * warmup_share))

    def rate(step: int) -> float:
        step = min(step, total_steps)
        share = step / cut if step < cut else 1.0 - (step - cut) / (cut * (1.0 / warmup_share - 1.0))
        return learn_rate * (1.0 + max(0.0, share) * (ratio - 1.0)) / ratio

    return _generate("slanted_triangular", learn_rate, rate)


def inverse_sqrt_v1(*, learn_rate: float, warmup_steps: int) -> Iterator[float]:
    """Rise from 0 over the warm-up, then fall with one over the root of the step (Vaswani et al. 2017).

    learn_rate (float): The highest rate.
    warmup_steps (int): Steps of the warm-up, at least 1.
    RETURNS (Iterator[float]): Rates.
    """
    require("InverseSqrt.v1", NOT_NEGATIVE, learn_rate=learn_rate)
    if warmup_steps < 1:
        raise ValueError(Errors.T601.format(warmup=warmup_steps, total="this schedule needs at least 1"))
    falling = _warm(lambda step: learn_rate * math.sqrt(warmup_steps / step), learn_rate, warmup_steps)
    return _generate("inverse_sqrt", learn_rate, falling)


_VARIABLE = re.compile(r"\$\{[\w.]+\}\Z")
# Names of the highest rate in Thinc's schedules and ours.
_HIGHEST = ("highest", "initial_rate", "max_rate", "max_lr", "base_rate")


def describe(schedule: Iterator[float] | None) -> tuple[str, float | None]:
    """Describe a schedule without taking a rate from it, since each can be taken only once.

    schedule (Optional[Iterator[float]]): One of these, one of Thinc's, or any other; None for a constant rate.
    RETURNS (Tuple[str, Optional[float]]): Its name, and its highest rate where it is known.
    """
    if schedule is None:
        return "constant", None
    if not inspect.isgenerator(schedule):
        return ("list" if isinstance(schedule, type(iter([]))) else type(schedule).__name__), None
    known = inspect.getgeneratorlocals(schedule)
    return schedule.__name__, next((float(known[key]) for key in _HIGHEST if key in known), None)


def _warmup(name: str, total_steps: int, warmup_steps: int, warmup_share: float) -> int:
    """RETURNS (int): Steps of the warm-up; where there is no number of them, by their share."""
    require(name, BELOW_ONE, warmup_share=warmup_share)
    return warmup_steps or int(warmup_share * total_steps)


def _endless(name: str, total_steps: str, warmup_steps: int, **rates: float) -> Iterator[float]:
    """The highest rate, since there is no last step: `nlp.create_optimizer` leaves variables of the config as they
    are."""
    if not _VARIABLE.match(total_steps):
        raise ValueError(Errors.T980.format(found=total_steps))
    require("A schedule", NOT_NEGATIVE, **rates)
    learn_rate = rates["learn_rate"]
    return _generate(name, learn_rate, _warm(lambda step: learn_rate, learn_rate, warmup_steps))


def _check(total_steps: int, warmup_steps: int, **rates: float) -> None:
    require("A schedule", NOT_NEGATIVE, **rates)
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(Errors.T601.format(warmup=warmup_steps, total=f"total_steps = {total_steps}"))


def _warm(rate: Callable[[int], float], learn_rate: float, warmup_steps: int) -> Callable[[int], float]:
    return lambda step: learn_rate * step / warmup_steps if step < warmup_steps else rate(step)


def _generate(name: str, learn_rate: float, rate: Callable[[int], float]) -> Iterator[float]:
    def rates(highest: float) -> Iterator[float]:
        for step in itertools.count():
            yield rate(step)

    made = rates(learn_rate)
    cast(Any, made).__name__ = name  # For `describe`.
    return made
