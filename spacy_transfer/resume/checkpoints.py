"""Checkpoints on the disk: one folder each, of safetensors and JSON, with checksums; at most two at a time."""

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import Errors, Warnings
from ..types import Config
from .state import State
from .whole_folders import copy_folder, remove, sync, sync_names

logger = logging.getLogger("spacy")
BEST = "model-best"
_SUMS, _VALUES, _ARRAYS = "checksums.json", "state.json", "arrays.safetensors"
_NUMBER = "__numpy__"
_NAME = re.compile(r"checkpoint-\d{9}")


@dataclass
class Checkpoint:
    """A checkpoint that was read."""

    path: Path
    state: State
    sums: str
    """A checksum of all its files."""

    @property
    def best(self) -> Path | None:
        """RETURNS (Optional[Path]): A copy of the best pipeline at that step, if there was one."""
        return self.path / BEST if (self.path / BEST).exists() else None


class Checkpoints:
    """The checkpoints of one training.

    folder (Path): Where they are; nothing else is in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sums: dict[tuple[int, int, int], str] = {}

    def write(self, step: int, state: State, best: Path | None) -> None:
        """Write a checkpoint to a new folder, sync it, and rename it. The last one before it stays.

        best (Optional[Path]): The best pipeline so far. Its files are shared with the checkpoint, not copied.
        RAISES (OSError): When it cannot be written. The last one is as it was.
        """
        new = self.folder / "new"
        try:
            for older in self._found()[1:]:
                remove(older)
            remove(new)
            new.mkdir(parents=True)
            (new / _ARRAYS).write_bytes(save(state.arrays))
            (new / _VALUES).write_text(json.dumps(state.values, default=_to_json), encoding="utf8")
            if best is not None:
                copy_folder(best, new / BEST, link=True)
            files = sorted(path for path in new.rglob("*") if path.is_file())
            sums = {path.relative_to(new).as_posix(): self._sum(path) for path in files}
            (new / _SUMS).write_text(json.dumps(sums, indent=1), encoding="utf8")
            sync(new)
            path = self.folder / f"checkpoint-{step:09}"
            remove(path)  # From an earlier training that went on from before it.
            new.rename(path)
            sync_names(self.folder)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise OSError(Errors.T941.format(path=self.folder, error=error)) from error

    def read(self) -> Checkpoint | None:
        """RETURNS (Optional[Checkpoint]): The last one that is whole; a broken one is passed over with a warning."""
        for path in self._found():
            try:
                return self.read_one(path)
            except (OSError, ValueError, SafetensorError) as error:
                logger.warning(Warnings.W940.format(path=path, error=error))
        return None

    def read_one(self, path: Path) -> Checkpoint:
        """RETURNS (Checkpoint): That in a folder.

        RAISES (OSError, ValueError, SafetensorError): When it is not whole.
        """
        sums = self._check(path)
        arrays = load((path / _ARRAYS).read_bytes())
        values = json.loads((path / _VALUES).read_text(encoding="utf8"), object_hook=_from_json)
        return Checkpoint(path, State(arrays, values), sums)

    def forget(self, kept: Checkpoint | None = None) -> None:
        """Remove what is broken or half-written: all that is later than the last one that is whole."""
        for path in self._found():
            if kept is None or path.name > kept.path.name:
                remove(path)
        remove(self.folder / "new")

    def _found(self) -> list[Path]:
        """The last one first."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((path for path in paths if _NAME.fullmatch(path.name)), reverse=True)

    def _sum(self, path: Path) -> str:
        """Files of the best pipeline stay the same from one checkpoint to the next."""
        found = os.stat(path)
        key = (found.st_ino, found.st_mtime_ns, found.st_size)
        if key not in self._sums:
            self._sums[key] = sha256(path.read_bytes()).hexdigest()
        return self._sums[key]

    @staticmethod
    def _check(path: Path) -> str:
        text = (path / _SUMS).read_text(encoding="utf8")
        sums = json.loads(text)
        if not isinstance(sums, dict) or not {_ARRAYS, _VALUES} <= set(sums):
            raise ValueError(f"{_SUMS} lacks files")
        for name, wanted in sums.items():
            if sha256((path / name).read_bytes()).hexdigest() != wanted:
                raise ValueError(f"{name} does not match its checksum")
        return sha256(text.encode("utf8")).hexdigest()


def _to_json(value: object) -> object:
    """Losses are NumPy's numbers in part, and are added up in the precision that they have."""
    if isinstance(value, numpy.generic):
        return {_NUMBER: str(value.dtype), "value": value.item()}
    raise TypeError(f"{value!r} cannot be written as JSON")


def _from_json(found: Config) -> object:
    return numpy.dtype(found[_NUMBER]).type(found["value"]) if _NUMBER in found else found
