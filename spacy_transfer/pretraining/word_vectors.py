"""Word vectors: word2vec and fastText, trained by gensim on spaCy's tokens, or carried on from vectors that exist."""

import logging
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy

from ..backbones.vectors.vector_files import VectorTable, read_vectors
from ..errors import Errors, Warnings
from ..extras import import_extra
from ..progress import progress
from .token_file import NO_WORD, TokenFile, write_tokens

if TYPE_CHECKING:
    from spacy.language import Language

logger = logging.getLogger("spacy")


@dataclass(frozen=True)
class VectorSettings:
    """How word vectors are trained.

    method (str): "word2vec", or "fasttext", which makes vectors for words that it has not seen from their parts.
    width (Optional[int]): Numbers in a row; None for 100, or as many as the vectors have that are carried on.
    window (int): Words on each side that count as context.
    min_count (int): Words that come less often get no row.
    epochs (int): Passes over the texts.
    algorithm (str): "skipgram", or "cbow", which is faster and does worse on few texts.
    negative (int): Words drawn at random against each word that is there.
    buckets (int): Rows for the parts of words, fastText only. They share rows by their hash.
    lower (bool): Words in lower case.
    freeze_known (bool): Words that are carried on keep their vectors.
    threads (int): With more than one the result is not the same each time.
    seed (int): Of the vectors at the beginning, and of what is drawn.
    """

    method: Literal["word2vec", "fasttext"] = "word2vec"
    width: int | None = None
    window: int = 5
    min_count: int = 5
    epochs: int = 5
    algorithm: Literal["skipgram", "cbow"] = "skipgram"
    negative: int = 5
    buckets: int = 200_000
    lower: bool = False
    freeze_known: bool = True
    threads: int = 1
    seed: int = 0


@dataclass
class TrainedVectors:
    """What was trained.

    vectors (KeyedVectors): gensim's, of the words of the texts, the most frequent first.
    added (List[str]): Those that were not in the source; all, if there was none.
    n_rows (int): Rows that were written.
    n_tokens (int): Tokens of the texts.
    seconds (float): From the first text to the file.
    """

    vectors: Any
    added: list[str]
    n_rows: int
    n_tokens: int
    seconds: float


