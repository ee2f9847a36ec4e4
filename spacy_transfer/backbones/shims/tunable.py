"""A mix-in for shims with a tuning, for parameters in Thinc or torch: settings, steps, policy, anchor."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from thinc.api import Model
from thinc.types import FloatsXd

from ...tuning.anchors import pull
from ...tuning.policy import Policy, Tuning
from ...types import Config, Floats
from ..cached_rows.row_cache import CacheSettings
from .parameter import Parameter


class Tunable:
    """A mix-in for shims. Since steps and policy are in a shim, `replace_listeners` keeps them."""

    owner = "transfer_backbone"
    cache_settings = CacheSettings()
    tuning: Tuning | None
    policy: Policy | None
    steps: int

    def begin_tuning(self, tuning: Tuning | None) -> None:
        """Start at step 0, without a policy yet."""
        self.tuning, self.policy, self.steps = tuning, None, 0
        self._strengths: dict[str, float] = {}
        self._origin: dict[str, object] = {}
        self._n_docs = 0

    def serve(self, owner: str, cache: CacheSettings) -> None:
        """Take settings of the component.

        cache (CacheSettings): Of the cache of states at the freezing boundary.
        """
        self.owner, self.cache_settings = owner, cache

    @property
    def is_frozen(self) -> bool:
        """RETURNS (bool): Whether all parameters are frozen in the next step."""
        return self.policy is not None and self.policy.is_frozen(self.steps)

    @property
    def rate_scales(self) -> Mapping[str, float]:
        """RETURNS (Mapping[str, float]): Factors on the learning rates of parameters, by their layers; 1 for others."""
        return {} if self.policy is None else self.policy.scales

    def add_pull(self, parameters: Mapping[str, Parameter]) -> None:
        """Add the anchor's pull to gradients that are not None: strength * (weights - pretrained weights) for every doc
        since the last step, because the losses of heads are sums over docs."""
        for name, strength in self._strengths.items():
            if parameters[name].raw_gradient is not None:
                pull(parameters[name], cast(Floats, self._origin[name]), strength * self._n_docs)

    @property
    def n_docs(self) -> int:
        """RETURNS (int): For how many docs the anchor pulls in the next step."""
        return self._n_docs

    def end_batch(self) -> None:
        """All heads have run: no gradient of the last batch is to come."""

    def weigh_pull(self, n_docs: int) -> None:
        """Pull in the next step as for so many docs: 1 where a loss is a mean."""
        self._n_docs = n_docs

    def training_state(self) -> Config:
        """RETURNS (Dict[str, Any]): What a training that goes on needs besides weights, for JSON."""
        return {"steps": self.steps}

    def set_training_state(self, state: Config) -> None:
        """Begin with what `training_state` gave."""
        self.steps = state["steps"]

    def remember_origin(self) -> None:
        """Keep the present weights as those toward which the anchor pulls."""
        raise NotImplementedError

    def read_origin(self) -> Mapping[str, object]:
        """RETURNS (Mapping[str, Union[FloatsXd, Tensor]]): The pretrained weights, by name, from the source."""
        raise NotImplementedError

    def own_parameters(self) -> Mapping[str, Parameter]:
        """RETURNS (Mapping[str, Parameter]): The parameters, by name."""
        raise NotImplementedError

    def average_with_origin(self, share: float) -> None:
        """Move all weights onto the line from the pretrained ones to the present ones (WiSE-FT; Wortsman et al. 2022).
        What is new, such as a mix of layers, stays.

        share (float): How far from the pretrained ones: 1 changes nothing.
        """
        origin = self.read_origin()
        for name, parameter in self.own_parameters().items():
            if name in origin:
                # Weights that never moved stay bit for bit.
                pretrained = cast(Floats, origin[name])
                parameter.put(cast(FloatsXd, pretrained + share * (cast(Floats, parameter.value) - pretrained)))

    def drop_gradients(self) -> None:
        """Drop the gradients of the next step."""
        raise NotImplementedError

    def bind(self, model: Model) -> None:
        """Find the weights in the layers of the shim's node, if they are there."""


def tunable_shims(model: Model) -> list[Tunable]:
    """RETURNS (List[Tunable]): All shims with a tuning in a model, each bound to its node."""
    found: list[Tunable] = []
    for node in model.walk():
        for shim in node.shims:
            if isinstance(shim, Tunable):
                shim.bind(node)
                found.append(shim)
    return found


@contextmanager
def keep_origins(model: Model) -> Iterator[None]:
    """Within, weights are loaded into a model whose anchors pull to the same weights as before."""
    origins = [shim._origin for shim in tunable_shims(model)]
    yield
    for shim, origin in zip(tunable_shims(model), origins, strict=True):
        shim._origin = origin
