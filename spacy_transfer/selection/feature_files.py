"""Features of a candidate: what each head would read of a sample, computed in one pass and kept on disk."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy
from spacy.tokens import Doc
from spacy.util import fix_random_seed, minibatch, registry
from thinc.api import to_numpy

from ..backbones.cached_rows.row_cache import doc_key
from ..backbones.encode import encode
from ..backbones.pretrained_weights import load_pretrained
from ..backbones.transformer.transformer import LayerRows, rows_of_layers
from ..integrity import has_checksum, read_checked, write_checked
from ..types import BackboneAttrs, BackboneT, Config, Floats, hooks_of
from .candidates import Candidate, document_kind
from .head_tasks import DOCUMENT, Pooling, Task, features
from .kept_rows import KeptRows

Features = dict[tuple[int | None, str, Pooling], Floats]
"""By depth, head and pooling: shape (n_places, width). The depth is None for a backbone as it is."""
BATCH = 64
_SAMPLE = 10
"""Docs by which layers infer shapes."""


def default_folder() -> Path:
    """RETURNS (Path): The user's folder for caches, and ours in it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spacy-transfer" / "select"


def build(block: Config, docs: Sequence[Doc], *, seed: int, pretrained: Path | None = None) -> BackboneT:
    """A backbone with its weights.

    block (Dict[str, Any]): Its block `model`.
    docs (Sequence[Doc]): Those of the training corpus.
    pretrained (Optional[Path]): A file of `spacy pretrain`.
    """
    fix_random_seed(seed)
    model: BackboneT = registry.resolve({"model": block})["model"]
    model.initialize(X=list(docs if hooks_of(model).reads_corpus else docs[:_SAMPLE]))
    if pretrained is not None:
        load_pretrained(model, pretrained, "initialize.components.transfer_backbone.pretrained")
    return model


class FeatureFiles:
    """Computes features, or reads them from a folder.

    folder (Optional[Path]): Where files are kept, by fingerprint; None to keep none.
    docs (Sequence[Doc]): The sample.
    kept (Optional[KeptRows]): Gets the rows of all tokens that are computed.
    """

    def __init__(
        self, folder: Path | None, docs: Sequence[Doc], tasks: Sequence[Task], kept: KeptRows | None = None
    ) -> None:
        self.folder, self.docs, self.tasks, self.kept = folder, docs, tasks, kept
        self._sample = hashlib.sha256(b"".join(doc_key(doc) for doc in docs))
        for task in tasks:
            places = (task.gold.docs, task.gold.starts, task.gold.ends)
            self._sample.update(repr((task.head.name, task.head.normalize)).encode())
            self._sample.update(numpy.stack(places).tobytes())

    def features(
        self, model: BackboneT, candidate: Candidate, pretrained: Path | None, progress: Callable[[int], object]
    ) -> Features:
        """What the heads would read from a candidate.

        progress (Callable[[int], object]): Is told how many docs have been read.
        """
        path = self._path(model, candidate, pretrained)
        if path is not None and path.is_file() and has_checksum(path):
            progress(len(self.docs))
            return _load(read_checked(path))
        found = self._compute(model, candidate, progress)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_checked(path, _dump(found))
        return found

    def _compute(self, model: BackboneT, candidate: Candidate, progress: Callable[[int], object]) -> Features:
        parts: dict[tuple[int | None, str, Pooling], list[Floats]] = {}
        first = 0
        for docs in minibatch(self.docs, BATCH):
            for layer in _layers(model, docs, candidate):
                rows = [to_numpy(doc) for doc in layer.rows]
                documents = {kind: to_numpy(array) for kind, array in layer.documents.items()}
                if self.kept is not None:
                    own = documents[document_kind(candidate.block)]
                    self.kept.add((candidate.name, layer.depth), docs, rows, own)
                for task in self.tasks:
                    for pooling in self._poolings(task, candidate, documents):
                        part = features(task, pooling, rows, documents, first)
                        parts.setdefault((layer.depth, task.head.name, pooling), []).append(part)
            first += len(docs)
            progress(len(docs))
        return {key: numpy.concatenate(arrays) for key, arrays in parts.items()}

    def _poolings(self, task: Task, candidate: Candidate, documents: Collection[str]) -> list[Pooling]:
        """The poolings of a head on a backbone. Only transformers have rows of docs that are not the mean of the
        tokens', and several heads share one kind of them."""
        own, *others = task.head.poolings
        kinds = documents if len(self.tasks) == 1 else [document_kind(candidate.block)]
        rows = [(f"{DOCUMENT} {kind}",) for kind in kinds]
        found = [(f"{DOCUMENT} {document_kind(candidate.block)}",) if own == (DOCUMENT,) else own]
        for pooling in others:
            found += [pooling] if pooling != (DOCUMENT,) else rows if candidate.is_transformer else []
        if own == (DOCUMENT,):
            found += [row for row in rows if row not in found]
        return found

    def _path(self, model: BackboneT, candidate: Candidate, pretrained: Path | None) -> Path | None:
        """The file of a candidate. Random weights have none."""
        fingerprint = BackboneAttrs.of(model).fingerprint
        if self.folder is None or not fingerprint or "source" not in candidate.block:
            return None
        key = self._sample.copy()
        settings = {name: value for name, value in candidate.block.items() if name != "source"}
        poolings = [task.head.poolings for task in self.tasks]
        key.update(json.dumps([fingerprint, settings, poolings, candidate.sweeps], sort_keys=True).encode())
        if pretrained is not None:
            key.update(pretrained.read_bytes())
        return self.folder / f"{key.hexdigest()}.safetensors"


def _layers(model: BackboneT, docs: list[Doc], candidate: Candidate) -> list[LayerRows]:
    if candidate.sweeps:
        found, n_top = rows_of_layers(model, docs), candidate.n_top
        if n_top == 1 or found[-1].depth is not None:
            return [_side_by_side(model, found[max(0, i - n_top) : i]) for i in range(1, len(found) + 1)]
    encoded, _ = encode(model, docs, False)
    return [LayerRows(None, encoded.rows, {document_kind(candidate.block): encoded.documents})]


def _side_by_side(model: BackboneT, layers: Sequence[LayerRows]) -> LayerRows:
    """The rows of the uppermost of some layers, and beside them those of the others."""
    last, join = layers[-1], model.ops.xp.concatenate
    if len(layers) == 1:
        return last
    rows = [join(parts, axis=1) for parts in zip(*(layer.rows for layer in layers), strict=True)]
    documents = {kind: join([layer.documents[kind] for layer in layers], axis=1) for kind in last.documents}
    return LayerRows(last.depth, rows, documents)


def _dump(found: Features) -> bytes:
    """safetensors sorts by name; the number in front keeps the order, in which a head's own pooling is the first."""
    from safetensors.numpy import save

    items = enumerate(found.items())
    data: bytes = save({json.dumps([i, *key]): numpy.ascontiguousarray(array) for i, (key, array) in items})
    return data


def _load(data: bytes) -> Features:
    from safetensors.numpy import load

    arrays = load(data)
    named = sorted((json.loads(name), name) for name in arrays)
    return {(depth, head, tuple(pooling)): arrays[name] for (_, depth, head, pooling), name in named}
