"""The model of the drop-in: that of spacy-transformers, with another shim and complete copies."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from spacy.tokens import Doc
from spacy.util import SimpleFrozenDict
from thinc.util import convert_recursive, is_xp_array

from ..._compat import spacy_transformers_classes
from ...errors import Errors
from ...integrity import seal, unpack, write_whole
from ...tuning.policy import Tuning
from ...types import Config
from ..cached_rows.row_cache import CacheSettings
from ..sources import resolve_path, resolve_source
from ..transformer.packed import can_pack
from ..transformer.precision import Precision
from ..transformer.probes import check_input, rows_depend_on_padding
from ..transformer.reading.source_checks import check_config, check_finite, check_folder, forget_code, read_config
from ..transformer.reading.tokenizer_checks import check_ids, read_tokenizer, refuse_own_tokenizer
from .dropin_shim import DropInShim

if TYPE_CHECKING:
    from spacy_transformers.data_classes import FullTransformerBatch, HFObjects
    from spacy_transformers.layers import TransformerModel
    from transformers import PreTrainedModel
else:
    TransformerModel = spacy_transformers_classes().TransformerModel

_NOTHING: Config = SimpleFrozenDict()
_NAME = "spacy-transfer.TransformerModel.v1"
_NAME_IN_HEAD = "spacy-transfer.Tok2VecTransformer.v1"
# Arguments of our loss scale, by the names of torch.
_SCALING = {
    "init_scale": "scale",
    "growth_factor": "growth",
    "backoff_factor": "backoff",
    "growth_interval": "interval",
}


class DropInModel(TransformerModel):
    """See `build_transformer_model_v1`."""

    def __init__(
        self,
        name: str,
        get_spans: Callable,
        tokenizer_config: Config = _NOTHING,
        transformer_config: Config = _NOTHING,
        mixed_precision: bool = False,
        grad_scaler_config: Config = _NOTHING,
        *,
        precision: Precision | None = None,
        tuning: Tuning | None = None,
        cache: CacheSettings | None = None,
    ) -> None:
        if mixed_precision and precision not in (None, "fp16"):
            raise ValueError(Errors.T120.format(precision=precision))
        precision = precision or ("fp16" if mixed_precision else "fp32")
        scaling = _scaling(grad_scaler_config) if precision == "fp16" else None
        # spacy-transformers writes into these dictionaries.
        super().__init__(name, get_spans, dict(tokenizer_config), dict(transformer_config))
        objects = cast(DropInShim, self.layers[0].shims[0])._hfmodel
        self.layers[0].shims[0] = DropInShim(
            objects, name, tuning=tuning, precision=precision, scaling=scaling, cache=cache or CacheSettings(512)
        )
        self._read, self.init = self.init, init
        self._set_transformer = self.attrs["set_transformer"]
        self.attrs["set_transformer"] = set_transformer
        self.attrs["replace_listener_cfg"] = partial(replace_listener_config, self.attrs["replace_listener_cfg"])

    @property
    def shim(self) -> DropInShim:
        """RETURNS (DropInShim): The shim."""
        return cast(DropInShim, self.layers[0].shims[0])

    def __call__(self, X: list[Doc], is_train: bool) -> "tuple[FullTransformerBatch, Callable]":
        self._before_pass(X, is_train)
        return super().__call__(X, is_train)

    def begin_update(self, X: list[Doc]) -> "tuple[FullTransformerBatch, Callable]":
        self._before_pass(X, True)
        return super().begin_update(X)

    def predict(self, X: list[Doc]) -> "FullTransformerBatch":
        self._before_pass(X, False)
        return super().predict(X)

    def _before_pass(self, docs: list[Doc], is_train: bool) -> None:
        if not self.attrs["has_transformer"]:
            raise ValueError(Errors.T108.format(source=self.attrs["name"]))
        if is_train:
            self.shim.set_n_docs(len(docs))

    # The component is that of spacy-transformers, so the checksum is inside of the data.

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The msgpack of Thinc, with a checksum."""
        return seal(super().to_bytes())

    def to_disk(self, path: Path | str) -> None:
        """Write a file that is whole or absent."""
        write_whole(Path(path), self.to_bytes())

    def from_bytes(self, bytes_data: bytes) -> "DropInModel":
        """Load the model.

        RAISES (ValueError): When they are cut short or damaged.
        """
        msg = unpack(bytes_data, f"The file `model` of the component whose encoder is {self.attrs['name']!r}")
        return cast(DropInModel, self.from_dict(convert_recursive(is_xp_array, self.ops.asarray, msg)))

    def copy(self) -> "DropInModel":
        """RETURNS (DropInModel): A copy with weights, configs, tuning and steps."""
        return self._copy()

    def _copy(self, seen: dict | None = None) -> "DropInModel":
        """Thinc's method to copy a node inside of another."""
        copied = type(self)(self.attrs["name"], self.attrs["get_spans"])
        copied.layers[0] = self.layers[0]._copy({} if seen is None else seen)
        copied.attrs.update(copy.deepcopy(self.attrs))
        copied._dims = copy.deepcopy(self._dims)
        return copied


