"""When a backbone steps: once the gradients of all heads are in, and never without one."""

from typing import Any

from ..backbones.tunable import tunable_shims
from ..errors import Errors
from .gradients import PendingGradients


class Steps:
    """Sends what has arrived through the backbone, and makes the optimizer's step.

    `nlp.update(..., sgd=optimizer)` calls `finish_update` of the backbone before any head has run. Stepping then would
    change weights that the backward pass still needs (explosion/spaCy#12136), so such a step is owed until the next
    batch begins, or something is predicted or saved.

    pipe (Backbone): The component; its `tasks` say how gradients come together.
    """

    def __init__(self, pipe: Any) -> None:
        self.pending: PendingGradients | None = None
        self._pipe = pipe
        self._losses: dict[str, float] = {}
        self._owed: Any = None
        self._has_gradient = False

    def __getstate__(self) -> dict[str, Any]:
        """A copy begins without what waits: gradients and optimizer belong to the training under way."""
        return vars(Steps(self._pipe))

    def begin(self, pending: PendingGradients, losses: dict[str, float], optimizer: Any) -> None:
        """Wait for the gradients of a batch.

        pending (PendingGradients): Gathers them.
        losses (Dict[str, float]): What the heads add their losses to.
        optimizer (Optional[Optimizer]): Makes the step as soon as they are in; null if somebody will call `finish`.
        """
        self.pending, self._losses = pending, losses
        if optimizer is not None:
            self._owed = optimizer

    def flush(self) -> None:
        """Send back what has arrived for the last batch.

        RAISES (ValueError): When it is not finite. What had been collected before is forgotten as well.
        """
        pending, self.pending = self.pending, None
        losses, self._losses = self._losses, {}
        if pending is None or not pending.has_arrived:
            return
        problem = pending.problem
        if problem is not None:
            shims = tunable_shims(self._pipe.model)
            for shim in shims:
                shim.drop_gradients()
            self._pipe.tasks.drop()
            self._has_gradient = False
            step = shims[0].steps if shims else "?"
            raise ValueError(Errors.T654.format(step=step, name=self._pipe.name, **problem))
        self._pipe.tasks.collect(self._pipe, pending, losses)
        self._has_gradient = True

    def settle(self, *, is_over: bool = False) -> None:
        """Make the step that is owed, if its gradients are in by now.

        is_over (bool): Whether no head of the last batch is still to run.
        """
        optimizer = self._owed
        if optimizer is None or (self._waits_for_heads and not is_over):
            return
        self.flush()
        self._step(optimizer)
        if hasattr(optimizer, "collect"):
            optimizer.step()  # The heads of that batch have handed in theirs long since.

    def finish(self, optimizer: Any, counts_anyway: bool) -> None:
        """The backward pass for the gradients of all heads, then the step.

        optimizer (Optimizer): The optimizer.
        counts_anyway (bool): Whether a step counts in which nothing moves: tuning goes by steps.
        """
        if self._waits_for_heads:
            self._owed = optimizer
        elif self.pending is None and counts_anyway:
            self._pipe.model.finish_update(optimizer)
        else:
            self.flush()
            self._step(optimizer)

    def forget(self) -> None:
        """Drop what waits."""
        self.pending = self._owed = None
        self._losses = {}
        self._has_gradient = False

    @property
    def _waits_for_heads(self) -> bool:
        """Whether no head has read the rows of the last batch so far. Nobody tells the backbone where in a batch it is
        asked for a step; but once a head has read, those that send anything have sent it when the step comes."""
        pending = self.pending
        return pending is not None and not pending.has_arrived and not pending.was_read

    def _step(self, optimizer: Any) -> None:
        """A step without a gradient would still decay weights and move them by old momentum: there is none."""
        self._owed = None
        if self._has_gradient:
            self._has_gradient = False
            self._pipe.tasks.before_step(self._pipe)
            self._pipe.model.finish_update(optimizer)
            self._pipe.tasks.after_step()
