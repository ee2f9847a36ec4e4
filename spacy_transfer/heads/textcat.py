"""TextCatHead.v1: rows -> one score for each label of a doc."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc
from thinc.api import Linear, Model, zero_init
from thinc.types import Floats2d

from ..checks import COUNT, require
from ..types import AnyModel
from .layers import (
    Activation,
    ResizeAttrs,
    StatesAttrs,
    TemperatureAttrs,
    grow_output,
    hidden_layers,
    init_pooled,
    states,
)
from .pooling import PoolingKind, build_pooling


@dataclass(kw_only=True)
class TextCatAttrs(TemperatureAttrs, StatesAttrs, ResizeAttrs):
    """Of the head.

    multi_label (Optional[bool]): A sigmoid for each label, not a softmax over all. spaCy's own heads say so too.
    """

    multi_label: bool | None = None


def build_textcat_head_v1(
    *,
    tok2vec: Model[list[Doc], Any],
    pooling: list[PoolingKind] = ["mean"],  # noqa: B006 (confection needs a list; it is copied)
    hidden: list[int] = [],  # noqa: B006
    activation: Activation = "relu",
    dropout: float | None = None,
    normalize: bool = False,
    layer_norm: float | None = None,
    exclusive_classes: bool = True,
    context: Model[list[Floats2d], list[Floats2d]] | None = None,
    nO: int | None = None,
) -> Model[list[Doc], Floats2d]:
    """Pool the rows of a doc, pass them through any number of hidden layers, and score every label.

    tok2vec (Model): A backbone, or a listener to one. Rows of documents (`spacy-transfer.DocumentListener.v1`)
        are taken as they are, without pooling.
    pooling (List[str]): "mean", "max", "first", "attention"; several are concatenated.
    hidden (List[int]): Widths of the hidden layers.
    activation (str): Of the hidden layers.
    dropout (Optional[float]): Before every layer in training; null for what [training] dropout says.
    normalize (bool): Scale the pooled row to length 1, as sentence encoders expect, before the first layer.
    layer_norm (Optional[float]): Epsilon of a layer norm after each hidden layer; null for none.
    exclusive_classes (bool): Softmax over all labels, or a sigmoid for each.
    context (Optional[Model[List[Floats2d], List[Floats2d]]]): A layer that reads the rows of a doc in their order
        before they are pooled: `spacy-transfer.CNNContext.v1` or `spacy-transfer.BiLSTMContext.v1`.
    nO (Optional[int]): Number of labels; filled in at initialisation.
    RETURNS (Model[List[Doc], Floats2d]): Probabilities, shape (n_docs, n_labels). The backward pass takes
        gradients with respect to the *logits*, as Thinc's Softmax does. Predicting divides logits by
        the temperature; training does not.
    """
    require("model", COUNT, nO=nO)
    pool = build_pooling(pooling)
    # Zero weights send no gradient to the backbone in the first step: a random head would only disturb it.
    output: AnyModel = Linear(nO=nO, init_W=zero_init)
    between = hidden_layers(hidden, activation, dropout, normalize, layer_norm)
    return Model(
        "transfer_textcat_head",
        forward,
        init=init_pooled,
        # The context is the last layer, so that the names of other parameters do not depend on it.
        layers=[tok2vec, pool, between, output, *([] if context is None else [context])],
        refs={"tok2vec": tok2vec, "output": output, **({} if context is None else {"context": context})},
        dims={"nO": nO},
        attrs=vars(TextCatAttrs(multi_label=not exclusive_classes, resize_output=grow_output, states=states)),
    )


def forward(
    model: Model[list[Doc], Floats2d], docs: list[Doc], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], object]]:
    """Probabilities; the callback takes gradients of the logits. Training ignores the temperature, which would scale
    the gradients."""
    inputs, back_inputs = states(model, docs, is_train)
    logits, back_output = model.get_ref("output")(inputs, is_train)
    own = TextCatAttrs.of(model)
    if not is_train and own.temperature != 1.0:
        logits = logits / own.temperature
    scores = model.ops.sigmoid(logits) if own.multi_label else model.ops.softmax(logits, axis=-1)

    return scores, lambda d_logits: back_inputs(back_output(d_logits))
