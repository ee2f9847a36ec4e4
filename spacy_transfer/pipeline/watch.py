"""What a backbone knows of the training it is in: the later components, the rates, what moves."""

import logging
from typing import Any

from ..backbones.tunable import tunable_shims
from ..tuning.table import show_count, show_depths, to_text
from ..tuning.torch_optimizer import rates_of
from .names import parameters_of, teach
from .overview import overview

logger = logging.getLogger("spacy")


class Watch:
    """Sees every optimizer that a backbone steps with: teaches it the names of parameters, and logs the table of
    groups, and what moves from when.

    Nothing of it is copied or pickled with the component: an optimizer's schedules are generators, which cannot be.
    """

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self._is_announced = False
        self._map: Any = None
        self._later: dict[str, Any] = {}
        self._optimizer: Any = None
        self._meetings = 0
        self._moving: dict[int, frozenset[str]] = {}

    def __reduce__(self) -> tuple[type["Watch"], tuple]:
        return Watch, ()

    def see(self, listener_map: dict[str, Any], component: Any) -> None:
        """Remember a later component.

        listener_map (Dict[str, List[Tok2VecListener]]): The backbone's; spaCy begins a new one whenever it goes
            through the pipeline anew, and so what was seen before no longer counts.
        component (Pipe): The component.
        """
        if listener_map is not self._map:
            self._map, self._later = listener_map, {}
        # A function (@Language.component) has no name, and nothing to learn.
        if hasattr(component, "name"):
            self._later[component.name] = component

    def later(self, listener_map: dict[str, Any]) -> dict[str, Any]:
        """RETURNS (Dict[str, Pipe]): Later components that have been seen so far, by their names.

        listener_map (Dict[str, List[Tok2VecListener]]): As it is now.
        """
        return self._later if self._map is listener_map else {}

    def spare_table(self) -> None:
        """Somebody else shows the table of groups."""
        self._is_announced = True

    def meet(self, backbone: Any, optimizer: Any) -> None:
        """Look at an optimizer before it steps.

        backbone (Backbone): The component.
        optimizer (Optimizer): The optimizer.
        """
        # The dictionary of schedules stands for the optimizer, whose moments would be kept alive by a reference.
        mark = getattr(optimizer, "schedules", optimizer)
        if mark is not self._optimizer:
            self._optimizer, self._meetings, self._moving = mark, 0, {}
            teach(optimizer, self._pipes(backbone))
        self._meetings += 1
        self.rates = rates_of(optimizer)
        if self._meetings == 2:
            self._announce(backbone, optimizer)
        self._tell_what_moves(backbone)

    def what_moves(self, backbone: Any) -> list[str]:
        """Which layers move at this step, for every encoder of a component that has a tuning.

        backbone (Backbone): The component.
        RETURNS (List[str]): Such as "3-6, top of 6 layers (5.3M parameters)".
        """
        return [self._describe(backbone, shim, shim.policy.moving(shim.steps)) for shim in _tuned(backbone)]

    def _pipes(self, backbone: Any) -> list[tuple[str, Any]]:
        return [(backbone.name, backbone), *self.later(backbone.listener_map).items()]

    def _announce(self, backbone: Any, optimizer: Any) -> None:
        """Log the table. Not before the second step: by then it shows who takes part in the training at all."""
        if self._is_announced or not self.rates or not logger.isEnabledFor(logging.INFO):
            return
        pipes = self._pipes(backbone)
        excluded = [name for name, pipe in pipes[1:] if not _takes_part(name, pipe, optimizer)]
        logger.info("Parameter groups:\n%s", to_text(overview(pipes, optimizer, excluded=excluded)))

    def _tell_what_moves(self, backbone: Any) -> None:
        for shim in _tuned(backbone):
            moving = shim.policy.moving(shim.steps)
            before = self._moving.get(shim.id)
            self._moving[shim.id] = moving
            if before is not None and before != moving:
                logger.info("Step %s: %s: %s", shim.steps, backbone.name, self._describe(backbone, shim, moving))

    def _describe(self, backbone: Any, shim: Any, moving: frozenset[str]) -> str:
        policy = shim.policy
        if not moving:
            return "no layer moves"
        sizes = {p.tuned_name: p.parameter.size for p in parameters_of(backbone.name, backbone) if p.tuner is shim}
        count = show_count(sum(sizes.get(name, 0) for name in moving))
        layers = show_depths({policy.depth[name] for name in moving}, policy.n_layers)
        return f"layers {layers} of {policy.n_layers} move ({count} parameters)"


def _tuned(backbone: Any) -> list[Any]:
    """Shims with a tuning. A frozen component has none that counts."""
    if backbone.frozen:
        return []
    return [shim for shim in tunable_shims(backbone.model) if shim.policy is not None]


def _takes_part(name: str, pipe: Any, optimizer: Any) -> bool:
    """Whether any parameter of a component has been stepped, or none can be."""
    parameters = parameters_of(name, pipe)
    return any(p.has_stepped(optimizer) for p in parameters) or not parameters
