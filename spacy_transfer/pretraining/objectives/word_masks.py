"""Draw the words that are masked, and what stands in their place. NumPy only."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy
from numpy.typing import NDArray

from ...checks import SHARE, require
from ...errors import Errors

Ids: TypeAlias = NDArray[numpy.int64]


@dataclass(frozen=True)
class Masking:
    """How words are masked (Devlin et al. 2019).

    share (float): Share of the words that are predicted, at least one in each doc.
    random (float): Share of those that are replaced by a random word.
    keep (float): Share of those that stay as they are. The others are replaced by the mask.
    """

    share: float
    random: float
    keep: float

    def __post_init__(self) -> None:
        require("pretraining.objective", SHARE, share=self.share, random=self.random, keep=self.keep)
        if not self.share or self.random + self.keep > 1.0:
            raise ValueError(Errors.T826.format(share=self.share, random=self.random, keep=self.keep))

    def draw(self, doc_of_word: Ids, draw: numpy.random.Generator) -> "MaskedWords":
        """Draw words, in each doc its share.

        doc_of_word (NDArray[int64]): The doc of every word, ascending, shape (n_words,).
        draw (Generator): Random numbers.
        RETURNS (MaskedWords): The words.
        """
        n_words = len(doc_of_word)
        order = numpy.lexsort((draw.random(n_words), doc_of_word))
        first = numpy.searchsorted(doc_of_word, doc_of_word, side="left")
        counts = numpy.bincount(doc_of_word)[doc_of_word] if n_words else doc_of_word
        wanted = numpy.maximum(1, numpy.rint(counts * self.share))
        words = numpy.sort(order[numpy.arange(n_words) - first < wanted])
        fate = draw.random(len(words))
        return MaskedWords(words, fate < self.random, fate >= 1.0 - self.keep)


@dataclass(frozen=True)
class MaskedWords:
    """Words that are predicted.

    words (NDArray[int64]): Their indices, ascending, shape (n,).
    is_random (NDArray[bool]): Whether a random word stands in their place, shape (n,).
    is_kept (NDArray[bool]): Whether they stay, shape (n,).
    """

    words: Ids
    is_random: NDArray[numpy.bool_]
    is_kept: NDArray[numpy.bool_]