def train_word_vectors(
    texts: Iterable[str],
    nlp: "Language",
    path: Path,
    settings: VectorSettings | None = None,
    *,
    source: str | None = None,
    name: str = "TEXTS",
) -> TrainedVectors:
    """Train word vectors, and write a file that `VectorsBackbone.v1` reads.

    Words of `source` start from their vectors, others from small random ones. Words of `source` that do not come in
    the texts are written as they are, after the others.

    texts (Iterable[str]): The texts. They are gone through once, and their tokens kept in a file beside `path`.
    nlp (Language): Has the tokenizer.
    path (Path): The file: word2vec's text format, its binary one if the name ends with .bin, or that of fastText.
    settings (Optional[VectorSettings]): How.
    source (Optional[str]): Vectors to carry on, as in `VectorsBackbone.v1`.
    name (str): Of the texts, for messages.
    RETURNS (TrainedVectors): What was trained.
    RAISES (ValueError): When there is nothing to train, or the file is there already; nothing is written then.
    """
    settings, start = settings or VectorSettings(), time.perf_counter()
    if path.exists():
        raise ValueError(Errors.T811.format(path=path))
    models = import_extra("gensim.models", Errors.T817)
    table = None
    if source is not None:
        table = _read_source(source, settings)
        settings = replace(settings, width=table.data.shape[1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".transfer-vectors-", dir=path.parent) as folder:
            longest = models.word2vec.MAX_WORDS_IN_BATCH
            tokens = write_tokens(texts, nlp, Path(folder) / "tokens", longest=longest, lower=settings.lower)
            model = _prepare(models, tokens, settings, name)
            added = list(model.wv.index_to_key)
            if table is not None:
                added = _carry_on(model, table, settings, (name, str(source)))
            words = [*model.wv.index_to_key, *_others(model, table)]
            _check_words(words, path, settings)
            _train(model, tokens, settings)
            new = Path(folder) / path.name
            _write(models, model, words, table, new)
            new.rename(path)
    except OSError as error:
        raise ValueError(Errors.T818.format(path=path, error=error)) from error
    return TrainedVectors(model.wv, added, len(words), tokens.counts.total(), time.perf_counter() - start)


def _read_source(source: str, settings: VectorSettings) -> VectorTable:
    if settings.method == "fasttext":
        raise ValueError(Errors.T812)
    table = read_vectors(source)
    if not len(table.data):
        raise ValueError(Errors.T815.format(source=source))
    width = table.data.shape[1]
    if settings.width not in (None, width):
        raise ValueError(Errors.T814.format(width=settings.width, source=source, found=width))
    return table


def _prepare(models: Any, tokens: TokenFile, settings: VectorSettings, name: str) -> Any:
    """gensim's model with its vocabulary, and vectors as they are at the beginning."""
    kind, own = models.Word2Vec, {}
    if settings.method == "fasttext":
        kind, own = models.FastText, {"bucket": settings.buckets}
    model = kind(
        vector_size=settings.width or 100,
        window=settings.window,
        min_count=settings.min_count,
        sg=int(settings.algorithm == "skipgram"),
        negative=settings.negative,
        workers=settings.threads,
        seed=settings.seed,
        epochs=settings.epochs,
        **own,
    )
    word, count = next(iter(tokens.counts.most_common(1)), ("", 0))
    if count < settings.min_count:
        found = {"word": word, "count": count, "tokens": tokens.counts.total()}
        raise ValueError(Errors.T813.format(min_count=settings.min_count, path=name, **found))
    model.build_vocab_from_freq(tokens.counts, corpus_count=tokens.n_lines)
    model.corpus_total_words = tokens.counts.total()  # Stands in fastText's files; gensim does not set it here.
    return model


def _carry_on(model: Any, table: VectorTable, settings: VectorSettings, names: tuple[str, str]) -> list[str]:
    """Give known words their vectors.

    names (Tuple[str, str]): Of the texts and of the source, for messages.
    RETURNS (List[str]): The words that are added, the most frequent first.
    """
    rows = {word: row for row, word in enumerate(table.words)}
    words: list[str] = model.wv.index_to_key
    known = [at for at, word in enumerate(words) if word in rows]
    added = [word for word in words if word not in rows]
    problem = "."
    if not known:
        problem = ", so that nothing is carried on. Look at the language and at --lower, or leave --source out."
    elif not added and settings.freeze_known:
        problem = ", so that there is none to add. Lower --min-count, or take --move-known."
    if problem != ".":
        found = {"words": len(words), "known": len(known), "problem": problem}
        raise ValueError(Errors.T816.format(path=names[0], source=names[1], **found))
    in_lower = sum(word.lower() in rows for word in added)
    if in_lower and not any(word != word.lower() for word in rows):
        logger.warning(Warnings.W811.format(source=names[1], count=in_lower))
    model.wv.vectors[known] = table.data[[rows[words[at]] for at in known]]
    if settings.freeze_known:
        # gensim multiplies the update of each row by these.
        moves = numpy.ones(len(words), dtype=numpy.float32)
        moves[known] = 0
        model.wv.vectors_lockf = moves
    return added


def _others(model: Any, table: VectorTable | None) -> list[str]:
    """Words of the source alone. A spaCy pipeline may have vectors for white space, which no file can hold."""
    known = model.wv.key_to_index
    return [word for word in (table.words if table else ()) if word not in known and not NO_WORD.search(word)]


def _check_words(words: list[str], path: Path, settings: VectorSettings) -> None:
    if settings.method == "word2vec" and path.suffix == ".bin":
        for word in words:
            if " " in word:
                raise ValueError(Errors.T819.format(path=path, word=word))


def _train(model: Any, tokens: TokenFile, settings: VectorSettings) -> None:
    total = tokens.n_lines * settings.epochs
    with progress(what="Training", total=total) as bar:
        model.train(tokens.read(bar), total_examples=tokens.n_lines, epochs=settings.epochs)


def _write(models: Any, model: Any, words: list[str], table: VectorTable | None, path: Path) -> None:
    vectors = model.wv
    if isinstance(model, models.FastText):
        models.fasttext.save_facebook_model(model, str(path))
        return
    if table is not None:
        rows = {word: row for row, word in enumerate(table.words)}
        others = [rows[word] for word in words[len(vectors) :]]
        vectors = models.KeyedVectors(vectors.vector_size)
        vectors.add_vectors(words, numpy.vstack([model.wv.vectors, table.data[others]]))
    vectors.save_word2vec_format(str(path), binary=path.suffix == ".bin")
