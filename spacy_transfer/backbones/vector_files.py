"""Readers of word vector files: one table of words and rows, and what makes rows for words that are not in it."""

import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from ..errors import Errors, Warnings
from .sources import resolve_path

Floats = NDArray[numpy.float32]


@dataclass
class VectorTable:
    """Word vectors as they were read.

    keys (NDArray[uint64]): spaCy's hash of every word, in the order of the file.
    data (NDArray[float32]): Their rows, shape (n_words, width).
    subwords (Dict[str, Any]): What `subwords.make_subwords` needs to make rows for other words; may be empty.
    """

    keys: NDArray[numpy.uint64]
    data: Floats
    subwords: dict[str, Any] = field(default_factory=dict)


def read_vectors(source: str) -> VectorTable:
    """Read vectors of any format.

    source (str): A file (GloVe, word2vec text or binary, fastText .vec or .bin, .npy beside a word list), a folder
        (Model2Vec, .npy and word list, a spaCy pipeline), `package:NAME/path`, or the name of a spaCy pipeline.
    RETURNS (VectorTable): Words and rows.
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
    raise ValueError(Errors.T201.format(source=source, path=path.absolute()))


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
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == (793712314).to_bytes(4, "little"):
        return _read_fasttext(path)
    return _read_word2vec(path)


def _table(words: list[str], data: Any, path: Path, **rest: Any) -> VectorTable:
    """Hash the words; of a word that comes twice the first row is kept."""
    from spacy.strings import get_string_id

    if len(words) != len(data):
        raise ValueError(Errors.T203.format(path=path, words=len(words), rows=len(data)))
    keys = numpy.fromiter((get_string_id(word) for word in words), dtype=numpy.uint64, count=len(words))
    _, first = numpy.unique(keys, return_index=True)
    if len(first) < len(keys):
        warnings.warn(Warnings.W201.format(path=path, count=len(keys) - len(first)), stacklevel=2)
        first.sort()
        keys, data = keys[first], data[first]
    return VectorTable(keys, numpy.ascontiguousarray(data, dtype=numpy.float32), **rest)


def _read_npy(path: Path) -> VectorTable:
    lists = sorted(file for kind in ("parquet", "txt", "json") for file in path.parent.glob(f"*.{kind}"))
    if len(lists) != 1:
        raise ValueError(Errors.T204.format(path=path, found=[file.name for file in lists]))
    try:
        data = numpy.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(Errors.T205.format(path=path, error=error)) from error
    if data.ndim != 2:
        raise ValueError(Errors.T205.format(path=path, error=f"its shape is {data.shape}, not (words, width)"))
    return _table(_read_words(lists[0]), data, path)


def _read_words(path: Path) -> list[str]:
    if path.suffix == ".txt":
        return path.read_text(encoding="utf8").splitlines()
    if path.suffix == ".json":
        import srsly

        return list(srsly.read_json(path))
    parquet = _extra("pyarrow.parquet")
    return parquet.read_table(path).column(0).to_pylist()


def _read_word2vec(path: Path) -> VectorTable:
    """GloVe, word2vec (text and binary) and fastText's .vec, read by gensim."""
    models = _extra("gensim.models")
    with path.open("rb") as file:
        first, second = file.readline().split(), file.readline()
    has_header = len(first) == 2 and first[0].isdigit() and first[1].isdigit()
    binary = has_header and _is_binary(second, int(first[1]))
    duplicates = _Counter()
    logger = logging.getLogger("gensim.models.keyedvectors")
    logger.addHandler(duplicates)
    propagate, logger.propagate = logger.propagate, False
    try:
        vectors = models.KeyedVectors.load_word2vec_format(str(path), binary=binary, no_header=not has_header)
    except (ValueError, EOFError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(Errors.T205.format(path=path, error=error or "it ends in the middle of a row")) from error
    finally:
        logger.removeHandler(duplicates)
        logger.propagate = propagate
    # gensim leaves empty places at the end for words that came twice.
    words = [word for word in vectors.index_to_key if word is not None]
    if has_header and len(words) + duplicates.count < int(first[0]):
        lacks = f"its first line promises {int(first[0])} words, but there are {len(words)}"
        raise ValueError(Errors.T205.format(path=path, error=lacks))
    if duplicates.count:
        warnings.warn(Warnings.W201.format(path=path, count=duplicates.count), stacklevel=2)
    return _table(words, vectors.vectors[: len(words)], path)


def _is_binary(row: bytes, width: int) -> bool:
    try:
        return len(row.decode("utf8").split()) < width
    except UnicodeDecodeError:
        return True


class _Counter(logging.Handler):
    """Counts the duplicate words that gensim logs one by one."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "duplicate word" in record.getMessage()


def _read_fasttext(path: Path) -> VectorTable:
    fasttext = _extra("gensim.models.fasttext")
    try:
        vectors = fasttext.load_facebook_vectors(str(path))
    except (ValueError, EOFError, OSError, AssertionError, NotImplementedError) as error:
        raise ValueError(Errors.T205.format(path=path, error=error)) from error
    subwords = {
        "kind": "fasttext",
        "data": numpy.asarray(vectors.vectors_ngrams, dtype=numpy.float32),
        "min_n": int(vectors.min_n),
        "max_n": int(vectors.max_n),
    }
    return _table(list(vectors.index_to_key), vectors.vectors, path, subwords=subwords)


def _read_model2vec(path: Path) -> VectorTable:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path / "model.safetensors")
    except SafetensorError as error:
        raise ValueError(Errors.T205.format(path=path / "model.safetensors", error=error)) from error
    if "embeddings" not in tensors:
        raise ValueError(Errors.T205.format(path=path / "model.safetensors", error="it has no tensor 'embeddings'"))
    data = numpy.ascontiguousarray(tensors["embeddings"], dtype=numpy.float32)
    subwords = {"kind": "model2vec", "data": data, "tokenizer": (path / "tokenizer.json").read_text(encoding="utf8")}
    return VectorTable(numpy.zeros(0, numpy.uint64), numpy.zeros((0, data.shape[1]), numpy.float32), subwords)


def _read_spacy(source: str | Path) -> VectorTable:
    import spacy

    nlp = spacy.load(source)
    vectors: Any = nlp.vocab.vectors
    if not vectors.shape[0]:
        raise ValueError(Errors.T206.format(source=source))
    if vectors.mode == "floret":
        subwords = {"kind": "floret", "data": vectors.to_bytes(exclude=["strings"])}
        return VectorTable(numpy.zeros(0, numpy.uint64), numpy.zeros((0, vectors.shape[1]), numpy.float32), subwords)
    keys = numpy.fromiter(vectors.key2row.keys(), dtype=numpy.uint64, count=len(vectors.key2row))
    rows = numpy.fromiter(vectors.key2row.values(), dtype=numpy.int64, count=len(vectors.key2row))
    # Pruned vectors share rows between words; a table of its own per word keeps fine-tuning simple.
    order = numpy.argsort(rows, kind="stable")
    data = vectors.data if isinstance(vectors.data, numpy.ndarray) else vectors.data.get()
    return VectorTable(keys[order], numpy.ascontiguousarray(data[rows[order]], dtype=numpy.float32))


def _extra(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(Errors.T207.format(module=module.split(".")[0])) from error
