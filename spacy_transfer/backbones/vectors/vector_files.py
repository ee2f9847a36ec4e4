"""Readers of word vector files: a table of words and rows, and data to compute rows of other words."""

import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import cast

import numpy
from numpy.typing import ArrayLike, NDArray

from ...errors import Errors, Warnings
from ...extras import import_extra
from ...installed import like
from ...types import Config
from ..sources import resolve_path
from ..transformer.reading.tokenizer_checks import check_patterns
from .word2vec import open_packed, read_word2vec

Floats = NDArray[numpy.float32]

_FASTTEXT = (793712314).to_bytes(4, "little")


@dataclass
class VectorTable:
    """Word vectors as they were read.

    keys (NDArray[uint64]): spaCy's hash of every word, in the order of the file.
    data (NDArray[float32]): Their rows, shape (n_words, width).
    subwords (Config): The argument of `subwords.make_subwords`; empty if other words get no rows.
    words (List[str]): The words themselves, in the same order.
    """

    keys: NDArray[numpy.uint64]
    data: Floats
    subwords: Config = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def read_vectors(source: str) -> VectorTable:
    """Read vectors of any format.

    source (str): A file (GloVe, word2vec text or binary, fastText .vec or .bin, .npy beside a word list; text and
        binary may be packed by gzip, bzip2, xz or zip), a folder
        (Model2Vec, .npy and word list, a spaCy pipeline), `package:NAME/path`, or the name of a spaCy pipeline.
    RAISES (ValueError): When there is no such source, or the file is damaged.
    """
    path = resolve_path(source)
    if path.is_dir():
        return _read_folder(path, source)
    if path.is_file():
        return _read_file(path)
    from spacy.util import is_package

    if source.isidentifier() and is_package(source):
        return _read_spacy(source)
    raise ValueError(Errors.T201.format(source=source, path=path.absolute()) + like(source))


def _read_folder(path: Path, source: str) -> VectorTable:
    if (path / "tokenizer.json").exists() and (path / "model.safetensors").exists():
        return _read_model2vec(path)
    if (path / "config.cfg").exists():
        return _read_spacy(path)
    arrays = sorted(path.glob("*.npy"))
    if len(arrays) != 1:
        raise ValueError(Errors.T202.format(source=source, path=path, found=[p.name for p in path.iterdir()]))
    return _read_npy(arrays[0])


def _read_file(path: Path) -> VectorTable:
    if path.suffix == ".npy":
        return _read_npy(path)
    try:
        with ExitStack() as stack:
            stream = cast(BufferedReader, open_packed(path, stack))
            if not stream.peek(4)[:4] == _FASTTEXT:
                words, data = read_word2vec(stream, path)
                return _table(words, data, path)
    # Errors of the standard library for damaged packed files.
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise ValueError(Errors.T205.format(path=path, error=error)) from error
    return _read_fasttext(path)


def _table(words: Sequence[object], data: ArrayLike, path: Path, subwords: Config | None = None) -> VectorTable:
    """Hash the words. For a word that is there twice the first row is kept."""
    from spacy.strings import get_string_id

    array = numpy.asarray(data)
    if len(words) != len(array):
        raise ValueError(Errors.T203.format(path=path, words=len(words), rows=len(array)))
    if not all(isinstance(word, str) for word in words):
        raise ValueError(Errors.T205.format(path=path, error="not all of its words are strings"))
    rows = _check_rows(array, path, lambda row: f"row {row + 1}, word {words[row]!r}")
    keys = numpy.fromiter((get_string_id(str(word)) for word in words), dtype=numpy.uint64, count=len(words))
    _, first = numpy.unique(keys, return_index=True)
    if len(first) < len(keys):
        warnings.warn(Warnings.W201.format(path=path, count=len(keys) - len(first)), stacklevel=2)
        first.sort()
        keys, rows, words = keys[first], rows[first], [words[i] for i in first]
    return VectorTable(keys, rows, subwords or {}, [str(word) for word in words])


def _check_rows(data: numpy.ndarray, path: str | Path, where: Callable[[int], str]) -> Floats:
    """Refuse rows that are not finite: one NaN would make all predictions NaN.

    RETURNS (Floats2d): The table as float32 in the main memory.
    """
    data = data if isinstance(data, numpy.ndarray) else data.get()
    if data.ndim != 2 or data.dtype.kind not in "fiu":
        problem = f"it holds {data.dtype} of the shape {data.shape}, not numbers of the shape (words, width)"
        raise ValueError(Errors.T205.format(path=path, error=problem))
    if not data.size:
        raise ValueError(Errors.T211.format(path=path))
    with numpy.errstate(over="ignore"):
        data = numpy.ascontiguousarray(data, dtype=numpy.float32)
    # Minimum and maximum pass NaN on, and need no memory.
    if not numpy.isfinite([data.min(), data.max()]).all():
        row = next(i for i, values in enumerate(data) if not numpy.isfinite(values).all())
        raise ValueError(Errors.T212.format(path=path, where=where(row)))
    return data


