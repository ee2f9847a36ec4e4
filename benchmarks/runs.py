"""What finetuning.py and labelling.py share: configs with other blocks, schedules, and results that are kept."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import spacy
from common import ROOT
from thinc.api import Config

METRICS = ROOT / "metrics"
# The adapter of configs/textcat_lora.cfg.
LORA = {
    "method": "lora",
    "r": 8,
    "lora_alpha": 16,
}
PROGRESS = {"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": "train"}


def changed(name: str, changes: Mapping[str, Any]) -> Config:
    """configs/NAME.cfg with other values and blocks.

    name (str): Name of the config.
    changes (Mapping[str, Any]): By dotted path. A block takes the place of the one that was there, since the
        arguments of one registered function are no use to another.
    RETURNS (Config): The config, variables not filled in.
    """
    config = spacy.util.load_config(ROOT / "configs" / f"{name}.cfg", interpolate=False)
    for path, value in changes.items():
        *blocks, key = path.split(".")
        at = config
        for block in blocks:
            at = at[block]
        if key not in at:
            raise KeyError(f"configs/{name}.cfg has no {path}")
        at[key] = value
    return config


def linear(rate: float, steps: int, *, warmup: int = 0, first: float = 0.0, wait: int = 0) -> dict[str, Any]:
    """A rate that rises and falls in straight lines.

    rate (float): The highest.
    steps (int): From the first step of the warm-up to the rate 0.
    warmup (int): Steps of the warm-up.
    first (float), wait (int): A rate before all that, and for how many steps.
    RETURNS (Dict[str, Any]): The block.
    """
    block = {"@schedules": "spacy-transfer.Linear.v1", "learn_rate": rate, "total_steps": steps, "warmup_steps": warmup}
    if not wait:
        return block
    return {"@schedules": "constant_then.v1", "rate": first, "steps": wait, "schedule": block}


def adamw(learn_rate: Any, head_pattern: str, head_rate: Any) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): The block of our AdamW, with a group for the heads."""
    heads = {"pattern": head_pattern, "learn_rate": head_rate}
    return {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": learn_rate, "groups": {"heads": heads}}


def tuning(**settings: Any) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): The block `model.tuning`."""
    return {"@misc": "spacy-transfer.Tuning.v1", **settings}


def kept(path: Path, settings: Mapping[str, Any], again: bool, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured with the same settings, from a file; measured now if there is none.

    path (Path): The file, JSON.
    settings (Mapping[str, Any]): All that the result depends on. A file with others is not taken.
    again (bool): Measure in any case.
    measure (Callable): Measures.
    RETURNS (Dict[str, Any]): What was measured.
    """
    settings = json.loads(json.dumps(settings))
    if path.exists() and not again:
        found = json.loads(path.read_text(encoding="utf8"))
        if found["settings"] == settings:
            return found["measured"]
        print(f"{path.name}: its settings were others, so it is measured anew", file=sys.stderr, flush=True)
    measured = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"settings": settings, "measured": measured}, indent=1), encoding="utf8")
    part.replace(path)
    return measured
