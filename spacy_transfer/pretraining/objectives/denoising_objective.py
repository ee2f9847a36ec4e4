"""The objectives of Denoising.v1: on a transformer, and on any other backbone."""

from abc import abstractmethod
from typing import cast

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import get_torch_default_device
from torch import Tensor, nn

from ...backbones.encode import encode
from ...backbones.transformer.pretrained import Pretrained
from ...backbones.transformer.reading.tokenizer_checks import panics_are_errors
from ...backbones.transformer.transformer import TransformerShim
from ...corpora.raw_text import RawText
from ...types import BackboneT, Config, Encoded
from ..objective import NOTHING, Measured, Objective
from .decoder import TextDecoder
from .masked_rows import frequent_words, gradient_of, leaf
from .views import delete_words, keep_no_states, words_of
from .word_masks import Ids


class Denoising(Objective):
    """Texts that are written again. A subclass says what a text is written in.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    deletion (float), max_pieces (int): See `build_denoising_v1`.
    """

    name = "spacy-transfer.Denoising.v1"

    def __init__(self, backbone: BackboneT, deletion: float, max_pieces: int) -> None:
        super().__init__(backbone)
        self._deletion, self._max_pieces = deletion, max_pieces
        keep_no_states(backbone)

    @abstractmethod
    def pieces(self, docs: list[Doc]) -> list[Ids]:
        """RETURNS (List[NDArray[int64]]): What each doc is written in."""

    def measure(
        self, docs: list[Doc], output: nn.Module | None, draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        decoder = cast(TextDecoder, output)
        parts = self.cut(docs)
        if not parts:
            return NOTHING
        noisy = [delete_words(doc, self._deletion, draw) for doc, _ in parts]
        encoded, back = encode(self.backbone, noisy, is_train)
        documents = leaf(encoded.documents)
        decoder.train(is_train)
        with torch.set_grad_enabled(is_train):
            loss, count = decoder(documents, [pieces for _, pieces in parts])

        def backprop() -> None:
            loss.backward()
            back(Encoded([row * 0 for row in encoded.rows], gradient_of(documents)))

        return Measured(loss.item() * count, count, backprop)

    def cut(self, docs: list[Doc]) -> list[tuple[Doc, Ids]]:
        """Docs, and parts of docs that are too long, of about equal length; without those of spaces alone.

        docs (List[Doc]): The batch.
        RETURNS (List[Tuple[Doc, NDArray[int64]]]): Each with what it is written in, of which something is predicted.
        """
        found: list[tuple[Doc, Ids]] = []
        pending = docs
        while pending:
            pending = [doc for doc in pending if len(words_of(doc))]
            longer: list[Doc] = []
            for doc, pieces in zip(pending, self.pieces(pending), strict=True):
                if len(pieces) > self._max_pieces and len(words_of(doc)) > 1:
                    longer += split(doc, -(-len(pieces) // self._max_pieces))
                elif self.has_targets(pieces[: self._max_pieces]):
                    found.append((doc, pieces[: self._max_pieces]))
            pending = longer
        return found

    def has_targets(self, pieces: Ids) -> bool:
        """RETURNS (bool): Whether any of these pieces is predicted."""
        return len(pieces) > 0


class DenoisedPieces(Denoising):
    """Texts in the word pieces of a transformer.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    shim (TransformerShim): Its shim.
    deletion (float), max_pieces (int): See `build_denoising_v1`.
    """

    unit = "word piece"

    def __init__(self, backbone: BackboneT, shim: TransformerShim, deletion: float, max_pieces: int) -> None:
        super().__init__(backbone, deletion, max_pieces)
        self._shim = shim

    def make_output(self, settings: Config) -> nn.Module:
        """RETURNS (nn.Module): The decoder."""

        def table() -> Tensor:
            encoder = self._shim.encoder.transformer
            return cast(Tensor, encoder.get_input_embeddings().weight)

        decoder = TextDecoder(self.backbone.get_dim("nO"), self._max_pieces, len(table()), table)
        return decoder.to(table().device)

    def pieces(self, docs: list[Doc]) -> list[Ids]:
        tokenizer = cast(Pretrained, self._shim.pretrained).tokenizer
        with panics_are_errors(self._shim.settings.source):
            found = tokenizer.encode_batch([doc.text for doc in docs], add_special_tokens=False)
        return [numpy.array(each.ids, dtype=numpy.int64) for each in found]


class DenoisedWords(Denoising):
    """Texts in the frequent words of the corpus.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    deletion (float), max_pieces (int), n_words (int): See `build_denoising_v1`.
    """

    unit = "word"

    def __init__(self, backbone: BackboneT, deletion: float, max_pieces: int, n_words: int) -> None:
        super().__init__(backbone, deletion, max_pieces)
        self._n_words = n_words

    def start(self, docs: list[Doc], reader: RawText | None) -> Config:
        """RETURNS (Dict[str, Any]): The words that are predicted."""
        return {"words": frequent_words(reader, self._n_words, self.name)}

    def make_output(self, settings: Config) -> nn.Module:
        """RETURNS (nn.Module): The decoder."""
        self._index = {word: i for i, word in enumerate(settings["words"])}
        decoder = TextDecoder(self.backbone.get_dim("nO"), self._max_pieces, len(self._index))
        return decoder.to(get_torch_default_device())

    def pieces(self, docs: list[Doc]) -> list[Ids]:
        unknown = len(self._index)
        texts = ([token.text for token in doc if not token.is_space] for doc in docs)
        return [numpy.array([self._index.get(word, unknown) for word in words], dtype=numpy.int64) for words in texts]

    def has_targets(self, pieces: Ids) -> bool:
        return bool((pieces < len(self._index)).any())


def split(doc: Doc, n_parts: int) -> list[Doc]:
    """RETURNS (List[Doc]): Parts of about equal length, of one token at least.

    doc (Doc): The doc.
    n_parts (int): How many, if there are as many tokens.
    """
    n_parts = min(n_parts, len(doc))
    bounds = [len(doc) * i // n_parts for i in range(n_parts + 1)]
    return [doc[begin:end].as_doc() for begin, end in zip(bounds, bounds[1:], strict=False)]
