"""Configs whose classifiers can be exported: the head that transformers has for a kind of encoder."""

from typing import Any

from spacy.util import load_model_from_config
from thinc.api import Config

from ..backbones.sources import resolve_source
from .export import TASKS
from .state_dicts import find_layout

BACKBONE = "transfer_backbone"


def make_exportable(config: Config, source: str, component: str) -> Config:
    """RETURNS (Config): The same training, of a head that `to_hf` can write.

    source (str): Of the encoder.
    component (str): The head, a classifier of texts or tokens.
    RAISES (ValueError): When transformers has no head for this kind of encoder that is known here.
    """
    from transformers import AutoConfig

    found = AutoConfig.from_pretrained(resolve_source(source).path, trust_remote_code=False)
    block, backbone = config["components"][component], config["components"][BACKBONE]["model"]
    task = TASKS[block["factory"]]
    layout = find_layout(source, str(found.model_type), task, found)
    backbone.update(pooling="first", special_tokens=True)
    model: dict[str, Any] = {"@architectures": block["model"]["@architectures"]}
    if task == "sequence":
        backbone["document"] = layout.document
        model.update(
            hidden=[] if layout.dense is None else [int(found.hidden_size)],
            activation=layout.activation if layout.dense else "relu",
            layer_norm=layout.epsilon,
            exclusive_classes=block["model"]["exclusive_classes"],
            tok2vec={"@architectures": "spacy-transfer.DocumentListener.v1", "upstream": BACKBONE},
        )
    else:
        model.update(decoder="softmax", tok2vec=block["model"]["tok2vec"])
        block.update({"scheme": "bio", "lenient": True} if block["factory"] == "transfer_ner" else {})
    block["model"] = model
    config["initialize"]["components"].pop(component, None)
    return load_model_from_config(config, auto_fill=True, validate=False).config
