"""PipelineBackbone.v1: the tok2vec of an existing spaCy pipeline, copied in."""

import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import numpy
import spacy
import srsly
from spacy.attrs import NORM, ORTH
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import dict_to_dot, get_lang_class, is_package, registry
from spacy.vocab import Vocab, create_vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d, FloatsXd

from ..errors import Errors
from ..installed import like
from ..integrity import seal, unpack
from ..tuning.policy import Tuning
from ..types import BackboneAttrs, BackboneHooks, BackboneT, Config, Ints
from .pretrained_weights import BackboneModel
from .shims.thinc_tuning import LayersShim, check_keys, is_frozen
from .shims.thinc_weights import Weight, find_weights
from .shims.tunable import Tunable
from .sources import check_unchanged, reading_again, resolve_path

_SAVED = "The saved encoder"
_FIELDS = {"config": str, "lang": str, "encoder": bytes, "vocab": bytes}


@dataclass(kw_only=True)
class PipelineAttrs(BackboneAttrs):
    """Of the backbone: settings of `build_pipeline_backbone_v1`, and the rate that Thinc sets for training."""

    source: str
    component: str | None
    dropout_rate: float = 0.0


def build_pipeline_backbone_v1(*, source: str, component: str | None = None, tuning: Tuning | None = None) -> BackboneT:
    """The encoder of a pipeline such as en_core_web_sm. Rows equal the pipeline's own: its norms and vectors come
    along, and the target pipeline's vocabulary is left alone.

    A tuning calls what spaCy's Tok2Vec embeds with "embeddings.X" ("embeddings.hashembed.0.E",
    "embeddings.maxout.W", ...), and the blocks of what it encodes with "layer.0.X", "layer.1.X", ...
    ("layer.0.maxout.W", "layer.0.layernorm.G"). Other encoders have layers only.

    source (str): Name or folder of a spaCy pipeline, or `package:NAME/path/inside`.
    component (Optional[str]): A tok2vec component, or a component with a tok2vec inside; null for the one
        named "tok2vec", or else the only one there is.
    tuning (Optional[Tuning]): What is trained, from when, and how fast: a block `spacy-transfer.Tuning.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc.
    """
    check_keys(tuning, "PipelineBackbone")
    hooks = BackboneHooks(is_frozen=is_frozen)
    attrs = vars(PipelineAttrs(source=source, component=component, backbone=hooks))
    return BackboneModel(
        "transfer_pipeline", forward, init=init, dims={"nO": None}, attrs=attrs, shims=[PipelineShim(tuning)]
    )


