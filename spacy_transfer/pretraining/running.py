"""A `spacy pretrain` that is running: what it works with, and places to step in.

spaCy's loop has no callbacks of its own. But it calls `[initialize.after_init]` on its way to the loop. Who is called
there finds the frame of the loop, and with it the settings, the reader, the batcher. Names that the loop looks up in
its module are ours for this one run: `ProgressTracker`, called once before the first step, `range` for the epochs,
`enumerate` for the batches of one, `make_update` for a step.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeAlias

from thinc.api import Model, Optimizer

Batch: TypeAlias = list[Any]
Update: TypeAlias = Callable[[Model, list[Any], Optimizer, Callable], float]


class OutputFile(Protocol):
    """What the loop does with a file that it writes."""

    def open(self, mode: str) -> Any: ...


class OutputFolder(Protocol):
    """What the loop does with the output folder."""

    def __truediv__(self, name: str) -> OutputFile: ...


class RunningPretraining:
    """One run of spaCy's function `pretrain`.

    begin (List[Callable[[], None]]): Called before the first step. What is raised there ends the run before it has
        written anything.
    epochs (Callable[[int, int], Iterable[int]]): In place of `range`: from the first epoch to the one after the last.
    batches (Callable[[Iterable], Iterator[Tuple[int, Batch]]]): In place of `enumerate`.
    update (Callable): In place of `make_update`.
    output (Optional[OutputFolder]): Gets the files in place of the output folder.
    end (List[Callable[[], None]]): Called when the loop has ended, or was stopped.
    """

    def __init__(self, frame: FrameType) -> None:
        self._frame: FrameType | None = frame
        self.output_dir: Path = frame.f_locals["output_dir"]
        """The output folder."""
        self._module: Any = _module()
        self._tracker_class, self._make_update = self._module.ProgressTracker, self._module.make_update
        self.tracker: Any = None
        self.begin: list[Callable[[], None]] = []
        self.end: list[Callable[[], None]] = []
        self.epochs: Callable[[int, int], Iterable[int]] = range
        self.batches: Callable[[Iterable[Batch]], Iterable[tuple[int, Batch]]] = enumerate
        self.update: Update = self._make_update
        self.output: OutputFolder | None = None
        self._module.ProgressTracker, self._module.range = self._begin, self._epochs
        self._module.enumerate = lambda batches: self.batches(batches)
        self._module.make_update = lambda *args: self.update(*args)

    def local(self, name: str) -> Any:
        """RETURNS (Any): A variable of the loop: `model` and `optimizer` are there when `begin` is called."""
        assert self._frame is not None, "the loop has ended"
        return self._frame.f_locals[name]

    def is_of(self, frame: FrameType) -> bool:
        """RETURNS (bool): Whether this is the run of a frame."""
        return self._frame is frame

    def restore(self) -> None:
        """Leave spaCy's module as it was."""
        if self._frame is None:
            return
        self._frame = None
        self._module.ProgressTracker, self._module.make_update = self._tracker_class, self._make_update
        del self._module.range, self._module.enumerate
        _runs.remove(self)
        for call in self.end:
            call()

    def _begin(self, **settings: Any) -> object:
        try:
            self.tracker = self._tracker_class(**settings)
            for call in self.begin:
                call()
        except BaseException:
            self.restore()
            raise
        return self.tracker

    def _epochs(self, first: int, end: int) -> Iterator[int]:
        """The loop lets go of this iterator when it ends, or is stopped."""
        try:
            if self.output is not None:
                save = self.local("_save_model")
                place = save.__code__.co_freevars.index("output_dir")
                save.__closure__[place].cell_contents = self.output
            yield from self.epochs(first, end)
        finally:
            self.restore()


_runs: list[RunningPretraining] = []


def running_pretraining() -> RunningPretraining | None:
    """RETURNS (Optional[RunningPretraining]): The `spacy pretrain` from which this was called; None where it is
    another command, such as `spacy train`."""
    code = getattr(_module().pretrain, "__code__", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    if frame is None:
        return None
    for run in list(_runs):
        if run.is_of(frame):
            return run
        run.restore()  # It has failed before its first step.
    _runs.append(RunningPretraining(frame))
    return _runs[-1]


def _module() -> Any:
    return importlib.import_module("spacy.training.pretrain")
