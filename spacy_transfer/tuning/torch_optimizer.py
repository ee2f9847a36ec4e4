"""Torch's optimizers behind Thinc's interface: the gradients of a step are collected, clipped and stepped together."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from spacy.util import SimpleFrozenDict
from thinc.api import Optimizer
from thinc.util import xp2torch

from ..checks import NOT_NEGATIVE, compile_pattern, require
from ..errors import Errors
from .groups import PLACE, Groups, GroupSettings, Key, Names, ParameterSettings, first_rate

if TYPE_CHECKING:
    import torch

Rate = float | Iterator[float]
Place = tuple[int, str, bool]


class TorchOptimizer(Optimizer):
    """Collects the gradients of a step from all components, clips them together, and steps once.

    It steps in `step_schedules`, as `spacy train` calls it after the last component; where nobody does (plain
    `nlp.update(sgd=...)`, `spacy pretrain`), when a parameter comes round again.

    A tensor whose gradient is zero throughout stays as it is, bit for bit: no decay, no momentum, and no step in its
    average. So a component that a batch does not train does not move. (Tensors are skipped whole: rows of embeddings
    that do not occur decay with the others.)

    make (Callable): Makes the torch optimizer of a list of parameter groups.
    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    weight_decay (float): Decoupled decay (Loshchilov and Hutter 2019).
    no_decay (str): Regular expression over names; what it finds is not decayed.
    grad_clip (float): The most that the norm of all gradients together may be; 0 for no bound.
    use_averages (bool): Keep the mean of the parameters over the steps, for evaluation.
    groups (Dict[str, Dict[str, Any]]): By name: `pattern`, a regular expression over COMPONENT.path.parameter, and
        `learn_rate`, `weight_decay` for what it finds. The first group that finds a parameter has it. (In a config
        the end of a name is \\Z: a $ begins a variable there.)
    """

    def __init__(
        self,
        make: Callable[[list[dict[str, Any]]], "torch.optim.Optimizer"],
        *,
        learn_rate: Rate,
        weight_decay: float,
        no_decay: str,
        grad_clip: float,
        use_averages: bool,
        groups: GroupSettings | None,
    ) -> None:
        require(PLACE, NOT_NEGATIVE, weight_decay=weight_decay, grad_clip=grad_clip)
        rate, schedule = first_rate(f"{PLACE}.learn_rate", learn_rate)
        super().__init__(rate, L2=0.0, grad_clip=0.0, use_averages=use_averages)
        if schedule is not None:
            self.schedules["learn_rate"] = cast(Any, schedule)
        self._make = make
        self._weight_decay = weight_decay
        self._no_decay = compile_pattern(f"{PLACE}.no_decay", no_decay) if no_decay else None
        self._max_norm = grad_clip
        self._groups = Groups(groups)
        self._names = Names()
        self._factor = 1.0
        self._torch: torch.optim.Optimizer | None = None
        # By id, name, and whether it is a shim's: ids of shims and of Thinc's nodes are counted apart, and overlap.
        self._parameters: dict[Place, torch.nn.Parameter] = {}
        self._entered: dict[Place, torch.nn.Parameter] = {}
        self._steps = 0
        self._place: dict[Place, dict[str, Any]] = {}
        self._pending: dict[Place, tuple[torch.nn.Parameter, Any]] = {}
        self._unchecked = bool(groups)

    def learn_names(
        self,
        owners: Mapping[int, str] = SimpleFrozenDict(),
        *,
        nodes: Mapping[int, str] = SimpleFrozenDict(),
        shims: Mapping[int, str] = SimpleFrozenDict(),
        parameters: Collection[str] = (),
    ) -> None:
        """Say which component and path a node or shim belongs to, so that groups can name it.

        owners (Dict[int, str]): By id, such as {3: "textcat.model.linear"}, where it is all one whether that is a
            node or a shim.
        nodes (Dict[int, str]), shims (Dict[int, str]): The same where ids of both may overlap; these come first.
        parameters (Collection[str]): Full names of all parameters, those included that do not move yet: a group may
            wait for them.
        """
        self._names.learn(owners, nodes, shims, parameters)

    def check_groups(self) -> None:
        """Look for groups that find no parameter. Done once after the first step as well.

        RAISES (ValueError): With the nearest names.
        """
        self._unchecked = False
        self._groups.check(self._names.all)

    def has_met(self, key: Key, *, is_torch: bool) -> bool:
        """RETURNS (bool): Whether a parameter has ever come with a gradient."""
        return (*key, is_torch) in self._place

    def settings_of(self, name: str, scale: float = 1.0) -> ParameterSettings:
        """How a parameter is stepped.

        name (str): Its full name.
        scale (float): Factor on the rate, by its layer.
        RETURNS (ParameterSettings): Group, rate at this step, decay and schedule.
        """
        group = self._groups.find(name)
        decay = self._weight_decay if group is None or group.weight_decay is None else group.weight_decay
        if self._no_decay is not None and self._no_decay.search(name):
            decay = 0.0
        if group is None or group.rate is None:
            rate, schedule = self.learn_rate, self.schedules.get("learn_rate")
        else:
            rate, schedule = group.rate, cast(Any, group.schedule)
        return ParameterSettings(group.name if group else "", rate * scale * self._factor, decay, schedule, scale)

    def rates(self) -> dict[str, float]:
        """RETURNS (Dict[str, float]): Rates at this step, by group; that of the rest under an empty name."""
        own = {group.name: group.rate * self._factor for group in self._groups if group.rate is not None}
        return {"": self.learn_rate * self._factor, **own}

    def scale_rates(self, factor: float) -> None:
        """Multiply the rates of all groups, schedules or not, from now on.

        factor (float): The factor; 1 for the rates as they were set.
        """
        self._factor = factor

    def __call__(self, key: Key, weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> tuple[Any, Any]:
        """Collect one parameter. Its memory is changed in place when the step is made.

        key (Tuple[int, str]): Id of node or shim, and name of the parameter.
        weights (FloatsXd): The parameter.
        gradient (FloatsXd): Its gradient; it is zeroed.
        lr_scale (float): Factor on the rate.
        RETURNS (Tuple[FloatsXd, FloatsXd]): Both as they came in.
        """
        import torch

        if gradient.size:
            place = (*key, False)
            if place in self._pending:
                self.step()
            # The caller may zero the gradient before the step is made.
            grad = xp2torch(gradient).clone()
            parameter = self._parameters.get(place)
            tensor = xp2torch(weights)
            if parameter is None or parameter.shape != tensor.shape:
                parameter = self._parameters[place] = torch.nn.Parameter(tensor, requires_grad=False)
            parameter.data = tensor
            self._collect(place, parameter, grad, lr_scale)
            gradient[...] = 0  # Times 0, what is not finite would stay NaN.
        return weights, gradient

    def collect(self, key: Key, parameter: "torch.nn.Parameter", lr_scale: float = 1.0) -> None:
        """Collect a torch parameter with its `.grad`, which is taken away from it. Nothing is copied.

        key (Tuple[int, str]): Id of the shim, and name of the parameter.
        parameter (torch.nn.Parameter): The parameter.
        lr_scale (float): Factor on the rate.
        """
        place = (*key, True)
        if place in self._pending:
            self.step()
        grad, parameter.grad = parameter.grad, None
        self._parameters[place] = parameter
        self._collect(place, parameter, grad, lr_scale)

    def _collect(self, key: Place, parameter: Any, grad: Any, lr_scale: float) -> None:
        self._pending[key] = (parameter, grad)
        place = self._place.get(key)
        if place is None or self._entered.get(key) is not parameter:
            self._enter(key, parameter, lr_scale)
        elif place["lr_scale"] != lr_scale:
            place["params"] = [other for other in place["params"] if other is not parameter]
            self._enter(key, parameter, lr_scale)

    def _enter(self, key: Place, parameter: Any, lr_scale: float) -> None:
        """Give a parameter its place among torch's parameter groups: one for each set of settings."""
        found_by = self.settings_of(self._names.name(key[:2], is_torch=key[2]), lr_scale)
        settings = {"group": found_by.group, "lr_scale": lr_scale, "weight_decay": found_by.decay}
        found = self._torch.param_groups if self._torch is not None else []
        place = next((g for g in found if all(g[k] == v for k, v in settings.items())), None)
        if place is not None:
            place["params"].append(parameter)
        elif self._torch is None:
            self._torch = self._make([{"params": [parameter], **settings}])
            place = self._torch.param_groups[0]
        else:
            self._torch.add_param_group({"params": [parameter], **settings})
            place = self._torch.param_groups[-1]
        self._place[key], self._entered[key] = place, parameter

    def step(self) -> None:
        """Clip what has been collected by its global norm, and step."""
        if not self._pending or self._torch is None:
            return
        if self._unchecked:
            self.check_groups()
        self._pending = self._moving(self._clip())
        for place in self._torch.param_groups:
            rate = self._groups[place["group"]].rate if place["group"] else None
            place["lr"] = (self.learn_rate if rate is None else rate) * place["lr_scale"] * self._factor
        # Where nobody calls `step_schedules`, torch parameters hold the gradients of the *next* step by now.
        later = [(p, p.grad) for p in self._parameters.values() if p.grad is not None]
        for parameter, _ in later:
            parameter.grad = None
        for parameter, grad in self._pending.values():
            parameter.grad = grad
            self._begin_momentum(parameter)
        self._torch.step()
        self._steps += 1
        for key, (parameter, _) in self._pending.items():
            parameter.grad = None
            self._average(key[:2], parameter)
        for parameter, grad in later:
            parameter.grad = grad
        self._pending.clear()

    def step_schedules(self) -> None:
        """Make the step, and move on to the next rates."""
        self.step()
        super().step_schedules()
        for group in self._groups:
            group.move_on()

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

    def _begin_momentum(self, parameter: Any) -> None:
        """From zeros, which is the same step: torch's fused SGD cannot make it for some parameters, and go on with
        others."""
        import torch

        if isinstance(self._torch, torch.optim.SGD) and self._torch.defaults["momentum"]:
            state = self._torch.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)

    def _moving(self, norms: list[float]) -> dict[Place, tuple[Any, Any]]:
        """RETURNS (Dict[Place, Tuple[Parameter, Tensor]]): What is pending and does not have a gradient of zeros."""
        # The squares of very small numbers add up to 0 as well.
        pending = zip(self._pending.items(), norms, strict=True)
        return {key: item for (key, item), norm in pending if norm != 0.0 or bool(item[1].any())}

    def _refuse(self, norms: list[float]) -> None:
        """Raise before anything has moved. The step is forgotten."""
        keys = list(self._pending)
        order = sorted(range(len(keys)), key=lambda i: (not math.isfinite(norms[i]), norms[i]), reverse=True)
        names = [self._names.name(keys[i][:2], is_torch=keys[i][2]) for i in order]
        largest = ", ".join(f"{name} {norms[i]:.3g}" for name, i in zip(names[:5], order, strict=False))
        what = "NaN" if any(math.isnan(norm) for norm in norms) else "infinite"
        self._pending.clear()
        raise ValueError(Errors.T652.format(step=self._steps, name=names[0], what=what, norms=largest))

    def _average(self, key: Key, parameter: Any) -> None:
        """The mean that Thinc keeps: the decay grows with the number of updates, up to 0.9999."""
        if self.averages is None:
            return
        from thinc.util import torch2xp

        self.nr_update[key] += 1
        done = self.nr_update[key]
        kept: Any = self.averages.get(key)
        if kept is None:
            kept = self.averages[key] = cast(Any, torch2xp(parameter.detach()).copy() * 0)
        decay = min((1.0 + done) / (10.0 + done), 0.9999)
        xp2torch(kept).lerp_(parameter.detach(), 1.0 - decay)


def settings_of(optimizer: Any, name: str, scale: float = 1.0) -> ParameterSettings:
    """How a parameter is stepped, by our optimizers or by Thinc's, which have one rate for all.

    optimizer (Optimizer): The optimizer.
    name (str): The parameter's full name.
    scale (float): Factor on the rate, by its layer.
    RETURNS (ParameterSettings): Group, rate at this step, decay and schedule.
    """
    if isinstance(optimizer, TorchOptimizer):
        return optimizer.settings_of(name, scale)
    scale = 1.0 if optimizer.use_radam else scale
    return ParameterSettings(
        "", optimizer.learn_rate * scale, optimizer.L2, optimizer.schedules.get("learn_rate"), scale
    )


def rates_of(optimizer: Any) -> dict[str, float]:
    """RETURNS (Dict[str, float]): Rates at this step by group; the rate of the rest under an empty name. Empty for
    what is no optimizer of Thinc's kind."""
    if isinstance(optimizer, TorchOptimizer):
        return optimizer.rates()
    return {"": optimizer.learn_rate} if isinstance(optimizer, Optimizer) else {}
