"""Rows of tokens and documents from any backbone. A frozen backbone encodes each text once."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from spacy.tokens import Doc
from thinc.types import Floats1d, Floats2d

from ..errors import Errors
from ..transient import Transient
from ..types import ArrayModule, BackboneT, Config, Encoded, Floats, hooks_of
from .cached_rows.row_cache import CacheSettings, RowCache, doc_key, weights_version
from .cached_rows.row_folder import shared_rows


def encode(model: BackboneT, docs: list[Doc], is_train: bool) -> tuple[Encoded, Callable[[Encoded], list[Doc]]]:
    """Rows of tokens and docs. A backbone without a summary of its own gives the mean of the token rows.

    RETURNS (Tuple[Encoded, Callable]): The rows, and a callback that takes gradients of the same shapes.
    """
    hooks = hooks_of(model)
    if not any(len(doc) for doc in docs) and not (docs and hooks.reads_empty):
        # spaCy's encoders fail on a batch without tokens.
        width = model.get_dim("nO")
        nothing = Encoded([model.ops.alloc2f(0, width) for _ in docs], model.ops.alloc2f(len(docs), width))
        return nothing, lambda grads: docs
    if hooks.encode is not None:
        return hooks.encode(model, docs, is_train)
    rows, backprop_rows = model(docs, is_train)
    documents = model.ops.alloc2f(len(docs), model.get_dim("nO"))
    for i, doc_rows in enumerate(rows):
        if len(doc_rows):
            documents[i] = doc_rows.mean(axis=0)

    def backprop(grads: Encoded) -> list[Doc]:
        return backprop_rows([_with_share(d, grads.documents[i]) for i, d in enumerate(grads.rows)])

    return Encoded(rows, documents), backprop


def _with_share(d_rows: Floats2d, d_document: Floats1d) -> Floats2d:
    return cast(Floats2d, d_rows + d_document / len(d_rows)) if len(d_rows) else d_rows


def in_one_array(xp: ArrayModule, rows: Sequence[Floats], documents: Floats) -> list[Floats]:
    """RETURNS (List[Floats2d]): As caches keep them: for each doc the rows of its tokens, and below them its own."""
    return [xp.concatenate([own, document[None]]) for own, document in zip(rows, documents, strict=True)]


class CachedEncoder(Transient):
    """Keeps the rows of a frozen backbone in training: they are the same in every epoch. It keeps none before
    `start`."""

    built_from = ("settings",)

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.cache: RowCache | None = None
        self._version = 0

    def start(self) -> None:
        """Keep rows from now on, if the settings allow any."""
        if self.cache is None and self.settings.is_on:
            self.cache, self._version = RowCache(self.settings), 0

    def share(self, model: BackboneT, settings: Callable[[], Config], name: str) -> None:
        """Keep rows in the folder of the settings, or in that of `rows_shared_in`, beginning now, as long as the
        weights stay as they are.

        settings (Callable[[], Dict[str, Any]]): Gives the component's block in the config.
        name (str): The component's.
        RAISES (ValueError): When its own folder cannot be used.
        """
        own = None if self.settings.folder is None else (self.settings.folder, self.settings.disk_mb)
        try:
            folder = shared_rows(model, settings, self.settings.dtype, own)
        except OSError as error:
            raise ValueError(Errors.T427.format(name=name, folder=self.settings.folder, error=error)) from error
        if folder is not None:
            self.cache, self._version = RowCache(self.settings, folder), weights_version(model)

    def forget(self) -> None:
        """Drop all rows: from now on the weights are trained."""
        self.cache = None

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Within, add no rows: the texts are not needed again."""
        cache, self.cache = self.cache, None
        try:
            yield
        finally:
            self.cache = cache

    def encode(self, model: BackboneT, docs: list[Doc]) -> Encoded:
        """Rows from the cache, and one pass for the rest. When the weights have changed, the cache is emptied."""
        if self.cache is None:
            return encode(model, docs, False)[0]
        version, xp = weights_version(model), model.ops.xp
        if version != self._version:
            self.cache, self._version = RowCache(self.settings), version

        def make(missing: list[int]) -> list[Floats]:
            encoded, _ = encode(model, [docs[i] for i in missing], False)
            return in_one_array(xp, cast(list[Floats], encoded.rows), cast(Floats, encoded.documents))

        arrays = self.cache.gather([doc_key(doc) for doc in docs], make)
        found = [model.ops.asarray2f(cast(Floats2d, array)) for array in arrays]
        documents = xp.stack([array[-1] for array in found]) if found else model.ops.alloc2f(0, 0)
        return Encoded([array[:-1] for array in found], documents)
