"""Texts that come again in a stream: they go through the encoder once."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats1d, Floats2d

from ...types import Encoded
from .row_cache import doc_key, weights_version

# A stream without repeated texts keeps no more than this. The bound grows as long as at least so many texts repeat.
_FIRST_MB = 32
_WORTH = 0.005
_STREAM: ContextVar["dict[int, RepeatedTexts] | None"] = ContextVar("stream", default=None)


class RepeatedTexts:
    """Rows of the last texts of a stream, up to a bound; the least recently used go first. It lives as long as the
    stream, so that what is predicted does not depend on earlier streams.

    The encoder sees smaller batches than it would see otherwise, so that rows differ by float precision (1e-5).

    model (Model): The backbone; when its weights change, all rows are dropped.
    most_mb (int): The most megabytes.
    """

    def __init__(self, model: Model, most_mb: int) -> None:
        self._model = model
        self._most = most_mb * 2**20
        self._bound = min(self._most, _FIRST_MB * 2**20)
        self._kept: OrderedDict[bytes, tuple[Floats2d, Floats1d]] = OrderedDict()
        self._version = weights_version(model)
        self.used = self.n_texts = self.n_repeated = 0

    def encode(self, docs: list[Doc], make: Callable[[list[Doc]], Encoded]) -> Encoded:
        """RETURNS (Encoded): Rows of all docs.

        make (Callable[[List[Doc]], Encoded]): Encodes docs.
        """
        version = weights_version(self._model)
        if version != self._version:
            self._kept.clear()
            self._version, self.used = version, 0
        keys = [doc_key(doc) for doc in docs]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: doc for key, doc in zip(keys, docs, strict=True) if key not in found}
        self.n_texts += len(docs)
        self.n_repeated += len(docs) - len(missing)
        made = make(list(missing.values())) if missing else None
        if made is not None:
            found |= dict(zip(missing, zip(made.rows, made.documents, strict=True), strict=True))
        self._keep(found)
        if made is not None and len(missing) == len(docs):
            return made
        xp = self._model.ops.xp
        return Encoded([found[key][0] for key in keys], xp.stack([found[key][1] for key in keys]))

    def _keep(self, found: dict[bytes, tuple[Floats2d, Floats1d]]) -> None:
        for key, (rows, document) in found.items():
            if key not in self._kept:
                # A slice would keep its whole batch alive.
                self._kept[key] = (rows.copy(), document.copy())
                self.used += rows.nbytes + document.nbytes
            self._kept.move_to_end(key)
        while self.used > self._bound and self._bound < self._most and self.n_repeated >= _WORTH * self.n_texts:
            self._bound = min(self._most, 2 * self._bound)
        while self.used > self._bound:
            _, (rows, document) = self._kept.popitem(last=False)
            self.used -= rows.nbytes + document.nbytes


@contextmanager
def one_stream() -> Iterator[None]:
    """Within, all calls of `nlp.pipe` are one stream."""
    token = _STREAM.set({})
    try:
        yield
    finally:
        _STREAM.reset(token)


def repeats_of(model: Model, most_mb: int) -> RepeatedTexts:
    """RETURNS (RepeatedTexts): Those of a stream that begins, or of the one that goes on."""
    stream = _STREAM.get()
    if stream is None:
        return RepeatedTexts(model, most_mb)
    if model.id not in stream:
        stream[model.id] = RepeatedTexts(model, most_mb)
    return stream[model.id]
