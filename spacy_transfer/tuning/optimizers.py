"""Optimizers of torch behind Thinc's interface: groups with rates of their own, clipping by global norm."""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from thinc.api import Optimizer
from thinc.util import xp2torch

from ..errors import Errors

if TYPE_CHECKING:
    import torch

Rate = float | Iterator[float]
Key = tuple[int, str]
Groups = dict[str, dict[str, Any]]

# Biases, and gains of normalisation, under the names that encoders of transformers and Thinc layers give them.
NO_DECAY = r"(?i)(^|[./_])(b|bias|gamma|beta|G)$|(layer_?norm|norm\d*|ln_\w+)\.(weight|bias)$"
_GROUP_KEYS = ("pattern", "learn_rate", "weight_decay")


class TorchOptimizer(Optimizer):
    """Collects the gradients of a step from all components, clips them together, and steps once.

    It steps in `step_schedules`, as `spacy train` calls it after the last component; where nobody does (plain
    `nlp.update(sgd=...)`, `spacy pretrain`), when a parameter comes round again.

    make (Callable): Makes the torch optimizer of a list of parameter groups.
    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    weight_decay (float): Decoupled decay (Loshchilov and Hutter 2019).
    no_decay (str): Regular expression over names; what it finds is not decayed.
    grad_clip (float): The most that the norm of all gradients together may be; 0 for no bound.
    use_averages (bool): Keep the mean of the parameters over the steps, for evaluation.
    groups (Dict[str, Dict[str, Any]]): By name: `pattern`, a regular expression over COMPONENT.path.parameter, and
        `learn_rate`, `weight_decay` for what it finds. The first group that finds a parameter has it.
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
        groups: Groups | None,
    ) -> None:
        rate: Any = learn_rate
        super().__init__(rate, L2=0.0, grad_clip=0.0, use_averages=use_averages)
        self._make = make
        self._weight_decay = weight_decay
        self._no_decay = re.compile(no_decay) if no_decay else None
        self._max_norm = grad_clip
        self._groups = {name: _Group(name, settings) for name, settings in (groups or {}).items()}
        self._torch: torch.optim.Optimizer | None = None
        self._parameters: dict[Key, torch.nn.Parameter] = {}
        self._place: dict[Key, dict[str, Any]] = {}
        self._pending: dict[Key, tuple[torch.nn.Parameter, Any]] = {}
        self._owners: dict[int, str] = {}
        self._names: dict[Key, str] = {}
        self._unchecked = bool(self._groups)

    def learn_names(self, owners: dict[int, str]) -> None:
        """Say which component a node or shim belongs to, so that groups can name it.

        owners (Dict[int, str]): By id: component and path, such as "textcat.model.linear".
        """
        self._owners.update(owners)

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
            if key in self._pending:
                self.step()
            # The caller may zero the gradient before the step is made.
            grad = xp2torch(gradient).clone()
            parameter = self._parameters.get(key)
            tensor = xp2torch(weights)
            if parameter is None or parameter.shape != tensor.shape:
                parameter = self._parameters[key] = torch.nn.Parameter(tensor, requires_grad=False)
            parameter.data = tensor
            self._collect(key, parameter, grad, lr_scale)
            gradient *= 0
        return weights, gradient

    def collect(self, key: Key, parameter: "torch.nn.Parameter", lr_scale: float = 1.0) -> None:
        """Collect a torch parameter with its `.grad`, which is taken away from it. Nothing is copied.

        key (Tuple[int, str]): Id of the shim, and name of the parameter.
        parameter (torch.nn.Parameter): The parameter.
        lr_scale (float): Factor on the rate.
        """
        if key in self._pending:
            self.step()
        grad, parameter.grad = parameter.grad, None
        self._parameters[key] = parameter
        self._collect(key, parameter, grad, lr_scale)

    def _collect(self, key: Key, parameter: Any, grad: Any, lr_scale: float) -> None:
        self._pending[key] = (parameter, grad)
        place = self._place.get(key)
        if place is None or not any(parameter is other for other in place["params"]):
            self._enter(key, parameter, lr_scale)
        elif place["lr_scale"] != lr_scale:
            place["params"] = [other for other in place["params"] if other is not parameter]
            self._enter(key, parameter, lr_scale)

    def _enter(self, key: Key, parameter: Any, lr_scale: float) -> None:
        """Give a parameter its place among torch's parameter groups: one for each set of settings."""
        owner = self._owners.get(key[0], "")
        name = self._names[key] = f"{owner}.{key[1]}" if owner else key[1]
        group = next((g for g in self._groups.values() if g.pattern.search(name)), None)
        decay = self._weight_decay if group is None or group.weight_decay is None else group.weight_decay
        if self._no_decay is not None and self._no_decay.search(name):
            decay = 0.0
        settings = {"group": group.name if group else "", "lr_scale": lr_scale, "weight_decay": decay}
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
        self._place[key] = place

    def step(self) -> None:
        """Clip what has been collected by its global norm, and step."""
        if not self._pending or self._torch is None:
            return
        self._check_groups()
        self._clip()
        for place in self._torch.param_groups:
            rate = self._groups[place["group"]].rate if place["group"] else None
            place["lr"] = (self.learn_rate if rate is None else rate) * place["lr_scale"]
        for parameter, grad in self._pending.values():
            parameter.grad = grad
        self._torch.step()
        for key, (parameter, _) in self._pending.items():
            parameter.grad = None
            self._average(key, parameter)
        self._pending.clear()

    def step_schedules(self) -> None:
        """Make the step, and move on to the next rates."""
        self.step()
        super().step_schedules()
        for group in self._groups.values():
            group.move_on()

    def _clip(self) -> None:
        if not self._max_norm:
            return
        import torch

        grads = [grad for _, grad in self._pending.values()]
        device = grads[0].device
        norms = torch.stack([norm.to(device) for norm in torch._foreach_norm(grads)])
        total = torch.linalg.vector_norm(norms)
        factor = float(self._max_norm / (total + 1e-6))
        if factor < 1.0:
            torch._foreach_mul_(grads, factor)

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

    def _check_groups(self) -> None:
        """After the first step every parameter has come by: a group that found none is a slip of the pen."""
        if not self._unchecked:
            return
        self._unchecked = False
        used = {place["group"] for place in self._place.values()}
        for name, group in self._groups.items():
            if name not in used:
                names = sorted(self._names.values())
                near = get_close_matches(group.pattern.pattern, names, n=5, cutoff=0.2) or names[:5]
                raise ValueError(Errors.T602.format(group=name, pattern=group.pattern.pattern, near=near))


