"""Separate passes of the lower and the upper layers of an encoder, for encoders of any family.

A pass with the list of layers cut after the lower ones gives their states. A pass with the upper ones alone, whose
first layer gets those states, gives the rest. Masks, positions and all other arguments come from the encoder's own code
in both. A trial pass compares both together with a pass of the whole encoder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...cached_rows.row_cache import RowCache, window_key
from ..packed import can_pack
from ..probes import are_close, options, predicting, rows_depend_on_padding, run, sample, undisturbed
from .module_tree import find_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput

# The name of the list of an encoder's layers, which is needed in every step.
_PATHS: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def can_split(transformer: "PreTrainedModel") -> bool:
    """RETURNS (bool): Whether lower and upper layers together give the states of the whole encoder. They do where
    layers get nothing but states from the layer below, and where states do not depend on padding."""
    if can_pack(transformer):
        return True
    layers = find_layers(transformer)
    shared = getattr(transformer.config, "num_hidden_groups", None)
    if layers is None or len(layers.paths) > 1 or layers.count < 2 or shared is not None:
        return False
    if rows_depend_on_padding(transformer):
        return False
    inputs = sample(transformer, [13, 6])
    with undisturbed(transformer), torch.no_grad():
        whole = run(transformer, inputs)
        return all(_are_same(transformer, n_lower, inputs, whole) for n_lower in {1, layers.count - 1})


def _are_same(transformer: "PreTrainedModel", n_lower: int, inputs: dict[str, Tensor], whole: Tensor) -> bool:
    try:
        states = lower_states(transformer, n_lower, **inputs)
        found = upper_states(transformer, n_lower, states, **inputs)
    except Exception:  # An encoder that counts its layers itself may raise anything; then it cannot be split.
        return False
    inside = inputs["attention_mask"].bool()
    # XLNet's states have the axes of windows and pieces in the other order.
    if states.shape[:2] != inside.shape:
        return False
    return found.shape == whole.shape and are_close(found[inside], whole[inside], 1e-6)


def lower_states(transformer: "PreTrainedModel", n_lower: int, **inputs: Tensor) -> Tensor:
    """States before layer `n_lower`.

    transformer (nn.Module): An encoder for which `can_split` holds.
    n_lower (int): How many layers to run, at least one and fewer than there are.
    RETURNS (Tensor): Shape (n_windows, longest, width).
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        found.append(output if isinstance(output, Tensor) else output[0])

    with _only_layers(transformer, slice(n_lower)) as layers, predicting(transformer):
        hook = layers[-1].register_forward_hook(keep)
        try:
            transformer(**inputs, **options(transformer))
        finally:
            hook.remove()
    return found[0][:, : inputs["input_ids"].shape[1]]


def upper_states(transformer: "PreTrainedModel", n_lower: int, states: Tensor, **inputs: Tensor) -> Tensor:
    """States after the last layer, from those before layer `n_lower`.

    transformer (nn.Module): An encoder for which `can_split` holds.
    states (Tensor): Shape (n_windows, longest, width).
    RETURNS (Tensor): Of the same shape.
    """
    found: Tensor = upper_output(transformer, n_lower, states, **inputs)["last_hidden_state"]
    return found


