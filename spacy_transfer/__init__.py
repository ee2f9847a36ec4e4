"""spacy-transfer: whatever was pretrained becomes one row per token; whatever must be learned is a head.

Nothing heavy is imported here: every registered function has an entry point in pyproject.toml, so spaCy
finds it without this package (or torch, or transformers) being imported first. Functions to be called in code are
imported when they are asked for.
"""

__version__ = "0.1.0"

_PLACES = {
    "add_labels": "pipeline.labels.edit",
    "remove_labels": "pipeline.labels.edit",
    "rename_labels": "pipeline.labels.edit",
    "merge_labels": "pipeline.labels.edit",
    "set_labels": "pipeline.labels.edit",
    "carry_head": "pipeline.labels.carry",
    "learn_only": "pipeline.labels.frozen_rows",
    "graft": "pipeline.labels.graft",
    "from_hf": "huggingface.convert",
    "to_hf": "huggingface.export",
    "calibrate": "pipeline.calibration",
    "skills_from": "continual.retention",
    "OldSkills": "continual.retention",
    "ForgettingMatrix": "continual.forgetting",
    "no_torch": "light_process",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
