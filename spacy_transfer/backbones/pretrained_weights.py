"""Weights that `spacy pretrain` wrote, loaded into a backbone: checked against it before anything changes."""

from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.model import serialize_attr
from thinc.types import Floats2d
from thinc.util import convert_recursive, is_xp_array

from ..errors import Errors
from ..integrity import unpack
from ..types import BackboneT, Config
from .shims.tunable import tunable_shims
from .vectors.lookup import LookupAttrs

PRETRAINING = "spacy_transfer_pretraining"
"""The key that a file of our objectives has beside those of Thinc."""
_WHERE = "The pretrained file"
# Settings that are the config's own, whatever the file was pretrained with. Thinc would take the file's.
_OWN = ("source", "component", "prune", "finetune", "dropout", "dropout_rate")
_NOT_COMPARED = {*_OWN, "fingerprint", "is_enabled"}
_MOST = 5


class BackboneModel(Model[list[Doc], list[Floats2d]]):
    """A backbone that says what differs where weights do not fit it. spaCy's `init_tok2vec` calls `from_bytes`."""

    def from_bytes(self, bytes_data: bytes) -> "BackboneModel":
        load_weights(self, bytes_data)
        return self


def load_pretrained(model: BackboneT, path: Path, key: str) -> None:
    """Load a file of `spacy pretrain`.

    model (Model[List[Doc], List[Floats2d]]): A backbone that has read its source.
    path (Path): The file.
    key (str): Its key in the config, for messages.
    RAISES (ValueError): When there is no such file, or it does not fit.
    """
    if not path.is_file():
        raise ValueError(Errors.T862.format(key=key, path=path))
    load_weights(model, path.read_bytes())


def load_weights(model: BackboneT, data: bytes) -> None:
    """Load the bytes of a backbone, of a saved pipeline or a pretrained file.

    Those of a pretrained file are a start as a source's are: an anchor pulls to them, and an adapter that the
    config does not have is merged.

    RAISES (ValueError): When they do not fit, with what differs. Nothing has changed then, if it shows before loading.
    """
    msg = unpack(data, _WHERE)
    if not model.has_dim("nO"):
        _fill(model, msg)
        _check_width(model)
        return
    is_pretrained = PRETRAINING in msg
    found = _differences(model, msg, is_pretrained)
    if found:
        raise ValueError(Errors.T861.format(name=model.name, found="; ".join(found)))
    if not is_pretrained:
        _fill(model, msg)
        return
    for node, attrs, shims in zip(model.walk(), msg["attrs"], msg["shims"], strict=True):
        for key in _OWN:
            attrs.pop(key, None)
        for i, shim in enumerate(node.shims):
            if hasattr(shim, "with_own_adapter"):
                shims[i] = shim.with_own_adapter(shims[i])
    try:
        _fill(model, msg)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(Errors.T861.format(name=model.name, found=error)) from error
    for tunable in tunable_shims(model):
        tunable.remember_origin()


def _fill(model: BackboneT, msg: Config) -> None:
    for node in model.walk():
        LookupAttrs.of(node).forget()  # It is made of the saved words.
    model.from_dict(convert_recursive(is_xp_array, model.ops.asarray, msg))


def _check_width(model: BackboneT) -> None:
    """A saved pipeline has heads for rows as wide as it had; a config may ask for those of other layers."""
    for shim in model.shims if model.has_dim("nO") else ():
        width = getattr(shim, "width", None)
        if width not in (None, model.get_dim("nO")):
            found = f"it has rows of the width {model.get_dim('nO')}, and layers of the backbone asks for {width}"
            raise ValueError(Errors.T861.format(name=model.name, found=found))


def _differences(model: BackboneT, msg: Config, is_pretrained: bool) -> list[str]:
    """What keeps the bytes from fitting. Saved pipelines bring settings and encoders of their own."""
    nodes, saved = list(model.walk()), msg.get("nodes")
    if not isinstance(saved, list):
        return ["it holds no model"]
    names, own = [info["name"] for info in saved], [node.name for node in nodes]
    if names[:1] != own[:1]:
        return [f"it holds the architecture {names[0]!r}, not {own[0]!r}"]
    if len(names) != len(own) or (is_pretrained and names != own):
        # The first of Thinc's names that differs, deep inside, is the layer that is another.
        pairs = zip([*names, "nothing"], [*own, "nothing"], strict=False)
        at = next((pair for pair in pairs if pair[0] != pair[1]), ("nothing", "nothing"))
        return [f"it has {len(names)} layers, not {len(own)}: the first that differs is {at[0]!r}, not {at[1]!r}"]
    found: list[str] = []
    for node, info, params in zip(nodes, saved, msg["params"], strict=True):
        found += _other_sizes(node, info["dims"], params)
    if is_pretrained:
        for node, attrs, shims in zip(nodes, msg["attrs"], msg["shims"], strict=True):
            found += _other_settings(node, attrs)
            for shim, data in zip(node.shims, shims, strict=True):
                found += shim.differences(data) if data and hasattr(shim, "differences") else []
    return found[:_MOST]


def _other_sizes(node: Model, dims: Config, params: Config) -> list[str]:
    own = {dim: node.get_dim(dim) for dim in node.dim_names if node.has_dim(dim)}
    found = [
        f"{node.name}: {dim} = {dims[dim]}, not {size}"
        for dim, size in own.items()
        if dims.get(dim) not in (None, size)
    ]
    for name, value in params.items():
        shape = node.get_param(name).shape if node.has_param(name) else None
        if shape is not None and value is not None and shape != value.shape:
            found.append(f"{node.name}: {name} has the shape {value.shape}, not {shape}")
    return found


def _other_settings(node: Model, saved: dict[str, bytes]) -> list[str]:
    found = []
    for key in sorted(set(saved) & set(node.attrs) - _NOT_COMPARED):
        value: Any = node.attrs[key]
        if serialize_attr(value, value, key, node) != saved[key]:
            is_words = key in ("keys", "subwords")
            found.append(f"{node.name}: its words are others" if is_words else f"{node.name}: another {key}")
    return found
