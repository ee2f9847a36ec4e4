"""A shim that applies a tuning to layers of Thinc."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import srsly
from spacy.tokens import Doc
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.shims import Shim
from thinc.types import Floats2d, FloatsXd

from ...errors import Errors
from ...integrity import unpack
from ...tuning.anchors import strengths
from ...tuning.policy import Policy, Tuning
from ..blas import by_numpy
from .parameter import Parameter
from .thinc_weights import Weight
from .tunable import Tunable


class LayersShim(Tunable, Shim):
    """Tunes the weights of the layers of its node, and holds none itself. In Thinc the shims of a model step before its
    nodes: gradients that this shim removes change nothing. Without a tuning, Thinc steps all weights."""

    saved = "The saved backbone"
    """Its name in messages."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        Shim.__init__(self, None)
        self.begin_tuning(tuning)
        self.weights: dict[str, Weight] = {}
        self._node: Model | None = None

    # For subclasses

    def find_weights(self, model: Model) -> dict[str, Weight]:
        """RETURNS (Dict[str, Weight]): All parameters by name; empty as long as there are none."""
        raise NotImplementedError

    def find_parts(self, model: Model) -> Sequence[Model]:
        """RETURNS (Sequence[Model]): The layers that rows go through, one after the other."""
        raise NotImplementedError

    def find_pretrained(self) -> list[str]:
        """RETURNS (List[str]): Names of the pretrained parameters, which an anchor can pull."""
        return list(self.weights)

    def check_tuning(self) -> None:
        """RAISES (ValueError): When the tuning contradicts other settings."""

    def read_origin(self) -> Mapping[str, FloatsXd]:
        """RETURNS (Mapping[str, FloatsXd]): The pretrained weights, from the source."""
        raise NotImplementedError

    def own_parameters(self) -> Mapping[str, Parameter]:
        """RETURNS (Mapping[str, Parameter]): The parameters, by name."""
        return {name: weight.parameter for name, weight in self.weights.items()}

    # Setting up

    def bind(self, model: Model) -> None:
        """Find the parameters of the node, if it is initialised, and the policy for their names."""
        if model is self._node:
            return
        self.weights = self.find_weights(model)
        if not self.weights:
            return
        self.policy, self._strengths = None, {}
        if self.tuning is not None:
            self.check_tuning()
            self.policy = Policy(self.tuning, [name for name, weight in self.weights.items() if not weight.is_frozen])
            self._strengths = strengths(self.tuning.anchor, self.find_pretrained())
        self._node = model

    def unbind(self) -> None:
        """Forget the parameters, before there are others."""
        self.weights, self._node, self.policy, self._origin, self._n_docs = {}, None, None, {}, 0

    def start(self, model: Model) -> None:
        """Start with the weights of the source, at step 0."""
        self.unbind()
        self.steps = 0
        self.bind(model)
        self.remember_origin()

    def remember_origin(self) -> None:
        """Keep the present weights as those toward which the anchor pulls."""
        self._origin = {name: self.weights[name].parameter.value_copy() for name in self._strengths}

    def copy(self) -> "LayersShim":
        """RETURNS (LayersShim): A shim for a copy of the node, not bound yet."""
        copied = type(self)(self.tuning)
        copied.steps = self.steps
        copied.serve(self.owner, self.cache_settings)
        copied._origin = copy.deepcopy(self._origin)
        return copied

    def to_device(self, device_type: str, device_id: int) -> None:
        """Thinc moves the layers."""

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): msgpack of the steps; the rest is the config's."""
        return srsly.msgpack_dumps({"steps": self.steps})

    def from_bytes(self, data: bytes) -> "LayersShim":
        """Take the steps; weights follow."""
        self.unbind()
        self.steps = unpack(data, self.saved, {"steps": int})["steps"]
        return self

    # A step

    def run(
        self, model: Model, docs: list[Doc], is_train: bool
    ) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
        """Run the parts. Below the lowest part with trained parameters there is no backward pass and no dropout."""
        self.bind(model)
        parts = self.find_parts(model)
        n_frozen = self._prepare_step(len(docs), len(parts)) if is_train else 0
        rows, backs = cast(list[Floats2d], docs), []
        for i, part in enumerate(parts):
            rows, back = by_numpy(part)(rows, is_train and i >= n_frozen)
            if i >= n_frozen:
                backs.append(back)

        def backprop(d_rows: list[Floats2d]) -> list[Doc]:
            for back in reversed(backs):
                d_rows = back(d_rows)
            return docs

        return rows, backprop

    def _prepare_step(self, n_docs: int, n_parts: int) -> int:
        """RETURNS (int): Number of lower parts that are frozen in this step."""
        self._n_docs += n_docs
        policy = self.policy
        if policy is None:
            return 0
        if self._strengths and not self._origin:
            origin = self.read_origin()
            self._origin = {name: origin[name] for name in self._strengths}
        moving = policy.moving(self.steps)
        lowest = min((policy.depth[name] for name in moving), default=policy.n_layers + 2)
        for name, weight in self.weights.items():
            if name not in policy.depth or policy.depth[name] < lowest:
                set_dropout_rate(weight.block, 0.0)
        return min((self.weights[name].part for name in moving), default=n_parts)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Remove the gradients of frozen parameters, add the anchor's pull, step, and count the step.

        RAISES (ValueError): When the optimizer cannot scale rates. No parameter has changed then.
        """
        if self.policy is not None:
            self._step(optimizer, self.policy.moving(self.steps))
        self._n_docs = 0
        self.steps += 1

    def _step(self, optimizer: Optimizer, moving: frozenset[str]) -> None:
        for name, weight in self.weights.items():
            if name not in moving:
                weight.parameter.take_gradient()
        stepped = {name: w.parameter for name, w in self.weights.items() if w.parameter.raw_gradient is not None}
        scales = self.rate_scales
        if getattr(optimizer, "use_radam", False) and any(scales.get(name, 1.0) != 1.0 for name in stepped):
            raise ValueError(Errors.T618)
        self.add_pull({name: weight.parameter for name, weight in self.weights.items()})
        for name, parameter in stepped.items():
            parameter.step(optimizer, scales.get(name, 1.0))

    def drop_gradients(self) -> None:
        """Drop the gradients of the next step."""
        self._n_docs = 0
        for weight in self.weights.values():
            weight.parameter.take_gradient()


def is_frozen(model: Model) -> bool:
    """RETURNS (bool): Whether all parameters are frozen in the next step: see `BackboneHooks`."""
    shim = cast(LayersShim, model.shims[0])
    shim.bind(model)
    return shim.is_frozen


def check_keys(tuning: Tuning | None, name: str) -> None:
    """RAISES (ValueError): For settings that only encoders in torch have."""
    if tuning is not None and tuning.adapter is not None:
        raise ValueError(Errors.T655.format(key="adapter", found=tuning.adapter, off="null", name=name))
    if tuning is not None and tuning.checkpointing:
        raise ValueError(Errors.T655.format(key="checkpointing", found="true", off="false", name=name))
