"""The registered optimizers: torch's kernels, with rates for groups of parameters, and clipping by the global norm."""

import math
from typing import TYPE_CHECKING, Any

from thinc.api import Optimizer

from ..checks import BELOW_ONE, NOT_NEGATIVE, Range, require
from ..errors import Errors
from .groups import PLACE, GroupSettings
from .torch_optimizer import Common, ParamGroup, TorchOptimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer as Kernel

# Biases and gains of normalisation, by their names in transformers and Thinc. The end is \Z: configs read a $ as the
# beginning of a variable, and double it whenever they are saved.
NO_DECAY = r"(?i)(^|[./_])(b|bias|gamma|beta|G)\Z|(layer_?norm|norm\d*|ln_\w+)\.(weight|bias)\Z"


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
    groups: GroupSettings | None = None,
) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019) in torch's fused kernel.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    beta1 (float), beta2 (float), eps (float): Of Adam.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `Common`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    require(PLACE, BELOW_ONE, beta1=beta1, beta2=beta2)
    require(PLACE, NOT_NEGATIVE, eps=eps)

    def make(params: list[ParamGroup]) -> "Kernel":
        return torch.optim.AdamW(params, lr=0.0, betas=(beta1, beta2), eps=eps, weight_decay=0.0, fused=True)

    common = Common(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups)
    return TorchOptimizer(make, common, is_adam=True)


def sgd_v1(
    *,
    learn_rate: Any = 0.01,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    no_decay: str = NO_DECAY,
    grad_clip: float = 1.0,
    use_averages: bool = False,
    groups: GroupSettings | None = None,
) -> Optimizer:
    """Gradient descent with momentum (Sutskever et al. 2013) in torch's fused kernel.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    momentum (float), nesterov (bool): Of the momentum. The weight decay is coupled: it goes into the gradient.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `Common`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    require(PLACE, BELOW_ONE, momentum=momentum)
    if nesterov and not momentum:
        raise ValueError(Errors.T215.format(key=f"{PLACE}.nesterov", found=True, wanted="false where momentum is 0"))

    def make(params: list[ParamGroup]) -> "Kernel":
        return torch.optim.SGD(params, lr=0.0, momentum=momentum, nesterov=nesterov, fused=True)

    return TorchOptimizer(make, Common(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups))


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
    groups: GroupSettings | None = None,
) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012) in torch's foreach kernels.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own.
    alpha (float): Decay of the mean of squares.
    eps (float), momentum (float), centered (bool): As in torch. The weight decay is coupled.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `Common`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    require(PLACE, BELOW_ONE, alpha=alpha, momentum=momentum)
    require(PLACE, NOT_NEGATIVE, eps=eps)

    def make(params: list[ParamGroup]) -> "Kernel":
        return torch.optim.RMSprop(
            params, lr=0.0, alpha=alpha, eps=eps, momentum=momentum, centered=centered, foreach=True
        )

    return TorchOptimizer(make, Common(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups))


def adafactor_v1(
    *,
    learn_rate: Any = 0.01,
    beta2_decay: float = -0.8,
    clip_threshold: float = 1.0,
    weight_decay: float = 0.0,
    no_decay: str = NO_DECAY,
    grad_clip: float = 0.0,
    use_averages: bool = False,
    groups: GroupSettings | None = None,
) -> Optimizer:
    """Adafactor (Shazeer and Stern 2018): second moments in factored form, little memory.

    learn_rate (Union[float, Iterator[float]]): Rate of everything without a group of its own, relative to the size
        of each tensor's weights.
    beta2_decay (float): Exponent of the decay of the second moment.
    clip_threshold (float): Bound on the root mean square of an update.
    weight_decay, no_decay, grad_clip, use_averages, groups: See `Common`.
    RETURNS (Optimizer): The optimizer.
    """
    import torch

    require(PLACE, Range(-math.inf, 0), beta2_decay=beta2_decay)
    require(PLACE, Range(1), clip_threshold=clip_threshold)

    def make(params: list[ParamGroup]) -> "Kernel":
        return torch.optim.Adafactor(params, lr=0.0, beta2_decay=beta2_decay, d=clip_threshold, foreach=True)

    return TorchOptimizer(make, Common(learn_rate, weight_decay, no_decay, grad_clip, use_averages, groups))
