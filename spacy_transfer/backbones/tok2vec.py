"""PipelineBackbone.v1: the tok2vec of an existing spaCy pipeline, copied in."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy
import srsly
from spacy.attrs import NORM, ORTH
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model, set_dropout_rate
from thinc.types import Floats2d

from ..errors import Errors
from ..installed import like
from ..integrity import seal, unpack
from ..tuning.policy import Tuning
from ..types import BackboneHooks
from .shims.thinc_tuning import LayersShim, check_keys, is_frozen
from .shims.thinc_weights import Weight, find_weights
from .shims.tunable import Tunable
from .sources import resolve_path


def build_pipeline_backbone_v1(
    *, source: str, component: str | None = None, tuning: Tuning | None = None
) -> Model[list[Doc], list[Floats2d]]:
    """The encoder of a pipeline such as en_core_web_sm. Rows equal the pipeline's own: its norms and vectors come
    along, and the target pipeline's vocabulary is left alone.

    A tuning calls what spaCy's Tok2Vec embeds with "embeddings.X" ("embeddings.hashembed.0.E",
    "embeddings.maxout.W", ...), and the blocks of what it encodes with "layer.0.X", "layer.1.X", ...
    ("layer.0.maxout.W", "layer.0.layernorm.G"). Other encoders have layers only.

    source (str): Name or folder of a spaCy pipeline, or `package:NAME/path/inside`.
    component (Optional[str]): A tok2vec component, or a component with a tok2vec inside; null for the one
        named "tok2vec", or else the only one there is.
    tuning (Optional[Tuning]): What moves, from when, and how fast: a block `spacy-transfer.Tuning.v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): The backbone: shape (len(doc), width) for every doc.
    """
    check_keys(tuning, "PipelineBackbone")
    own = {"source": source, "component": component}
    attrs = {**own, "fingerprint": "", "dropout_rate": 0.0, "backbone": BackboneHooks(is_frozen=is_frozen)}
    shim: Any = PipelineShim(tuning)
    return Model("transfer_pipeline", forward, init=init, dims={"nO": None}, attrs=attrs, shims=[shim])


def forward(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Run the encoder on the docs as the source pipeline would see them."""
    shim: Any = model.shims[0]
    if shim.encoder is None:
        raise ValueError(Errors.T253.format(source=model.attrs["source"]))
    own_docs = [shim.translate(doc) for doc in docs]
    if not any(len(doc) for doc in docs):
        return [model.ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda d_rows: docs
    set_dropout_rate(shim.encoder, model.attrs["dropout_rate"] if is_train else 0.0)
    rows, back = shim.run(model, own_docs, is_train)

    def backprop(d_rows: list[Floats2d]) -> list[Doc]:
        back(d_rows)
        return docs

    return rows, backprop


def init(model: Model[list[Doc], list[Floats2d]], X: Any = None, Y: Any = None) -> None:
    """Copy the encoder out of the source."""
    shim: Any = model.shims[0]
    shim.read(model.attrs["source"], model.attrs["component"])
    model.attrs["fingerprint"] = shim.fingerprint()
    model.set_dim("nO", shim.encoder.get_dim("nO"), force=True)
    shim.start(model)


class PipelineShim(LayersShim):
    """Holds the encoder, its config and its vocabulary, and saves all three: a builder cannot know beforehand
    what the encoder will look like, so it is rebuilt from its own config.

    tuning (Optional[Tuning]): What moves; null for everything.
    """

    def __init__(self, tuning: Tuning | None = None) -> None:
        super().__init__(tuning)
        self.encoder: Model | None = None
        self.config: dict[str, Any] = {}
        self.vocab: Vocab = Vocab()
        self.lang = ""

    def read(self, source: str, component: str | None) -> None:
        """Take the encoder of a pipeline."""
        nlp = _load(source)
        found = _encoders(nlp)
        name = component or ("tok2vec" if "tok2vec" in found else next(iter(found), None))
        if name not in found or (component is None and name != "tok2vec" and len(found) > 1):
            raise ValueError(Errors.T252.format(component=component, source=source, found=list(found)))
        encoder, self.config = found[name]
        self.encoder, self.lang, self.steps = _copy(encoder), nlp.lang, 0
        self.vocab = _empty_vocab(nlp.lang).from_bytes(nlp.vocab.to_bytes(exclude=["strings"]), exclude=["strings"])

    def translate(self, doc: Doc) -> Doc:
        """The doc in the encoder's own vocabulary: same words, the source's norms and vectors.

        doc (Doc): A doc of the target pipeline.
        RETURNS (Doc): Its twin.
        """
        words = [token.text for token in doc]
        twin = Doc(self.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
        for i in _own_norms(doc):
            # A tokenizer exception says what this token stands for ("ca" in "can't"); it beats the lexeme's norm.
            twin[int(i)].norm_ = doc[int(i)].norm_
        return twin

    # Tuning

    def find_weights(self, model: Model) -> dict[str, Weight]:
        """RETURNS (Dict[str, Weight]): All parameters of the encoder by name; empty as long as there is none."""
        if self.encoder is None:
            return {}
        parts = self.find_parts(model)
        n_embedding = 1 if len(parts) > 1 else 0
        return find_weights(parts[:n_embedding], parts[n_embedding:])

    def find_parts(self, model: Model) -> Sequence[Model]:
        """RETURNS (Sequence[Model]): What embeds and what encodes in spaCy's Tok2Vec; another encoder as a whole."""
        encoder = self.encoder
        assert encoder is not None
        parts = [encoder.maybe_get_ref("embed"), encoder.maybe_get_ref("encode")]
        same = len(encoder.layers) == 2 and all(a is b for a, b in zip(parts, encoder.layers, strict=True))
        return encoder.layers if same else [encoder]

    def check_tuning(self) -> None:
        """RAISES (ValueError): When the encoder has a shim with a tuning of its own."""
        assert self.encoder is not None
        if any(isinstance(shim, Tunable) for node in self.encoder.walk() for shim in node.shims):
            raise ValueError(Errors.T659.format(name=self.encoder.name))

    def read_origin(self) -> Mapping[str, Any]:
        """RETURNS (Mapping[str, FloatsXd]): The weights of the source's encoder, by name."""
        model = self._node
        assert model is not None
        source, fresh = model.attrs["source"], PipelineShim()
        try:
            fresh.read(source, model.attrs["component"])
        except (ValueError, OSError) as error:
            raise ValueError(Errors.T651.format(source=source, problem=f"it cannot be read: {error}")) from error
        if fresh.fingerprint() != model.attrs["fingerprint"]:
            raise ValueError(Errors.T651.format(source=source, problem="its weights are others now"))
        return {name: weight.parameter.value for name, weight in fresh.find_weights(model).items()}

    def finish_update(self, optimizer: Any) -> None:
        """Step what moves, or without a tuning everything as Thinc does it, and count the step.

        optimizer (Optimizer): The optimizer.
        """
        if self.tuning is None and self.encoder is not None:
            self.encoder.finish_update(optimizer)
        super().finish_update(optimizer)

    # Weights

    def use_params(self, params: Any) -> Any:
        """Averages are kept under the inner layers' own keys."""
        from contextlib import nullcontext

        return nullcontext() if self.encoder is None else self.encoder.use_params(params)

    def copy(self) -> "PipelineShim":
        """RETURNS (PipelineShim): One with weights of its own; the vocabulary is only read and is shared."""
        twin = cast(PipelineShim, super().copy())
        twin.encoder = None if self.encoder is None else _copy(self.encoder)
        twin.config, twin.vocab, twin.lang = self.config, self.vocab, self.lang
        return twin

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
        """Rebuild the encoder.

        data (bytes): What `to_bytes` returned.
        RETURNS (PipelineShim): self.
        """
        if data:
            msg = unpack(data, "The saved encoder")
            self.unbind()
            self.config, self.lang, self.steps = srsly.json_loads(msg["config"]), msg["lang"], msg.get("steps", 0)
            self.encoder = _build(self.config).from_bytes(msg["encoder"])
            self.vocab = _empty_vocab(self.lang).from_bytes(msg["vocab"], exclude=["strings"])
        return self


def _load(source: str) -> Any:
    import spacy
    from spacy.util import is_package

    path = resolve_path(source)
    if not (source.isidentifier() and is_package(source)) and not (path / "config.cfg").exists():
        inner = list(path.glob("*/config.cfg")) if path.is_dir() else []
        if len(inner) != 1:
            raise ValueError(Errors.T251.format(source=source) + like(source))
        path = inner[0].parent
    return spacy.load(path if path.exists() else source)


def _encoders(nlp: Any) -> dict[str, tuple[Model, dict[str, Any]]]:
    """Every tok2vec of a pipeline with its config: components of their own, and those inside heads."""
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
    """spaCy's parser and ner put a projection behind their tok2vec, under the same name: all tokens in one array."""
    joined = any(layer.name == "list2array" for layer in inner.layers)
    return inner.layers[0] if joined else inner


def _copy(encoder: Model) -> Model:
    """A copy that knows its parts: Thinc's own has lost its references."""
    twin = encoder.copy()
    nodes = dict(zip(map(id, encoder.walk()), twin.walk(), strict=True))
    for name in encoder.ref_names:
        twin.set_ref(name, nodes.get(id(encoder.maybe_get_ref(name))))
    return twin


def _build(config: dict[str, Any]) -> Model:
    from spacy import registry

    return registry.resolve({"model": config})["model"]


def _empty_vocab(lang: str) -> Vocab:
    import spacy
    from spacy.vocab import create_vocab

    return create_vocab(lang, spacy.util.get_lang_class(lang).Defaults)


def _own_norms(doc: Doc) -> Any:
    """Tokens whose norm is not their lexeme's."""
    if not len(doc):
        return ()
    orths, norms = doc.to_array(ORTH), doc.to_array(NORM)
    types, which = numpy.unique(orths, return_inverse=True)
    of_lexeme = numpy.array([doc.vocab[int(orth)].norm for orth in types], dtype=numpy.uint64)
    return numpy.flatnonzero(norms != of_lexeme[which])
