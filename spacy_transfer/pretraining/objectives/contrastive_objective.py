"""The objective of Contrastive.v1: InfoNCE of document rows."""

import logging

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import get_torch_default_device
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ...backbones.encode import encode
from ...errors import Errors, Warnings
from ...types import BackboneT, Config, Encoded
from ..objective import NOTHING, Measured, Objective, Together
from .masked_rows import gradient_of, leaf
from .views import Views, are_alike, keep_no_states, text_ids, words_of

logger = logging.getLogger("spacy")


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
    needs_all = True

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
        together = self.together if is_train else None
        ids = text_ids(docs, first, second)
        all_ids = ids if together is None else numpy.concatenate(together.gather_rows(ids.T)).T
        is_negative = ~are_alike(all_ids)
        if not is_negative.any():
            return self._nothing(docs, is_train)
        encoded, back = encode(self.backbone, [*first, *second], is_train)
        documents = leaf(encoded.documents)
        with torch.set_grad_enabled(is_train):
            rows = self._with_dropout(documents, draw) if is_train else documents
            if together is not None:
                rows = _with_those_of_others(rows, together)
            has_row = (rows != 0).any(1).view(2, -1).all(0)
            negatives = torch.from_numpy(is_negative).to(documents.device) & has_row & has_row[:, None]
            count = int(negatives.any(1).sum())
            if not count:
                return self._nothing(docs, is_train)
            loss = self._loss(*(rows if output is None else output(rows)).chunk(2), negatives)

        def backprop() -> None:
            loss.backward()
            if docs:
                back(Encoded([row * 0 for row in encoded.rows], gradient_of(documents)))

        return Measured(loss.item() * count, count, backprop, is_of_all=together is not None)

    def _with_dropout(self, documents: Tensor, draw: numpy.random.Generator) -> Tensor:
        """Dropout of the rows, where the backbone has none. What went through in another place of the batch is equal
        only to float precision, which may be that of bf16."""
        first, second = documents.detach().chunk(2)
        if self._views.kind != "dropout" or (first - second).abs().max() > 1e-2 * first.abs().max():
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


def _with_those_of_others(rows: Tensor, together: Together) -> Tensor:
    """Rows of the views of all ranks, shape (2 * n_texts_of_all, width). Those of other ranks have no gradient here:
    every rank computes the loss of the whole batch, and sends back the gradient of its own rows."""
    own = torch.stack(rows.chunk(2), 1)
    found = [torch.from_numpy(other).to(rows.device) for other in together.gather_rows(own.detach().cpu().numpy())]
    found[together.rank] = own
    return torch.cat(found).transpose(0, 1).reshape(-1, rows.shape[1])
