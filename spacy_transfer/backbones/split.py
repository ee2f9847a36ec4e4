"""Running the lower and the upper layers of an encoder apart, for encoders of any family.

Layers stand in one list in all of them. The lower ones are run by stopping the pass where the first upper layer begins;
the upper ones by taking the lower out of the list for a moment, and handing the first upper layer the states that the
lower had made. Masks, positions and whatever else layers are given come from the encoder's own code, either way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .row_cache import RowCache, window_key

# Where the list of layers is. DeBERTa-v2 is left out where it has a convolution after its first layer.
_LAYERS = {
    "BertModel": "encoder.layer",
    "RobertaModel": "encoder.layer",
    "XLMRobertaModel": "encoder.layer",
    "CamembertModel": "encoder.layer",
    "ElectraModel": "encoder.layer",
    "MPNetModel": "encoder.layer",
    "DebertaModel": "encoder.layer",
    "DebertaV2Model": "encoder.layer",
    "DistilBertModel": "transformer.layer",
    "ModernBertModel": "layers",
}


def can_split(transformer: nn.Module) -> bool:
    """RETURNS (bool): Whether the layers of this encoder can be run apart.

    transformer (nn.Module): An encoder of transformers.
    """
    inner: Any = getattr(transformer, "encoder", None)
    return type(transformer).__name__ in _LAYERS and getattr(inner, "conv", None) is None


def lower_states(transformer: Any, n_lower: int, **inputs: Any) -> Tensor:
    """States before layer `n_lower`.

    transformer (nn.Module): An encoder for which `can_split` holds.
    n_lower (int): How many layers to run, fewer than there are.
    inputs: What the encoder's forward pass takes.
    RETURNS (Tensor): Shape (n_windows, longest, width).
    """

    def stop(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        raise _Reached(args[0] if args else kwargs["hidden_states"])

    hook = _layers(transformer)[n_lower].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        transformer(**inputs, return_dict=True)
    except _Reached as reached:
        return reached.states
    finally:
        hook.remove()
    raise RuntimeError(f"{type(transformer).__name__} never came to layer {n_lower}")


def upper_states(transformer: Any, n_lower: int, states: Tensor, **inputs: Any) -> Tensor:
    """States after the last layer, from those before layer `n_lower`.

    transformer (nn.Module): An encoder for which `can_split` holds.
    n_lower (int): How many layers have been run.
    states (Tensor): Shape (n_windows, longest, width).
    inputs: What the encoder's forward pass takes.
    RETURNS (Tensor): Shape (n_windows, longest, width).
    """
    return upper_output(transformer, n_lower, states, **inputs).last_hidden_state


def upper_output(transformer: Any, n_lower: int, states: Tensor, **inputs: Any) -> Any:
    """The same with all that the encoder gives: what its pooler makes of the states, among others.

    RETURNS (ModelOutput): The encoder's output.
    """

    def hand_over(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})

    with _without_lower(transformer, n_lower) as first:
        hook = first.register_forward_pre_hook(hand_over, with_kwargs=True)
        try:
            return transformer(**inputs, return_dict=True)
        finally:
            hook.remove()


def kept_states(transformer: Any, n_lower: int, cache: RowCache, **inputs: Any) -> Tensor:
    """States before layer `n_lower`, from a cache, and by one pass for the windows that it lacks.

    transformer (nn.Module): An encoder for which `can_split` holds, and in which nothing moves below layer `n_lower`.
    n_lower (int): How many layers to run.
    cache (RowCache): Knows windows by the ids inside their mask.
    inputs: What the encoder's forward pass takes: a rectangle, filled up on the right.
    RETURNS (Tensor): Shape (n_windows, longest, width); zeros outside the mask.
    """
    mask = inputs["attention_mask"].bool()
    ids, inside = inputs["input_ids"].cpu().numpy(), mask.cpu().numpy()

    def make(lacking: list[int]) -> list[NDArray[numpy.float32]]:
        some = {name: tensor[lacking] for name, tensor in inputs.items()}
        with torch.no_grad():
            states = lower_states(transformer, n_lower, **some).float().cpu().numpy()
        return [found[inside[i]] for i, found in zip(lacking, states, strict=True)]

    keys = [window_key(row[is_inside]) for row, is_inside in zip(ids, inside, strict=True)]
    flat = torch.from_numpy(numpy.concatenate(cache.gather(keys, make))).to(mask.device)
    hidden = flat.new_zeros((*mask.shape, flat.shape[1]))
    hidden[mask] = flat
    return hidden


class _Reached(Exception):
    def __init__(self, states: Tensor) -> None:
        self.states = states


@contextmanager
def _without_lower(transformer: Any, n_lower: int) -> Iterator[nn.Module]:
    parent_path, _, name = _LAYERS[type(transformer).__name__].rpartition(".")
    parent, layers = transformer.get_submodule(parent_path), _layers(transformer)
    setattr(parent, name, nn.ModuleList(layers[n_lower:]))
    try:
        yield layers[n_lower]
    finally:
        setattr(parent, name, layers)


def _layers(transformer: Any) -> nn.ModuleList:
    return transformer.get_submodule(_LAYERS[type(transformer).__name__])
