"""Groups of parameters by regular expressions over their names; and the names of parameters."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from ..checks import NOT_NEGATIVE, require
from ..errors import Errors
from ..types import Config

Key = tuple[int, str]
GroupSettings = dict[str, Config]

PLACE = "training.optimizer"
_GROUP_KEYS = ("pattern", "learn_rate", "weight_decay")


def first_rate(key: str, rate: object) -> tuple[float, Iterator[float] | None]:
    """Take the first learning rate.

    RETURNS (Tuple[float, Optional[Iterator[float]]]): The rate, and the schedule without it.
    RAISES (ValueError): When it is no rate.
    """
    first: object = rate
    schedule: Iterator[float] | None = None
    # Texts and blocks are iterable as well, but no schedules.
    if isinstance(rate, Iterable) and not isinstance(rate, (str, Mapping)):
        schedule = iter(rate)
        first = next(schedule, None)
    if first not in NOT_NEGATIVE:
        wanted = "a number of 0 or more, or a schedule of such (a block with @schedules)"
        raise ValueError(Errors.T215.format(key=key, found=rate if schedule is None else [first], wanted=wanted))
    return float(cast(float, first)), schedule


@dataclass(frozen=True)
class ParameterSettings:
    """How one parameter is updated.

    group (str): Name of its group; empty for none.
    rate (float): The rate at this step, factor included.
    schedule (Optional[Iterator[float]]): Of the rate; None where it is constant.
    scale (float): The factor on the rate.
    """

    group: str
    rate: float
    decay: float
    schedule: Iterator[float] | None
    scale: float


class Group:
    """One block `[training.optimizer.groups.NAME]`.

    settings (Config): `pattern`, and `learn_rate`, `weight_decay` where they differ from the rest.
    """

    def __init__(self, name: str, settings: Config) -> None:
        settings = settings if isinstance(settings, dict) else {str(settings): None}
        unknown = sorted(set(settings) - set(_GROUP_KEYS))
        if unknown or "pattern" not in settings:
            raise ValueError(Errors.T603.format(group=name, found=sorted(settings), known=list(_GROUP_KEYS)))
        try:
            self.pattern = re.compile(settings["pattern"])
        except (re.error, TypeError) as error:
            raise ValueError(Errors.T604.format(group=name, pattern=settings["pattern"], error=error)) from error
        self.name = name
        self.weight_decay: float | None = settings.get("weight_decay")
        place, rate = f"{PLACE}.groups.{name}", settings.get("learn_rate")
        require(place, NOT_NEGATIVE, weight_decay=self.weight_decay)
        self.rate: float | None = None
        self.schedule: Iterator[float] | None = None
        if rate is not None:
            self.rate, self.schedule = first_rate(f"{place}.learn_rate", rate)

    def next_rate(self) -> None:
        """Take the next rate of the schedule; after its end the last rate stays."""
        if self.schedule is not None:
            self.rate = next(self.schedule, self.rate)


class Groups:
    """All groups of an optimizer, in their order."""

    def __init__(self, settings: GroupSettings | None) -> None:
        self._groups = {name: Group(name, block) for name, block in (settings or {}).items()}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def __getitem__(self, name: str) -> Group:
        return self._groups[name]

    def find(self, name: str) -> Group | None:
        """RETURNS (Optional[Group]): The first group whose pattern finds a parameter of this name."""
        return next((group for group in self if group.pattern.search(name)), None)

    def check(self, names: Collection[str]) -> None:
        """Refuse groups without a parameter.

        names (Collection[str]): Names of all parameters, those that never move included.
        RAISES (ValueError): With the nearest names, or the groups that take all before it.
        """
        owners = {name: self.find(name) for name in names}
        used = {group.name for group in owners.values() if group is not None}
        for group in self:
            if group.name in used:
                continue
            taken = sorted({o.name for name, o in owners.items() if o is not None and group.pattern.search(name)})
            if taken:
                raise ValueError(Errors.T620.format(group=group.name, pattern=group.pattern.pattern, taken=taken))
            ordered = sorted(owners)
            near = get_close_matches(group.pattern.pattern, ordered, n=5, cutoff=0.2) or ordered[:5]
            raise ValueError(Errors.T602.format(group=group.name, pattern=group.pattern.pattern, near=near))


class Names:
    """Full names of parameters: the path of their node or shim, and their own name.

    Thinc numbers nodes and shims separately, so that a node and a shim can have the same id.
    """

    def __init__(self) -> None:
        self.all: set[str] = set()
        self._nodes: dict[int, str] = {}
        self._shims: dict[int, str] = {}
        self._either: dict[int, str] = {}

    def learn(
        self,
        either: Mapping[int, str],
        nodes: Mapping[int, str],
        shims: Mapping[int, str],
        parameters: Collection[str],
    ) -> None:
        """Add names; see `TorchOptimizer.learn_names`."""
        self._either.update(either)
        self._nodes.update(nodes)
        self._shims.update(shims)
        self.all.update(parameters)

    def name(self, key: Key, *, is_torch: bool) -> str:
        """Name of one parameter.

        key (Tuple[int, str]): Id of the node or shim, and the parameter's own name.
        is_torch (bool): Whether it is known to be a shim's. If not, a dot in the name shows it: shims of other
            libraries pass names of modules and parameters, and names of Thinc's own parameters have no dot.
        RETURNS (str): COMPONENT.path.parameter, as far as it is known.
        """
        first, second = (self._shims, self._nodes) if is_torch or "." in key[1] else (self._nodes, self._shims)
        owner = next((known[key[0]] for known in (first, self._either, second) if key[0] in known), "")
        name = f"{owner}.{key[1]}" if owner else key[1]
        self.all.add(name)
        return name
