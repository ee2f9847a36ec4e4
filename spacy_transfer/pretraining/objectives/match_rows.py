"""MatchRows.v1: give the rows that a frozen teacher gives (Romero et al. 2015)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy
import spacy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model, get_torch_default_device, to_numpy, xp2torch

from ...attributes import Attrs
from ...backbones.cached_rows.row_cache import CacheDtype, CacheSettings
from ...backbones.encode import CachedEncoder, encode
from ...backbones.sources import resolve_source
from ...backbones.tok2vec import PipelineAttrs
from ...checks import COUNT_OR_NONE, require
from ...corpora.raw_text import RawText
from ...errors import Errors
from ...types import BackboneT, Config, Encoded
from ..objective import NOTHING, Measured, Objective, build_pretraining

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Matching:
    """What is matched, and how: see `build_match_rows_v1`."""

    match: Literal["tokens", "documents", "both"]
    loss: Literal["cosine", "squared"]
    projection: Literal["auto", "always"]

    def weigh(self, has_row: NDArray[numpy.bool_], lengths: list[int]) -> NDArray[numpy.float32]:
        """How much each row counts.

        has_row (NDArray[bool]): Whether the teacher has a row for it: tokens of all docs, then the docs, shape
            (n_tokens + n_docs,).
        lengths (List[int]): Tokens in each doc.
        RETURNS (NDArray[float32]): Shape (n_tokens + n_docs,).
        """
        doc_of_token = numpy.repeat(numpy.arange(len(lengths)), lengths)
        tokens, documents = numpy.split(has_row.astype(numpy.float32), [len(doc_of_token)])
        if self.match == "tokens":
            return numpy.concatenate([tokens, 0 * documents])
        counts = numpy.bincount(doc_of_token, weights=tokens, minlength=len(lengths)).astype(numpy.float32)
        documents = documents * (counts > 0)
        # The tokens of a doc count as much together as its own row.
        share = documents / numpy.maximum(counts, 1) if self.match == "both" else 0 * documents
        return numpy.concatenate([tokens * share[doc_of_token], documents])

    def distances(self, rows: "Tensor", wanted: "Tensor") -> "Tensor":
        """RETURNS (Tensor): Of each pair of rows: 1 - cosine, or the mean of the squared differences, shape (n,)."""
        from torch import cosine_similarity

        if self.loss == "cosine":
            return 1.0 - cosine_similarity(rows, wanted, dim=1)
        return (rows - wanted).square().mean(dim=1)


def build_match_rows_v1(
    *,
    teacher: BackboneT,
    match: Literal["tokens", "documents", "both"] = "tokens",
    loss: Literal["cosine", "squared"] = "cosine",
    projection: Literal["auto", "always"] = "auto",
    cache_mb: int = 512,
    cache_disk_mb: int = 4096,
    cache_dtype: CacheDtype = "float32",
    log: Path | None = None,
    progress: bool = True,
) -> Callable[[Vocab, BackboneT], Model[list[Doc], Measured]]:
    """Bring the rows of a backbone near those of a teacher, which is never trained and computes each text once. A row
    of zeros is none (a word without a vector): it is left out.

    teacher (Model[List[Doc], List[Floats2d]]): A block `spacy-transfer.TransformerBackbone.v1`,
        `spacy-transfer.PipelineBackbone.v1` or `spacy-transfer.VectorsBackbone.v1` with its source. A pipeline must
        have the tokenizer of the one that is pretrained.
    match (str): Match the rows of "tokens", those of "documents", or "both": then the loss of a doc is the mean over
        its tokens and that of its own row, added.
    loss (str): "cosine" is 1 - cosine, "squared" the mean of the squared differences of a row.
    projection (str): A linear layer, learned beside the backbone, from its rows to the teacher's width: "auto" where
        the widths differ, or "always".
    cache_mb (int): The most megabytes of the teacher's rows that are kept in memory.
    cache_disk_mb (int): The most megabytes of them in a temporary file, once memory is full. A text whose rows have no
        room is computed anew in each epoch.
    cache_dtype (str): Keep them as "float32", or as "float16" in half the room.
    log (Optional[Path]): A file to which each held-out loss is added, as a JSON object.
    progress (bool): Show a progress bar.
    RETURNS (Callable[[Vocab, Model], Model]): For `[pretraining.objective]`.
    """
    require("pretraining.objective", COUNT_OR_NONE, cache_mb=cache_mb, cache_disk_mb=cache_disk_mb)
    matching = Matching(match, loss, projection)
    cache = CacheSettings(cache_mb, cache_disk_mb, cache_dtype)

    def create(vocab: Vocab, tok2vec: BackboneT) -> Model[list[Doc], Measured]:
        objective = MatchRows(tok2vec, start_teacher(teacher), matching, cache)
        return build_pretraining(objective, log=log, progress=progress)

    return create


class MatchRows(Objective):
    """The distance between a backbone's rows, projected where need be, and a teacher's.

    backbone (Model[List[Doc], List[Floats2d]]): The backbone.
    teacher (Model[List[Doc], List[Floats2d]]): What `start_teacher` made.
    matching (Matching): What is matched, and how.
    cache (CacheSettings): How many of the teacher's rows are kept.
    """

    name = "spacy-transfer.MatchRows.v1"
    is_likelihood = False

    def __init__(self, backbone: BackboneT, teacher: BackboneT, matching: Matching, cache: CacheSettings) -> None:
        super().__init__(backbone)
        self.unit = "token" if matching.match == "tokens" else "doc"
        self._teacher, self._matching = teacher, matching
        self._rows = CachedEncoder(cache)
        self._rows.start()

    def start(self, docs: list[Doc], reader: RawText | None) -> Config:
        """RETURNS (Dict[str, Any]): The teacher's width."""
        return {"width": self._teacher.get_dim("nO")}

    def make_output(self, settings: Config) -> "nn.Module | None":
        """RETURNS (Optional[nn.Module]): The projection, if there is one.

        RAISES (ValueError): When a file was pretrained with a teacher of another width.
        """
        from torch import nn

        width, own_width = self._teacher.get_dim("nO"), self.backbone.get_dim("nO")
        if settings["width"] != width:
            raise ValueError(Errors.T854.format(found=settings["width"], width=width))
        if self._matching.projection == "auto" and width == own_width:
            return None
        return nn.Linear(own_width, width).to(get_torch_default_device())

    def measure(
        self, docs: list[Doc], output: "nn.Module | None", draw: numpy.random.Generator, is_train: bool
    ) -> Measured:
        import torch

        from .masked_rows import leaf

        wanted = _flat(self._teacher, self._rows.encode(self._teacher, docs))
        lengths = [len(doc) for doc in docs]
        weights = self._matching.weigh(to_numpy(wanted != 0).any(axis=1), lengths)
        at = numpy.flatnonzero(weights)
        count = int((weights[sum(lengths) :] > 0).sum()) if self.unit == "doc" else len(at)
        if not count:
            return NOTHING
        encoded, back = encode(self.backbone, docs, is_train)
        flat = leaf(_flat(self.backbone, encoded))
        device = flat.device
        index, weight = (torch.from_numpy(array).to(device) for array in (at, weights[at]))
        with torch.set_grad_enabled(is_train):
            rows = flat[index] if output is None else output(flat[index])
            distances = self._matching.distances(rows, xp2torch(wanted, device=device)[index])
            loss = (distances * weight).sum() / count

        def backprop() -> None:
            loss.backward()
            back(_like(self.backbone, flat, lengths))

        return Measured(loss.item() * count, count, backprop)


