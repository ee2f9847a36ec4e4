"""Reading of a space: a file in the config's own syntax.

[training.optimizer.learn_rate]
low = 1e-5
high = 1e-3
log = true

[training.batcher.size]
choices = [8, 16, 32]

[components.transfer_backbone.model.tuning.choices.none]

[components.transfer_backbone.model.tuning.choices.lora]
@misc = "spacy-transfer.Tuning.v1"
"""

import configparser
import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from thinc.api import Config as ThincConfig

from ...errors import Errors
from ...types import Config
from .space import Blocks, Choices, Range, Setting, Space, Value, as_json

_SECTION = re.compile(r"^\[([^\]\n]+)\][ \t]*$", re.MULTILINE)
_RANGE = {"low", "high", "log", "step"}


def read_space(path: Path, config: Config) -> Space:
    """Read and check a space.

    path (Path): The file.
    config (Dict[str, Any]): The config that it belongs to, filled and interpolated: its keys must be there.
    RETURNS (Space): The settings in the order of the file.
    RAISES (ValueError): When it cannot be read, or a key or its values are of no use.
    """
    try:
        text = path.read_text(encoding="utf8")
        found = ThincConfig().from_str(_with_parents(text), interpolate=False)
    except (OSError, ValueError, configparser.Error) as error:
        raise ValueError(Errors.T900.format(path=path, error=str(error).strip())) from error
    reader = _Reader(path)
    settings = dict(reader.settings(found))
    if not settings:
        raise ValueError(Errors.T906.format(path=path))
    for key, setting in settings.items():
        value = reader.require(config, key)
        if isinstance(value, dict) and not isinstance(setting, Blocks):
            what = "a range" if isinstance(setting, Range) else "a list"
            raise ValueError(Errors.T907.format(path=path, key=key, found=what))
    return Space(settings)


def _with_parents(text: str) -> str:
    """Thinc wants [a] before [a.b]. Here nobody has to write it, and the order does not matter."""
    before, *parts = _SECTION.split(text)
    sections = [(name.strip(), body) for name, body in zip(parts[::2], parts[1::2], strict=True)]
    known = {name for name, _ in sections}
    levels = [name.split(".") for name in known]
    parents = {".".join(level[:i]) for level in levels for i in range(1, len(level))}
    sections += [(parent, "\n") for parent in sorted(parents - known)]
    sections.sort(key=lambda section: section[0].count("."))
    return before + "".join(f"[{name}]{body}\n" for name, body in sections)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self, block: Config, prefix: str = "") -> Iterator[tuple[str, Setting]]:
        for name, value in block.items():
            key = f"{prefix}{name}"
            setting = self.setting(key, value)
            if setting is not None:
                yield key, setting
            elif isinstance(value, dict):
                yield from self.settings(value, f"{key}.")
            else:
                raise ValueError(Errors.T905.format(path=self.path, key=key, found=value))

    def setting(self, key: str, value: Value) -> Setting | None:
        """A range, a list or blocks; None for anything else."""
        if not isinstance(value, dict):
            return None
        if "choices" in value:
            return self.blocks(key, value) if isinstance(value["choices"], dict) else self.choices(key, value)
        return self.range(key, value) if {"low", "high"} & set(value) else None

    def range(self, key: str, value: Config) -> Range:
        problem = _range_problem(value)
        if problem:
            raise ValueError(Errors.T902.format(path=self.path, key=key, problem=problem))
        return Range(value["low"], value["high"], value.get("log") is True, value.get("step"))

    def choices(self, key: str, value: Config) -> Choices:
        found = value["choices"]
        problem = ""
        if not isinstance(found, list):
            problem = "it is no list"
        elif set(value) != {"choices"}:
            problem = f"beside it there is {sorted(set(value) - {'choices'})}"
        elif len(found) < 2:
            problem = "there is nothing to choose"
        elif len({as_json(x) for x in found}) < len(found):
            problem = "a value is there twice"
        if problem:
            raise ValueError(Errors.T903.format(path=self.path, key=key, found=found, problem=problem))
        return Choices(tuple(as_json(x) for x in found))

    def blocks(self, key: str, value: Config) -> Blocks:
        found = value["choices"]
        names = list(found)
        problem = ""
        if set(value) != {"choices"}:
            problem = f"beside them there is {sorted(set(value) - {'choices'})}"
        elif not all(isinstance(block, dict) for block in found.values()):
            problem = "not all are blocks"
        elif len(found) < 2:
            problem = "there is nothing to choose"
        elif len({as_json(block) for block in found.values()}) < len(found):
            problem = "two are the same"
        if problem:
            raise ValueError(Errors.T904.format(path=self.path, key=key, found=names, problem=problem))
        return Blocks({name: self.inside(f"{key}.choices.{name}", block) for name, block in found.items()})

    def inside(self, key: str, block: Config) -> Config:
        """A block with its settings, and with what is fixed in it."""
        found: Config = {}
        for name, value in block.items():
            inner = f"{key}.{name}"
            setting = self.setting(inner, value)
            found[name] = setting or (self.inside(inner, value) if isinstance(value, dict) else value)
        return found

    def require(self, config: Config, key: str) -> Value:
        """The config's value of a key."""
        place: Value = config
        for i, part in enumerate(key.split(".")):
            if not isinstance(place, dict) or part not in place:
                known = list(place) if isinstance(place, dict) else []
                near = get_close_matches(part, known, n=4, cutoff=0.4) or known
                where = f"[{'.'.join(key.split('.')[:i])}]" if i else "its sections"
                message = Errors.T901.format(path=self.path, key=key, part=part, place=where, near=near)
                raise ValueError(message)
            place = place[part]
        return place


def _range_problem(value: Config) -> str:
    """What is wrong with a range, in words; empty if nothing is."""
    if set(value) - _RANGE:
        return f"it has {sorted(set(value) - _RANGE)}"
    for name in ("low", "high"):
        if name not in value:
            return f"it has no {name}"
    low, high, step = value["low"], value["high"], value.get("step")
    if not all(_is_number(x) for x in (low, high, step or 1)) or value.get("log") not in (None, True, False):
        return f"its values are {value}"
    if low >= high:
        return f"it is empty, from {low} to {high}"
    if value.get("log") and (low <= 0 or step is not None):
        return "with log = true, low must be above 0, and there is no step"
    if step is not None and not 0 < step <= high - low:
        return f"step = {step} does not fit between {low} and {high}"
    return ""


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
