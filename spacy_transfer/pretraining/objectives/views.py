"""Texts that are made of a doc: words deleted, a random span, two neighbouring parts. Spaces are no words here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE
from spacy.strings import get_string_id
from spacy.tokens import Doc

from ...backbones.cached_rows.row_cache import CacheSettings
from ...backbones.shims.tunable import tunable_shims
from ...checks import Range, require
from ...types import BackboneT
from .word_masks import Ids

View: TypeAlias = Literal["dropout", "crop", "delete", "neighbours"]
INSIDE = Range(0, 1, has_low=False, has_high=False)


@dataclass(frozen=True)
class Views:
    """How two views of a text are made.

    kind (str): See `build_contrastive_v1`, as for the other arguments.
    deletion (float), crop (float), neighbours_from (int): Its settings.
    """

    kind: View
    deletion: float
    crop: float
    neighbours_from: int

    def __post_init__(self) -> None:
        require("pretraining.objective", INSIDE, deletion=self.deletion)
        require("pretraining.objective", Range(0, 1, has_low=False), crop=self.crop)
        require("pretraining.objective", Range(2, whole=True), neighbours_from=self.neighbours_from)

    def pair(self, doc: Doc, draw: numpy.random.Generator, is_train: bool) -> tuple[Doc, Doc]:
        """Two views of a doc. Without dropout, the views of "dropout" would be equal: words are deleted instead.

        doc (Doc): The doc, of one word at least.
        draw (Generator): Random numbers.
        is_train (bool): Whether there is dropout.
        RETURNS (Tuple[Doc, Doc]): The views.
        """
        if self.kind == "dropout" and is_train:
            return doc, doc
        if self.kind in ("dropout", "delete"):
            return delete_words(doc, self.deletion, draw), delete_words(doc, self.deletion, draw)
        if self.kind == "neighbours" and len(words_of(doc)) >= self.neighbours_from:
            return neighbours(doc, draw)
        return crop(doc, self.crop, draw), crop(doc, self.crop, draw)


def words_of(doc: Doc) -> Ids:
    """RETURNS (NDArray[int64]): Indices of the tokens that are no spaces."""
    return numpy.flatnonzero(doc.to_array(IS_SPACE) == 0)


def keep_words(doc: Doc, kept: Ids) -> Doc:
    """A doc of some of the words of another. Words that are not side by side any more get a space between them.

    doc (Doc): The doc.
    kept (NDArray[int64]): Indices of the words, ascending.
    RETURNS (Doc): The other doc.
    """
    tokens = [doc[int(i)] for i in kept]
    spaces = [bool(t.whitespace_) or u.i - t.i > 1 for t, u in zip(tokens, tokens[1:], strict=False)]
    return Doc(doc.vocab, words=[token.text for token in tokens], spaces=[*spaces, False][: len(tokens)])


def delete_words(doc: Doc, share: float, draw: numpy.random.Generator) -> Doc:
    """Delete a share of the words, at least one; but one word stays.

    doc (Doc): The doc.
    share (float): The share.
    draw (Generator): Random numbers.
    RETURNS (Doc): The rest.
    """
    words = words_of(doc)
    n_deleted = max(0, min(len(words) - 1, max(1, round(len(words) * share))))
    return keep_words(doc, numpy.sort(draw.permutation(words)[n_deleted:]))


def crop(doc: Doc, least: float, draw: numpy.random.Generator) -> Doc:
    """A random span.

    doc (Doc): The doc, of one word at least.
    least (float): Share of the words that it has at least.
    draw (Generator): Random numbers.
    RETURNS (Doc): The span.
    """
    words = words_of(doc)
    size = int(draw.integers(max(1, math.ceil(least * len(words))), len(words) + 1))
    begin = int(draw.integers(len(words) - size + 1))
    return keep_words(doc, words[begin : begin + size])


def neighbours(doc: Doc, draw: numpy.random.Generator) -> tuple[Doc, Doc]:
    """What stands before and after a random place in the middle third.

    doc (Doc): The doc, of two words at least.
    draw (Generator): Random numbers.
    RETURNS (Tuple[Doc, Doc]): The two parts.
    """
    words = words_of(doc)
    n_words = len(words)
    cut = int(draw.integers(math.ceil(n_words / 3), max(2 * n_words // 3, math.ceil(n_words / 3)) + 1))
    return keep_words(doc, words[:cut]), keep_words(doc, words[cut:])


def text_ids(*views: Sequence[Doc]) -> Ids:
    """A number for each text, the same in every process.

    *views (Sequence[Doc]): In each, a view of every text.
    RETURNS (NDArray[int64]): Shape (n_views, n_texts).
    """
    found = [[get_string_id(doc.text.strip()) for doc in docs] for docs in views]
    return numpy.array(found, dtype=numpy.uint64).view(numpy.int64).reshape(len(views), -1)


def are_alike(ids: Ids) -> NDArray[numpy.bool_]:
    """Whether two texts have a view in common, so that one says nothing against the other.

    ids (NDArray[int64]): What `text_ids` gives.
    RETURNS (NDArray[bool]): Shape (n_texts, n_texts).
    """
    found = numpy.zeros((ids.shape[1], ids.shape[1]), dtype=bool)
    for one in ids:
        for other in ids:
            found |= one[:, None] == other[None]
    return found


def keep_no_states(backbone: BackboneT) -> None:
    """Texts that are changed at random are not met again: keep no states of frozen lower layers for them.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    """
    for shim in tunable_shims(backbone):
        shim.cache_settings = CacheSettings()
