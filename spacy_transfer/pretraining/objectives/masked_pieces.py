"""Masked words of a transformer, predicted piece by piece with a language-model layer."""

from dataclasses import replace
from typing import cast

import numpy
import torch
from spacy.tokens import Doc
from torch import nn
from torch.nn.functional import cross_entropy

from ...backbones.transformer.pieces import Pieces
from ...backbones.transformer.pretrained import Pretrained
from ...backbones.transformer.transformer_shim import TransformerShim
from ...corpora.raw_text import RawText
from ...errors import Errors
from ...types import BackboneT, Config
from ..objective import NOTHING, Measured, Objective
from .language_model import LanguageModelHead
from .word_masks import Ids, Masking


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
        return Measured(loss.item() * len(at), len(at), loss.backward)

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
