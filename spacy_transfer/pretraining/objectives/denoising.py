"""Denoising.v1: write a text again from the document row of what is left of it (TSDAE, Wang et al. 2021)."""

from collections.abc import Callable
from pathlib import Path

from spacy.vocab import Vocab

from ...checks import COUNT, Range, require
from ...types import AnyModel, BackboneT
from .views import INSIDE


def build_denoising_v1(
    *,
    deletion: float = 0.6,
    max_pieces: int = 128,
    n_words: int = 10000,
    log: Path | None = None,
    progress: bool = True,
) -> Callable[[Vocab, BackboneT], AnyModel]:
    """Words of a text are deleted, the rest goes through the backbone, and a small decoder writes the whole text again
    from the one document row: the negative log-likelihood of each piece, given those before it.

    On a transformer it writes word pieces, with the encoder's input embeddings as they are: the decoder reads them and
    predicts with them, but no gradient goes into them from there. Where they are trained, they are trained by the
    encoder's own pass. On any other backbone it writes the most frequent words of the corpus, with embeddings of its
    own; other words are read as one unknown word, and not predicted. A document row is the backbone's own (see
    TransformerBackbone), or the mean of the token rows.

    Longer texts are cut into parts that are each encoded and written (the reader has cut them at its `max_words`
    before). Of a single word with more pieces the first are written.

    deletion (float): Share of the words that are deleted.
    max_pieces (int): The most pieces, or words, that are written from one row.
    n_words (int): How many words are predicted, for a backbone that is no transformer.
    log (Optional[Path]): A file to which each held-out loss is added, as a JSON object.
    progress (bool): Show a progress bar.
    RETURNS (Callable[[Vocab, Model], Model]): For `[pretraining.objective]`.
    """
    require("pretraining.objective", INSIDE, deletion=deletion)
    require("pretraining.objective", COUNT, max_pieces=max_pieces)
    require("pretraining.objective", Range(2, whole=True), n_words=n_words)

    def create(vocab: Vocab, tok2vec: BackboneT) -> AnyModel:
        from ..objective import build_pretraining
        from .denoising_objective import DenoisedPieces, DenoisedWords
        from .masked_words import transformer_shim

        shim = transformer_shim(tok2vec)
        if shim is not None:
            return build_pretraining(DenoisedPieces(tok2vec, shim, deletion, max_pieces), log=log, progress=progress)
        return build_pretraining(DenoisedWords(tok2vec, deletion, max_pieces, n_words), log=log, progress=progress)

    return create
