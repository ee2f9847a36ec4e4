"""The gradients that heads send back for one batch, until they go through the backbone together."""

import math
from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.types import Floats2d

from ..types import Encoded


class PendingGradients:
    """Sums what the listeners send.

    encoded (Encoded): What the backbone gave out.
    callback (Callable[[Encoded], List[Doc]]): Its backward pass.
    losses (Dict[str, float]): Gets the sum of squared gradients under `name`, as spaCy's Tok2Vec reports it.
    name (str): The component's name.
    """

    def __init__(
        self, encoded: Encoded, callback: Callable[[Encoded], list[Doc]], losses: dict[str, float], name: str
    ) -> None:
        self._encoded = encoded
        self._callback = callback
        self._losses = losses
        self._name = name
        self._rows: list[Floats2d] | None = None
        self._documents: Floats2d | None = None
        self._squares: dict[str, float] = {}

    @property
    def has_arrived(self) -> bool:
        """Whether any head has sent a gradient."""
        return self._rows is not None or self._documents is not None

    @property
    def problem(self) -> dict[str, str] | None:
        """What to say of gradients that are not finite: which head sent them, and the norms of what all have sent."""
        broken = [head for head, squares in self._squares.items() if not math.isfinite(squares)]
        if not broken:
            return None
        what = "NaN" if any(math.isnan(self._squares[head]) for head in broken) else "infinite"
        largest = sorted(self._squares.items(), key=lambda item: (item[0] in broken, item[1]), reverse=True)
        norms = ", ".join(f"{head} {math.sqrt(squares):.3g}" for head, squares in largest[:5])
        return {"heads": ", ".join(broken), "what": what, "norms": norms}

    def add_rows(self, head: str, d_rows: list[Floats2d]) -> list[Doc]:
        """Callback of listeners to token rows.

        head (str): Name of the component that the listener is in.
        d_rows (List[Floats2d]): Shapes (len(doc), width).
        """
        self._count(head, sum(_squares(d) for d in d_rows))
        if self._rows is None:
            self._rows = [d.copy() for d in d_rows]
        else:
            for total, d in zip(self._rows, d_rows, strict=True):
                total += d
        return []

    def add_documents(self, head: str, d_documents: Floats2d) -> list[Doc]:
        """Callback of listeners to document rows.

        head (str): Name of the component that the listener is in.
        d_documents (Floats2d): Shape (n_docs, width).
        """
        self._count(head, _squares(d_documents))
        self._documents = d_documents.copy() if self._documents is None else self._documents + d_documents
        return []

    def _count(self, head: str, squares: float) -> None:
        self._losses[self._name] += squares
        self._squares[head] = self._squares.get(head, 0.0) + squares

    def backprop(self) -> None:
        """The one backward pass. Without gradients there is none."""
        if not self.has_arrived:
            return
        encoded = self._encoded
        rows = [_zeros(r) for r in encoded.rows] if self._rows is None else self._rows
        documents = _zeros(encoded.documents) if self._documents is None else self._documents
        self._callback(Encoded(rows, documents))


def _squares(array: Any) -> float:
    return float((array * array).sum())


def _zeros(array: Any) -> Any:
    return array * 0
