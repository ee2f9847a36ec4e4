"""Static students: word vectors whose mean over a text comes near to the document row of an encoder.

model2vec gives the first vectors, one pass of the encoder over its word pieces and the words of the texts (Tulkens and
van Dongen 2024). They are weighted by how rare they are in the texts (SIF; Arora et al. 2017), and then solved: the
mean over the tokens of each text is to be the encoder's row of that text. This is a linear regression with a bag of
words for input, and its prior is that vectors stay where they were (ridge regression).
"""

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy
from spacy.tokens import Doc
from thinc.api import get_torch_default_device

from .._compat import bar_of_model2vec
from ..backbones.encode import encode
from ..backbones.sources import resolve_source
from ..backbones.transformer.reading.tokenizer_checks import read_tokenizer
from ..backbones.vectors.subwords import known_pieces
from ..checks import COUNT, POSITIVE, SHARE, require
from ..errors import Errors, Warnings
from ..extras import import_extra
from ..progress import progress
from ..types import BackboneT, Floats
from .bag_regression import Bags, Regression, project, unit

if TYPE_CHECKING:
    from spacy.language import Language
    from tokenizers import Tokenizer

logger = logging.getLogger("spacy")
LEAST = 100
"""Texts to learn from: with fewer, the regression has next to nothing to go by."""
_BATCH = 64


@dataclass(frozen=True)
class StaticSettings:
    """How a static student is made.

    width (int): Numbers in a vector: the encoder's document rows are projected to so many principal components, at
        most all.
    min_count (int): Words that come less often get no vector of their own, but the mean of their word pieces.
    sif (float): Where a vector begins, it is weighted by sif / (sif + its share of the tokens). 0 for no weights.
    strength (float): Of the prior, which adds strength * ||V - V0||^2 to the summed squared differences of rows of unit
        length.
    document (str): The encoder's document row: the "mean" of its states, or the first special token's ("cls").
    window (int): Word pieces that the encoder reads at once; a quarter of them overlap in longer texts.
    """

    width: int = 256
    min_count: int = 2
    sif: float = 1e-3
    strength: float = 0.3
    document: Literal["mean", "cls"] = "mean"
    window: int = 128


@dataclass(frozen=True)
class StaticStudent:
    """What was made.

    n_texts (int), n_tokens (int): What was learned from; texts that repeat count once.
    n_words (int), share (float): Different words of the texts that have a vector of their own, and their share of all
        tokens.
    shape (Tuple[int, int]): Of the table.
    before (float), after (float): The mean cosine between the student's rows and the encoder's (projected), on texts
        that are held out: of the first vectors, and of the solved ones.
    seconds (float): From the first text to the folder.
    """

    n_texts: int
    n_tokens: int
    n_words: int
    share: float
    shape: tuple[int, int]
    before: float
    after: float
    seconds: float


def make_static(
    source: str,
    texts: Iterable[str],
    nlp: "Language",
    path: Path,
    settings: StaticSettings | None = None,
    *,
    name: str = "--corpus",
) -> StaticStudent:
    """Make word vectors of an encoder, and write a folder in Model2Vec's format, which `VectorsBackbone.v1` reads.

    source (str): An encoder: a folder, `package:NAME/path`, or a hub id.
    texts (Iterable[str]): Without labels: of the kind that the student will read. All are in memory.
    nlp (Language): Has the tokenizer.
    path (Path): The folder.
    settings (Optional[StaticSettings]): How.
    name (str): Of the texts, for messages.
    RETURNS (StaticStudent): What was made.
    RAISES (ValueError): When the source or the texts will not do, or the folder is there already; nothing is written
        then.
    """
    settings, start = settings or StaticSettings(), time.perf_counter()
    _check(settings)
    if path.exists():
        raise ValueError(Errors.T811.format(path=path))
    distill = import_extra("model2vec.distill", Errors.T470)
    found = resolve_source(source)
    if found.kind == "pipeline":
        raise ValueError(Errors.T471.format(source=source))
    docs = [nlp.make_doc(text) for text in dict.fromkeys(texts)]
    if len(docs) < LEAST:
        raise ValueError(Errors.T472.format(path=name, count=len(docs), least=LEAST))
    teacher = _teacher(source, settings)
    counts = Counter(token.text for doc in docs for token in doc)
    model = _distil(distill, found.path, counts, settings)
    bags, n_words, share = _bags(docs, counts, model.tokenizer)
    wanted = project(document_rows(teacher, docs), settings.width)
    regression = Regression(bags, _first(model.embedding, bags, settings.sif), wanted, settings.strength)
    before, after = regression.held_out()
    model.embedding = regression.solve()
    _save(model, path)
    if after < before:
        logger.warning(Warnings.W470.format(before=before, after=after))
    n_tokens, shape = counts.total(), model.embedding.shape
    return StaticStudent(len(docs), n_tokens, n_words, share, shape, before, after, time.perf_counter() - start)


