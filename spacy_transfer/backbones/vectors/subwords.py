"""Rows for words that are not in a table, computed from their parts."""

from collections.abc import Callable

import numpy
from numpy.typing import NDArray
from spacy.vectors import Vectors

from ...types import Config

Floats = NDArray[numpy.float32]
MakeRow = Callable[[str], "Floats | None"]


def make_subwords(state: Config) -> MakeRow | None:
    """The function that makes rows.

    state (Dict[str, Any]): From a `VectorTable`: "kind" and its data.
    RETURNS (Optional[Callable[[str], Optional[Floats1d]]]): Gives the row of a word, or None when it has no
        parts; None itself when the format has no subwords.
    """
    makers = {"fasttext": _fasttext, "model2vec": _model2vec, "floret": _floret}
    return makers[state["kind"]](state) if state else None


def _fasttext(state: Config) -> MakeRow:
    """The mean over hashed character n-grams (Bojanowski et al. 2017)."""
    data, min_n, max_n = state["data"], state["min_n"], state["max_n"]

    def row(word: str) -> Floats | None:
        grams = [fnv1a(gram.encode("utf8")) % len(data) for gram in ngrams(word, min_n, max_n)] if len(data) else []
        return data[grams].mean(axis=0) if grams else None

    return row


def ngrams(word: str, min_n: int, max_n: int) -> list[str]:
    """Character n-grams of a word between boundary signs; the signs alone do not count."""
    marked = f"<{word}>"
    found = [marked[i : i + n] for i in range(len(marked)) for n in range(min_n, max_n + 1) if i + n <= len(marked)]
    return [gram for gram in found if gram not in ("<", ">")]


def fnv1a(data: bytes) -> int:
    """fastText's 32-bit FNV-1a, which takes bytes as *signed* numbers.

    data (bytes): UTF-8.
    """
    value = 2166136261
    for byte in data:
        signed = byte | 0xFFFFFF00 if byte > 127 else byte
        value = ((value ^ signed) * 16777619) & 0xFFFFFFFF
    return value


def _model2vec(state: Config) -> MakeRow:
    """The mean over pieces that are known, as Model2Vec has it; of a word without any, the row of the unknown piece."""
    from tokenizers import Tokenizer

    tokenizer, data = Tokenizer.from_str(state["tokenizer"]), state["data"]
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # Older pipelines do not say which row is that of unknown pieces. They keep their zeros.
    unknown = state.get("unknown", tokenizer.token_to_id("[UNK]"))
    otherwise = data[state["unknown"]] if "unknown" in state else None

    def row(word: str) -> Floats | None:
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        known = [i for i in ids if i != unknown]
        return data[known].mean(axis=0) if known else otherwise if ids else None

    return row


def _floret(state: Config) -> MakeRow:
    vectors = Vectors(name="floret").from_bytes(state["data"])

    def row(word: str) -> Floats | None:
        return numpy.asarray(vectors.get_batch([word])[0], dtype=numpy.float32)

    return row
