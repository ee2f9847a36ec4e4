"""Where the layers of an encoder are: read from its modules, whatever their names."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class LayerLists:
    """The layers of an encoder.

    paths (Tuple[str, ...]): Names of the lists. Most families have one. XLM has four side by side (attention,
        feed-forward, two norms): their i-th members make up layer i.
    count (int): Number of layers.
    """

    paths: tuple[str, ...]
    count: int

    def inside(self, name: str) -> str | None:
        """RETURNS (Optional[str]): The name that a module or parameter has inside its layer; null outside of layers.

        name (str): Its name.
        """
        path = next((path for path in self.paths if name.startswith(f"{path}.")), None)
        return None if path is None else name[len(path) + 1 :].partition(".")[2]


def find_layers(transformer: Any) -> LayerLists | None:
    """Find the layers: the outermost list with as many modules as the config has layers. Where layers share their
    weights (ALBERT), a group of weights counts as one layer.

    transformer (nn.Module): An encoder of transformers.
    RETURNS (Optional[LayerLists]): None where there is no such list, or there are several that do not belong together.
    """
    config: Any = transformer.config
    count = getattr(config, "num_hidden_groups", None) or getattr(config, "num_hidden_layers", None)
    paths: list[str] = []
    for name, part in transformer.named_modules():
        is_inner = any(name.startswith(f"{path}.") for path in paths)
        if isinstance(part, nn.ModuleList) and len(part) == count and not is_inner:
            paths.append(name)
    if not paths or len({path.rpartition(".")[0] for path in paths}) > 1:
        return None
    return LayerLists(tuple(paths), len(transformer.get_submodule(paths[0])))
