"""One parameter of a node of Thinc or a module of torch: value, gradient, step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from thinc.api import Model, Optimizer
from thinc.shims import Shim
from thinc.types import FloatsXd
from thinc.util import is_torch_array, torch2xp, xp2torch

from ..._compat import drop_gradient
from ...types import Floats
from .safetensors_shim import step_parameters

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Parameter:
    """A parameter in a node of Thinc.

    owner (Union[Model, Shim]): The node; of a `TorchParameter` the shim.
    """

    owner: Any
    own_name: str

    @property
    def key(self) -> tuple[int, str]:
        """RETURNS (Tuple[int, str]): Its key in optimizers."""
        return self.owner.id, self.own_name

    @property
    def value(self) -> FloatsXd:
        """RETURNS (FloatsXd): The weights, not a copy."""
        return self.owner.get_param(self.own_name)

    @property
    def size(self) -> int:
        """RETURNS (int): Number of weights."""
        return int(self.value.size)

    def value_copy(self) -> FloatsXd:
        """RETURNS (FloatsXd): A copy of the weights."""
        return self.value.copy()

    def put(self, value: FloatsXd) -> None:
        """Set the weights, of the same shape."""
        self.owner.set_param(self.own_name, value)

    @property
    def raw_gradient(self) -> FloatsXd | None:
        """RETURNS (Optional[FloatsXd]): The gradient of the next step so far, times the loss scale."""
        return self.owner.get_grad(self.own_name) if self.owner.has_grad(self.own_name) else None

    @property
    def gradient(self) -> FloatsXd | None:
        """RETURNS (Optional[FloatsXd]): The same without the loss scale; None if all are zeros."""
        found = self.raw_gradient
        if found is None or not bool(found.any()):
            return None
        return found if self._loss_scale == 1.0 else cast(FloatsXd, found / self._loss_scale)

    def add_gradient(self, more: FloatsXd) -> None:
        """Add to the gradient, without the loss scale."""
        self.owner.inc_grad(self.own_name, more)

    def set_gradient(self, gradient: FloatsXd) -> None:
        """Replace the gradient, times the loss scale."""
        self.owner.set_grad(self.own_name, gradient)

    def take_gradient(self) -> FloatsXd | None:
        """Remove the gradient. A gradient of zeros would still change its parameter by momentum and decay.

        RETURNS (Optional[FloatsXd]): The gradient, times the loss scale.
        """
        found = self.raw_gradient
        drop_gradient(self.owner, self.own_name)
        return found

    def clear_gradient(self) -> None:
        """Set the gradient to zero, as Thinc does after a step."""
        gradient = self.raw_gradient
        if gradient is not None:
            cast(Floats, gradient)[...] = 0

    def step(self, optimizer: Optimizer, rate_scale: float) -> None:
        """Step with the gradient, and remove it."""
        changed, _ = optimizer(self.key, self.value, cast(FloatsXd, self.raw_gradient), lr_scale=rate_scale)
        self.put(changed)
        self.take_gradient()

    @property
    def _loss_scale(self) -> float:
        scale = getattr(self.owner, "loss_scale", None)
        return 1.0 if scale is None else float(scale.scale)


@dataclass(frozen=True)
class TorchParameter(Parameter):
    """A parameter in a module of torch; the owner is the module's shim. Values and gradients are tensors on the
    parameter's device. Methods accept arrays too."""

    @property
    def tensor(self) -> "torch.nn.Parameter":
        """RETURNS (torch.nn.Parameter): The parameter itself."""
        return self.owner._model.get_parameter(self.own_name)

    @property
    def value(self) -> Any:
        return self.tensor.detach()

    @property
    def size(self) -> int:
        return self.tensor.numel()

    def value_copy(self) -> Any:
        return self.value.clone()

    def put(self, value: "FloatsXd | torch.Tensor") -> None:
        if hasattr(self.owner, "own_weights"):
            self.owner.own_weights()
        self.value.copy_(self._as_tensor(value))

    @property
    def raw_gradient(self) -> Any:
        return self.tensor.grad

    def add_gradient(self, more: "FloatsXd | torch.Tensor") -> None:
        tensor = self.tensor
        if tensor.grad is None:
            tensor.grad = tensor.new_zeros(tensor.shape)
        tensor.grad.add_(self._as_tensor(more), alpha=self._loss_scale)

    def set_gradient(self, gradient: Any) -> None:
        self.tensor.grad = gradient

    def take_gradient(self) -> Any:
        found, self.tensor.grad = self.tensor.grad, None
        return found

    def clear_gradient(self) -> None:
        self.take_gradient()

    def step(self, optimizer: Optimizer, rate_scale: float) -> None:
        step_parameters(optimizer, self.owner.id, {self.own_name: self.tensor}, {self.own_name: rate_scale})

    def _as_tensor(self, array: "FloatsXd | torch.Tensor") -> "torch.Tensor":
        if is_torch_array(array):
            return cast("torch.Tensor", array)
        return xp2torch(cast(FloatsXd, array), device=self.tensor.device)


def as_array(value: Any) -> FloatsXd:
    """RETURNS (FloatsXd): A tensor of torch as an array that shares its memory; an array as it is."""
    return cast(FloatsXd, torch2xp(value)) if is_torch_array(value) else value


def node_parameters(node: Model) -> list[Parameter]:
    """RETURNS (List[Parameter]): The initialised parameters of a node, without those of its layers."""
    return [Parameter(node, name) for name in node.param_names if node.has_param(name)]


def shim_parameters(shim: Shim) -> Iterator[TorchParameter]:
    """YIELDS (TorchParameter): The parameters of the module of torch in a shim, if there is one."""
    named_parameters = getattr(getattr(shim, "_model", None), "named_parameters", None)
    for name, _ in () if named_parameters is None else named_parameters():
        yield TorchParameter(shim, name)
