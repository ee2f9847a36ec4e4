"""Masked words of a backbone that is no transformer: predicted among the frequent words of the corpus."""

from collections.abc import Sequence
from typing import Any, cast

import numpy
import torch
from spacy.tokens import Doc
from thinc.api import get_torch_default_device, torch2xp
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...backbones.shims.aligned_memory import as_tensor
from ...corpora.raw_text import RawText
from ...errors import Errors
from ...types import BackboneT, Config
from ..objective import NOTHING, Measured, Objective
from .word_masks import Ids, Masking

MASK = "[MASK]"


class WordSoftmax(nn.Module):
    """Log-likelihood of words, from rows of a backbone.

    width (int): Of the rows.
    words (Sequence[str]): The words, the most frequent first.
    adaptive_from (int): From this many words on, an adaptive softmax (Grave et al. 2017).
    """

    def __init__(self, width: int, words: Sequence[str], adaptive_from: int) -> None:
        super().__init__()
        n_words = len(words)
        self.index = {word: i for i, word in enumerate(words)}
        self.adaptive: nn.AdaptiveLogSoftmaxWithLoss | None
        # Frequent words, and two classes of rarer ones at 1/2 and 1/4 of the width: none may be empty.
        if n_words >= max(adaptive_from, 20) and width >= 4:
            cuts = [n_words // 20, n_words // 4]
            self.adaptive, self.linear = nn.AdaptiveLogSoftmaxWithLoss(width, n_words, cuts, div_value=2.0), None
        else:
            self.adaptive, self.linear = None, nn.Linear(width, n_words)

    def forward(self, rows: Tensor, targets: Tensor) -> Tensor:
        """RETURNS (Tensor): Mean negative log-likelihood of the words, for rows of shape (n, width)."""
        if self.adaptive is not None:
            return cast(Tensor, self.adaptive(rows, targets).loss)
        return cross_entropy(cast(nn.Linear, self.linear)(rows), targets)

    def targets(self, words: Sequence[str]) -> Ids:
        """RETURNS (NDArray[int64]): Index of each word; -1 for one that is not predicted."""
        return numpy.array([self.index.get(word, -1) for word in words], dtype=numpy.int64)


def frequent_words(reader: RawText | None, n_words: int, name: str) -> list[str]:
    """The most frequent words of a corpus.

    reader (Optional[RawText]): The corpus.
    n_words (int): How many.
    name (str): The objective, for the message.
    RETURNS (List[str]): The words, the most frequent first.
    RAISES (ValueError): When the reader is not ours, or there are no two words.
    """
    if reader is None:
        raise ValueError(Errors.T829.format(name=name))
    counts = reader.count_words()
    # Words that are equally frequent in the order of the alphabet, not of the corpus.
    words = sorted((word for word in counts if not word.isspace()), key=lambda word: (-counts[word], word))[:n_words]
    if len(words) < 2:
        raise ValueError(Errors.T831.format(name=name, found=words))
    return words


def leaf(rows: Any) -> Tensor:
    """RETURNS (Tensor): Rows of a backbone as the start of a graph in torch."""
    return as_tensor(rows, get_torch_default_device()).requires_grad_(True)


def gradient_of(rows: Tensor) -> Any:
    """RETURNS (Floats2d): The gradient of a leaf, for a backbone."""
    return torch2xp(cast(Tensor, rows.grad))


class MaskedRows(Objective):
    """Masked words at the rows of a backbone.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    masking (Masking): How words are masked.
    n_words (int), adaptive_from (int): See `build_masked_words_v1`.
    """

    name = "spacy-transfer.MaskedWords.v1"
    unit = "masked word"

    def __init__(self, backbone: BackboneT, masking: Masking, n_words: int, adaptive_from: int) -> None:
        super().__init__(backbone)
        self._masking, self._n_words, self._adaptive_from = masking, n_words, adaptive_from

    def start(self, docs: list[Doc], reader: RawText | None) -> Config:
        """RETURNS (Dict[str, Any]): The words that are predicted."""
        return {"words": frequent_words(reader, self._n_words, self.name)}

    def make_output(self, settings: Config) -> nn.Module:
        """RETURNS (nn.Module): The softmax."""
        self._words: list[str] = settings["words"]
        softmax = WordSoftmax(self.backbone.get_dim("nO"), self._words, self._adaptive_from)
        return softmax.to(get_torch_default_device())

    def measure(
        self, docs: list[Doc], output: nn.Module | None, draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        softmax = cast(WordSoftmax, output)
        masked, at, targets = self.mask(docs, softmax, draw)
        if not len(at):
            return NOTHING
        rows, back = self.backbone(masked, is_train)
        flat = leaf(self.backbone.ops.xp.concatenate(rows))
        with torch.set_grad_enabled(is_train):
            loss = softmax(flat[torch.from_numpy(at).to(flat.device)], torch.from_numpy(targets).to(flat.device))

        def backprop() -> None:
            loss.backward()
            ends = numpy.cumsum([len(doc) for doc in masked])[:-1]
            back(self.backbone.ops.xp.split(gradient_of(flat), [int(end) for end in ends]))

        return Measured(loss.item() * len(at), len(at), backprop)

    def mask(self, docs: list[Doc], softmax: WordSoftmax, draw: numpy.random.Generator) -> tuple[list[Doc], Ids, Ids]:
        """Docs with masked words.

        docs (List[Doc]): The batch.
        softmax (WordSoftmax): Knows which words are predicted.
        draw (Generator): Random numbers.
        RETURNS (Tuple[List[Doc], NDArray[int64], NDArray[int64]]): Other docs; the tokens that are predicted, of all
            docs laid end to end; their words.
        """
        texts = [token.text for doc in docs for token in doc]
        targets = softmax.targets(texts)
        doc_of_token = numpy.repeat(numpy.arange(len(docs)), [len(doc) for doc in docs])
        known = numpy.flatnonzero(targets >= 0)
        chosen = self._masking.draw(doc_of_token[known], draw)
        at = known[chosen.words]
        for i in at[~chosen.is_kept]:
            texts[i] = MASK
        randoms = at[chosen.is_random]
        for i, word in zip(randoms, draw.integers(len(self._words), size=len(randoms)), strict=True):
            texts[i] = self._words[word]
        return with_words(docs, texts), at, targets[at]


def with_words(docs: Sequence[Doc], words: Sequence[str]) -> list[Doc]:
    """RETURNS (List[Doc]): Docs with other words, and the same spaces.

    docs (Sequence[Doc]): The docs.
    words (Sequence[str]): For all of them, laid end to end.
    """
    found, begin = [], 0
    for doc in docs:
        spaces = [bool(token.whitespace_) for token in doc]
        found.append(Doc(doc.vocab, words=list(words[begin : begin + len(doc)]), spaces=spaces))
        begin += len(doc)
    return found
