"""L2-SP: a pull toward the pretrained weights (Li, Grandvalet and Davoine 2018, arXiv 1802.01483). With an importance
for each weight it is EWC (Kirkpatrick et al. 2017, arXiv 1612.00796)."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Protocol, cast

from ..errors import Errors
from ..types import Floats
from .policy import Anchor


def strengths(anchor: Anchor, names: Sequence[str], key: str = "tuning.anchor") -> dict[str, float]:
    """How strongly each parameter is pulled.

    anchor (Union[None, float, Dict[str, float]]): One strength for all, or one for each regular expression; the first
        that finds a name counts, and what none finds is free.
    key (str): Key of the anchor in the config, for the message.
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


def pull_of(weights: Floats, origin: Floats, strength: float, importance: Floats | None = None) -> Floats:
    """The gradient of strength / 2 * sum(importance * (weights - origin) ** 2), for arrays of numpy, cupy and torch
    alike. All pulls in this package are computed here.

    weights (FloatsXd), origin (FloatsXd): The weights, and where they are pulled to.
    strength (float): Of the pull, times the docs it is for.
    importance (Optional[FloatsXd]): Of each weight; None for 1.
    """
    found = weights - origin
    if importance is not None:
        found *= importance
    found *= strength
    return found


class Pulled(Protocol):
    """A parameter, of a node of Thinc or a module of torch alike."""

    @property
    def value(self) -> object:
        """RETURNS (Union[FloatsXd, Tensor]): The weights."""

    def add_gradient(self, more: Any) -> None:
        """Add to the gradient."""


def pull(parameter: Pulled, origin: Floats, strength: float, importance: Floats | None = None) -> None:
    """Add the pull to the gradient of a parameter.

    parameter (Pulled): The parameter. See `pull_of` for the rest.
    """
    parameter.add_gradient(pull_of(cast(Floats, parameter.value), origin, strength, importance))
