"""L2-SP: a pull toward the pretrained weights (Li, Grandvalet and Davoine 2018, arXiv 1802.01483). With an importance
for each weight it is EWC (Kirkpatrick et al. 2017, arXiv 1612.00796)."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from .policy import Anchor

if TYPE_CHECKING:
    from torch import Tensor, nn


def strengths(anchor: Anchor, names: Sequence[str], key: str = "tuning.anchor") -> dict[str, float]:
    """How strongly each parameter is pulled.

    anchor (Union[None, float, Dict[str, float]]): One strength for all, or one for each regular expression; the first
        that finds a name counts, and what none finds is free.
    names (Sequence[str]): Names of the encoder's own parameters.
    key (str): Where the anchor stands in the config, for the message.
    RETURNS (Dict[str, float]): By name; those that are free are left out.
    RAISES (ValueError): When a pattern finds nothing.
    """
    if anchor is None:
        return {}
    if isinstance(anchor, (int, float)):
        return {name: float(anchor) for name in names if anchor}
    found: dict[str, float] = {}
    for pattern, strength in anchor.items():
        matching = [name for name in names if re.search(pattern, name)]
        if not matching:
            near = get_close_matches(pattern, names, n=5, cutoff=0.2) or list(names)[:5]
            raise ValueError(Errors.T650.format(key=key, pattern=pattern, near=near))
        for name in matching:
            found.setdefault(name, float(strength))
    return {name: strength for name, strength in found.items() if strength}


def pull_of(weights: Any, origin: Any, strength: float, importance: Any = None) -> Any:
    """The gradient of strength / 2 * sum(importance * (weights - origin) ** 2), for arrays of numpy, cupy and torch
    alike. All pulls in this package are computed here.

    weights (FloatsXd): The weights.
    origin (FloatsXd): Where they are pulled to.
    strength (float): Of the pull, times the docs it is for.
    importance (Optional[FloatsXd]): Of each weight; None for 1.
    RETURNS (FloatsXd): A new array.
    """
    found = weights - origin
    if importance is not None:
        found *= importance
    found *= strength
    return found


def pull(
    parameters: "Mapping[str, nn.Parameter]", origin: "Mapping[str, Tensor]", by_name: Mapping[str, float], n_docs: int
) -> None:
    """Add to the gradients of what moves: strength * (weights - pretrained weights) for every doc, since the losses of
    heads are sums over docs. So the balance of loss and pull is the same for any size of batch, and for its parts.

    parameters (Mapping[str, nn.Parameter]): Those of the encoder.
    origin (Mapping[str, Tensor]): The pretrained weights.
    by_name (Mapping[str, float]): From `strengths`.
    n_docs (int): Docs since the last step.
    """
    import torch

    for name, strength in by_name.items():
        parameter = parameters[name]
        if parameter.grad is not None:
            with torch.no_grad():
                parameter.grad.add_(pull_of(parameter, origin[name], strength * n_docs))