def upper_output(
    transformer: "PreTrainedModel", n_lower: int, states: Tensor, **inputs: Tensor | bool
) -> "BaseModelOutput":
    """RETURNS (BaseModelOutput): The same with the rest of the encoder's output, such as that of its pooler."""

    def replace_states(module: nn.Module, args: tuple, kwargs: dict[str, Tensor]) -> tuple[tuple, dict[str, Tensor]]:
        given = _filled_up(states, args[0] if args else kwargs["hidden_states"])
        return ((given, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": given})

    with _only_layers(transformer, slice(n_lower, None)) as layers:
        hook = layers[0].register_forward_pre_hook(replace_states, with_kwargs=True)
        try:
            return transformer(**inputs, **options(transformer))
        finally:
            hook.remove()


def find_ending(transformer: "PreTrainedModel") -> nn.Module | None:
    """Find what an encoder does with the states of its last layer: a norm, in some families, or nothing. After it, the
    states of each layer are those of an encoder that has no layers above.

    RETURNS (Optional[nn.Module]): The norm, or an identity; None where it is more than that, or layers cannot be told
        apart.
    """
    if can_pack(transformer):
        return nn.Identity()
    layers, shared = find_layers(transformer), getattr(transformer.config, "num_hidden_groups", None)
    if layers is None or len(layers.paths) > 1 or shared is not None:
        return None
    inputs, calls = sample(transformer, [6]), list[tuple[nn.Module, object]]()
    path = f".{layers.paths[0]}."
    outside = [
        part
        for name, part in transformer.named_modules()
        if name and not path.startswith(f".{name}.") and layers.inside(name) is None
    ]
    with undisturbed(transformer), torch.no_grad():
        hooks = [m.register_forward_hook(lambda m, args, out: calls.append((m, out))) for m in outside]
        try:
            output = transformer(**inputs, output_hidden_states=True, **options(transformer))
        finally:
            for hook in hooks:
                hook.remove()
        last, states = output.last_hidden_state, output.hidden_states
        if len(states) != layers.count + 1:
            return None
        ends = [m for m, out in calls if isinstance(out, Tensor) and out.shape == last.shape and are_close(out, last)]
        return next((end for end in (nn.Identity(), *ends) if _ends(transformer, end, states, inputs)), None)


def _ends(
    transformer: "PreTrainedModel", end: nn.Module, states: tuple[Tensor, ...], inputs: dict[str, Tensor]
) -> bool:
    """Whether a module makes the last states of encoders with fewer layers from the states of these layers."""
    try:
        for depth in {1, len(states) - 2} - {0}:
            with _only_layers(transformer, slice(depth)):
                if not are_close(run(transformer, inputs), end(states[depth]), 1e-6):
                    return False
    except Exception:  # As above.
        return False
    return True


def kept_states(transformer: "PreTrainedModel", n_lower: int, cache: RowCache, **inputs: Tensor) -> Tensor:
    """States before layer `n_lower`, below which all is frozen: from a cache, and by one pass for missing windows.

    inputs: The arguments of the encoder's forward pass, padded on the right.
    RETURNS (Tensor): Shape (n_windows, longest, width); zeros outside the mask.
    """
    mask = inputs["attention_mask"].bool()
    ids, inside = inputs["input_ids"].cpu().numpy(), mask.cpu().numpy()

    def make(missing: list[int]) -> list[NDArray[numpy.float32]]:
        some = {name: tensor[missing] for name, tensor in inputs.items()}
        with torch.no_grad():
            states = lower_states(transformer, n_lower, **some).float().cpu().numpy()
        return [found[inside[i]] for i, found in zip(missing, states, strict=True)]

    keys = [window_key(row[is_inside]) for row, is_inside in zip(ids, inside, strict=True)]
    flat = torch.from_numpy(numpy.concatenate(cache.gather(keys, make))).to(mask.device)
    hidden = flat.new_zeros((*mask.shape, flat.shape[1]))
    hidden[mask] = flat
    return hidden


def _filled_up(states: Tensor, like: Tensor) -> Tensor:
    """Some encoders (Longformer) pad windows to a multiple of a number."""
    if states.shape[1] == like.shape[1]:
        return states
    return torch.cat((states, like[:, states.shape[1] :].to(states.dtype)), dim=1)


@contextmanager
def _only_layers(transformer: "PreTrainedModel", which: slice) -> Iterator[nn.ModuleList]:
    if transformer not in _PATHS:
        found = find_layers(transformer)
        assert found is not None
        _PATHS[transformer] = found.paths[0]
    parent_path, _, name = _PATHS[transformer].rpartition(".")
    parent = transformer.get_submodule(parent_path)
    layers = getattr(parent, name)
    some = nn.ModuleList(layers[which])
    setattr(parent, name, some)
    try:
        yield some
    finally:
        setattr(parent, name, layers)
