"""The config with another backbone in it, as `spacy train` takes it."""

import copy
from pathlib import Path

from spacy.util import load_model_from_config
from thinc.api import Config

from ..integrity import write_whole
from ..types import Config as Block
from .candidates import TRANSFORMER
from .head_tasks import DOCUMENT, POOLED, Pooling

_LISTENERS = {False: "spacy-transfer.Listener.v1", True: "spacy-transfer.DocumentListener.v1"}


def with_candidate(config: Config, backbone: str, block: Block, is_own: bool, poolings: dict[str, Pooling]) -> Config:
    """Put a candidate into a config. Its own backbone keeps its variables, and what it was pretrained to.

    config (Config): The config; it may have variables.
    backbone (str): Name of the component.
    block (Dict[str, Any]): The candidate's.
    poolings (Dict[str, Tuple[str, ...]]): By head.
    RETURNS (Config): A copy.
    """
    config = copy.deepcopy(config)
    component, settings = config["components"][backbone], config.get("initialize", {})
    if is_own:
        if block.get("depth") is not None:
            component["model"].update({key: block[key] for key in ("depth", "layers") if key in block})
    else:
        component["model"] = dict(block)
        settings["init_tok2vec"] = None
        settings.get("components", {}).get(backbone, {}).pop("pretrained", None)
    for head, pooling in poolings.items():
        model = config["components"][head].get("model", {})
        if model.get("@architectures") in POOLED:
            reads, _, kind = pooling[0].partition(" ")
            is_document = reads == DOCUMENT
            model["tok2vec"] = {**model.get("tok2vec", {}), "@architectures": _LISTENERS[is_document]}
            if not is_document:
                model["pooling"] = list(pooling)
            elif component["model"]["@architectures"] == TRANSFORMER:
                component["model"]["document"] = kind
    return config


def write_config(config: Config, path: Path) -> None:
    """Fill a config, with its variables, and write it, whole or not at all."""
    filled = load_model_from_config(config, auto_fill=True).config
    write_whole(path, filled.to_bytes())