@dataclass(kw_only=True)
class TeacherAttrs(Attrs):
    """Of a teacher that is a pipeline."""

    source: str
    pipeline: Language


def start_teacher(teacher: BackboneT) -> BackboneT:
    """Read the source of a teacher.

    teacher (Model[List[Doc], List[Floats2d]]): A backbone.
    RETURNS (Model[List[Doc], List[Floats2d]]): The same with weights; of a pipeline, one that compares tokens.
    RAISES (ValueError): When there is no source, or something of it begins at random.
    """
    known = ("transfer_transformer", "transfer_pipeline", "transfer_vectors")
    if teacher.name not in known or (teacher.name == "transfer_vectors" and len(teacher.layers) > 1):
        raise ValueError(Errors.T853.format(found=teacher.name))
    teacher.initialize()
    if teacher.name != "transfer_pipeline":
        return teacher
    source = PipelineAttrs.of(teacher).source
    attrs = vars(TeacherAttrs(source=source, pipeline=spacy.load(resolve_source(source).path)))
    dims: dict[str, int | None] = {"nO": teacher.get_dim("nO")}
    return Model("transfer_teacher", _forward_checked, layers=[teacher], dims=dims, attrs=attrs)


def check_tokens(doc: Doc, nlp: Language, source: str) -> None:
    """Compare the tokens of a doc with those of a teacher's tokenizer.

    doc (Doc): The doc.
    nlp (Language): The teacher.
    source (str): Its name, for the message.
    RAISES (ValueError): When they begin at other characters.
    """
    twin = nlp.tokenizer(doc.text)
    ours, theirs = ({token.idx for token in tokens} for tokens in (doc, twin))
    # Long texts are cut into docs between two tokens. What stands at a cut may be read in another way without the rest
    # of its word.
    inside = [i for i, char in enumerate(doc.text) if char.isspace()] if ours != theirs else [0]
    differing = [i for i in ours ^ theirs if inside and inside[0] < i < inside[-1]]
    if differing:
        begin = max(ours & set(range(min(differing))))
        around = [[t.text for t in tokens if t.idx >= begin][:4] for tokens in (doc, twin)]
        facts = {"source": source, "text": doc.text[begin : begin + 40], "ours": around[0], "theirs": around[1]}
        raise ValueError(Errors.T852.format(**facts))


def _forward_checked(model: BackboneT, docs: list[Doc], is_train: bool) -> tuple[Any, Callable[[Any], list[Doc]]]:
    own = TeacherAttrs.of(model)
    for doc in docs:
        check_tokens(doc, own.pipeline, own.source)
    return cast(BackboneT, model.layers[0])(docs, is_train)


def _flat(model: BackboneT, encoded: Encoded) -> Any:
    """All token rows, then the document rows, shape (n_tokens + n_docs, width)."""
    return model.ops.xp.concatenate([*encoded.rows, encoded.documents])


def _like(model: BackboneT, flat: "Tensor", lengths: list[int]) -> Encoded:
    """The gradient of what `_flat` gave, in its parts."""
    from .masked_rows import gradient_of

    parts = model.ops.xp.split(gradient_of(flat), [int(end) for end in numpy.cumsum(lengths)])
    return Encoded(parts[:-1], parts[-1])
