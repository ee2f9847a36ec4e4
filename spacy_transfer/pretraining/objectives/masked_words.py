"""MaskedWords.v1: predict words that are hidden (Devlin et al. 2019)."""

from collections.abc import Callable
from pathlib import Path

from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from ...backbones.transformer.transformer_shim import TransformerShim
from ...checks import COUNT, require
from ...types import BackboneT
from ..objective import Measured, Objective, build_pretraining
from .word_masks import Masking


def build_masked_words_v1(
    *,
    share: float = 0.15,
    random: float = 0.1,
    keep: float = 0.1,
    n_words: int = 10000,
    adaptive_from: int = 20000,
    log: Path | None = None,
    progress: bool = True,
) -> Callable[[Vocab, BackboneT], Model[list[Doc], Measured]]:
    """Mask whole words, other ones in each epoch, and predict them: the negative log-likelihood of each.

    On a transformer a word is its word pieces, and they are predicted by the checkpoint's own language-model layer,
    or, where the source has none, by one that is tied to the input embeddings. On any other backbone a word is a token;
    its features are hidden, and it is predicted among the most frequent words of the corpus.

    share (float): Share of the words that are predicted.
    random (float): Share of those that are replaced by a random word.
    keep (float): Share of those that stay.
    n_words (int): How many words are predicted, for a backbone that is no transformer.
    adaptive_from (int): From this many words on, an adaptive softmax (Grave et al. 2017).
    log (Optional[Path]): A file to which each held-out loss is added, as a JSON object.
    progress (bool): Show a progress bar.
    RETURNS (Callable[[Vocab, Model], Model]): For `[pretraining.objective]`.
    """
    require("pretraining.objective", COUNT, n_words=n_words, adaptive_from=adaptive_from)
    masking = Masking(share, random, keep)

    def create(vocab: Vocab, tok2vec: BackboneT) -> Model[list[Doc], Measured]:
        from .masked_pieces import MaskedPieces
        from .masked_rows import MaskedRows

        shim = transformer_shim(tok2vec)
        objective: Objective
        if shim is not None:
            objective = MaskedPieces(tok2vec, shim, masking)
        else:
            objective = MaskedRows(tok2vec, masking, n_words, adaptive_from)
        return build_pretraining(objective, log=log, progress=progress)

    return create


def transformer_shim(backbone: BackboneT) -> TransformerShim | None:
    """RETURNS (Optional[TransformerShim]): Of a TransformerBackbone; None for any other backbone."""
    return next((shim for shim in backbone.shims if isinstance(shim, TransformerShim)), None)
