"""Layer normalisation (Ba et al. 2016) with an epsilon that can be set, as checkpoints have it."""

from collections.abc import Callable
from typing import Any

from thinc.api import Model
from thinc.types import Floats2d


def build_layer_norm(width: int, epsilon: float) -> Model[Floats2d, Floats2d]:
    """Every row to mean 0 and variance 1, then scaled and shifted by the parameters "G" and "b" (Thinc's names).

    width (int): Of the rows.
    epsilon (float): Is added to the variance.
    RETURNS (Model[Floats2d, Floats2d]): The layer.
    """
    dims: dict[str, int | None] = {"nI": width, "nO": width}
    model: Model = Model("transfer_layer_norm", forward, init=init, dims=dims, params={"G": None, "b": None})
    model.attrs["epsilon"] = epsilon
    init(model)
    return model


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Begin as the plain normalisation."""
    model.set_param("G", model.ops.alloc1f(model.get_dim("nO")) + 1)
    model.set_param("b", model.ops.alloc1f(model.get_dim("nO")))


def forward(model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
    centred = X - X.mean(axis=1, keepdims=True)
    scale = 1.0 / model.ops.xp.sqrt((centred * centred).mean(axis=1, keepdims=True) + model.attrs["epsilon"])
    normal, gain = centred * scale, model.get_param("G")

    def backprop(dY: Any) -> Any:
        model.inc_grad("b", dY.sum(axis=0))
        model.inc_grad("G", (dY * normal).sum(axis=0))
        d_normal = dY * gain
        # Neither the mean nor the length of a row can be changed by its values.
        along = (d_normal * normal).mean(axis=1, keepdims=True)
        return scale * (d_normal - d_normal.mean(axis=1, keepdims=True) - normal * along)

    return normal * gain + model.get_param("b"), backprop
