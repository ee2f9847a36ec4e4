"""Files of a pretraining that are whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, Any

from ..errors import Errors
from .whole_folders import sync_names


class WholeFiles:
    """Stands for the output folder of `spacy pretrain`.

    folder (Path): The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.is_silent = False
        """Whether nothing is written."""

    def recover(self) -> None:
        """Remove what a process was writing when it was killed."""
        for path in self._folder.glob(".model*.bin.new"):
            path.unlink()

    def __truediv__(self, name: str) -> "WholeFile":
        """RETURNS (WholeFile): A file in the folder."""
        return WholeFile(self._folder / name, self.is_silent)


class WholeFile:
    """A file that is written whole or not at all.

    path (Path): Where.
    is_silent (bool): Write nothing.
    """

    def __init__(self, path: Path, is_silent: bool) -> None:
        self._path, self._is_silent = path, is_silent

    @contextmanager
    def open(self, mode: str) -> Iterator[IO[Any]]:
        """Within, write it. Only then it takes its place; rows are added at once.

        mode (str): "wb" to replace it, "a" to add rows.
        RAISES (OSError): When it cannot be written; an old file is not changed.
        """
        if self._is_silent:
            yield BytesIO() if "b" in mode else StringIO()
        elif "a" in mode:
            with self._path.open(mode, encoding="utf8") as rows:
                yield rows
        else:
            with self._replaced(mode) as file:
                yield file

    @contextmanager
    def _replaced(self, mode: str) -> Iterator[IO[Any]]:
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            with new.open(mode) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_names(self._path.parent)
        except OSError as error:
            raise OSError(Errors.T941.format(path=self._path, error=error)) from error
        finally:
            new.unlink(missing_ok=True)