def _check(settings: StaticSettings) -> None:
    require("static", COUNT, width=settings.width, min_count=settings.min_count, window=settings.window)
    require("static", SHARE, sif=settings.sif)
    require("static", POSITIVE, strength=settings.strength)


def _teacher(source: str, settings: StaticSettings) -> BackboneT:
    from ..backbones.transformer.transformer import build_transformer_backbone_v1

    window = settings.window
    teacher = build_transformer_backbone_v1(
        source=source, document=settings.document, window=window, overlap=window // 4, max_batch_items=max(1024, window)
    )
    teacher.initialize()
    return teacher


def document_rows(teacher: BackboneT, docs: Sequence[Doc]) -> Floats:
    """RETURNS (Floats2d): The teacher's row of each doc, of unit length, shape (n_docs, width)."""
    rows = numpy.zeros((len(docs), teacher.get_dim("nO")), dtype=numpy.float32)
    # Texts of about the same length go together.
    order = numpy.argsort([len(doc) for doc in docs], kind="stable")
    with progress(total=len(docs), what="Rows") as bar:
        for i in range(0, len(order), _BATCH):
            batch = order[i : i + _BATCH]
            encoded, _ = encode(teacher, [docs[k] for k in batch], False)
            rows[batch] = teacher.ops.to_numpy(encoded.documents)
            bar.update(len(batch))
    return unit(rows)


def _distil(distill: Any, folder: Path, counts: Counter[str], settings: StaticSettings) -> Any:
    """RETURNS (StaticModel): model2vec's first vectors: as wide as the encoder, neither projected nor weighted."""
    words = [word for word, count in counts.items() if count >= settings.min_count and not word.isspace()]
    logging.getLogger("model2vec").setLevel(logging.ERROR)  # It counts repeated words, of which there are many.
    try:
        with bar_of_model2vec(lambda total: progress(total=total, what="First vectors", unit=" tokens")):
            model = distill.distill(
                str(folder),
                vocabulary=words,
                device=str(get_torch_default_device()),
                pca_dims=None,
                sif_coefficient=None,
                quantize_to="float32",
                pooling="mean" if settings.document == "mean" else "first",
            )
    except Exception as error:  # It raises anything, for tokenizers that it does not know.
        raise ValueError(Errors.T473.format(source=folder, error=f"{type(error).__name__}: {error}")) from error
    # The encoder's own may fill up every word to 128 pieces.
    model.tokenizer = read_tokenizer(model.tokenizer.to_str(), str(folder))
    return model


def _bags(docs: Sequence[Doc], counts: Counter[str], tokenizer: "Tokenizer") -> tuple[Bags, int, float]:
    """Read words as `VectorsBackbone.v1` does: a word is the mean of its pieces, and a text the mean of its words.

    RETURNS (Tuple[Bags, int, float]): Texts as bags of pieces; how many words have a vector of their own, and their
        share of all tokens.
    """
    unknown = tokenizer.token_to_id("[UNK]")
    pieces = {word: known_pieces(tokenizer, unknown, word) for word in counts}
    whole = [word for word, found in pieces.items() if len(found) == 1]
    bags = Bags([[pieces[token.text] for token in doc] for doc in docs], tokenizer.get_vocab_size())
    return bags, len(whole), sum(counts[word] for word in whole) / counts.total()


def _first(vectors: Floats, bags: Bags, sif: float) -> Floats:
    """The vectors of model2vec, of unit length, around their mean, the frequent ones shorter.

    RETURNS (Floats2d): Shape (n_pieces, width).
    """
    vectors = unit(vectors)
    vectors = vectors - vectors.mean(axis=0)
    return vectors * (sif / (sif + bags.shares))[:, None] if sif else vectors


def _save(model: Any, path: Path) -> None:
    width = model.embedding.shape[1]
    model.config.update(hidden_dim=width, apply_pca=width, sif_coefficient=None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".transfer-static-", dir=path.parent) as room:
            model.save_pretrained(Path(room) / "new")
            (Path(room) / "new").rename(path)
    except OSError as error:
        raise ValueError(Errors.T818.format(path=path, error=error)) from error
