"""The shim of OnnxBackbone.v1: it holds an exported encoder with its tokenizer, and runs it in ONNX Runtime. Neither
torch nor transformers is imported."""

import multiprocessing
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy
import srsly
from spacy.tokens import Doc
from thinc.shims import Shim

from ...errors import Errors
from ...extras import import_extra
from ...integrity import seal, unpack
from ...types import Floats
from ..transformer.memory import FreeMemory
from ..transformer.pieces import Pieces, cut_pieces, encode_texts, ranges
from ..transformer.reading.tokenizer_checks import panics_are_errors, read_tokenizer
from ..transformer.windows import batch_windows
from .batches import feed, mean_rows

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SAVED = "The exported encoder"
# Engines of the parent process: to free one in a child would wait for threads that are not there.
_INHERITED: list[object] = []


@dataclass(frozen=True)
class OnnxSettings:
    """The arguments of the builder."""

    original: str
    window: int
    overlap: int
    max_batch_items: int
    pooling: Literal["mean", "first"]
    document: Literal["mean", "cls"]
    special_tokens: bool


@dataclass(frozen=True)
class Exported:
    """An encoder as it was exported: what is saved.

    graph (bytes): The model in ONNX's format.
    tokenizer (str): The fast tokenizer, as JSON.
    prefix (List[int]), suffix (List[int]): Special tokens around a window.
    first_position (int): The number of a window's first position.
    fingerprint (str): That of the encoder which was exported.
    """

    graph: bytes
    tokenizer: str
    prefix: list[int]
    suffix: list[int]
    first_position: int
    width: int
    fingerprint: str


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "graph": bytes,
    "tokenizer": str,
    "prefix": (list, tuple),
    "suffix": (list, tuple),
    "first_position": int,
    "width": int,
    "fingerprint": str,
}


class OnnxShim(Shim):
    """Predicts rows. It has no weights that can be trained."""

    def __init__(self, settings: OnnxSettings) -> None:
        super().__init__(None)
        self.settings = settings
        self.exported: Exported | None = None
        self._tokenizer: Any = None
        self._session: InferenceSession | None = None
        self._home = os.getpid()
        self._free_memory = FreeMemory()

    def install(self, exported: Exported) -> None:
        """Take an exported encoder, and start its engine.

        RAISES (ImportError): When ONNX Runtime is not installed.
        RAISES (ValueError): When it cannot run the model.
        """
        self._tokenizer = read_tokenizer(exported.tokenizer, _SAVED)
        self._tokenizer.encode_special_tokens = not self.settings.special_tokens
        self.exported, self._session = exported, None
        self.session()

    def session(self) -> "InferenceSession":
        """RETURNS (InferenceSession): The engine in this process; a child starts its own, with one thread."""
        if self.exported is None:
            raise ValueError(Errors.T272.format(original=self.settings.original))
        if self._session is None or self._home != os.getpid():
            _INHERITED.append(self._session)
            self._session, self._home = _start(self.exported.graph), os.getpid()
        return self._session

    def predict(self, docs: list[Doc]) -> tuple[Floats, Floats]:
        """RETURNS (Tuple[Array, Array]): Rows of all tokens, doc after doc, and of all docs."""
        session, pieces = self.session(), self._cut(docs)
        assert self.exported is not None
        exported = self.exported
        ids, begins, sizes = pieces.joined(exported.prefix, exported.suffix)
        states = numpy.zeros((len(ids), exported.width), dtype=numpy.float32)
        for batch in batch_windows(sizes, self.settings.max_batch_items, padded=False):
            at = ranges(begins[batch], sizes[batch])
            states[at] = session.run(None, feed(ids[at], sizes[batch], exported.first_position))[0]
        self._free_memory.count(len(ids))
        tokens = pieces.states(begins, len(exported.prefix))[pieces.alignment.pieces]
        rows = mean_rows(states, tokens, pieces.alignment.offsets)
        first_window = numpy.searchsorted(pieces.windows.doc, numpy.arange(pieces.n_docs), side="left")
        if self.settings.document == "cls":
            return rows, mean_rows(states, begins, first_window)
        per_window = mean_rows(states, numpy.arange(len(ids)), begins)
        return rows, mean_rows(per_window, numpy.arange(len(sizes)), first_window)

    def _cut(self, docs: list[Doc]) -> Pieces:
        own, exported = self.settings, self.exported
        assert exported is not None
        if multiprocessing.parent_process() is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with panics_are_errors(_SAVED):
            found = encode_texts(self._tokenizer, docs)
        budget = own.window - len(exported.prefix) - len(exported.suffix)
        read_empty = own.document == "cls" and bool(exported.prefix)
        return cut_pieces(docs, found, budget, own.overlap, own.pooling, read_empty=read_empty)

    # Saving

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Sealed msgpack; empty before there is an encoder."""
        return b"" if self.exported is None else seal(srsly.msgpack_dumps(asdict(self.exported)))

    def from_bytes(self, bytes_data: bytes) -> "OnnxShim":
        if bytes_data:
            found = unpack(bytes_data, _SAVED, _FIELDS)
            self.install(Exported(**{key: found[key] for key in _FIELDS}))
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_session": None}


def _start(graph: bytes) -> "InferenceSession":
    onnxruntime: Any = import_extra("onnxruntime", Errors.T271.format(package="onnxruntime"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # Shapes differ from run to run.
    is_child = multiprocessing.parent_process() is not None
    options.intra_op_num_threads = 1 if is_child else int(os.environ.get("OMP_NUM_THREADS", "0") or 0)
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its exceptions have no common class.
        version = onnxruntime.__version__
        raise ValueError(Errors.T273.format(version=version, error=error)) from error
