"""A mix-in for shims with a tuning: the settings, the steps, the policy and the anchor, for weights of any library."""

from collections.abc import Mapping
from typing import Any

from thinc.api import Model

from ...tuning.anchors import pull
from ...tuning.policy import Policy, Tuning
from ..row_cache import CacheSettings
from .parameter import Parameter


class Tunable:
    """A mix-in for shims. Steps and policy live in a shim, so that they survive `replace_listeners`, and work in
    whatever component the shim stands.
    """

    owner = "transfer_backbone"
    cache_settings = CacheSettings()
    tuning: Tuning | None
    policy: Policy | None
    steps: int

    def begin_tuning(self, tuning: Tuning | None) -> None:
        """Hold a tuning whose policy is yet to be worked out, at step 0.

        tuning (Optional[Tuning]): What moves; null for everything.
        """
        self.tuning, self.policy, self.steps = tuning, None, 0
        self._strengths: dict[str, float] = {}
        self._origin: dict[str, Any] = {}
        self._n_docs = 0

    def serve(self, owner: str, cache: CacheSettings) -> None:
        """Take what the component says.

        cache (CacheSettings): How much is kept of states at the freezing boundary.
        """
        self.owner, self.cache_settings = owner, cache

    @property
    def is_frozen(self) -> bool:
        """RETURNS (bool): Whether no parameter moves in the coming step."""
        return self.policy is not None and self.policy.is_frozen(self.steps)

    def rate_scale(self, name: str) -> float:
        """RETURNS (float): Factor on the learning rate of a parameter, by its layer."""
        return 1.0 if self.policy is None else self.policy.scale(name)

    def add_pull(self, parameters: Mapping[str, Parameter]) -> None:
        """Add the anchor's pull to the gradients that there are: strength * (weights - pretrained weights) for every
        doc since the last step, because the losses of heads are sums over docs.
        """
        for name, strength in self._strengths.items():
            if parameters[name].raw_gradient is not None:
                pull(parameters[name], self._origin[name], strength * self._n_docs)

    def drop_gradients(self) -> None:
        """Forget what has been collected for the next step."""
        raise NotImplementedError

    def bind(self, model: Model) -> None:
        """Get to know the node in which this shim stands, where its weights are those of nodes."""


def tunable_shims(model: Model) -> list[Tunable]:
    """RETURNS (List[Tunable]): All shims with a tuning in a model, each bound to its node."""
    found: list[Tunable] = []
    for node in model.walk():
        for shim in node.shims:
            if isinstance(shim, Tunable):
                shim.bind(node)
                found.append(shim)
    return found
