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
"""`model.attrs["encode"]`: forward with rows *and* document rows; the callback takes gradients of both."""