class _Group:
    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        unknown = sorted(set(settings) - set(_GROUP_KEYS))
        if unknown or "pattern" not in settings:
            raise ValueError(Errors.T603.format(group=name, found=sorted(settings), known=list(_GROUP_KEYS)))
        try:
            self.pattern = re.compile(settings["pattern"])
        except re.error as error:
            raise ValueError(Errors.T604.format(group=name, pattern=settings["pattern"], error=error)) from error
        self.name = name
        self.weight_decay: float | None = settings.get("weight_decay")
        rate = settings.get("learn_rate")
        self._schedule = None if rate is None or isinstance(rate, (int, float)) else iter(rate)
        self.rate: float | None = next(self._schedule) if self._schedule is not None else rate

    def move_on(self) -> None:
        if self._schedule is not None:
            self.rate = next(self._schedule, self.rate)


def adamw_v1(
    *,
    learn_rate: Any = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    no_decay: str = NO_DECAY,
    grad_clip: float = 1.0,
    use_averages: bool = False,
    groups: Groups | None = None,
) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019) in torch's fused kernel.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    beta1 (float), beta2 (float), eps (float): Of Adam.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `TorchOptimizer`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, lr=0.0, betas=(beta1, beta2), eps=eps, weight_decay=0.0, fused=True)

    shared = _shared(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups)
    return TorchOptimizer(make, **shared)


def sgd_v1(
    *,
    learn_rate: Any = 0.01,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    no_decay: str = NO_DECAY,
    grad_clip: float = 1.0,
    use_averages: bool = False,
    groups: Groups | None = None,
) -> Optimizer:
    """Gradient descent with momentum (Sutskever et al. 2013) in torch's fused kernel.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    momentum (float), nesterov (bool): Of the momentum. The weight decay is coupled: it goes into the gradient.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `TorchOptimizer`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.0, momentum=momentum, nesterov=nesterov, fused=True)

    shared = _shared(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups)
    return TorchOptimizer(make, **shared)


def rmsprop_v1(
    *,
    learn_rate: Any = 0.001,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    no_decay: str = NO_DECAY,
    grad_clip: float = 1.0,
    use_averages: bool = False,
    groups: Groups | None = None,
) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012) in torch's foreach kernels.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    alpha (float): Decay of the mean of squares.
    eps (float), momentum (float), centered (bool): As in torch. The weight decay is coupled.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `TorchOptimizer`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        settings = {"alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered}
        return torch.optim.RMSprop(params, lr=0.0, foreach=True, **cast(Any, settings))

    shared = _shared(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups)
    return TorchOptimizer(make, **shared)


def adafactor_v1(
    *,
    learn_rate: Any = 0.01,
    beta2_decay: float = -0.8,
    clip_threshold: float = 1.0,
    weight_decay: float = 0.0,
    no_decay: str = NO_DECAY,
    grad_clip: float = 0.0,
    use_averages: bool = False,
    groups: Groups | None = None,
) -> Optimizer:
    """Adafactor (Shazeer and Stern 2018): second moments in factored form, little memory. Needs torch 2.5.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own, relative to the size
        of each tensor's weights.
    beta2_decay (float): How fast the second moment's memory grows.
    clip_threshold (float): Bound on the root mean square of an update.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `TorchOptimizer`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adafactor(params, lr=0.0, beta2_decay=beta2_decay, d=clip_threshold, foreach=True)

    shared = _shared(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups)
    return TorchOptimizer(make, **shared)


def _shared(
    learn_rate: Any, weight_decay: float, no_decay: str, grad_clip: float, use_averages: bool, groups: Groups | None
) -> dict[str, Any]:
    return {
        "learn_rate": learn_rate,
        "weight_decay": weight_decay,
        "no_decay": no_decay,
        "grad_clip": grad_clip,
        "use_averages": use_averages,
        "groups": groups,
    }
