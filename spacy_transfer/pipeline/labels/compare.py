"""Compare two backbones: whether they give the same rows, and if not, what differs."""

import json
import re
from collections.abc import Iterator

import numpy
from spacy.language import Language
from spacy.ty import ListenedToComponent
from thinc.api import Model

from ...backbones.transformer.transformer_shim import TransformerShim
from ...types import Config, Floats, pipe_of
from ..parameters import parameters_in

# Settings that do not change rows: where the weights come from, the size of batches, what is trained.
IGNORED = {"source", "max_batch_items", "tuning", "name", "grad_factor", "tokenizer_config", "grad_scaler_config"}
_LAYER = re.compile(r"\.(layers?|layer)\.(\d+)\.")


def backbone_of(nlp: Language, name: str) -> tuple[Language, str] | None:
    """The component whose rows a head reads.

    RETURNS (Optional[Tuple[Language, str]]): The pipeline and the component's name; None if it reads no other.
    """
    for other, pipe in reversed(nlp.components):
        if isinstance(pipe, ListenedToComponent) and name in pipe.listening_components:
            return nlp, other
    return None


def differences(ours: tuple[Language, str] | None, theirs: tuple[Language, str] | None) -> list[str]:
    """What differs between two backbones: kind, settings that change rows, width, weights by layer, and adapters.

    ours (Optional[Tuple[Language, str]]): A pipeline and the name of its backbone; None for a head without one.
    RETURNS (List[str]): One line for each difference, empty where the rows are the same.
    """
    if ours is None or theirs is None:
        return [] if ours is theirs else ["one head listens to a backbone, the other has its own"]
    blocks = [nlp.config.interpolate()["components"][name].get("model", {}) for nlp, name in (ours, theirs)]
    models = [pipe_of(nlp, name).model for nlp, name in (ours, theirs)]
    if any(model.maybe_get_dim("nO") is None for model in models):
        return ["one of the two has no weights yet"]
    found = list(_settings(blocks[0], blocks[1], ""))
    found += _weights(*models)
    if found and blocks[0].get("source") != blocks[1].get("source"):
        found.insert(0, f"source: {blocks[0].get('source')!r} and {blocks[1].get('source')!r}")
    return found


def _settings(ours: Config, theirs: Config, path: str) -> Iterator[str]:
    for key in sorted({*ours, *theirs} - IGNORED):
        mine, other = ours.get(key), theirs.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            yield from _settings(mine, other, f"{path}{key}.")
        elif mine != other:
            yield f"model.{path}{key}: {mine!r} and {other!r}"


def _weights(ours: Model, theirs: Model) -> list[str]:
    """Where names and shapes agree, by how much the numbers of each layer differ."""
    sizes = [model.get_dim("nO") for model in (ours, theirs)]
    if sizes[0] != sizes[1]:
        return [f"width of the rows: {sizes[0]} and {sizes[1]}"]
    mine, other = (dict(_tensors(model)) for model in (ours, theirs))
    adapters = [sorted(name for name in some if "lora_" in name or "adapter" in name) for some in (mine, other)]
    if bool(adapters[0]) != bool(adapters[1]):
        return [f"adapter: {'one' if adapters[0] else 'none'} and {'one' if adapters[1] else 'none'}"]
    lone = sorted(mine.keys() ^ other.keys())
    shapes = sorted(name for name in mine.keys() & other.keys() if mine[name].shape != other[name].shape)
    if lone or shapes:
        return [f"weights that only one has, or of other shapes: {_few([*lone, *shapes])}"]
    changes: dict[str, float] = {}
    for name, array in mine.items():
        if not numpy.array_equal(array, other[name]):
            layer = _layer(name)
            change = float(numpy.abs(array.astype("f8") - other[name].astype("f8")).max())
            # The built-in `max` would lose a NaN.
            changes[layer] = float(numpy.maximum(changes.get(layer, 0.0), change))
    if changes:
        return ["weights, largest difference: " + _few([f"{layer} {change:.1e}" for layer, change in changes.items()])]
    return [] if _rest(ours) == _rest(theirs) else ["the tokenizer, or something else that is saved beside the weights"]


def _tensors(model: Model) -> Iterator[tuple[str, Floats]]:
    for named in parameters_in("", model):
        if not named.is_torch:
            yield named.name, model.ops.to_numpy(named.parameter.value)
    for number, shim in enumerate(shim for node in model.walk() for shim in node.shims):
        module = getattr(shim, "_model", None)
        encoder = getattr(shim, "encoder", None)
        if module is not None and hasattr(module, "state_dict"):
            for name, tensor in module.state_dict().items():
                yield f"{number}.{name}", tensor.detach().float().cpu().numpy()
        elif isinstance(encoder, Model):
            yield from ((f"{number}{name}", array) for name, array in _tensors(encoder))


def _rest(model: Model) -> list[object]:
    """What shims save beside their weights, without their source and number of steps."""
    found: list[object] = []
    for shim in [shim for node in model.walk() for shim in node.shims]:
        if isinstance(shim, TransformerShim) and shim.pretrained is not None:
            parts = json.loads(shim.pretrained.to_metadata(0, shim.adapter)["encoder"])
            found.append({key: part for key, part in parts.items() if key != "fingerprint"})
        elif not hasattr(getattr(shim, "_model", None), "state_dict"):
            found.append(shim.to_bytes())
    return found


def _layer(name: str) -> str:
    hit = _LAYER.search(name)
    if hit:
        return f"layer {hit[2]}"
    return "embeddings" if "embed" in name else name.split(".", 1)[-1]


def _few(names: list[str], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
