"""Progress bars, all alike: with the time left, for what takes more than 3 seconds, on a terminal alone."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

AFTER = 3.0
"""Seconds until a bar is shown."""
_hidden: ContextVar[bool] = ContextVar("hidden", default=False)


def progress(items: Iterable[Any] | None = None, *, what: str, unit: str = " texts", **settings: Any) -> "tqdm[Any]":
    """A bar over items, or to be updated by hand. It vanishes at the end.

    items (Optional[Iterable[Any]]): What is gone through.
    what (str): Stands before the bar.
    unit (str): Of the items.
    settings (Any): Of `tqdm.tqdm`, such as `total`.
    RETURNS (tqdm): The bar, which gives the items.
    """
    hidden = True if _hidden.get() else None  # None: hidden where there is no terminal.
    return tqdm(items, desc=what, unit=unit, delay=AFTER, leave=False, disable=hidden, **settings)


@contextmanager
def no_progress() -> Iterator[None]:
    """Within, no bar is shown."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)
