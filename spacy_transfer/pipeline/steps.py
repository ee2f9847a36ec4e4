"""When a backbone steps: once the gradients of all heads are in, and never without one."""

from typing import Any

from thinc.api import Model

from ..backbones.tunable import tunable_shims
from ..errors import Errors
from .gradients import PendingGradients


class Steps:
    """Sends what has arrived through the backbone in one backward pass, and makes the optimizer's step.

    `nlp.update(..., sgd=optimizer)` calls `finish_update` of the backbone before any head has run. Stepping then would
    change weights that the backward pass still needs (explosion/spaCy#12136), so such a step is owed until the next
    batch begins, or something is predicted or saved.

    model (Model): The backbone.
    name (str): The component's name.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.pending: PendingGradients | None = None
        self._model = model
        self._name = name
        self._owed: Any = None
        self._has_gradient = False

    def begin(self, pending: PendingGradients, optimizer: Any) -> None:
        """Wait for the gradients of a batch.

        pending (PendingGradients): Gathers them.
        optimizer (Optional[Optimizer]): Makes the step as soon as they are in; null if somebody will call `finish`.
        """
        self.pending = pending
        if optimizer is not None:
            self._owed = optimizer

    def flush(self) -> None:
        """Send back what has arrived for the last batch.

        RAISES (ValueError): When it is not finite. What had been collected before is forgotten as well.
        """
        pending, self.pending = self.pending, None
        if pending is None or not pending.has_arrived:
            return
        problem = pending.problem
        if problem is not None:
            shims = tunable_shims(self._model)
            for shim in shims:
                shim.drop_gradients()
            self._has_gradient = False
            step = shims[0].steps if shims else "?"
            raise ValueError(Errors.T654.format(step=step, name=self._name, **problem))
        pending.backprop()
        self._has_gradient = True

    def settle(self) -> None:
        """Make the step that is owed, if its gradients are in by now."""
        if self._owed is not None and not self._waits_for_heads:
            self.flush()
            self._step(self._owed)

    def finish(self, optimizer: Any, counts_anyway: bool) -> None:
        """One backward pass for the gradients of all heads, then the step.

        optimizer (Optimizer): The optimizer.
        counts_anyway (bool): Whether a step counts in which nothing moves: tuning goes by steps.
        """
        if self._waits_for_heads:
            self._owed = optimizer
        elif self.pending is None and counts_anyway:
            self._model.finish_update(optimizer)
        else:
            self.flush()
            self._step(optimizer)

    def forget(self) -> None:
        """Drop what waits."""
        self.pending = self._owed = None
        self._has_gradient = False

    @property
    def _waits_for_heads(self) -> bool:
        return self.pending is not None and not self.pending.has_arrived

    def _step(self, optimizer: Any) -> None:
        """A step without a gradient would still decay weights and move them by old momentum: there is none."""
        self._owed = None
        if self._has_gradient:
            self._has_gradient = False
            self._model.finish_update(optimizer)
