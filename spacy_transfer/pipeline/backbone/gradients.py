"""The gradients of heads for one batch, kept until the backward pass of the backbone."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy
from spacy.tokens import Doc
from thinc.api import to_numpy
from thinc.types import Floats2d

from ...types import Encoded, Floats


@dataclass
class _Part:
    """The gradients of one head."""

    rows: list[Floats] | None = None
    documents: Floats | None = None
    squares: float = 0.0


class PendingGradients:
    """Keeps the gradients of listeners, by the component they are in: a task.

    losses (Dict[str, float]): Gets the sum of squared gradients under `name`, as spaCy's Tok2Vec reports it.
    scales (Optional[Mapping[str, float]]): What gradients of a task are multiplied with as they come in; 1 for others.
    """

    def __init__(
        self,
        encoded: Encoded,
        callback: Callable[[Encoded], list[Doc]],
        losses: dict[str, float],
        name: str,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self._encoded = encoded
        self._callback = callback
        self._losses = losses
        self._name = name
        self._scales = scales or {}
        self._parts: dict[str, _Part] = {}
        self._readers: set[str] = set()

    def mark_read(self, head: str) -> None:
        """A head has read its rows: its gradients come with the same update, if it sends any."""
        self._readers.add(head)

    @property
    def was_read(self) -> bool:
        """Whether any head has read its rows, so that heads have run."""
        return bool(self._readers)

    @property
    def has_arrived(self) -> bool:
        """Whether any head has sent a gradient."""
        return bool(self._parts)

    @property
    def squares(self) -> dict[str, float]:
        """Sum of the squared gradients of each task that has sent any."""
        return {head: part.squares for head, part in self._parts.items()}

    @property
    def tasks(self) -> list[str]:
        """Those whose gradients are not all zero: others take no part in the batch."""
        return [head for head, part in self._parts.items() if part.squares != 0.0]

    @property
    def problem(self) -> dict[str, str] | None:
        """What to say of gradients that are not finite: which head sent them, and the norms of what all have sent."""
        found = self.squares
        broken = [head for head, squares in found.items() if not math.isfinite(squares)]
        if not broken:
            return None
        what = "NaN" if any(math.isnan(found[head]) for head in broken) else "infinite"
        largest = sorted(found.items(), key=lambda item: (item[0] in broken, item[1]), reverse=True)
        norms = ", ".join(f"{head} {math.sqrt(squares):.3g}" for head, squares in largest[:5])
        return {"heads": ", ".join(broken), "what": what, "norms": norms}

    def add_rows(self, head: str, d_rows: list[Floats2d]) -> list[Doc]:
        """Callback of listeners to token rows.

        head (str): Name of the component that the listener is in.
        d_rows (List[Floats2d]): Shapes (len(doc), width).
        """
        part, scale = self._part(head)
        given = _scaled(d_rows, scale)
        self._count(part, given)
        if part.rows is None:
            part.rows = given
        else:
            for total, d in zip(part.rows, given, strict=True):
                total += d
        return []

    def add_documents(self, head: str, d_documents: Floats2d) -> list[Doc]:
        """Callback of listeners to document rows.

        head (str): Name of the component that the listener is in.
        d_documents (Floats2d): Shape (n_docs, width).
        """
        part, scale = self._part(head)
        (given,) = _scaled([d_documents], scale)
        self._count(part, [given])
        part.documents = given if part.documents is None else part.documents + given
        return []

    def _part(self, head: str) -> tuple[_Part, float]:
        return self._parts.setdefault(head, _Part()), self._scales.get(head, 1.0)

    def _count(self, part: _Part, given: Sequence[Floats]) -> None:
        squares = sum([float((d * d).sum()) for d in given])
        self._losses[self._name] += squares
        part.squares += squares

    def backprop(self) -> None:
        """One backward pass for all tasks. Without gradients there is none."""
        if self.has_arrived:
            self._send(list(self._parts.values()))

    def backprop_task(self, task: str) -> None:
        """A backward pass for what one task has sent."""
        self._send([self._parts[task]])

    def _send(self, parts: list[_Part]) -> None:
        encoded = self._encoded
        found = [part.rows for part in parts if part.rows is not None]
        rows = [_sum(of_doc) for of_doc in zip(*found, strict=True)] if found else [own * 0 for own in encoded.rows]
        documents = [part.documents for part in parts if part.documents is not None]
        gradients = rows, _sum(documents) if documents else encoded.documents * 0
        self._callback(Encoded(*cast(tuple[list[Floats2d], Floats2d], gradients)))

    def products(self, first: str, second: str) -> tuple[float, float, float] | None:
        """Of two tasks' gradients, on the docs for which both have one: their product, and the squares of each.

        RETURNS (Optional[Tuple[float, float, float]]): None where they do not meet.
        """
        pairs = ((first, second), (first, first), (second, second))
        products = numpy.array([self._by_doc(*pair) for pair in pairs])
        totals = products[:, (products[1] > 0.0) & (products[2] > 0.0)].sum(axis=1)
        return (float(totals[0]), float(totals[1]), float(totals[2])) if totals[1:].all() else None

    def _by_doc(self, first: str, second: str) -> Floats:
        """Products of two tasks' gradients, of token rows and document row together, shape (n_docs,)."""
        a, b, rows = self._parts[first], self._parts[second], self._encoded.rows
        found = numpy.zeros(len(rows))
        if a.documents is not None and b.documents is not None:
            found += to_numpy((a.documents * b.documents).sum(axis=1))
        if a.rows is not None and b.rows is not None:
            doc = numpy.repeat(numpy.arange(len(rows)), [len(own) for own in rows])
            products = [to_numpy((x * y).sum(axis=1)) for x, y in zip(a.rows, b.rows, strict=True)]
            found += numpy.bincount(doc, numpy.concatenate(products), minlength=len(rows))
        return found


def _scaled(arrays: Sequence[Floats2d], scale: float) -> list[Floats]:
    """New arrays."""
    return [own.copy() if scale == 1.0 else own * scale for own in cast(Sequence[Floats], arrays)]


def _sum(arrays: Sequence[Floats]) -> Floats:
    """A new array: with PCGrad the parts are needed again."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total
