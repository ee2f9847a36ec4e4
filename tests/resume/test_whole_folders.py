"""Folders are whole or absent, whatever happens while they are written."""

import errno
import os
import signal
import sys

import pytest

from spacy_transfer import _compat
from spacy_transfer.resume import whole_folders
from spacy_transfer.resume.whole_folders import copy_folder, recover, write_folder


def fill(text):
    def write(folder):
        (folder / "sub").mkdir()
        for name in ("a", "sub/b"):
            (folder / name).write_text(text)

    return write


def read(folder):
    return {path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_whole(can_exchange, tmp_path, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr(whole_folders, "exchange", lambda first, second: False)
    for text in ("old", "new"):
        write_folder(tmp_path / "x", fill(text))
        assert read(tmp_path / "x") == {text} and [path.name for path in tmp_path.iterdir()] == ["x"]


def killed_at(number, work):
    """Do work in another process, which is killed at so many operations on files. RETURNS (bool): Whether it was."""
    pid = os.fork()
    if not pid:
        left = number

        def hook(event, args):
            nonlocal left
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are made in forked processes")
@pytest.mark.parametrize("can_exchange", [True, False])
def test_killed_at_every_operation(can_exchange, tmp_path, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr(whole_folders, "exchange", lambda first, second: False)
    place = tmp_path / "x"
    write_folder(place, fill("old"))
    seen, number = set(), 1
    while killed_at(number, lambda: write_folder(place, fill("new"))):
        # Where folders can be exchanged there is nothing to recover at any moment.
        assert not can_exchange or read(place) in ({"old"}, {"new"})
        recover(place)
        seen |= read(place)
        assert read(place) in ({"old"}, {"new"}) and [path.name for path in tmp_path.iterdir()] == ["x"]
        write_folder(place, fill("old"))
        number += 1
    assert number > 8 and seen == {"old", "new"}


def test_a_full_disk_and_a_folder_that_is_read_only(tmp_path, monkeypatch):
    write_folder(tmp_path / "x", fill("old"))

    def full(folder):
        (folder / "a").write_text("n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"T941.*x cannot be written.*No space left.*What was there before is whole"):
        write_folder(tmp_path / "x", full)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="T941"):
        write_folder(tmp_path / "file" / "x", fill("new"))
    assert read(tmp_path / "x") == {"old"} and {path.name for path in tmp_path.iterdir()} == {"x", "file"}


def test_links_share_files_where_they_can(tmp_path, monkeypatch):
    write_folder(tmp_path / "x", fill("old"))
    copy_folder(tmp_path / "x", tmp_path / "y", link=True)
    assert (tmp_path / "y" / "a").stat().st_ino == (tmp_path / "x" / "a").stat().st_ino

    def refuse(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    copy_folder(tmp_path / "x", tmp_path / "z", link=True)
    assert read(tmp_path / "z") == {"old"}
    assert (tmp_path / "z" / "a").stat().st_ino != (tmp_path / "x" / "a").stat().st_ino


def test_systems_that_cannot_exchange(monkeypatch, tmp_path):
    import ctypes

    assert not _compat.exchange(tmp_path / "none", tmp_path / "neither")
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: object())
    assert not _compat.exchange(tmp_path, tmp_path)
