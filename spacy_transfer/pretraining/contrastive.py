"""Contrastive.v1: tell a text by its document row from the other texts of a batch (InfoNCE)."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model, get_torch_default_device
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ..backbones.encode import encode
from ..checks import BELOW_ONE, COUNT, POSITIVE, require
from ..errors import Errors, Warnings
from ..types import BackboneT, Config, Encoded
from .masked_rows import gradient_of, leaf
from .objective import NOTHING, Measured, Objective, build_pretraining
from .views import View, Views, are_alike, keep_no_states, words_of

logger = logging.getLogger("spacy")


def build_contrastive_v1(
    *,
    views: View = "dropout",
    temperature: float = 0.05,
    symmetric: bool = True,
    deletion: float = 0.1,
    crop: float = 0.5,
    neighbours_from: int = 40,
    row_dropout: float = 0.1,
    projection: int | None = None,
    log: Path | None = None,
    progress: bool = True,
) -> Callable[[Vocab, BackboneT], Model[list[Doc], Measured]]:
    """Two views of a text are to be similar, and unlike those of the other texts of the batch: InfoNCE (van den Oord
    et al. 2018) of document rows. A document row is the backbone's own (see TransformerBackbone), or the mean of the
    token rows.

    Texts of which a view is the same are no negatives of each other. A text without negatives is left out, and so is
    one whose row is zero (no word that the backbone knows). Batches must therefore have several texts. Parts into
    which the reader cuts one text (its `max_words`) count as texts.

    The held-out loss is without dropout: for views = "dropout" it is that of "delete", for the others their own,
    each time with the same random numbers. It depends on how many texts it is a mean over at once (32).

    views (str): "dropout": the text twice, with other dropout (SimCSE, Gao et al. 2021). "crop": two random spans.
        "delete": some words deleted. "neighbours": what stands before and after a random place in the middle third;
        shorter docs are cropped.
    temperature (float): Divides the cosines.
    symmetric (bool): Mean of two losses: the first view finds the second, and the second the first. False for the
        first of them alone.
    deletion (float): Share of the words that "delete" takes away from each view, at least one word.
    crop (float): Share of the words that a span has at least.
    neighbours_from (int): Words from which on a doc has two neighbouring parts.
    row_dropout (float): With views = "dropout", dropout of the document rows wherever the backbone gives both times
        the same row, since it has no dropout or is frozen.
    projection (Optional[int]): Compare rows after a layer, relu and a second layer of this width (Chen et al. 2020).
        They are not part of the backbone. null to compare the rows themselves.
    log (Optional[Path]): A file to which each held-out loss is added, as a JSON object.
    progress (bool): Show a progress bar.
    RETURNS (Callable[[Vocab, Model], Model]): For `[pretraining.objective]`.
    """
    require("pretraining.objective", POSITIVE, temperature=temperature)
    require("pretraining.objective", BELOW_ONE, row_dropout=row_dropout)
    require("pretraining.objective", COUNT, projection=projection)
    made = Views(views, deletion, crop, neighbours_from)

    def create(vocab: Vocab, tok2vec: BackboneT) -> Model[list[Doc], Measured]:
        objective = Contrastive(tok2vec, made, InfoNCE(temperature, symmetric), row_dropout, projection)
        return build_pretraining(objective, log=log, progress=progress)

    return create


class InfoNCE(nn.Module):
    """The loss of van den Oord et al. (2018), with cosines.

    temperature (float), symmetric (bool): See `build_contrastive_v1`.
    """

    def __init__(self, temperature: float, symmetric: bool) -> None:
        super().__init__()
        self._temperature, self._symmetric = temperature, symmetric

    def forward(self, first: Tensor, second: Tensor, is_negative: Tensor) -> Tensor:
        """Mean over the texts that have negatives.

        first (Tensor), second (Tensor): Rows of the views of every text, shape (n, width).
        is_negative (Tensor): For each text which others are, symmetric, shape (n, n).
        RETURNS (Tensor): A number.
        """
        texts = torch.arange(len(first), device=first.device)
        counts = is_negative | (texts[:, None] == texts)
        cosines = normalize(first, dim=1) @ normalize(second, dim=1).T
        logits = (cosines / self._temperature).masked_fill(~counts, -torch.inf)
        has = is_negative.any(1)
        loss = cross_entropy(logits[has], texts[has])
        return (loss + cross_entropy(logits.T[has], texts[has])) / 2 if self._symmetric else loss


class Contrastive(Objective):
    """InfoNCE of document rows.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    views (Views): How views are made.
    loss (InfoNCE): The loss.
    row_dropout (float), projection (Optional[int]): See `build_contrastive_v1`.
    """

    name = "spacy-transfer.Contrastive.v1"
    unit = "text"
    # Its exponential depends on how many texts there are to choose from.
    is_likelihood = False

    def __init__(
        self, backbone: BackboneT, views: Views, loss: InfoNCE, row_dropout: float, projection: int | None
    ) -> None:
        super().__init__(backbone)
        self._views, self._loss, self._row_dropout, self._projection = views, loss, row_dropout, projection
        self._has_warned = False
        if views.kind != "dropout":
            keep_no_states(backbone)

    def make_output(self, settings: Config) -> nn.Module | None:
        """RETURNS (Optional[nn.Module]): The projection."""
        if self._projection is None:
            return None
        width = self.backbone.get_dim("nO")
        layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self._projection))
        return layers.to(get_torch_default_device())

    def measure(
        self, docs: list[Doc], output: nn.Module | None, draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        docs = [doc for doc in docs if len(words_of(doc))]
        pairs = [self._views.pair(doc, draw, is_train) for doc in docs]
        first, second = [one for one, _ in pairs], [other for _, other in pairs]
        is_negative = ~are_alike(docs, first, second)
        if not is_negative.any():
            return self._nothing(docs, is_train)
        encoded, back = encode(self.backbone, [*first, *second], is_train)
        documents = leaf(encoded.documents)
        has_row = (documents != 0).any(1).view(2, -1).all(0)
        negatives = torch.from_numpy(is_negative).to(documents.device) & has_row & has_row[:, None]
        count = int(negatives.any(1).sum())
        if not count:
            return self._nothing(docs, is_train)
        with torch.set_grad_enabled(is_train):
            rows = self._with_dropout(documents, draw) if is_train else documents
            loss = self._loss(*(rows if output is None else output(rows)).chunk(2), negatives)

        def backprop() -> None:
            loss.backward()
            back(Encoded([row * 0 for row in encoded.rows], gradient_of(documents)))

        return Measured(loss.item() * count, count, backprop)

    def _with_dropout(self, documents: Tensor, draw: numpy.random.Generator) -> Tensor:
        """Dropout of the rows, where the backbone has none. Rows that went through in another place of the batch are
        equal only to float precision."""
        first, second = documents.detach().chunk(2)
        if self._views.kind != "dropout" or (first - second).abs().max() > 1e-4 * first.abs().max():
            return documents
        if not self._row_dropout:
            raise ValueError(Errors.T841.format(name=self.name))
        kept = torch.from_numpy(draw.random(documents.shape) >= self._row_dropout).to(documents.device)
        return documents * kept / (1.0 - self._row_dropout)

    def _nothing(self, docs: list[Doc], is_train: bool) -> Measured:
        if is_train and not self._has_warned:
            self._has_warned = True
            logger.warning(Warnings.W841.format(name=self.name, count=len(docs)))
        return NOTHING
