"""MaskedWords.v1: predict words that are hidden (Devlin et al. 2019)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy
import torch
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model
from torch import nn
from torch.nn.functional import cross_entropy

from ..backbones.transformer.encoder import Pieces
from ..backbones.transformer.pretrained import Pretrained
from ..backbones.transformer.transformer_shim import TransformerShim
from ..corpora.raw_text import RawText
from ..errors import Errors
from ..types import BackboneT, Config
from .language_model import LanguageModelHead
from .masked_rows import MaskedRows
from .masking import Ids, Masking
from .objective import NOTHING, Measured, Objective, build_pretraining


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
    masking = Masking(share, random, keep)

    def create(vocab: Vocab, tok2vec: BackboneT) -> Model[list[Doc], Measured]:
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


class MaskedPieces(Objective):
    """Masked words of a transformer: all pieces of a word are masked at once.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    shim (TransformerShim): Its shim.
    masking (Masking): How words are masked.
    """

    name = "spacy-transfer.MaskedWords.v1"
    unit = "masked word piece"

    def __init__(self, backbone: BackboneT, shim: TransformerShim, masking: Masking) -> None:
        super().__init__(backbone)
        self._shim, self._masking = shim, masking
        if shim.settings.precision == "fp16":
            raise ValueError(Errors.T827.format(name=self.name))

    @property
    def pretrained(self) -> Pretrained:
        return cast(Pretrained, self._shim.pretrained)

    def start(self, docs: list[Doc], reader: RawText | None) -> Config:
        """RETURNS (Dict[str, Any]): The id of the mask."""
        return {"mask": find_mask(self.pretrained)}

    def make_output(self, settings: Config) -> nn.Module:
        """RETURNS (nn.Module): The language-model layer of the source."""
        self._mask = int(settings["mask"])
        encoder = self._shim.encoder.transformer
        head = LanguageModelHead(encoder, self._shim.settings.source)
        return head.to(next(encoder.parameters()).device)

    def measure(
        self, docs: list[Doc], output: nn.Module | None, draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        assert output is not None
        pieces, at, targets = self.mask(self._shim.cut(docs), docs, draw)
        if not len(at):
            return NOTHING
        states = self._shim.piece_states(pieces, is_train)
        index = torch.from_numpy(at).to(states.device)
        wanted = torch.from_numpy(targets).to(states.device)
        output.train(is_train)
        with torch.set_grad_enabled(is_train):
            loss = cross_entropy(output(states[index]), wanted)
        return Measured(float(loss.detach()) * len(at), len(at), loss.backward)

    def mask(self, pieces: Pieces, docs: list[Doc], draw: numpy.random.Generator) -> tuple[Pieces, Ids, Ids]:
        """Mask words.

        pieces (Pieces): The batch.
        docs (List[Doc]): The same.
        draw (Generator): Random numbers.
        RETURNS (Tuple[Pieces, NDArray[int64], NDArray[int64]]): The batch with other ids; the pieces that are
            predicted; their ids before.
        """
        alignment, n_pairs = pieces.alignment, len(pieces.alignment.pieces)
        ends = numpy.append(alignment.offsets[1:], n_pairs) if len(alignment.offsets) else alignment.offsets
        doc_of_token = numpy.repeat(numpy.arange(len(docs)), [len(doc) for doc in docs])
        words = numpy.flatnonzero(ends > alignment.offsets)
        chosen = self._masking.draw(doc_of_token[words], draw)
        tokens = words[chosen.words]
        sizes = (ends - alignment.offsets)[tokens]
        pairs = numpy.repeat(alignment.offsets[tokens] - (numpy.cumsum(sizes) - sizes), sizes)
        # A piece that two words share is taken once.
        at, first = numpy.unique(alignment.pieces[pairs + numpy.arange(len(pairs))], return_index=True)
        is_random, is_kept = (numpy.repeat(fate, sizes)[first] for fate in (chosen.is_random, chosen.is_kept))
        ids = pieces.ids.copy()
        targets = ids[at]
        ids[at[~is_kept]] = self._mask
        ids[at[is_random]] = draw.integers(self.pretrained.tokenizer.get_vocab_size(), size=int(is_random.sum()))
        return replace(pieces, ids=ids), at, targets


def find_mask(pretrained: Pretrained) -> int:
    """RETURNS (int): Id of the mask token.

    RAISES (ValueError): When the tokenizer has none.
    """
    special = [(i, str(token.content)) for i, token in pretrained.tokenizer.get_added_tokens_decoder().items()]
    found = [i for i, text in special if text.strip("[]<>|").lower() == "mask"]
    if not found:
        raise ValueError(Errors.T828.format(special=[text for _, text in special]))
    return found[0]
