"""ContrastHead.v1: rows -> one vector of length 1 for each doc; and the supervised contrastive loss of such vectors."""

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..types import AnyModel, ArrayModule, Floats
from .layers import Activation, hidden_layers, init_rows, states
from .pooling import PoolingKind, build_pooling, build_unit_length


def build_contrast_head_v1(
    *,
    tok2vec: Model[list[Doc], Any],
    pooling: list[PoolingKind] = ["mean"],  # noqa: B006 (confection needs a list; it is copied)
    hidden: list[int] = [],  # noqa: B006
    activation: Activation = "relu",
    dropout: float | None = None,
) -> Model[list[Doc], Floats2d]:
    """Pool the rows of a doc, pass them through any number of layers, and scale the result to length 1.

    tok2vec (Model): A backbone, or a listener to one. Rows of documents (`spacy-transfer.DocumentListener.v1`)
        are taken as they are, without pooling.
    pooling (List[str]): "mean", "max", "first", "attention"; several are concatenated. Take that of the classifier.
    hidden (List[int]): Widths of layers for the comparison alone (Chen et al. 2020); without any, the pooled rows
        themselves are compared.
    activation (str): Of these layers.
    dropout (Optional[float]): Before every layer in training; null for what [training] dropout says.
    RETURNS (Model[List[Doc], Floats2d]): Vectors, shape (n_docs, width).
    """
    between = hidden_layers(hidden, activation, dropout, False)
    layers: list[AnyModel] = [tok2vec, build_pooling(pooling), between, build_unit_length()]
    return Model("transfer_contrast_head", forward, init=init_rows, layers=layers, refs={"tok2vec": tok2vec})


def forward(
    model: Model[list[Doc], Floats2d], docs: list[Doc], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], object]]:
    """Vectors of length 1; the callback takes their gradients."""
    vectors, back_vectors = states(model, docs, is_train)
    unit, back_unit = model.layers[3](vectors, is_train)
    return unit, lambda d_unit: back_vectors(back_unit(d_unit))


def supervised_contrast(
    xp: ArrayModule, vectors: Floats, alike: Floats, known: Floats, temperature: float
) -> tuple[float, Floats]:
    """The supervised contrastive loss (Khosla et al. 2020, the mean outside of the logarithm). Each text is to find
    those of its own label among all others of the batch, by a softmax over similarities. All pairs are entries of one
    matrix.

    vectors (Floats): Of length 1, shape (n_docs, width).
    alike (Floats): 1 where two texts share a label, shape (n_docs, n_docs). The diagonal does not count.
    known (Floats): 0 for texts without a label, which are compared with nothing; shape (n_docs,).
    temperature (float): Divides the similarities.
    RETURNS (Tuple[float, Floats]): The loss, summed over the texts that share a label with another, and its gradient
        with respect to the vectors.
    """
    others = known[:, None] * known[None, :] * (1.0 - xp.eye(len(vectors), dtype="f"))
    alike = alike * others
    counts = alike.sum(axis=1, keepdims=True)
    targets = alike / xp.maximum(counts, 1.0)
    logits = vectors @ vectors.T / temperature
    logits = xp.where(others > 0, logits, -1e30)
    logits = logits - logits.max(axis=1, keepdims=True)
    masses = xp.exp(logits) * (others > 0)
    total = xp.maximum(masses.sum(axis=1, keepdims=True), 1e-30)
    loss = -(targets * (xp.where(others > 0, logits, 0.0) - xp.log(total))).sum()
    d_logits = (counts > 0) * masses / total - targets
    gradient: Floats = (d_logits + d_logits.T) @ vectors / temperature
    return float(loss), gradient
