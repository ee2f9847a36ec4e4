"""The log of a backbone's training: the table of parameter groups, and which layers are trained from when."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from thinc.api import Optimizer

from ...backbones.shims.tunable import Tunable, tunable_shims
from ...transient import Transient
from ...tuning.policy import Policy
from ...tuning.table import show_count, show_depths, to_text
from ...tuning.torch_optimizer import rates_of
from ...types import Pipe
from ..parameter_table import overview
from ..parameters import parameters_of, register_names
from .rates import warn_of_rate

if TYPE_CHECKING:
    from .component import Backbone

logger = logging.getLogger("spacy")


class TrainingLog(Transient):
    """Sees every optimizer that a backbone steps with: gives it the names of parameters, and logs the table of groups,
    and which layers are trained from when. (An optimizer's schedules are generators, which cannot be pickled.)
    """

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.later: dict[str, Pipe] = {}
        """Later components of the pipeline, by their names."""
        self._is_table_shown = False
        self._optimizer: object = None
        self._n_steps = 0
        self._trained: dict[int, frozenset[str]] = {}

    def forget_components(self) -> None:
        """The pipeline has changed: later components are added anew."""
        self.later = {}

    def add_component(self, component: object) -> None:
        """Remember a later component. A function (@Language.component) has no name, and nothing to learn."""
        if hasattr(component, "name"):
            pipe = cast(Pipe, component)
            self.later[pipe.name] = pipe

    def skip_table(self) -> None:
        """Do not log the table of groups: it is shown elsewhere."""
        self._is_table_shown = True

    def before_step(self, backbone: "Backbone", optimizer: Optimizer) -> None:
        """Look at an optimizer before it steps."""
        # The dictionary of schedules stands for the optimizer, whose moments would be kept alive by a reference.
        identity = getattr(optimizer, "schedules", optimizer)
        if identity is not self._optimizer:
            self._optimizer, self._n_steps, self._trained = identity, 0, {}
            register_names(optimizer, self._pipes(backbone))
            backbone.meet(optimizer)
            warn_of_rate(backbone, optimizer)
        self._n_steps += 1
        self.rates = rates_of(optimizer)
        if self._n_steps == 2:
            self._log_table(backbone, optimizer)
        self._log_changes(backbone)

    def trained_layers(self, backbone: "Backbone") -> list[str]:
        """Which layers are trained in this step, for every encoder of a component that has a tuning.

        RETURNS (List[str]): Such as "layers 3-6, top of 6 move (5.3M parameters)".
        """
        return [_describe(backbone, shim, policy, policy.moving(shim.steps)) for shim, policy in _tuned(backbone)]

    def _pipes(self, backbone: "Backbone") -> Sequence[tuple[str, Pipe]]:
        return [(backbone.name, backbone), *self.later.items()]

    def _log_table(self, backbone: "Backbone", optimizer: Optimizer) -> None:
        """Not before the second step: by then the optimizer knows which components are trained at all."""
        if self._is_table_shown or not self.rates or not logger.isEnabledFor(logging.INFO):
            return
        pipes = self._pipes(backbone)
        excluded = [name for name, pipe in pipes[1:] if not _is_trained(name, pipe, optimizer)]
        logger.info("Parameter groups:\n%s", to_text(overview(pipes, optimizer, excluded=excluded)))

    def _log_changes(self, backbone: "Backbone") -> None:
        for shim, policy in _tuned(backbone):
            trained = policy.moving(shim.steps)
            before = self._trained.get(id(shim))
            self._trained[id(shim)] = trained
            if before is not None and before != trained:
                logger.info("Step %s: %s: %s", shim.steps, backbone.name, _describe(backbone, shim, policy, trained))


def _describe(backbone: "Backbone", shim: Tunable, policy: Policy, trained: frozenset[str]) -> str:
    if not trained:
        return "no layer moves"
    sizes = {p.tuned_name: p.parameter.size for p in parameters_of(backbone.name, backbone) if p.tuner is shim}
    count = show_count(sum(sizes.get(name, 0) for name in trained))
    layers = show_depths({policy.depth[name] for name in trained}, policy.n_layers)
    return f"layers {layers} of {policy.n_layers} move ({count} parameters)"


def _tuned(backbone: "Backbone") -> list[tuple[Tunable, Policy]]:
    """Shims with a tuning. In a frozen component no tuning counts."""
    shims = [] if backbone.frozen else tunable_shims(backbone.model)
    return [(shim, shim.policy) for shim in shims if shim.policy is not None]


def _is_trained(name: str, pipe: Pipe, optimizer: Optimizer) -> bool:
    """Whether any parameter of a component has been stepped, or it has none."""
    parameters = parameters_of(name, pipe)
    return any(p.has_stepped(optimizer) for p in parameters) or not parameters
