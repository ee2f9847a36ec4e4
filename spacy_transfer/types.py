"""The arrays in which floors meet, and the names of the models that exchange them."""

from collections.abc import Callable
from dataclasses import dataclass

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

BackboneT = Model[list[Doc], list[Floats2d]]
"""One array of shape (len(doc), width) for every doc."""


@dataclass
class Encoded:
    """What a backbone makes of a batch of docs (or the gradients of that, of the same shapes).

    rows (List[Floats2d]): One array of shape (len(doc), width) for every doc.
    documents (Floats2d): One row for every doc, shape (len(docs), width): the encoder's own summary.
    """

    rows: list[Floats2d]
    documents: Floats2d


Encode = Callable[[BackboneT, list[Doc], bool], tuple[Encoded, Callable[[Encoded], list[Doc]]]]
"""Forward with rows *and* document rows; the callback takes gradients of both."""


@dataclass(frozen=True)
class BackboneHooks:
    """`model.attrs["backbone"]`: what one of our backbones does beyond the contract. It is not saved: the builder sets
    it again.

    encode (Optional[Encode]): Gives rows of documents too; null where they are the mean of the token rows.
    is_still (Optional[Callable[[Model], bool]]): Whether no parameter moves in the coming step.
    reads_empty (bool): A batch of empty docs has something to read as well.
    reads_corpus (bool): `initialize` wants all training texts, not a sample.
    """

    encode: Encode | None = None
    is_still: Callable[[BackboneT], bool] | None = None
    reads_empty: bool = False
    reads_corpus: bool = False


def hooks_of(model: BackboneT) -> BackboneHooks:
    """RETURNS (BackboneHooks): Those of a backbone; of any other tok2vec none.

    model (Model[List[Doc], List[Floats2d]]): The backbone.
    """
    return model.attrs.get("backbone", BackboneHooks())
