"""A switch for the coming backward pass: keep what a second one through the same forward pass needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IS_KEPT: ContextVar[bool] = ContextVar("spacy_transfer_keeps_graph", default=False)


@contextmanager
def keep_graph(keep: bool = True) -> Iterator[None]:
    """Backward passes inside keep torch's graph: shims that look at `is_graph_kept` say so by `keeps_graph`. The
    callbacks of Thinc's own layers may be called any number of times.

    keep (bool): False for the last pass.
    """
    token = _IS_KEPT.set(keep)
    try:
        yield
    finally:
        _IS_KEPT.reset(token)


def is_graph_kept() -> bool:
    """RETURNS (bool): For `retain_graph` of torch."""
    return _IS_KEPT.get()
