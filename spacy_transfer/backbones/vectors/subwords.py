"""Rows for words that are not in a table, computed from their parts."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy
import srsly
from numpy.typing import NDArray
from spacy.vectors import Vectors
from thinc.api import Model, deserialize_attr

from ...errors import Errors
from ...types import Config
from ..transformer.reading.tokenizer_checks import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = NDArray[numpy.float32]
MakeRow = Callable[[str], "Floats | None"]
SAVED = "The saved table of word vectors"
_FIELDS: dict[str, dict[str, type]] = {
    "fasttext": {"data": numpy.ndarray, "min_n": int, "max_n": int},
    "model2vec": {"data": numpy.ndarray, "tokenizer": str},
    "floret": {"data": bytes},
}
"""Of each kind, and their types."""


class Subwords(Config):
    """State for `make_subwords`. It has a class of its own so that Thinc checks it when it loads a model."""


@deserialize_attr.register(Subwords)
def _load_subwords(default: Subwords, value: bytes, name: str, model: Model) -> Subwords:
    state = srsly.msgpack_loads(value)
    problem = _problem(state, model.maybe_get_dim("nO"))
    if problem is not None:
        raise ValueError(Errors.T437.format(where=SAVED, error=problem))
    return Subwords(state)


def _problem(state: object, width: int | None) -> str | None:
    """What is wrong with a state that was read from a file."""
    if not isinstance(state, dict):
        return "its subwords are no dictionary"
    if not state:
        return None
    fields = _FIELDS.get(state["kind"]) if isinstance(state.get("kind"), str) else None
    if fields is None:
        return f"it has subwords of an unknown kind: {state.get('kind')!r}"
    wrong = [field for field, kind in fields.items() if not isinstance(state.get(field), kind)]
    if not isinstance(state.get("unknown", 0), int):
        wrong.append("unknown")
    if wrong:
        return f"fields of its subwords are missing, or of another type: {wrong}"
    data = state["data"]
    if not isinstance(data, numpy.ndarray):
        return None
    if data.dtype.kind != "f" or data.ndim != 2 or data.shape[1] != width:
        return f"the rows of its subwords have the type {data.dtype} and the shape {data.shape}"
    if state["kind"] == "model2vec":
        n_pieces = read_tokenizer(state["tokenizer"], SAVED).get_vocab_size()
        if n_pieces > len(data) or not 0 <= state.get("unknown", 0) < len(data):
            return f"its tokenizer has {n_pieces} pieces, and there are {len(data)} rows"
    return None


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
    tokenizer, data = read_tokenizer(state["tokenizer"], SAVED), state["data"]
    # Older pipelines do not say which row is that of unknown pieces. They keep their zeros.
    unknown = state.get("unknown", tokenizer.token_to_id("[UNK]"))
    otherwise = data[state["unknown"]] if "unknown" in state else None

    def row(word: str) -> Floats | None:
        known = known_pieces(tokenizer, unknown, word)
        if known:
            return data[known].mean(axis=0)
        return otherwise if tokenizer.encode(word, add_special_tokens=False).ids else None

    return row


def known_pieces(tokenizer: "Tokenizer", unknown: int | None, word: str) -> list[int]:
    """RETURNS (List[int]): Numbers of the pieces that a word is made from, but for unknown ones."""
    return [i for i in tokenizer.encode(word, add_special_tokens=False).ids if i != unknown]


def _floret(state: Config) -> MakeRow:
    vectors = Vectors(name="floret").from_bytes(state["data"])

    def row(word: str) -> Floats | None:
        return numpy.asarray(vectors.get_batch([word])[0], dtype=numpy.float32)

    return row
