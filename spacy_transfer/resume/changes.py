"""Changes since a checkpoint was written: config, data, weights at the start, versions."""

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from thinc.api import get_current_ops

from ..types import Config

# What may change freely: when a training ends, and when checkpoints are written.
_FREE = re.compile(
    r"training\.(max_steps|patience)|pretraining\.max_epochs"
    r"|initialize\.after_init(\.then)*\.(path|every_steps|minutes|despite_changes|timeout)"
)
FORMAT = 1
_PACKAGES = ("spacy-transfer", "spacy", "thinc", "numpy", "torch", "transformers", "spacy-transformers")
_MOST = 8


def environment(n_ranks: int = 1) -> dict[str, object]:
    """RETURNS (Dict[str, object]): What numbers depend on besides config and data."""
    found: dict[str, object] = {"format": FORMAT, "python": platform.python_version(), "device": get_current_ops().name}
    found["ranks"] = n_ranks
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def flat(block: Mapping[str, object], prefix: str = "") -> Config:
    """RETURNS (Dict[str, Any]): The values of a config by dotted keys, for JSON."""
    found: Config = {}
    for key, value in block.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found


def differences(saved: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """RETURNS (List[str]): One line for each key whose value has changed."""
    moved = schedules(saved, now)
    found = [key for key in {**saved, **now} if not _FREE.fullmatch(key) and saved.get(key) != now.get(key)]
    keys = [key for key in found if key not in moved]
    return [f"{key} was {saved.get(key)!r}, is {now.get(key)!r}" for key in keys]


def schedules(saved: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """RETURNS (List[str]): Keys of schedules that end with the training, which now ends elsewhere:
    `total_steps = ${training.max_steps}`."""
    was, new = (config.get("training.max_steps") for config in (saved, now))
    ends = [key for key in now if key.endswith(".total_steps")]
    return [key for key in ends if was != new and (saved.get(key), now[key]) == (was, new)]


def as_lines(changes: list[str]) -> str:
    """RETURNS (str): Changes for a message, not too many."""
    more = [f"and {len(changes) - _MOST} more"] if len(changes) > _MOST else []
    return "; ".join([*changes[:_MOST], *more])
