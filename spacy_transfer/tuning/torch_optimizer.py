"""Torch's optimizers behind Thinc's interface: the gradients of a step are collected, clipped and applied together."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from spacy.util import SimpleFrozenDict
from thinc.api import Optimizer
from thinc.types import FloatsXd
from thinc.util import torch2xp, xp2torch

from ..checks import NOT_NEGATIVE, compile_pattern, require
from ..errors import Errors
from ..types import Floats
from .groups import PLACE, Groups, GroupSettings, Key, Names, ParameterSettings, first_rate

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter as TorchParameter

Place = tuple[int, str, bool]
"""Id of a node or shim, name of the parameter, and whether it is a shim's: ids of nodes and of shims overlap."""
ParamGroup = dict[str, Any]
"""One of torch's parameter groups."""
TorchState = dict[str, Any]
"""What a torch optimizer remembers of one parameter: tensors and numbers."""


@dataclass(frozen=True)
class Common:
    """The settings that all optimizers have.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    weight_decay (float): Decoupled decay (Loshchilov and Hutter 2019).
    no_decay (str): Regular expression over names of parameters that are not decayed.
    grad_clip (float): Largest norm of all gradients together; 0 for no bound.
    use_averages (bool): Keep the mean of the parameters over the steps, for evaluation.
    groups (Dict[str, Dict[str, Any]]): By name: `pattern`, a regular expression over COMPONENT.path.parameter, and
        `learn_rate`, `weight_decay` for what it finds. A parameter belongs to the first group that finds it. (In a
        config the end of a name is \\Z: a $ begins a variable there.)
    """

    learn_rate: float | Iterator[float]
    weight_decay: float
    no_decay: str
    grad_clip: float
    use_averages: bool
    groups: GroupSettings | None


