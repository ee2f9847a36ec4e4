"""The way of windows of any length through an encoder without padding, found once for each by a trial pass."""

from typing import TYPE_CHECKING, Literal

import numpy
import torch

from ..packed import can_pack, packed_states
from ..portions import Joined
from ..probes import are_close, options, run, sample, tolerance_of, undisturbed
from .layouts import arguments, has_other_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Way = Literal["layers", "attention"]
_SIZES = [13, 6, 6, 5]


def find_way(transformer: "PreTrainedModel") -> Way | None:
    """Find the way of an encoder's windows, by comparison with the padded pass.

    RETURNS (Optional[str]): "layers" where layers have BERT's parts, so that `packed_states` runs them; "attention"
        where its own code runs, and torch's attention is all that pieces see of each other; None where they need
        padding.
    """
    if can_pack(transformer):
        return "layers"
    for way, gives_the_same in (("layers", _same_by_layers), ("attention", _same_by_attention)):
        try:
            with undisturbed(transformer), torch.no_grad(), torch.autocast("cpu", enabled=False):
                if gives_the_same(transformer, tolerance_of(transformer)):
                    return way  # type: ignore[return-value]
        except Exception:  # Other parts, or whatever an encoder's own code raises on what it does not know.
            continue
    return None


def _same_by_layers(transformer: "PreTrainedModel", tolerance: float) -> bool:
    if has_other_parts(transformer):
        return False
    inputs = sample(transformer, _SIZES)
    inside = inputs["attention_mask"].bool()
    whole = transformer(**inputs, output_hidden_states=True, **options(transformer))
    states = packed_states(transformer, inputs["input_ids"][inside], numpy.array(_SIZES), n_returned=None)
    expected = [*whole.hidden_states[:-1], whole.last_hidden_state]
    return all(are_close(found, all_[inside], tolerance) for found, all_ in zip(states, expected, strict=True))


def _same_by_attention(transformer: "PreTrainedModel", tolerance: float) -> bool:
    if "position_ids" not in arguments(type(transformer).forward):
        return False
    inputs = sample(transformer, _SIZES)
    inside = inputs["attention_mask"].bool()
    joined = Joined(inputs["input_ids"][inside].cpu().numpy(), numpy.array(_SIZES), inside.device)
    with joined.attention():
        found = run(transformer, joined.inputs(0))
    return are_close(found[0], run(transformer, inputs)[inside], tolerance)
