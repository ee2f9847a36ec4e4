"""Ranks with different configs, code, versions, labels or weights are found before the training starts."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.util import registry

from ..errors import Errors
from ..pipeline.parameters import parameters_of
from ..types import pipes_of
from .buckets import digest_of_weights
from .process_group import ProcessGroup

_PACKAGES = ("spacy", "thinc", "torch", "transformers", "numpy")
# Data may lie elsewhere on another machine. Its texts are compared batch by batch.
_OWN_SECTIONS = ("paths",)
_ROOT = Path(__file__).parents[1]


def check_start(nlp: Language, group: ProcessGroup) -> None:
    """Compare the ranks.

    RAISES (ValueError): When one differs from the first, with what differs.
    """
    _require_seed(nlp)
    first, *others = group.exchange("start", facts_of(nlp))
    for rank, other in enumerate(others, 1):
        different = [key for key in {**first, **other} if first.get(key) != other.get(key)]
        if different:
            lines = [f"{key}: {first.get(key, '-')} / {other.get(key, '-')}" for key in different[:5]]
            more = f", and {len(different) - 5} more" if len(different) > 5 else ""
            raise ValueError(Errors.T255.format(rank=rank, different="; ".join(lines) + more))


def _require_seed(nlp: Language) -> None:
    if nlp.config.interpolate()["training"]["seed"] is None:
        raise ValueError(Errors.T259)


def facts_of(nlp: Language) -> dict[str, str]:
    """What must be the same on all ranks.

    RETURNS (Dict[str, str]): Values or checksums, by what they are of.
    """
    config = {key: value for key, value in nlp.config.items() if key not in _OWN_SECTIONS}
    facts = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    facts |= {f"version of {name}": _version(name) for name in _PACKAGES}
    facts |= {key: json.dumps(value, default=str) for key, value in _flat("", config)}
    facts |= {f"code of {name}": code for name, code in _code(nlp)}
    for name, pipe in pipes_of(nlp):
        facts[f"labels of {name}"] = _digest(json.dumps([str(label) for label in getattr(pipe, "labels", ())]).encode())
        facts[f"weights of {name}"] = f"{digest_of_weights(parameters_of(name, pipe)):08x}"
    return facts


def _flat(prefix: str, block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping) and value:
            yield from _flat(name, value)
        else:
            yield name, value


def _code(nlp: Language) -> Iterator[tuple[str, str]]:
    """Checksums of this package, and of the file of every function and component of others that the config names."""
    yield __package__.partition(".")[0], _digest(*(path.read_bytes() for path in sorted(_ROOT.rglob("*.py"))))
    used: dict[str, object] = {name: type(component) for name, component in nlp.components}
    for key, value in _flat("", nlp.config):
        kind = key.rpartition(".")[2]
        if kind.startswith("@"):
            used[str(value)] = registry.get(kind[1:], str(value))
    for name, own in used.items():
        module = sys.modules.get(getattr(own, "__module__", None) or "")
        path = Path(getattr(module, "__file__", None) or "")
        if path.is_file() and _ROOT not in path.parents:
            yield name, _digest(path.read_bytes())


def _digest(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
