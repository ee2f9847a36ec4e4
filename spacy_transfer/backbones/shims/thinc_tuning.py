"""A shim at the root of layers of Thinc, which tunes them: what moves, from when, how fast, and from where."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import srsly
from thinc.api import Model, set_dropout_rate
from thinc.shims import Shim

from ...errors import Errors
from ...tuning.anchors import strengths
from ...tuning.policy import Policy, Tuning
from ..blas import by_numpy
from .thinc_weights import Weight
from .tunable import Tunable


class LayersShim(Tunable, Shim):
    """Holds no weights: they are those of the layers below its node, which it is bound to. Thinc lets the shims of a
    model step before its nodes, so what this one takes away is not stepped any more.

    tuning (Optional[Tuning]): What moves; null for everything, stepped as Thinc does it.
    """

    def __init__(self, tuning: Tuning | None = None) -> None:
        Shim.__init__(self, None)
        self.begin_tuning(tuning)
        self.weights: dict[str, Weight] = {}
        self._node: Model | None = None

    # For those who know the layers

    def find_weights(self, model: Model) -> dict[str, Weight]:
        """RETURNS (Dict[str, Weight]): All parameters by name; empty as long as there are none."""
        raise NotImplementedError

    def find_parts(self, model: Model) -> Sequence[Model]:
        """RETURNS (Sequence[Model]): The layers that rows go through, one after the other."""
        raise NotImplementedError

    def find_pretrained(self) -> list[str]:
        """RETURNS (List[str]): Names of what an anchor can pull toward its pretrained weights."""
        return list(self.weights)

    def check_tuning(self) -> None:
        """RAISES (ValueError): When the tuning contradicts other settings."""

    def read_origin(self) -> Mapping[str, Any]:
        """RETURNS (Mapping[str, FloatsXd]): The pretrained weights, once a saved pipeline is trained on."""
        raise NotImplementedError

    # Setting up

    def bind(self, model: Model) -> None:
        """Find the parameters, and work out the policy for their names. Does nothing before there are weights.

        model (Model): The node in which this shim stands.
        """
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
        """Forget the parameters: others come."""
        self.weights, self._node, self.policy, self._origin, self._n_docs = {}, None, None, {}, 0

    def start(self, model: Model) -> None:
        """Begin anew with the weights of the source.

        model (Model): The node, initialised.
        """
        self.unbind()
        self.steps = 0
        self.bind(model)
        self._origin = {name: self.weights[name].parameter.value_copy() for name in self._strengths}

    def copy(self) -> "LayersShim":
        """RETURNS (LayersShim): One for a copy of the node, to which it is bound when that is used."""
        twin = type(self)(self.tuning)
        twin.steps = self.steps
        twin.serve(self.owner, self.cache_settings)
        twin._origin = copy.deepcopy(self._origin)
        return twin

    def to_device(self, device_type: str, device_id: int) -> None:
        """The layers are moved by Thinc."""

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): msgpack of the steps; the rest is the config's."""
        return srsly.msgpack_dumps({"steps": self.steps})

    def from_bytes(self, data: bytes) -> "LayersShim":
        """Take the steps; weights follow.

        data (bytes): What `to_bytes` returned.
        RETURNS (LayersShim): self.
        """
        self.unbind()
        self.steps = srsly.msgpack_loads(data)["steps"]
        return self

    # A step

    def run(self, model: Model, docs: Any, is_train: bool) -> tuple[Any, Callable[[Any], Any]]:
        """Let docs go through the parts. Below the lowest that moves nothing is kept for the backward pass, which ends
        there, and dropout is off.

        model (Model): The node.
        docs (List[Doc]): The batch.
        is_train (bool): Keep what the backward pass needs.
        RETURNS (Tuple[List[Floats2d], Callable]): The rows, and the way back.
        """
        self.bind(model)
        parts = self.find_parts(model)
        n_frozen = self._let_move(len(docs), len(parts)) if is_train else 0
        rows, backs = docs, []
        for i, part in enumerate(parts):
            rows, back = by_numpy(part)(rows, is_train and i >= n_frozen)
            if i >= n_frozen:
                backs.append(back)

        def backprop(d_rows: Any) -> Any:
            for back in reversed(backs):
                d_rows = back(d_rows)
            return docs

        return rows, backprop

    def _let_move(self, n_docs: int, n_parts: int) -> int:
        """How many of the parts stay as they are at this step, from below."""
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

    def rate_scale(self, name: str) -> float:
        """RETURNS (float): Factor on the learning rate of a parameter, by its layer."""
        return super().rate_scale(name) if self.policy is not None and name in self.policy.depth else 1.0

    def finish_update(self, optimizer: Any) -> None:
        """Take away the gradients of what is frozen, add the anchor's pull, step the rest, and count the step.

        optimizer (Optimizer): The optimizer.
        RAISES (ValueError): When the optimizer cannot scale rates; nothing has moved then.
        """
        if self.policy is not None:
            self._step(optimizer, self.policy.moving(self.steps))
        self._n_docs = 0
        self.steps += 1

    def _step(self, optimizer: Any, moving: frozenset[str]) -> None:
        for name, weight in self.weights.items():
            if name not in moving:
                weight.parameter.take_gradient()
        stepped = {name: w.parameter for name, w in self.weights.items() if w.parameter.raw_gradient is not None}
        if getattr(optimizer, "use_radam", False) and any(self.rate_scale(name) != 1.0 for name in stepped):
            raise ValueError(Errors.T618)
        self.add_pull({name: weight.parameter for name, weight in self.weights.items()})
        for name, parameter in stepped.items():
            parameter.step(optimizer, self.rate_scale(name))

    def drop_gradients(self) -> None:
        """Forget what has been collected for the next step."""
        self._n_docs = 0
        for weight in self.weights.values():
            weight.parameter.take_gradient()


def is_frozen(model: Model) -> bool:
    """RETURNS (bool): Whether no parameter moves in the coming step: see `BackboneHooks`."""
    shim: Any = model.shims[0]
    shim.bind(model)
    return shim.is_frozen


def check_keys(tuning: Tuning | None, name: str) -> None:
    """Refuse what only encoders in torch have.

    tuning (Optional[Tuning]): The settings.
    name (str): Of the backbone.
    """
    if tuning is not None and tuning.adapter is not None:
        raise ValueError(Errors.T655.format(key="adapter", found=tuning.adapter, off="null", name=name))
    if tuning is not None and tuning.checkpointing:
        raise ValueError(Errors.T655.format(key="checkpointing", found="true", off="false", name=name))
