"""Folders that are whole or absent: written beside their place, synced, and exchanged with what was there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .._compat import exchange
from ..errors import Errors


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Write a folder, or replace it. If the process is killed or the disk is full, the old folder or the new one is
    there, never a part of it.

    path (Path): The folder.
    write (Callable[[Path], None]): Writes into another, empty folder.
    RAISES (OSError): When it cannot be written; an old folder is not changed.
    """
    new = _beside(path, "new")
    try:
        remove(new)
        new.mkdir(parents=True)
        write(new)
        sync(new)
        put(new, path)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise OSError(Errors.T941.format(path=path, error=error)) from error


def put(new: Path, path: Path) -> None:
    """Give a folder that is whole the place of another one, or an empty place."""
    if not path.exists():
        new.rename(path)
    elif exchange(new, path):
        remove(new)
    else:
        old = _beside(path, "old")
        remove(old)
        path.rename(old)  # If the process is killed now, `recover` takes it back.
        new.rename(path)
        remove(old)
    sync_names(path.parent)


def recover(path: Path) -> None:
    """Clear up after a process that was killed: what it was writing goes, what was there before comes back."""
    old = _beside(path, "old")
    if old.exists() and not path.exists():
        old.rename(path)
    for rest in (old, _beside(path, "new")):
        remove(rest)


def copy_folder(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy a folder.

    link (bool): Share the files with the source, if the disk can. They must never be changed in place then.
    """
    shutil.copytree(source, target, copy_function=_link if link else shutil.copy2, dirs_exist_ok=True)


def sync(folder: Path) -> None:
    """Have all files in a folder, and their names, written to the disk."""
    for place, _, files in os.walk(folder):
        for name in files:
            _fsync(Path(place) / name)
        sync_names(Path(place))


def sync_names(folder: Path) -> None:
    """Have the names in a folder written to the disk. Windows cannot, and does not need it."""
    if os.name != "nt":
        _fsync(folder)


def remove(folder: Path) -> None:
    """Remove a folder, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def _fsync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")
