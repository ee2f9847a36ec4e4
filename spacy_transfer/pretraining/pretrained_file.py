"""The file that `spacy pretrain` writes: a backbone as `init_tok2vec` reads it, with the objective's output layer."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import srsly
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..attributes import Attrs
from ..backbones.pretrained_weights import PRETRAINING, load_weights
from ..backbones.shims.tunable import keep_origins, tunable_shims
from ..backbones.transformer.transformer_shim import TransformerShim
from ..errors import Errors
from ..types import BackboneAttrs, BackboneT, Config

if TYPE_CHECKING:
    from .monitor import Monitor
    from .objective import Objective


class Saved(Protocol):
    """What stands in the file beside the backbone."""

    monitor: "Monitor"
    objective: "Objective"

    def dump(self) -> Config:
        """RETURNS (Dict[str, Any]): Name, settings and weights of the output layer."""

    def restore(self, settings: Config, weights: bytes | None) -> None:
        """Make the output layer, and fill it."""


@dataclass(kw_only=True)
class LayerAttrs(Attrs):
    """Of the node below."""

    pretraining: Saved


class PretrainedLayer(Model[list[Doc], list[Floats2d]]):
    """The node that `spacy pretrain` saves: the backbone in a node of its own, so that we know when it is saved.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    pretraining (Saved): The objective at work.
    """

    def __init__(self, backbone: BackboneT, pretraining: Saved) -> None:
        own = vars(LayerAttrs(pretraining=pretraining))
        super().__init__("transfer_pretrained", _forward, layers=[backbone], attrs=own)

    def to_bytes(self) -> bytes:
        """Say the held-out loss, since an epoch is over.

        RETURNS (bytes): The bytes of the backbone as Thinc reads them, with one more key for the output layer.
        """
        backbone, pretraining = self.layers[0], LayerAttrs.of(self).pretraining
        pretraining.monitor.evaluate()
        with _untrained(backbone):
            msg = backbone.to_dict()
        msg[PRETRAINING] = pretraining.dump()
        return srsly.msgpack_dumps(msg)

    def from_bytes(self, bytes_data: bytes) -> "PretrainedLayer":
        """Load backbone and output layer: for `spacy pretrain --resume-path`.

        bytes_data (bytes): What `to_bytes` returned.
        RETURNS (PretrainedLayer): self.
        """
        backbone = self.layers[0]
        # Each objective's run is anchored to the source.
        with keep_origins(backbone):
            load_weights(backbone, bytes_data)
        saved = srsly.msgpack_loads(bytes_data).get(PRETRAINING)
        pretraining = LayerAttrs.of(self).pretraining
        if saved is not None and saved["settings"] is not None:
            name = pretraining.objective.name
            if saved["name"] != name:
                raise ValueError(Errors.T825.format(found=saved["name"], name=name))
            pretraining.restore(saved["settings"], saved["weights"])
        return self


@contextmanager
def _untrained(backbone: BackboneT) -> Iterator[None]:
    """Save a backbone as a source would give it: no steps made, and a fingerprint of its own, since rows are cached by
    that."""
    shims = tunable_shims(backbone)
    steps = [shim.steps for shim in shims]
    transformers = [shim.pretrained for shim in shims if isinstance(shim, TransformerShim) and shim.pretrained]
    attrs, has_fingerprint = BackboneAttrs.of(backbone), BackboneAttrs.fits(backbone)
    before = attrs.fingerprint
    own = [pretrained.fingerprint for pretrained in transformers]
    for shim in shims:
        shim.steps = 0
    try:
        if has_fingerprint:
            fingerprint = hashlib.sha256(backbone.to_bytes()).hexdigest()
            attrs.fingerprint = fingerprint
            for pretrained in transformers:
                pretrained.fingerprint = fingerprint
        yield
    finally:
        for shim, count in zip(shims, steps, strict=True):
            shim.steps = count
        if has_fingerprint:
            attrs.fingerprint = before
        for pretrained, fingerprint in zip(transformers, own, strict=True):
            pretrained.fingerprint = fingerprint


def _forward(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    return model.layers[0](docs, is_train)