class TorchOptimizer(Optimizer):
    """Collects the gradients of a step from all components, clips them together, and steps once.

    It steps in `step_schedules`, as `spacy train` calls it after the last component; without that call (plain
    `nlp.update(sgd=...)`, `spacy pretrain`), when a parameter comes a second time.

    A tensor whose gradient is zero does not change, bit for bit: no decay, no momentum, and no step in its average. So
    a component that a batch does not train is not updated. (Only whole tensors are skipped: rows of embeddings that do
    not occur decay with the others.)

    make (Callable): Makes the torch optimizer of a list of parameter groups.
    is_adam (bool): Whether its steps have the size of the rate, whatever the gradient.
    """

    def __init__(
        self, make: Callable[[list[ParamGroup]], "torch.optim.Optimizer"], common: Common, *, is_adam: bool = False
    ) -> None:
        require(PLACE, NOT_NEGATIVE, weight_decay=common.weight_decay, grad_clip=common.grad_clip)
        rate, schedule = first_rate(f"{PLACE}.learn_rate", common.learn_rate)
        super().__init__(rate, L2=0.0, grad_clip=0.0, use_averages=common.use_averages)
        if schedule is not None:
            self.schedules["learn_rate"] = cast(Any, schedule)
        self._make = make
        self.is_adam = is_adam
        self._weight_decay = common.weight_decay
        self._no_decay = compile_pattern(f"{PLACE}.no_decay", common.no_decay) if common.no_decay else None
        self._max_norm = common.grad_clip
        self._groups = Groups(common.groups)
        self._names = Names()
        self._factor = 1.0
        self._torch: torch.optim.Optimizer | None = None
        self._parameters: dict[Place, TorchParameter] = {}
        self._entered: dict[Place, TorchParameter] = {}
        self._steps = 0
        self._group_of: dict[Place, ParamGroup] = {}
        self._pending: dict[Place, tuple[TorchParameter, Tensor]] = {}
        self._unchecked = bool(common.groups)
        self._waiting: dict[Place, TorchState] = {}

    def learn_names(
        self,
        owners: Mapping[int, str] = SimpleFrozenDict(),
        *,
        nodes: Mapping[int, str] = SimpleFrozenDict(),
        shims: Mapping[int, str] = SimpleFrozenDict(),
        parameters: Collection[str] = (),
    ) -> None:
        """Set the component and path of nodes and shims, so that groups can name them.

        owners (Dict[int, str]): By id of a node or shim, such as {3: "textcat.model.linear"}.
        nodes (Dict[int, str]), shims (Dict[int, str]): The same where ids of both may overlap; these come first.
        parameters (Collection[str]): Full names of all parameters, also of those that are frozen at first.
        """
        self._names.learn(owners, nodes, shims, parameters)

    def check_groups(self) -> None:
        """RAISES (ValueError): When a group finds no parameter. The first step checks this too."""
        self._unchecked = False
        self._groups.check(self._names.all)

    def has_met(self, key: Key, *, is_torch: bool) -> bool:
        """RETURNS (bool): Whether a parameter has had a gradient before."""
        return (*key, is_torch) in self._group_of

    def settings_of(self, name: str, scale: float = 1.0) -> ParameterSettings:
        """RETURNS (ParameterSettings): Group, rate at this step, decay and schedule of a parameter. `scale` is the
        factor of its layer on the rate."""
        group = self._groups.find(name)
        decay = self._weight_decay if group is None or group.weight_decay is None else group.weight_decay
        if self._no_decay is not None and self._no_decay.search(name):
            decay = 0.0
        schedule: Iterator[float] | None
        if group is None or group.rate is None:
            rate, schedule = self.learn_rate, self.schedules.get("learn_rate")
        else:
            rate, schedule = group.rate, group.schedule
        return ParameterSettings(group.name if group else "", rate * scale * self._factor, decay, schedule, scale)

    def rates(self) -> dict[str, float]:
        """RETURNS (Dict[str, float]): Rates at this step by group; the rate of the rest under an empty name."""
        own = {group.name: group.rate * self._factor for group in self._groups if group.rate is not None}
        return {"": self.learn_rate * self._factor, **own}

    def scale_rates(self, factor: float) -> None:
        """Multiply the rates of all groups by a factor from now on; 1 restores them."""
        self._factor = factor

    def __call__(
        self, key: Key, weights: FloatsXd, gradient: FloatsXd, *, lr_scale: float = 1.0
    ) -> tuple[FloatsXd, FloatsXd]:
        """Collect one parameter. The step changes its memory in place.

        key (Tuple[int, str]): Id of node or shim, and name of the parameter.
        gradient (FloatsXd): Its gradient; it is set to zero.
        RETURNS (Tuple[FloatsXd, FloatsXd]): The same two arrays.
        """
        import torch

        if gradient.size:
            place = (*key, False)
            if place in self._pending:
                self.step()
            grad = xp2torch(gradient).clone()  # The caller may set the gradient to zero before the step.
            parameter = self._parameters.get(place)
            tensor = xp2torch(weights)
            if parameter is None or parameter.shape != tensor.shape:
                parameter = self._parameters[place] = torch.nn.Parameter(tensor, requires_grad=False)
            parameter.data = tensor
            self._pending[place] = (parameter, grad)
            self._enter_new({place: parameter}, {place[1]: lr_scale})
            cast(Floats, gradient)[...] = 0  # Multiplied by 0, a gradient that is not finite would be NaN.
        return weights, gradient

    def collect(
        self, shim: int, parameters: Mapping[str, "TorchParameter"], lr_scales: Mapping[str, float] = SimpleFrozenDict()
    ) -> None:
        """Collect torch parameters of a shim, and their `.grad`, which are set to None. Nothing is copied.

        shim (int): Its id.
        parameters (Mapping[str, torch.nn.Parameter]): By name.
        lr_scales (Mapping[str, float]): Factors on their rates, by name; 1 for others.
        """
        places = {(shim, name, True): parameter for name, parameter in parameters.items()}
        if not self._pending.keys().isdisjoint(places):
            self.step()
        for place, parameter in places.items():
            self._pending[place] = (parameter, cast("Tensor", parameter.grad))
            parameter.grad = None
        self._parameters |= places
        self._enter_new(places, lr_scales)

    def _enter_new(self, parameters: Mapping[Place, "TorchParameter"], lr_scales: Mapping[str, float]) -> None:
        for place, parameter in parameters.items():
            group, lr_scale = self._group_of.get(place), lr_scales.get(place[1], 1.0)
            if group is None or self._entered.get(place) is not parameter:
                self._enter(place, parameter, lr_scale)
            elif group["lr_scale"] != lr_scale:
                group["params"] = [other for other in group["params"] if other is not parameter]
                self._enter(place, parameter, lr_scale)

    def _enter(self, place: Place, parameter: "TorchParameter", lr_scale: float) -> None:
        """Put a parameter into one of torch's parameter groups: there is one for each combination of settings."""
        own = self.settings_of(self._names.name(place[:2], is_torch=place[2]), lr_scale)
        settings = {"group": own.group, "lr_scale": lr_scale, "weight_decay": own.decay}
        found = self._torch.param_groups if self._torch is not None else []
        group = next((g for g in found if all(g[k] == v for k, v in settings.items())), None)
        if group is not None:
            group["params"].append(parameter)
        elif self._torch is None:
            self._torch = self._make([{"params": [parameter], **settings}])
            group = self._torch.param_groups[0]
        else:
            self._torch.add_param_group({"params": [parameter], **settings})
            group = self._torch.param_groups[-1]
        self._group_of[place], self._entered[place] = group, parameter
        if place in self._waiting:
            state = {key: _to_device(key, v, parameter, group) for key, v in self._waiting.pop(place).items()}
            cast("torch.optim.Optimizer", self._torch).state[parameter] = state

    def torch_states(self) -> dict[Place, TorchState]:
        """RETURNS (Dict[Place, TorchState]): What torch's optimizer remembers of each parameter, not copied."""
        states = {} if self._torch is None else self._torch.state
        return self._waiting | {place: dict(states[p]) for place, p in self._entered.items() if p in states}

    def set_torch_states(self, states: Mapping[Place, TorchState], steps: int) -> None:
        """Begin where another optimizer with the same settings was.

        states (Dict[Place, TorchState]): What `torch_states` gives. It is installed once a parameter has a gradient.
        steps (int): Number of steps made.
        """
        self._torch, self._steps, self._waiting = None, steps, dict(states)
        for known in (self._parameters, self._entered, self._group_of, self._pending):
            known.clear()

    @property
    def steps(self) -> int:
        """RETURNS (int): Number of steps made."""
        return self._steps

    def step(self) -> None:
        """Clip the collected gradients by their global norm, and step."""
        if not self._pending or self._torch is None:
            return
        if self._unchecked:
            self.check_groups()
        self._pending = self._without_zeros(self._clip())
        for group in self._torch.param_groups:
            rate = self._groups[group["group"]].rate if group["group"] else None
            group["lr"] = (self.learn_rate if rate is None else rate) * group["lr_scale"] * self._factor
        # Without calls of `step_schedules`, torch parameters already have the gradients of the *next* step.
        later = [(p, p.grad) for p in self._parameters.values() if p.grad is not None]
        for parameter, _ in later:
            parameter.grad = None
        for parameter, grad in self._pending.values():
            parameter.grad = grad
        self._init_momentum()
        self._torch.step()
        self._steps += 1
        for parameter, _ in self._pending.values():
            parameter.grad = None
        self._average()
        for parameter, grad in later:
            parameter.grad = grad
        self._pending.clear()

    def step_schedules(self) -> None:
        """Make the step, and take the next rates."""
        self.step()
        next_rates: Callable[[], None] = super().step_schedules
        next_rates()
        for group in self._groups:
            group.next_rate()

    def _clip(self) -> list[float]:
        """RETURNS (List[float]): Norm of each gradient, before they were clipped."""
        import torch

        grads = [grad for _, grad in self._pending.values()]
        device = grads[0].device
        norms = torch.stack([norm.to(device) for norm in torch._foreach_norm(grads)])
        total = torch.linalg.vector_norm(norms)
        values = norms.tolist()
        if self._max_norm:
            if not bool(torch.isfinite(total)):
                self._refuse(values)
            factor = float(self._max_norm / (total + 1e-6))
            if factor < 1.0:
                torch._foreach_mul_(grads, factor)
        return values

    def _init_momentum(self) -> None:
        """Zeros give the same step. Torch's fused SGD cannot mix parameters with and without momentum."""
        import torch

        if isinstance(self._torch, torch.optim.SGD) and self._torch.defaults["momentum"]:
            for parameter, _ in self._pending.values():
                state = self._torch.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)

    def _without_zeros(self, norms: list[float]) -> dict[Place, tuple["TorchParameter", "Tensor"]]:
        """RETURNS (Dict[Place, Tuple[Parameter, Tensor]]): Collected parameters whose gradient is not all zeros."""
        # The norm of very small numbers can be 0 as well.
        pending = zip(self._pending.items(), norms, strict=True)
        return {place: item for (place, item), norm in pending if norm != 0.0 or bool(item[1].any())}

    def _refuse(self, norms: list[float]) -> None:
        """Raise before any parameter has changed. The gradients of the step are dropped."""
        keys = list(self._pending)
        order = sorted(range(len(keys)), key=lambda i: (not math.isfinite(norms[i]), norms[i]), reverse=True)
        names = [self._names.name(keys[i][:2], is_torch=keys[i][2]) for i in order]
        largest = ", ".join(f"{name} {norms[i]:.3g}" for name, i in zip(names[:5], order, strict=False))
        what = "NaN" if any(math.isnan(norm) for norm in norms) else "infinite"
        self._pending.clear()
        raise ValueError(Errors.T652.format(step=self._steps, name=names[0], what=what, norms=largest))

    def _average(self) -> None:
        """The same mean as Thinc's: the decay grows with the number of updates, up to 0.9999."""
        averages = self.averages
        if averages is None:
            return
        for place, (parameter, _) in self._pending.items():
            key = place[:2]
            self.nr_update[key] += 1
            done = self.nr_update[key]
            kept = averages.get(key)
            if kept is None:
                kept = averages[key] = cast(FloatsXd, cast(Floats, torch2xp(parameter.detach())).copy() * 0)
            decay = min((1.0 + done) / (10.0 + done), 0.9999)
            xp2torch(kept).lerp_(parameter.detach(), 1.0 - decay)


