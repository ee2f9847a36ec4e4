"""Copies of a trained pipeline whose encoder runs in another way."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import cast

from spacy.language import Language
from thinc.api import Model

from ..backbones.engines.onnx_shim import Exported, OnnxShim
from ..backbones.transformer.transformer_shim import TransformerShim
from ..errors import Errors
from ..pipeline.backbone.component import Backbone
from ..tuning.adapters import has_adapter
from ..types import BackboneAttrs, Config
from .onnx_graph import to_onnx

_KEPT = ("window", "overlap", "max_batch_items", "pooling", "document", "special_tokens")


def find_encoder(nlp: Language, pipeline: str | Path) -> tuple[str, TransformerShim]:
    """The one component with an encoder of transformers. An adapter in it is merged.

    pipeline (Union[str, Path]): The pipeline's name, for messages.
    RETURNS (Tuple[str, TransformerShim]): Name of the component, and what holds the encoder.
    RAISES (ValueError): When there is none, or there are several; or the pipeline is an export.
    """
    found: dict[str, TransformerShim] = {}
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, Backbone):
            for shim in pipe.model.shims:
                if isinstance(shim, OnnxShim):
                    raise ValueError(Errors.T272.format(original=shim.settings.original))
                if isinstance(shim, TransformerShim):
                    found[name] = shim
    if len(found) != 1:
        known = ", ".join(nlp.pipe_names) or "no component"
        raise ValueError(Errors.T274.format(pipeline=pipeline, found=", ".join(found) or f"none among {known}"))
    name, shim = next(iter(found.items()))
    if has_adapter(shim.encoder):
        cast(Backbone, nlp.get_pipe(name)).merge_adapter()
    return name, shim


def with_settings(nlp: Language, name: str, **settings: object) -> Language:
    """RETURNS (Language): A copy whose backbone has other settings, such as its `precision` or `depth`."""
    config = nlp.config.copy()
    config["components"][name]["model"].update(settings)
    return type(nlp).from_config(config).from_bytes(nlp.to_bytes())


def export_onnx(nlp: Language, name: str, original: str, int8: Collection[str] = ()) -> Language:
    """A copy whose encoder runs in ONNX Runtime.

    name (str): The component with the encoder.
    original (str): The pipeline's name, for messages of the copy.
    int8 (Collection[str]): The parts in int8; see `parts_of`.
    RETURNS (Language): The copy.
    """
    shim = next(shim for shim in _model(nlp, name).shims if isinstance(shim, TransformerShim))
    config = nlp.config.copy()
    block: Config = config["components"][name]["model"]
    config["components"][name]["model"] = {
        "@architectures": "spacy-transfer.OnnxBackbone.v1",
        "original": original,
        **{key: block[key] for key in _KEPT if key in block},
    }
    copy = type(nlp).from_config(config).from_bytes(nlp.to_bytes(exclude=[name]), exclude=[name])
    model, exported = _model(copy, name), as_exported(shim, int8)
    cast(OnnxShim, model.shims[0]).install(exported)
    model.set_dim("nO", exported.width)
    BackboneAttrs.of(model).fingerprint = hashlib.sha256(exported.graph).hexdigest()
    cast(Backbone, copy.get_pipe(name)).cfg.update(cast(Backbone, nlp.get_pipe(name)).cfg)
    return copy


def as_exported(shim: TransformerShim, int8: Collection[str]) -> Exported:
    """RETURNS (Exported): The encoder of a shim as a graph, with its tokenizer."""
    from ..backbones.transformer.packed import first_position

    pretrained = shim.pretrained
    assert pretrained is not None
    return Exported(
        graph=to_onnx(pretrained.transformer, int8),
        tokenizer=pretrained.tokenizer.to_str(),
        prefix=list(pretrained.prefix),
        suffix=list(pretrained.suffix),
        first_position=first_position(pretrained.transformer),
        width=shim.encoder.width,
        fingerprint=pretrained.fingerprint,
    )


def _model(nlp: Language, name: str) -> Model:
    return cast(Backbone, nlp.get_pipe(name)).model
