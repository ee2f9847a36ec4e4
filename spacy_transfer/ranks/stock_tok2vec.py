"""The backward pass of spaCy's own encoders, which wait for their last listener."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ..pipeline.backbone.component import Backbone
from ..types import Pipe


@contextmanager
def complete_backward(trained: Sequence[tuple[str, Pipe]]) -> Iterator[None]:
    """Within, batches are learned from. At the end, spaCy's `tok2vec` and `transformer` send back what heads have given
    them, even if the head that comes last had nothing to learn from: in this rank's share there may be no gold of it.

    trained (Sequence[Tuple[str, Pipe]]): Components that are updated.
    """
    names = {name for name, _ in trained}
    encoders = [pipe for _, pipe in trained if hasattr(pipe, "listener_map") and not isinstance(pipe, Backbone)]
    last = [(name, own[-1]) for pipe in encoders for name, own in [*pipe.listener_map.items()][-1:] if own]
    watched = [_Watched(listener) for name, listener in last if name in names]
    try:
        yield
    finally:
        for one in watched:
            one.release()
    for one in watched:
        one.complete()


class _Watched:
    """Sees whether a listener sends its gradient."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener
        self._receive: Callable[[int, Any, Callable], None] = listener.receive
        self._send: Callable[[Any], Any] | None = None
        self._outputs: Sequence[Any] = ()
        listener.receive = self._watch

    def _watch(self, batch_id: int, outputs: Sequence[Any], backprop: Callable[[Any], Any]) -> None:
        def send(gradients: Any) -> Any:
            self._send = None
            return backprop(gradients)

        self._send, self._outputs = backprop, outputs
        self._receive(batch_id, outputs, send)

    def release(self) -> None:
        """Leave the listener as it was."""
        vars(self._listener).pop("receive", None)

    def complete(self) -> None:
        """Send zeros, if nothing was sent."""
        if self._send is not None:
            self._send([_zeros(output) for output in self._outputs])


def _zeros(output: Any) -> Any:
    """spacy-transformers gives several arrays for a doc."""
    if hasattr(output, "tensors"):
        return SimpleNamespace(tensors=[tensor * 0 for tensor in output.tensors])
    return output * 0
