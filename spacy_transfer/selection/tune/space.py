"""The space of a search: ranges, lists and alternative blocks by dotted keys of a config."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any, TypeAlias

from ...types import Config

if TYPE_CHECKING:
    from optuna.trial import Trial

Value: TypeAlias = Any
"""What a config may hold: a number, a string, null, a list or a block."""
Params: TypeAlias = dict[str, Value]
"""What Optuna stores, by name of the setting: numbers, and JSON of what was chosen from a list."""
_ABSENT = object()


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, whole ones where both are whole."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def draw(self, trial: "Trial", name: str) -> Value:
        """RETURNS (Any): The value of a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def params_of(self, name: str, value: Value) -> Params | None:
        """RETURNS (Optional[Dict[str, Any]]): The parameters that give a value; None where none do."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return {name: value} if is_number and self.low <= value <= self.high else None


@dataclass(frozen=True)
class Choices:
    """Values, each as JSON: so null and lists are choices too."""

    values: tuple[str, ...]

    def draw(self, trial: "Trial", name: str) -> Value:
        """RETURNS (Any): The value of a trial."""
        return json.loads(str(trial.suggest_categorical(name, self.values)))

    def params_of(self, name: str, value: Value) -> Params | None:
        """RETURNS (Optional[Dict[str, Any]]): The parameters that give a value; None where none do."""
        return {name: as_json(value)} if as_json(value) in self.values else None


@dataclass(frozen=True)
class Blocks:
    """Alternative blocks by name. They may have ranges and lists inside. An empty one stands for the config's own."""

    blocks: Mapping[str, Mapping[str, Value]]

    def draw(self, trial: "Trial", name: str) -> Value:
        """RETURNS (Any): The block of a trial; empty for the config's own."""
        chosen = str(trial.suggest_categorical(name, tuple(self.blocks)))
        return _drawn(self.blocks[chosen], trial, f"{name}[{chosen}]")

    def params_of(self, name: str, value: Value) -> Params | None:
        """RETURNS (Optional[Dict[str, Any]]): The parameters that give a block; None where none do."""
        for chosen, block in self.blocks.items():
            inner = {} if not block else _matched(block, value, f"{name}[{chosen}]")
            if inner is not None:
                return {name: chosen, **inner}
        return None


Setting = Range | Choices | Blocks


@dataclass(frozen=True)
class Space:
    """Settings by dotted key."""

    settings: Mapping[str, Setting]

    def draw(self, trial: "Trial", config: Config) -> Config:
        """RETURNS (Dict[str, Any]): A copy of a config, with the values of a trial."""
        config = copy.deepcopy(config)
        for key, setting in self.settings.items():
            value = setting.draw(trial, key)
            if not (isinstance(setting, Blocks) and value == {}):
                put(config, key, value)
        return config

    def params_of(self, config: Config) -> Params:
        """RETURNS (Dict[str, Any]): The parameters of a config. What lies outside of the space has none."""
        found: Params = {}
        for key, setting in self.settings.items():
            found |= setting.params_of(key, look_up(config, key)) or {}
        return found

    def register(self, trial: "Trial", params: Params) -> None:
        """Tell Optuna the parameters of a trial whose config is not drawn."""
        for name, setting in self.named():
            if name in params:
                values = tuple(setting.blocks) if isinstance(setting, Blocks) else ()
                trial.suggest_categorical(name, values) if values else setting.draw(trial, name)

    def named(self) -> Iterator[tuple[str, Setting]]:
        """YIELDS (Tuple[str, Setting]): All settings with the names of their parameters, those inside blocks too."""
        yield from _named(self.settings)

    def value_of(self, name: str, param: Value) -> Value:
        """RETURNS (Any): What a parameter stands for: a number, the value in a list, the name of a block."""
        setting = dict(self.named())[name]
        return json.loads(param) if isinstance(setting, Choices) else param

    def values_in(self, config: Config) -> Config:
        """RETURNS (Dict[str, Any]): The values that a config has, by key; blocks are left out."""
        found = {key: look_up(config, key) for key in self.settings}
        return {key: value for key, value in found.items() if not isinstance(value, dict)}

    def digest(self) -> str:
        """RETURNS (str): A hash: equal for equal spaces, however they are written."""
        return digest_of({key: repr(setting) for key, setting in self.settings.items()})


def look_up(config: Config, key: str) -> Value:
    """RETURNS (Any): The value under a dotted key."""
    return reduce(getitem, key.split("."), config)


def put(config: Config, key: str, value: Value) -> None:
    """Set the value under a dotted key. Blocks on the way are made."""
    *sections, last = key.split(".")
    place = config
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = value


def as_json(value: Value) -> str:
    """RETURNS (str): The same for equal values."""
    return json.dumps(value, sort_keys=True)


def digest_of(value: Value) -> str:
    """RETURNS (str): A hash of what JSON can hold."""
    return hashlib.sha256(as_json(value).encode("utf8")).hexdigest()


def _drawn(block: Mapping[str, Value], trial: "Trial", name: str) -> Config:
    found: Config = {}
    for key, value in block.items():
        inner = f"{name}.{key}"
        if isinstance(value, Setting):
            found[key] = value.draw(trial, inner)
        else:
            found[key] = _drawn(value, trial, inner) if isinstance(value, Mapping) else copy.deepcopy(value)
    return found


def _matched(block: Mapping[str, Value], value: Value, name: str) -> Params | None:
    """The parameters inside a block that give a value."""
    if not isinstance(value, Mapping) or set(value) != set(block):
        return None
    params: Params = {}
    for key, wanted in block.items():
        inner, found = f"{name}.{key}", value.get(key, _ABSENT)
        if isinstance(wanted, Setting):
            more = wanted.params_of(inner, found)
        elif isinstance(wanted, Mapping):
            more = _matched(wanted, found, inner)
        else:
            more = {} if wanted == found else None
        if more is None:
            return None
        params |= more
    return params


def _named(settings: Mapping[str, Value], prefix: str = "") -> Iterator[tuple[str, Setting]]:
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Setting):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _named(value, f"{name}.")
        if isinstance(value, Blocks):
            for chosen, block in value.blocks.items():
                yield from _named(block, f"{name}[{chosen}].")
