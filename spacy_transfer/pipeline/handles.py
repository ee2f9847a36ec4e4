"""Values and gradients of parameters of a pipeline, whether Thinc's nodes hold them or torch's modules."""

from typing import Any

from thinc.api import Model

from .names import Parameter, parameters_of


def value_of(parameter: Parameter) -> Any:
    """RETURNS (Union[FloatsXd, Tensor]): The values, not a copy."""
    if parameter.is_torch:
        return parameter.owner._model.get_parameter(parameter.own_name).detach()
    return parameter.owner.get_param(parameter.own_name)


def gradient_of(parameter: Parameter) -> Any:
    """RETURNS (Union[FloatsXd, Tensor, None]): What has been collected for the coming step, without a loss scale; None
    where there is nothing, or zeros alone."""
    if parameter.is_torch:
        gradient = parameter.owner._model.get_parameter(parameter.own_name).grad
    else:
        node, name = parameter.owner, parameter.own_name
        gradient = node.get_grad(name) if node.has_grad(name) else None
    if gradient is None or not bool(gradient.any()):
        return None
    scale = _loss_scale(parameter)
    return gradient if scale == 1.0 else gradient / scale


def add_gradient(parameter: Parameter, more: Any) -> None:
    """Add to a gradient that is there.

    parameter (Parameter): The parameter.
    more (Union[FloatsXd, Tensor]): Of its shape and library.
    """
    if parameter.is_torch:
        parameter.owner._model.get_parameter(parameter.own_name).grad.add_(more, alpha=_loss_scale(parameter))
    else:
        parameter.owner.inc_grad(parameter.own_name, more)


def drop_gradients(pipe: Any) -> None:
    """Forget all that a component has collected for the next step.

    pipe (Pipe): The component.
    """
    steps: Any = getattr(pipe, "steps", None)
    if hasattr(steps, "forget"):
        steps.forget()
    for parameter in parameters_of("", pipe):
        if parameter.is_torch:
            parameter.owner._model.get_parameter(parameter.own_name).grad = None
        elif parameter.owner.has_grad(parameter.own_name):
            parameter.owner.get_grad(parameter.own_name)[...] = 0


def flush(pipe: Any) -> None:
    """Let a `transfer_backbone` send back at once what its heads have sent it; it would do so before its step.

    pipe (Pipe): Any component.
    """
    pending = getattr(getattr(pipe, "steps", None), "pending", None)
    if pending is not None and pending.has_arrived:
        pipe.steps.flush()


def has_weights(pipe: Any) -> bool:
    """RETURNS (bool): Whether a component has a model of Thinc."""
    return isinstance(getattr(pipe, "model", None), Model)


def _loss_scale(parameter: Parameter) -> float:
    scale = getattr(parameter.owner, "loss_scale", None)
    return 1.0 if scale is None else float(scale.scale)