def forward(
    model: BackboneT, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Run the encoder on the docs as the source pipeline would see them."""
    shim, own = cast(PipelineShim, model.shims[0]), PipelineAttrs.of(model)
    if shim.encoder is None:
        raise ValueError(Errors.T253.format(source=own.source))
    own_docs = [shim.translate(doc) for doc in docs]
    if not any(len(doc) for doc in docs):
        return [model.ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda d_rows: docs
    set_dropout_rate(shim.encoder, own.dropout_rate if is_train else 0.0)
    rows, back = shim.run(model, own_docs, is_train)

    def backprop(d_rows: list[Floats2d]) -> list[Doc]:
        back(d_rows)
        return docs

    return rows, backprop


def init(model: BackboneT, X: object = None, Y: object = None) -> None:
    """Copy the encoder out of the source."""
    shim, own = cast(PipelineShim, model.shims[0]), PipelineAttrs.of(model)
    encoder = shim.read(own.source, own.component)
    own.fingerprint = shim.fingerprint()
    model.set_dim("nO", encoder.get_dim("nO"), force=True)
    shim.start(model)


class PipelineShim(LayersShim):
    """Holds the encoder, its config and its vocabulary, and saves all three. The encoder is rebuilt from its own
    config."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        super().__init__(tuning)
        self.encoder: Model | None = None
        self.config: Config = {}
        self.vocab: Vocab = Vocab()
        self.lang = ""

    def read(self, source: str, component: str | None) -> Model:
        """RETURNS (Model): A copy of the encoder of a pipeline."""
        nlp = _load(source)
        found = _encoders(nlp)
        name = component or ("tok2vec" if "tok2vec" in found else next(iter(found), None))
        if name not in found or (component is None and name != "tok2vec" and len(found) > 1):
            raise ValueError(Errors.T252.format(component=component, source=source, found=list(found)))
        encoder, self.config = found[name]
        vocab, self.lang = nlp.vocab, str(nlp.lang)
        inner = next((shim for shim in encoder.shims if isinstance(shim, PipelineShim)), None)
        if inner is not None and inner.encoder is not None:
            # The pipeline has its encoder from another one, whose vocabulary it reads.
            encoder, self.config, vocab, self.lang = inner.encoder, inner.config, inner.vocab, inner.lang
        self.encoder, self.steps = _copy(encoder), 0
        self.vocab = _empty_vocab(self.lang).from_bytes(vocab.to_bytes(exclude=["strings"]), exclude=["strings"])
        return self.encoder

    def translate(self, doc: Doc) -> Doc:
        """RETURNS (Doc): The doc in the encoder's own vocabulary: same words, the source's norms and vectors."""
        words = [token.text for token in doc]
        copied = Doc(self.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
        for i in _own_norms(doc).tolist():
            # Tokenizer exceptions set norms ("ca" in "can't"), which come before those of the lexemes.
            copied[i].norm_ = doc[i].norm_
        return copied

    # Tuning

    def find_weights(self, model: Model) -> dict[str, Weight]:
        if self.encoder is None:
            return {}
        parts = self.find_parts(model)
        n_embedding = 1 if len(parts) > 1 else 0
        return find_weights(parts[:n_embedding], parts[n_embedding:])

    def find_parts(self, model: Model) -> Sequence[Model]:
        """RETURNS (Sequence[Model]): The embedding and encoding layers of spaCy's Tok2Vec; another encoder as a
        whole."""
        encoder = self.encoder
        assert encoder is not None
        parts = [encoder.maybe_get_ref("embed"), encoder.maybe_get_ref("encode")]
        same = len(encoder.layers) == 2 and all(a is b for a, b in zip(parts, encoder.layers, strict=True))
        return encoder.layers if same else [encoder]

    def check_tuning(self) -> None:
        """RAISES (ValueError): When the encoder has a tuning of its own, or is in torch."""
        assert self.encoder is not None
        tunable = [shim for node in self.encoder.walk() for shim in node.shims if isinstance(shim, Tunable)]
        if any(shim.tuning is not None or not isinstance(shim, LayersShim) for shim in tunable):
            raise ValueError(Errors.T659.format(name=self.encoder.name))

    def differences(self, data: bytes) -> list[str]:
        """RETURNS (List[str]): What keeps saved bytes from taking the place of the encoder that stands here."""
        saved, own = (
            dict_to_dot(config) for config in (srsly.json_loads(unpack(data, _SAVED, _FIELDS)["config"]), self.config)
        )
        return [
            f"encoder.{key} = {saved.get(key)!r}, not {own.get(key)!r}"
            for key in {**own, **saved}
            if saved.get(key) != own.get(key)
        ]

    def read_origin(self) -> Mapping[str, FloatsXd]:
        model = self._node
        assert model is not None
        own, fresh = PipelineAttrs.of(model), PipelineShim()
        with reading_again(own.source):
            fresh.read(own.source, own.component)
        check_unchanged(own.source, fresh.fingerprint(), own.fingerprint)
        return {name: weight.parameter.value for name, weight in fresh.find_weights(model).items()}

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step the trained parameters, and count the step. Without a tuning, Thinc steps all of them."""
        if self.tuning is None and self.encoder is not None:
            self.encoder.finish_update(optimizer)
        super().finish_update(optimizer)

    # Weights

    @contextmanager
    def use_params(self, params: dict) -> Iterator[None]:
        """Averages have the keys of the inner layers."""
        with nullcontext() if self.encoder is None else self.encoder.use_params(params):
            yield

    def copy(self) -> "PipelineShim":
        """RETURNS (PipelineShim): A copy with its own weights. The vocabulary, which is only read, is shared."""
        copied = cast(PipelineShim, super().copy())
        copied.encoder = None if self.encoder is None else _copy(self.encoder)
        copied.config, copied.vocab, copied.lang = self.config, self.vocab, self.lang
        return copied

    def to_device(self, device_type: str, device_id: int) -> None:
        if self.encoder is not None:
            self.encoder.to_gpu(device_id) if device_type == "gpu" else self.encoder.to_cpu()

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Sealed msgpack of config, weights and vocabulary; empty before `initialize`."""
        return b"" if self.encoder is None else seal(self._packed())

    def fingerprint(self) -> str:
        """RETURNS (str): sha256 of what is saved, 64 hex digits."""
        return hashlib.sha256(self._packed()).hexdigest()

    def _packed(self) -> bytes:
        assert self.encoder is not None
        msg = {"lang": self.lang, "steps": self.steps, "config": srsly.json_dumps(self.config, sort_keys=True)}
        vocab = self.vocab.to_bytes(exclude=["strings"])
        return srsly.msgpack_dumps({**msg, "encoder": self.encoder.to_bytes(), "vocab": vocab})

    def from_bytes(self, data: bytes) -> "PipelineShim":
        """Rebuild the encoder."""
        if data:
            # Older pipelines have no steps.
            msg = {"steps": 0, **unpack(data, _SAVED, _FIELDS)}
            try:
                config = srsly.json_loads(msg["config"])
                built: Model = registry.resolve({"model": config})["model"]
                encoder = built.from_bytes(msg["encoder"])
                vocab = _empty_vocab(msg["lang"]).from_bytes(msg["vocab"], exclude=["strings"])
                steps = operator.index(msg["steps"])
            except (ValueError, TypeError, LookupError, AttributeError, ImportError) as error:
                raise ValueError(Errors.T437.format(where=_SAVED, error=error)) from error
            self.unbind()
            self.config, self.encoder, self.vocab = config, encoder, vocab
            self.lang, self.steps = msg["lang"], steps
        return self


def _load(source: str) -> Language:

    path = resolve_path(source)
    if not (source.isidentifier() and is_package(source)) and not (path / "config.cfg").exists():
        inner = list(path.glob("*/config.cfg")) if path.is_dir() else []
        if len(inner) != 1:
            raise ValueError(Errors.T251.format(source=source) + like(source))
        path = inner[0].parent
    try:
        return spacy.load(path if path.exists() else source)
    except Exception as error:  # Whatever the components of a pipeline raise on a file that is damaged.
        raise ValueError(Errors.T949.format(source=source, path=path, error=str(error).rstrip("."))) from error


def _encoders(nlp: Language) -> dict[str, tuple[Model, Config]]:
    """All tok2vecs of a pipeline, components and those inside heads, with their configs."""
    from spacy.pipeline.tok2vec import Tok2Vec, Tok2VecListener

    found = {}
    config = nlp.config.interpolate()["components"]
    for name, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        if isinstance(pipe, Tok2Vec):
            found[name] = (pipe.model, config[name]["model"])
        elif isinstance(model, Model) and model.has_ref("tok2vec") and "tok2vec" in config[name].get("model", {}):
            inner = _rows_of(model.get_ref("tok2vec"))
            if not isinstance(inner, Tok2VecListener):
                found[name] = (inner, config[name]["model"]["tok2vec"])
    return found


def _rows_of(inner: Model) -> Model:
    """In spaCy's parser and ner a projection follows their tok2vec, under the same name."""
    joined = any(layer.name == "list2array" for layer in inner.layers)
    return inner.layers[0] if joined else inner


def _copy(encoder: Model) -> Model:
    """A copy with its references, which Thinc's own does not copy."""
    copied = encoder.copy()
    nodes = dict(zip(map(id, encoder.walk()), copied.walk(), strict=True))
    for name in encoder.ref_names:
        copied.set_ref(name, nodes.get(id(encoder.maybe_get_ref(name))))
    return copied


def _empty_vocab(lang: str) -> Vocab:
    return create_vocab(lang, get_lang_class(lang).Defaults)


def _own_norms(doc: Doc) -> Ints:
    """Indices of tokens whose norm is not that of their lexeme."""
    orths, norms = doc.to_array(ORTH), doc.to_array(NORM)
    types, which = numpy.unique(orths, return_inverse=True)
    of_lexeme = numpy.array([doc.vocab[int(orth)].norm for orth in types], dtype=numpy.uint64)
    return numpy.flatnonzero(norms != of_lexeme[which])
