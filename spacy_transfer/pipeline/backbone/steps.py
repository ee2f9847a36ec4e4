"""The steps of a backbone: each is made once the gradients of all heads have arrived, and never without one."""

from typing import TYPE_CHECKING

from thinc.api import Optimizer

from ...backbones.shims.tunable import tunable_shims
from ...errors import Errors
from ...transient import Transient
from ...tuning.torch_optimizer import TorchOptimizer
from ...types import Losses
from .gradients import PendingGradients

if TYPE_CHECKING:
    from .component import Backbone


class Steps(Transient):
    """Sends the gradients that have arrived through the backbone, and makes the optimizer's step.

    `nlp.update(..., sgd=optimizer)` calls `finish_update` of the backbone before any head has run. Stepping then would
    change weights that the backward pass still needs (explosion/spaCy#12136), so such a step is delayed until the next
    batch begins, or something is predicted or saved.

    pipe (Backbone): The component; its `tasks` say how gradients come together.
    """

    built_from = ("pipe",)

    def __init__(self, pipe: "Backbone") -> None:
        self.pipe = pipe
        self.forget()

    def forget(self) -> None:
        """Drop all gradients, and a step that is delayed."""
        self.pending: PendingGradients | None = None
        self._losses: Losses = {}
        self._delayed: Optimizer | None = None
        self._has_gradient = False

    def drop(self) -> None:
        """Drop all gradients, those in the encoder too."""
        self.forget()
        for shim in tunable_shims(self.pipe.model):
            shim.drop_gradients()

    def start_batch(self, pending: PendingGradients, losses: Losses, optimizer: Optimizer | None) -> None:
        """Wait for the gradients of a batch.

        losses (Dict[str, float]): What the heads add their losses to.
        optimizer (Optional[Optimizer]): Makes the step as soon as they are in; null if somebody will call `finish`.
        """
        self.pending, self._losses = pending, losses
        if optimizer is not None:
            self._delayed = optimizer

    def flush(self) -> None:
        """Send back what has arrived for the last batch.

        RAISES (ValueError): When it is not finite. Gradients of earlier batches for the same step are dropped as well.
            Also in a worker process, where torch has threads for devices.
        """
        pending, self.pending = self.pending, None
        losses, self._losses = self._losses, {}
        if pending is None or not pending.has_arrived:
            return
        problem = pending.problem
        if problem is not None:
            shims = tunable_shims(self.pipe.model)
            for shim in shims:
                shim.drop_gradients()
            self.pipe.tasks.drop_step()
            self._has_gradient = False
            step = shims[0].steps if shims else "?"
            raise ValueError(Errors.T654.format(step=step, name=self.pipe.name, **problem))
        try:
            self.pipe.tasks.collect(self.pipe, pending, losses)
        except RuntimeError as error:
            if "fork-based multiprocessing" not in str(error):
                raise
            raise ValueError(Errors.T162.format(name=self.pipe.name)) from error
        self._has_gradient = True

    def settle(self, *, is_over: bool = False) -> None:
        """Make the step that is delayed, if its gradients are in by now.

        is_over (bool): Whether no head of the last batch is still to run.
        """
        optimizer = self._delayed
        if optimizer is None or (self._waits_for_heads and not is_over):
            return
        self.flush()
        self._step(optimizer)
        if isinstance(optimizer, TorchOptimizer):
            optimizer.step()  # The heads of that batch have handed in their gradients before.

    def finish(self, optimizer: Optimizer, counts_anyway: bool) -> None:
        """The backward pass for the gradients of all heads, then the step.

        counts_anyway (bool): Whether a step counts in which all is frozen: tuning goes by steps.
        """
        if self._waits_for_heads:
            self._delayed = optimizer
        elif self.pending is None and counts_anyway:
            self.pipe.model.finish_update(optimizer)
        else:
            self.flush()
            self._step(optimizer)

    @property
    def has_gradient(self) -> bool:
        """Whether the coming step has a gradient."""
        return self._has_gradient

    def agree(self, has_gradient: bool) -> None:
        """All heads have run, and other processes as well: whether any of them has a gradient for the coming step."""
        self.pending, self._losses, self._has_gradient = None, {}, has_gradient

    @property
    def _waits_for_heads(self) -> bool:
        """Whether no head has read the rows of the last batch so far. Once a head has read them, all heads that send
        anything have sent it when the step comes."""
        pending = self.pending
        return pending is not None and not pending.has_arrived and not pending.was_read

    def _step(self, optimizer: Optimizer) -> None:
        """Without a gradient no step is made: it would still decay weights, and change them by old momentum."""
        self._delayed = None
        if self._has_gradient:
            self._has_gradient = False
            self.pipe.tasks.before_step(self.pipe)
            self.pipe.model.finish_update(optimizer)
            self.pipe.tasks.after_step()
