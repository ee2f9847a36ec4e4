"""HashEmbedBackbone.v1: an encoder with random weights, to be pretrained or trained from scratch."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from spacy.attrs import IDS
from spacy.tokens import Doc
from thinc.api import Model, to_numpy
from thinc.types import Floats2d, FloatsXd

from ..checks import COUNT, require
from ..errors import Errors
from ..tuning.policy import Tuning
from ..types import BackboneAttrs, BackboneHooks, BackboneT
from .pretrained_weights import BackboneModel
from .shims.parameter import as_array
from .shims.thinc_tuning import LayersShim, check_keys, is_frozen
from .shims.thinc_weights import Weight, find_weights, forget_weights

# What the word alone says: rows are cached by words, spaces and norms, and no component has set anything before.
ATTRS = ["LENGTH", "LOWER", "NORM", "ORTH", "PREFIX", "SHAPE", "SPACY", "SUFFIX"]
ATTRS += sorted(name for name in IDS if name.startswith(("IS_", "LIKE_")) and "SENT" not in name and "OOV" not in name)


@dataclass(kw_only=True)
class HashEmbedAttrs(BackboneAttrs):
    """Of the backbone.

    width (int): Of the embeddings.
    """

    width: int


def build_hash_embed_backbone_v1(
    *,
    width: int = 96,
    attrs: list[str] = ["NORM", "PREFIX", "SUFFIX", "SHAPE"],  # noqa: B006 (confection needs a list; it is copied)
    rows: list[int] = [5000, 1000, 2500, 2500],  # noqa: B006
    include_static_vectors: bool = False,
    context: Model[list[Floats2d], list[Floats2d]] | None = None,
    tuning: Tuning | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Hash embeddings of word features (spacy.MultiHashEmbed.v2; Serrà and Karatzoglou 2017), then a CNN or a BiLSTM.
    It needs no source, so it works for every language; `initialize` gives it random weights.

    A tuning calls what embeds "embeddings.X" ("embeddings.hashembed.0.E", "embeddings.maxout.W", ...). The layers of
    `context` are counted from 0: CNNContext has a projection ("layer.0.W") and its convolutions ("layer.1.maxout.W",
    ...), BiLSTMContext is one layer ("layer.0.weight_ih_l0", ...; of separate stacks
    "layer.0.forward_lstm.weight_ih_l0", ...). There is no anchor: nothing is pretrained when the training begins.

    width (int): Width of the tables and of what they give together.
    attrs (List[str]): Features of words, a table each: NORM, PREFIX, SUFFIX, SHAPE, LOWER, ORTH, IS_TITLE, ...
    rows (List[int]): Rows of each table.
    include_static_vectors (bool): Read the word vectors of the pipeline's vocabulary too. They are not trained.
    context (Optional[Model[List[Floats2d], List[Floats2d]]]): A layer that reads the rows of a doc in order:
        `spacy-transfer.CNNContext.v1` or `spacy-transfer.BiLSTMContext.v1`; null for the embeddings alone.
    tuning (Optional[Tuning]): What moves, from when, and how fast: a block `spacy-transfer.Tuning.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc, with the width of
        `context` if there is one.
    """
    from spacy import registry

    _check(width, attrs, rows, tuning)
    build_embed = registry.get("architectures", "spacy.MultiHashEmbed.v2")
    embed = build_embed(width=width, attrs=attrs, rows=rows, include_static_vectors=include_static_vectors)
    layers = [embed] if context is None else [embed, context]
    hooks = BackboneHooks(is_frozen=is_frozen)
    own = vars(HashEmbedAttrs(width=width, backbone=hooks))
    shims: Any = [HashEmbedShim(tuning)]
    return BackboneModel(
        "transfer_hash_embed", forward, init=init, layers=layers, dims={"nO": None}, attrs=own, shims=shims
    )


def forward(model: BackboneT, docs: list[Doc], is_train: bool) -> tuple[list[Floats2d], Callable[[Any], list[Doc]]]:
    """Embed, put into context."""
    if not model.has_dim("nO"):
        raise ValueError(Errors.T226)
    if not any(len(doc) for doc in docs):
        return [model.ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda d_rows: docs
    for node in _static_vectors(model):
        _check_vectors(docs, node.get_dim("nM"))
    return cast(HashEmbedShim, model.shims[0]).run(model, docs, is_train)


def init(model: BackboneT, X: list[Doc] | None = None, Y: object = None) -> None:
    """Draw all weights anew."""
    embed, own = model.layers[0], HashEmbedAttrs.of(model)
    width = own.width
    forget_weights(embed)
    for node in _static_vectors(model):
        node.set_dim("nM", _check_vectors(X or []), force=True)
    embed.initialize()
    for context in model.layers[1:]:
        context.set_dim("nI", width, force=True)
        context.initialize()
        width = context.get_dim("nO")
    model.set_dim("nO", width, force=True)
    shim = cast(HashEmbedShim, model.shims[0])
    shim.start(model)
    own.fingerprint = shim.fingerprint()


class HashEmbedShim(LayersShim):
    """Tunes the embeddings and the layers of the context."""

    def find_weights(self, model: Model) -> dict[str, Weight]:
        """RETURNS (Dict[str, Weight]): All parameters by name; empty before there are any."""
        return find_weights(model.layers[:1], model.layers[1:]) if model.has_dim("nO") else {}

    def find_parts(self, model: Model) -> Sequence[Model]:
        """RETURNS (Sequence[Model]): Embeddings, context."""
        return model.layers

    def read_origin(self) -> Mapping[str, FloatsXd]:
        """RETURNS (Mapping[str, FloatsXd]): Nothing: there is no source."""
        return {}

    def fingerprint(self) -> str:
        """RETURNS (str): sha256 of all parameters, 64 hex digits."""
        digest = hashlib.sha256()
        for name, weight in self.weights.items():
            digest.update(name.encode() + to_numpy(as_array(weight.parameter.value)).tobytes())
        return digest.hexdigest()


def _check(width: int, attrs: list[str], rows: list[int], tuning: Tuning | None) -> None:
    require("model", COUNT, width=width, **{f"rows[{i}]": count for i, count in enumerate(rows)})
    unknown = [name for name in attrs if name not in ATTRS]
    if unknown or not attrs:
        raise ValueError(Errors.T221.format(unknown=unknown or attrs, known=", ".join(ATTRS)))
    if len(attrs) != len(rows):
        raise ValueError(Errors.T222.format(n_attrs=len(attrs), n_rows=len(rows)))
    check_keys(tuning, "HashEmbedBackbone")
    if tuning is not None and tuning.anchor is not None:
        raise ValueError(Errors.T223.format(found=tuning.anchor))


def _static_vectors(model: BackboneT) -> list[Model]:
    return [node for node in model.layers[0].walk() if node.name == "static_vectors"]


def _check_vectors(docs: list[Doc], wanted: int | None = None) -> int:
    """The width of the vocabulary's vectors."""
    found = docs[0].vocab.vectors.shape[1] if docs else 0
    if not found or wanted not in (None, found):
        raise ValueError(Errors.T224.format(wanted="any" if wanted is None else wanted, found=found))
    return found