def _read_npy(path: Path) -> VectorTable:
    lists = sorted(file for kind in ("parquet", "txt", "json") for file in path.parent.glob(f"*.{kind}"))
    if len(lists) != 1:
        raise ValueError(Errors.T204.format(path=path, found=[file.name for file in lists]))
    try:
        data = numpy.load(path, allow_pickle=False)
        words = _read_words(lists[0])
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(Errors.T205.format(path=f"{path} (words: {lists[0].name})", error=error)) from error
    if not isinstance(data, numpy.ndarray):
        raise ValueError(Errors.T205.format(path=path, error="it is an archive of several arrays"))
    return _table(words, data, path)


def _read_words(path: Path) -> list[object]:
    if path.suffix == ".txt":
        # At line feeds alone: words may hold other signs that end a line.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
        return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    if path.suffix == ".json":
        import srsly

        return list(srsly.read_json(path))
    parquet = import_extra("pyarrow.parquet", Errors.T207.format(module="pyarrow"))
    return parquet.read_table(path).column(0).to_pylist()


def _read_fasttext(path: Path) -> VectorTable:
    fasttext = import_extra("gensim.models.fasttext", Errors.T207.format(module="gensim"))
    try:
        vectors = fasttext.load_facebook_vectors(str(path))
    except (ValueError, EOFError, OSError, AssertionError, NotImplementedError, struct.error, MemoryError) as error:
        raise ValueError(Errors.T205.format(path=path, error=error or "it is cut short")) from error
    ngrams = vectors.vectors_ngrams
    if len(ngrams):
        ngrams = _check_rows(ngrams, path, lambda row: f"row {row + 1} of the character n-grams")
    subwords = {"kind": "fasttext", "data": ngrams, "min_n": int(vectors.min_n), "max_n": int(vectors.max_n)}
    return _table(list(vectors.index_to_key), vectors.vectors, path, subwords=subwords)


def _read_model2vec(path: Path) -> VectorTable:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    file = path / "model.safetensors"
    try:
        tensors = load_file(file)
    except (SafetensorError, TypeError, OSError) as error:
        raise ValueError(Errors.T205.format(path=file, error=error)) from error
    if "embeddings" not in tensors:
        raise ValueError(Errors.T205.format(path=file, error="it has no tensor 'embeddings'"))
    data = _check_rows(tensors["embeddings"], file, lambda row: f"row {row + 1}")
    try:
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # Nothing more exact is raised there.
        raise ValueError(Errors.T205.format(path=path / "tokenizer.json", error=error)) from error
    check_patterns(tokenizer, tokenizer.to_str(), str(path))
    if tokenizer.get_vocab_size() > len(data):
        raise ValueError(Errors.T203.format(path=file, words=tokenizer.get_vocab_size(), rows=len(data)))
    unknown = tokenizer.token_to_id(str(getattr(tokenizer.model, "unk_token", None)))
    subwords = {"kind": "model2vec", "data": data, "tokenizer": tokenizer.to_str()}
    if unknown is not None:
        subwords["unknown"] = unknown
    return VectorTable(numpy.zeros(0, numpy.uint64), numpy.zeros((0, data.shape[1]), numpy.float32), subwords)


def _read_spacy(source: str | Path) -> VectorTable:
    import spacy

    nlp = spacy.load(source)
    vectors = nlp.vocab.vectors
    if not vectors.shape[0]:
        raise ValueError(Errors.T206.format(source=source))
    words = {int(row): nlp.vocab.strings[key] for key, row in vectors.key2row.items()}
    data = _check_rows(vectors.data, source, lambda row: f"row {row + 1} ({words.get(row)!r})")
    if vectors.mode == "floret":
        subwords = {"kind": "floret", "data": vectors.to_bytes(exclude=["strings"])}
        return VectorTable(numpy.zeros(0, numpy.uint64), numpy.zeros((0, vectors.shape[1]), numpy.float32), subwords)
    keys = numpy.fromiter(vectors.key2row.keys(), dtype=numpy.uint64, count=len(vectors.key2row))
    rows = numpy.fromiter(vectors.key2row.values(), dtype=numpy.int64, count=len(vectors.key2row))
    # Pruned vectors share rows between words; a table of its own per word keeps fine-tuning simple.
    order = numpy.argsort(rows, kind="stable")
    keys = keys[order]
    strings = [nlp.vocab.strings[key] for key in keys]
    return VectorTable(keys, numpy.ascontiguousarray(data[rows[order]]), words=strings)
