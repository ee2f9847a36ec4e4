"""Contrastive.v1: tell a text by its document row from the other texts of a batch (InfoNCE)."""

from collections.abc import Callable
from pathlib import Path

from spacy.vocab import Vocab

from ...checks import BELOW_ONE, COUNT, POSITIVE, require
from ...types import AnyModel, BackboneT
from .views import View, Views


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
) -> Callable[[Vocab, BackboneT], AnyModel]:
    """Two views of a text are to be similar, and unlike those of the other texts of the batch: InfoNCE (van den Oord
    et al. 2018) of document rows. A document row is the backbone's own (see TransformerBackbone), or the mean of the
    token rows.

    Texts of which a view is the same are no negatives of each other. A text without negatives is left out, and so is
    one whose row is zero (no word that the backbone knows). Batches must therefore have several texts. Parts into
    which the reader cuts one text (its `max_words`) count as texts.

    The held-out loss is without dropout: for views = "dropout" it is that of "delete", for the others their own,
    each time with the same random numbers. Held-out texts are compared in batches of 32.

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

    def create(vocab: Vocab, tok2vec: BackboneT) -> AnyModel:
        from ..objective import build_pretraining
        from .contrastive_objective import Contrastive, InfoNCE

        objective = Contrastive(tok2vec, made, InfoNCE(temperature, symmetric), row_dropout, projection)
        return build_pretraining(objective, log=log, progress=progress)

    return create
