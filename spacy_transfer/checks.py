"""Ranges of numeric settings. Their types are checked before, by confection and pydantic."""

import math
import re
from dataclasses import dataclass
from numbers import Real

from .errors import Errors


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, which are finite.

    low (float), high (float): The bounds.
    has_low (bool), has_high (bool): Whether the bounds themselves are in.
    whole (bool): Whole numbers alone.
    """

    low: float = 0.0
    high: float = math.inf
    has_low: bool = True
    has_high: bool = True
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Real) or not math.isfinite(value) or (self.whole and value != math.floor(value)):
            return False
        number = float(value)
        above = number >= self.low if self.has_low else number > self.low
        return above and (number <= self.high if self.has_high else number < self.high)

    def __str__(self) -> str:
        low = f"{self.low:g} or more" if self.has_low else f"more than {self.low:g}"
        high = "" if self.high == math.inf else f", {'at most' if self.has_high else 'less than'} {self.high:g}"
        return f"a {'whole ' if self.whole else ''}number, {low}{high}"


COUNT = Range(1, whole=True)  # Of layers, columns, steps: one at least.
COUNT_OR_NONE = Range(0, whole=True)
NOT_NEGATIVE = Range()
POSITIVE = Range(has_low=False)
SHARE = Range(high=1)
BELOW_ONE = Range(high=1, has_high=False)


def require(place: str, wanted: Range, /, **settings: object) -> None:
    """Refuse settings that are out of their range.

    **settings (Optional[float]): By key; null stands for no value.
    RAISES (ValueError): With key and value.
    """
    for key, found in settings.items():
        if found is not None and found not in wanted:
            raise ValueError(Errors.T215.format(key=f"{place}.{key}", found=found, wanted=wanted))


def compile_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """Compile a regular expression of a config.

    RAISES (ValueError): When it is not valid.
    """
    try:
        return re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(Errors.T216.format(key=key, found=pattern, error=error)) from error
