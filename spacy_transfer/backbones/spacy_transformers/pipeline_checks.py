"""Checks of pipelines saved with spacy-transformers or the drop-in, before any of their code can run."""

import json
from collections.abc import Mapping
from pathlib import Path

import srsly

from ...errors import Errors
from ...types import Config
from ..transformer.reading.source_checks import check_config

_TOKENIZER_CONFIG = "tokenizer_config.json"


def check_pipeline(path: Path, source: str) -> None:
    """Check the components of a pipeline that spacy-transformers saved, before it is loaded: spacy-transformers asks
    whether to run code, or runs it without asking where a file says so.

    RAISES (ValueError): When there is such code.
    """
    if "spacy-transformers." not in (path / "config.cfg").read_text(encoding="utf8"):
        return
    for file in sorted(path.glob("*/model")):
        problem = next(filter(None, map(_problem, _states(file))), None)
        if problem is not None:
            raise ValueError(Errors.T138.format(source=source, path=file, problem=problem))


def _states(file: Path) -> list[Config]:
    """The states of spacy-transformers' shims in a model file."""
    found = []
    try:
        shims = srsly.msgpack_loads(file.read_bytes())["shims"]
    except (ValueError, KeyError, TypeError):
        return []  # spaCy raises an error of its own.
    for data in [data for node in shims for data in node]:
        try:
            state = srsly.msgpack_loads(data)
        except (ValueError, TypeError):
            continue  # A shim of another kind.
        if isinstance(state, dict) and "tokenizer" in state and "state" in state:
            found.append(state)
    return found


def _problem(state: Config) -> str | None:
    config, files = state.get("config") or {}, dict(state.get("tokenizer") or {})
    settings = files.pop("kwargs", {})
    if set(settings) - {"use_fast"}:
        return f"its tokenizer has the settings {settings}, of which only use_fast is taken"
    if not all(is_plain_name(name) for name in files):
        return f"its files {sorted(files)} lead out of their folder"
    if has_own_code(files):
        return f"its tokenizer names code of its own in {_TOKENIZER_CONFIG}"
    try:
        check_config(config, "its config")
    except ValueError as error:
        return str(error)
    return None


def has_own_code(files: Mapping[str, bytes]) -> bool:
    """RETURNS (bool): Whether a tokenizer's config names code of its own."""
    try:
        return bool(json.loads(files.get(_TOKENIZER_CONFIG, b"{}")).get("auto_map"))
    except (ValueError, AttributeError) as error:
        raise ValueError(
            Errors.T130.format(field=f"files.{_TOKENIZER_CONFIG}", found=repr(error), wanted="JSON")
        ) from error


def is_plain_name(name: object) -> bool:
    """RETURNS (bool): Whether a name is that of a file, and no path."""
    return isinstance(name, str) and Path(name).name == name and name not in (".", "..") and "\0" not in name
