"""One pretraining by many ranks: each learns from its share of a batch, and all make the same step."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, StringIO
from types import SimpleNamespace
from typing import Any

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model, Optimizer

from ..backbones.shims.tunable import tunable_shims
from ..errors import Errors
from ..pretraining.objective import Measured, PretrainingAttrs, pretraining_of
from ..pretraining.running import Batch, RunningPretraining
from .buckets import Slot, digest_of, digest_of_weights, sum_gradients, trained_parameters
from .process_group import ProcessGroup
from .shared_training import own_random_state, places_of_share
from .start_checks import check_start

_PART = "pretraining"


class SharedPretraining:
    """Takes the place of spaCy's `make_update` for one pretraining, and keeps all ranks but the first from writing.

    Random numbers: between two steps all ranks are in the same state. Within, each has its own: masks, views and
    dropout are not the same on all.

    running (RunningPretraining): spaCy's loop, before its first step.
    """

    def __init__(self, nlp: Language, group: ProcessGroup, running: RunningPretraining) -> None:
        self.nlp, self.group, self._running = nlp, group, running
        self._step = -1
        running.begin.insert(0, self.begin)
        running.end.append(group.close)
        running.update = self._telling(self.update)
        if not group.is_first:
            running.output = NoFolder()

    def begin(self) -> None:
        """Compare the ranks.

        RAISES (ValueError): When one differs, or the objective is not one of this package.
        """
        self._telling(self._begin)()

    def _begin(self) -> None:
        if not PretrainingAttrs.fits(self._running.local("model")):
            raise ValueError(Errors.T492)
        self.pretraining = pretraining_of(self._running.local("model"))
        check_start(self.nlp, self.group)
        self.pretraining.together = self
        if not self.group.is_first:
            self.pretraining.monitor.silence()
        epochs, batches = self._running.epochs, self._running.batches

        def checked(first: int, end: int) -> Iterator[int]:
            for epoch in epochs(first, end):
                self._compare_weights()
                yield epoch

        def told(found: Iterable[Batch]) -> Iterator[tuple[int, Batch]]:
            try:
                yield from batches(found)
            except Exception as error:  # A text that cannot be read, a checkpoint that cannot be written.
                self.group.tell(error)
                raise

        self._running.epochs, self._running.batches = checked, told

    def _telling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def told(*args: Any) -> Any:
            try:
                return call(*args)
            except BaseException as error:
                self.group.tell(error)
                raise

        return told

    def _compare_weights(self) -> None:
        part = SimpleNamespace(model=self._running.local("model"))
        (is_same,) = self.group.agree(digest_of_weights(trained_parameters(_PART, part)))
        if not is_same:
            raise ValueError(Errors.T258.format(step=self._step))

    # A step

    def update(self, model: Model, docs: list[Doc], optimizer: Optimizer, _: Callable) -> float:
        """Learn from this rank's share of a batch, and step by the gradient of the whole.

        RETURNS (float): The mean loss of the whole batch.
        RAISES (ValueError): When ranks have different batches or parameters.
        """
        self._step += 1
        pretraining = self.pretraining
        pretraining.prepare(docs)
        own = [docs[i] for i in places_of_share([len(doc) for doc in docs], self.group.rank, self.group.size)]
        with own_random_state(self.group.rank), pretraining.drawing_as(self.group.rank):
            measured, backprop = model.begin_update(own)
            backprop(None)
        found = self._sum(model, docs, measured)
        pretraining.monitor.count(found, len(docs))
        model.finish_update(optimizer)
        return found.mean

    def _sum(self, model: Model, docs: list[Doc], own: Measured) -> Measured:
        """Sum the gradients. The loss is a mean over units: ranks count by how many they have."""
        import torch

        for shim in tunable_shims(model):
            shim.end_batch()
        output = self.pretraining.output._model
        if own.is_of_all and not self.group.is_first and output is not None:
            output.zero_grad(set_to_none=True)  # All have computed the same gradient of it.
        slots = [Slot(named) for named in trained_parameters(_PART, SimpleNamespace(model=model))]
        texts = 0
        for doc in docs:
            texts = zlib.crc32(doc.text.encode("utf8", "surrogatepass"), texts)
        same_batch, same_slots = self.group.agree(texts, digest_of(slots))
        if not (same_batch and same_slots):
            what = "parameters" if same_batch else "texts in its batch"
            raise ValueError(Errors.T257.format(rank=self.group.rank, step=self._step, what=what))
        sums = torch.tensor([own.total, float(own.count)], dtype=torch.float64)
        if own.is_of_all:
            sum_gradients(self.group, slots)
            return own
        self.group.sum(sums)
        total, count = sums.tolist()
        sum_gradients(self.group, slots, own.count / count if count else 0.0)
        return Measured(total, round(count), own.backprop)

    def gather_rows(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """RETURNS (List[NDArray]): The rows of each rank; they may have more or fewer."""
        counts = [int(count[0]) for count in self.group.gather(numpy.array([len(rows)]))]
        padded = numpy.zeros((max(counts), *rows.shape[1:]), dtype=rows.dtype)
        padded[: len(rows)] = rows
        found = self.group.gather(padded)
        return [one[:count] for one, count in zip(found, counts, strict=True)]

    @property
    def rank(self) -> int:
        """RETURNS (int): The number of this rank."""
        return self.group.rank


def shared_pretraining_of(running: RunningPretraining) -> SharedPretraining | None:
    """RETURNS (Optional[SharedPretraining]): The pretraining by ranks that is running; None in one process."""
    found = [getattr(call, "__self__", None) for call in running.begin]
    return next((one for one in found if isinstance(one, SharedPretraining)), None)


class NoFolder:
    """Stands for the output folder on ranks that do not write."""

    def __truediv__(self, name: str) -> "NoFolder":
        """RETURNS (NoFolder): A file of it."""
        return self

    def open(self, mode: str) -> BytesIO | StringIO:
        """RETURNS (Union[BytesIO, StringIO]): What is written goes nowhere."""
        return BytesIO() if "b" in mode else StringIO()