def init(model: DropInModel, X: object = None, Y: object = None) -> None:
    """Read encoder and tokenizer, but not if they came with a saved pipeline."""
    name = model.attrs["name"]
    if model.attrs["has_transformer"]:
        return
    objects = model.shim._hfmodel
    own = (objects._init_tokenizer_config, objects._init_transformer_config)
    model.attrs["name"] = find_folder(name)
    _check_source(model.attrs["name"], name, *own)
    safe = {"trust_remote_code": False}
    objects._init_tokenizer_config, objects._init_transformer_config = ({**config, **safe} for config in own)
    try:
        model._read(model, X=X, Y=Y)
    except ValueError as error:
        refuse_own_tokenizer(model.attrs["name"], name, error)
        raise
    finally:
        # Saved pipelines have the values of the config.
        model.attrs["name"] = name
        objects._init_tokenizer_config, objects._init_transformer_config = own


def _check_source(place: str, name: str, tokenizer_config: Config, config: Config) -> None:
    """Refuse code and damaged files before spacy-transformers reads a source."""
    for key, settings in (("tokenizer_config", tokenizer_config), ("transformer_config", config)):
        if settings.get("trust_remote_code"):
            raise ValueError(Errors.T137.format(key=key, found=settings["trust_remote_code"]))
    check_config(config, "components.NAME.model.transformer_config")
    if not Path(place).is_dir():
        read_config(place, name, **config)
        return
    check_folder(Path(place), name)
    file = Path(place) / "tokenizer.json"
    if file.exists():
        read_tokenizer(file.read_text(encoding="utf8"), name)


def find_folder(name: str) -> str:
    """Locate `package:NAME/path`. Other names are left to transformers.

    RETURNS (str): A folder, or a hub id.
    RAISES (ValueError): When there is no such package or path, or it is a spaCy pipeline.
    """
    if not name.startswith("package:"):
        resolve_path(name)
        return name
    source = resolve_source(name)
    if source.kind == "pipeline":
        raise ValueError(Errors.T123.format(name=name))
    return str(source.path)


def set_transformer(model: DropInModel, objects: "HFObjects") -> None:
    """Put encoder and tokenizer into the model."""
    # spacy-transformers refuses a second encoder.
    if not model.attrs["has_transformer"]:
        check_finite(objects.transformer.named_parameters(), model.attrs["name"])
        check_ids(objects.tokenizer, objects.transformer, [], model.attrs["name"])
        _check_batches(objects.transformer, model.attrs["name"])
        forget_code(objects.transformer.config)
        model.shim.start(objects.transformer)
    model._set_transformer(model, objects)


def _check_batches(transformer: "PreTrainedModel", source: str) -> None:
    """The drop-in reads windows of all lengths at once, so padding may not change what the encoder gives."""
    check_input(transformer)
    if not can_pack(transformer) and rows_depend_on_padding(transformer):
        raise ValueError(Errors.T145.format(source=source, kind=type(transformer).__name__))


def replace_listener_config(theirs: Callable, model_config: Config, listener_config: Config) -> Config:
    """The config by which `nlp.replace_listeners` replaces that of a listener.

    theirs (Callable): The same of spacy-transformers, for other architectures.
    model_config (Config): `model` of the component.
    listener_config (Config): `model.tok2vec` of the head.
    """
    if model_config["@architectures"] != _NAME:
        return theirs(model_config, listener_config)
    kept: Config = {key: listener_config[key] for key in ("pooling", "grad_factor") if key in listener_config}
    return {**model_config, "@architectures": _NAME_IN_HEAD, **kept}


def _scaling(config: Config) -> Config | None:
    """Arguments of our loss scale; None if it is not enabled."""
    known = ["enabled", *_SCALING]
    if not set(config) <= set(known):
        raise ValueError(Errors.T121.format(found=sorted(config), known=known))
    if not config.get("enabled", True):
        return None
    return {ours: float(config[theirs]) for theirs, ours in _SCALING.items() if theirs in config}
