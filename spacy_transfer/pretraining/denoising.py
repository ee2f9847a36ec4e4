"""Denoising.v1: write a text again from the document row of what is left of it (TSDAE, Wang et al. 2021)."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy
import torch
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model, get_torch_default_device
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..backbones.encode import encode
from ..backbones.transformer.pretrained import Pretrained
from ..backbones.transformer.tokenizer_checks import panics_are_errors
from ..backbones.transformer.transformer import TransformerShim
from ..checks import COUNT, Range, require
from ..corpora.raw_text import RawText
from ..types import BackboneT, Config, Encoded
from .decoder import TextDecoder
from .masked_rows import frequent_words, gradient_of, leaf
from .masked_words import transformer_shim
from .masking import Ids
from .objective import NOTHING, Measured, Objective, build_pretraining
from .views import INSIDE, delete_words, keep_no_states, words_of


def build_denoising_v1(
    *,
    deletion: float = 0.6,
    max_pieces: int = 128,
    n_words: int = 10000,
    log: Path | None = None,
    progress: bool = True,
) -> Callable[[Vocab, BackboneT], Model[list[Doc], Measured]]:
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

    def create(vocab: Vocab, tok2vec: BackboneT) -> Model[list[Doc], Measured]:
        shim = transformer_shim(tok2vec)
        objective: Denoising
        if shim is not None:
            objective = DenoisedPieces(tok2vec, shim, deletion, max_pieces)
        else:
            objective = DenoisedWords(tok2vec, deletion, max_pieces, n_words)
        return build_pretraining(objective, log=log, progress=progress)

    return create


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
            encoder = cast(PreTrainedModel, self._shim.encoder.transformer)
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
