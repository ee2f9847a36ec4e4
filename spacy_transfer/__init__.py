"""spacy-transfer: whatever was pretrained becomes one row per token; whatever must be learned is a head.

Nothing heavy is imported here: every registered function has an entry point in pyproject.toml, so spaCy
finds it without this package (or torch, or transformers) being imported first. Functions to be called in code are
imported when they are asked for.
"""

from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "add_labels": "pipeline.labels",
    "remove_labels": "pipeline.labels",
    "rename_labels": "pipeline.labels",
    "merge_labels": "pipeline.labels",
    "set_labels": "pipeline.labels",
    "carry_head": "pipeline.carry",
    "learn_only": "pipeline.still",
    "graft": "pipeline.graft",
    "from_hf": "pipeline.hf",
    "to_hf": "pipeline.hf_export",
    "calibrate": "pipeline.calibrate",
    "skills_from": "pipeline.retention",
    "OldSkills": "pipeline.retention",
    "ForgettingMatrix": "reports.forgetting",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
