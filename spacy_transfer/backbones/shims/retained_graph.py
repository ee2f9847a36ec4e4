"""A switch for the next backward pass: keep torch's graph for a second one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IS_KEPT: ContextVar[bool] = ContextVar("spacy_transfer_keeps_graph", default=False)


@contextmanager
def keep_graph(keep: bool = True) -> Iterator[None]:
    """Within, backward passes keep torch's graph, in shims with `keeps_graph`. The callbacks of Thinc's own layers can
    be called any number of times.

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
