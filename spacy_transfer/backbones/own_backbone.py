"""OwnBackbone.v1: a backbone inside one head, where a listener was. `nlp.replace_listeners` puts it there."""

from dataclasses import dataclass
from typing import Protocol, cast

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..attributes import RowsAttrs, RowsPer
from ..types import BackboneT, Config, Encoded, hooks_of
from .encode import encode
from .links import Backprop, Rows
from .listeners import DocumentListener

OwnBackboneT = Model[list[Doc], Rows]


class MayBeFrozen(Protocol):
    """The component that a listener listens to."""

    frozen: bool


@dataclass(kw_only=True)
class OwnBackboneAttrs(RowsAttrs):
    """Of the node around the backbone: settings of `build_own_backbone_v1`."""

    frozen: bool = False


def build_own_backbone_v1(
    *,
    backbone: BackboneT,
    rows_per: RowsPer = "token",
    frozen: bool = False,
) -> OwnBackboneT:
    """A backbone that serves one head and is saved with it.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    rows_per (str): Give a row per "token", or one per "document".
    frozen (bool): Leave its weights as they are.
    RETURNS (Model[List[Doc], Union[List[Floats2d], Floats2d]]): Shape (len(doc), width) for every doc, or
        (n_docs, width).
    """
    attrs = vars(OwnBackboneAttrs(rows_per=rows_per, frozen=frozen))
    return Model("transfer_own_backbone", forward, init=init, layers=[backbone], dims={"nO": None}, attrs=attrs)


def forward(model: OwnBackboneT, docs: list[Doc], is_train: bool) -> tuple[Rows, Backprop]:
    """Rows, and a backward pass that ends here when the backbone is frozen."""
    own, before_training = OwnBackboneAttrs.of(model), hooks_of(model.layers[0]).before_training
    frozen, per_document = own.frozen, own.rows_per == "document"
    if is_train and before_training is not None:
        before_training(model.layers[0])
    encoded, back = encode(model.layers[0], docs, is_train and not frozen)

    def backprop(d_rows: Rows) -> list[Doc]:
        if frozen:
            return docs
        if per_document:
            return back(Encoded([row * 0 for row in encoded.rows], cast(Floats2d, d_rows)))
        return back(Encoded(cast(list[Floats2d], d_rows), encoded.documents * 0))

    return (encoded.documents if per_document else encoded.rows), backprop


def init(model: OwnBackboneT, X: list[Doc] | None = None, Y: object = None) -> None:
    """Read the backbone's source."""
    model.layers[0].initialize(X=X)
    model.set_dim("nO", model.layers[0].get_dim("nO"), force=True)


def replace_listener(copied: Model, listener: Model, component: MayBeFrozen) -> Model:
    """The model by which `nlp.replace_listeners` replaces a listener.

    copied (Model): A copy of the component's backbone.
    component (Tok2Vec): The component that it listened to; its `frozen` counts.
    RETURNS (Model): The backbone itself, or wrapped where that alone would give other rows or would move.
    """
    per_document = isinstance(listener, DocumentListener)
    if not per_document and not component.frozen:
        return copied
    rows_per: RowsPer = "document" if per_document else "token"
    model = build_own_backbone_v1(backbone=copied, rows_per=rows_per, frozen=component.frozen)
    if copied.has_dim("nO"):
        model.set_dim("nO", copied.get_dim("nO"))
    return model


def replace_listener_config(backbone: Config, listener: Config, *, frozen: bool) -> Config:
    """The config of what `replace_listener` returns.

    RETURNS (Dict[str, Any]): The block for the listener's place.
    """
    per_document = str(listener.get("@architectures", "")).startswith("spacy-transfer.DocumentListener.")
    if not per_document and not frozen:
        return backbone
    rows_per = "document" if per_document else "token"
    return {
        "@architectures": "spacy-transfer.OwnBackbone.v1",
        "backbone": backbone,
        "rows_per": rows_per,
        "frozen": frozen,
    }