def _to_device(key: str, value: Any, parameter: "TorchParameter", group: ParamGroup) -> Any:
    """As torch loads states: counts of steps stay on the CPU, except for kernels that want them on the device."""
    import torch

    stays = key == "step" and not (group.get("fused") or group.get("capturable"))
    return value.to(parameter.device) if isinstance(value, torch.Tensor) and not stays else value


def settings_of(optimizer: Optimizer, name: str, scale: float = 1.0) -> ParameterSettings:
    """RETURNS (ParameterSettings): The settings of a parameter in one of our optimizers, or in one of Thinc's."""
    if isinstance(optimizer, TorchOptimizer):
        return optimizer.settings_of(name, scale)
    scale = 1.0 if optimizer.use_radam else scale
    schedule = optimizer.schedules.get("learn_rate")
    return ParameterSettings("", optimizer.learn_rate * scale, optimizer.L2, schedule, scale)


def rates_of(optimizer: object) -> dict[str, float]:
    """RETURNS (Dict[str, float]): Rates at this step by group; the rate of the rest under an empty name. Empty for
    objects that are no optimizers."""
    if isinstance(optimizer, TorchOptimizer):
        return optimizer.rates()
    return {"": optimizer.learn_rate} if isinstance(optimizer, Optimizer) else {}
