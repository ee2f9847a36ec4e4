"""OnnxBackbone.v1: an encoder that was exported to ONNX Runtime, behind the contract of all backbones."""

import itertools
from collections.abc import Callable
from typing import Literal, cast

from spacy.tokens import Doc
from thinc.types import Floats2d

from ...errors import Errors
from ...types import BackboneAttrs, BackboneHooks, BackboneT, Encoded, Floats
from ..pretrained_weights import BackboneModel
from .onnx_shim import OnnxSettings, OnnxShim


def build_onnx_backbone_v1(
    *,
    original: str,
    window: int = 128,
    overlap: int = 16,
    max_batch_items: int = 1024,
    pooling: Literal["mean", "first"] = "mean",
    document: Literal["mean", "cls"] = "mean",
    special_tokens: bool = False,
) -> BackboneT:
    """An encoder for prediction alone, which `python -m spacy transfer speed-up` exports. It runs in ONNX Runtime, and
    loads without torch and transformers. The weights are in the saved pipeline.

    original (str): The pipeline that it was exported from, which can be trained. Named in messages; never read.
    window (int), overlap (int), max_batch_items (int), pooling (str), document (str), special_tokens (bool): As in
        `spacy-transfer.TransformerBackbone.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc.
    """
    if not 0 <= overlap < window:
        raise ValueError(Errors.T113.format(overlap=overlap, window=window))
    if max_batch_items < window:
        raise ValueError(Errors.T114.format(items=max_batch_items, window=window))
    settings = OnnxSettings(original, window, overlap, max_batch_items, pooling, document, special_tokens)
    hooks = BackboneHooks(encode, reads_empty=document == "cls", before_training=refuse_training)
    attrs = vars(BackboneAttrs(backbone=hooks))
    return BackboneModel(
        "transfer_onnx", forward, init=init, dims={"nO": None}, attrs=attrs, shims=[OnnxShim(settings)]
    )


def forward(
    model: BackboneT, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Rows only; `encode` gives those of the docs as well."""
    encoded, _ = encode(model, docs, is_train)
    return encoded.rows, lambda d_rows: docs


def encode(model: BackboneT, docs: list[Doc], is_train: bool) -> tuple[Encoded, Callable[[Encoded], list[Doc]]]:
    """RETURNS (Tuple[Encoded, Callable]): Rows of tokens and docs, and a callback that has nothing to do.

    RAISES (ValueError): In training.
    """
    if is_train:
        refuse_training(model)
    flat, documents = cast(OnnxShim, model.shims[0]).predict(docs)
    ends = itertools.accumulate(len(doc) for doc in docs)
    rows = [_on_device(model, flat[end - len(doc) : end]) for doc, end in zip(docs, ends, strict=True)]
    return Encoded(rows, _on_device(model, documents)), lambda grads: docs


def init(model: BackboneT, X: object = None, Y: object = None) -> None:
    """There is no source to read.

    RAISES (ValueError): Always.
    """
    refuse_training(model)


def refuse_training(model: BackboneT) -> None:
    """RAISES (ValueError): Always: it names the pipeline that can be trained."""
    raise ValueError(Errors.T272.format(original=cast(OnnxShim, model.shims[0]).settings.original))


def _on_device(model: BackboneT, rows: Floats) -> Floats2d:
    return model.ops.asarray2f(cast(Floats2d, rows))
