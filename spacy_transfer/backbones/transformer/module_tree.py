"""The layers of an encoder, found in its tree of modules, independent of their names."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from ...errors import Errors

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class LayerLists:
    """The layers of an encoder.

    paths (Tuple[str, ...]): Names of the lists. Most families have one. XLM has four side by side (attention,
        feed-forward, two norms): their i-th members make up layer i.
    """

    paths: tuple[str, ...]
    count: int

    def inside(self, name: str) -> str | None:
        """RETURNS (Optional[str]): The name that a module or parameter has inside its layer; null outside of layers."""
        path = next((path for path in self.paths if name.startswith(f"{path}.")), None)
        return None if path is None else name[len(path) + 1 :].partition(".")[2]

    def is_above(self, name: str) -> bool:
        """RETURNS (bool): Whether a tensor, maybe with a prefix before its name, is in a layer beyond these."""
        found = (re.search(rf"(?:^|\.){re.escape(path)}\.(\d+)\.", name) for path in self.paths)
        return any(match is not None and int(match[1]) >= self.count for match in found)


def cut_config(config: "PretrainedConfig", depth: int, where: str) -> bool:
    """Let an encoder of this config have the bottom layers only.

    depth (int): How many.
    where (str): What the config is of, for messages.
    RETURNS (bool): Whether that is fewer than before.
    RAISES (ValueError): When there are not so many, or the config does not count them.
    """
    count = getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int):
        raise ValueError(Errors.T871.format(depth=depth, where=where, problem="its config does not count them"))
    if getattr(config, "num_hidden_groups", None) is not None:
        raise ValueError(Errors.T871.format(depth=depth, where=where, problem="they share their weights"))
    if depth > count:
        raise ValueError(Errors.T870.format(depth=depth, where=where, count=count))
    try:
        config.num_hidden_layers = depth
    except NotImplementedError as error:
        raise ValueError(Errors.T871.format(depth=depth, where=where, problem=error)) from error
    # Some configs name the kind of attention of each layer.
    kinds = {key: kept for key, kept in vars(config).items() if "layer" in key and isinstance(kept, list)}
    vars(config).update({key: kept[:depth] for key, kept in kinds.items() if len(kept) == count})
    return depth < count


def find_layers(transformer: "PreTrainedModel") -> LayerLists | None:
    """Find the layers: the outermost list with as many modules as the config has layers. Where layers share their
    weights (ALBERT), a group of weights counts as one layer.

    RETURNS (Optional[LayerLists]): None where there is no such list, or there are several that do not belong together.
    """
    config = transformer.config
    count = getattr(config, "num_hidden_groups", None) or getattr(config, "num_hidden_layers", None)
    paths: list[str] = []
    for name, part in transformer.named_modules():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            paths += [] if any(name.startswith(f"{path}.") for path in paths) else [name]
    if count is None or not paths or len({path.rpartition(".")[0] for path in paths}) > 1:
        return None
    return LayerLists(tuple(paths), count)


def attention_layers(transformer: "PreTrainedModel") -> list[str]:
    """Find the linear layers of attention, by the names that they have inside a layer ("attention.self.query").

    RETURNS (List[str]): Names by which peft finds those and no others.
    """
    layers = find_layers(transformer)
    parts = dict(transformer.named_modules())
    # GPT-2's Conv1D is a linear layer too.
    linear = {name for name, part in parts.items() if isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"}
    whole = {name for name in linear if any(_is_attention(parts[path], path) for path in _holders(name))}
    inner = {(layers and layers.inside(name)) or name for name in whole}
    found = {name for name in linear if any(name == part or name.endswith(f".{part}") for part in inner)}
    return sorted(inner if found == whole else whole)


def _holders(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _is_attention(part: nn.Module, name: str) -> bool:
    return bool(re.search(r"attention|attn", f"{type(part).__name__} {name.rpartition('.')[2]}", re.IGNORECASE))
