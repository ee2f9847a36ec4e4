"""Which files are found, and how a file that changed is known."""

import gzip
import os
import subprocess
import sys

import fsspec
import pytest

from spacy_transfer.scale.input_files import find_files


def test_files_of_a_folder_in_the_order_of_their_names(tmp_path):
    for name in ("b.txt", "a/c.jsonl.gz", ".hidden/x.txt", "a/.x", "d.parquet", "e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = find_files(str(tmp_path))
    kinds = [(file.name, file.kind) for file in found]
    assert kinds == [("a/c.jsonl.gz", "jsonl"), ("b.txt", "text"), ("d.parquet", "parquet"), ("e", "text")]
    assert [file.name for file in find_files(f"{tmp_path}/*.txt")] == ["b.txt"]
    (file,) = find_files(str(tmp_path / "b.txt"))
    assert file.name == "b.txt" and file.size == 1


def test_a_name_with_brackets_is_no_pattern(tmp_path):
    (tmp_path / "a[1].txt").write_text("x")
    assert [file.name for file in find_files(str(tmp_path / "a[1].txt"))] == ["a[1].txt"]


def test_what_fsspec_opens():
    with fsspec.open("memory://folder/a.txt", "wb") as file:
        file.write(b"x\n")
    (found,) = find_files("memory://folder")
    with found.open() as opened:
        assert opened.read() == b"x\n"


def test_packed_files_are_unpacked(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"text"))
    (found,) = find_files(str(tmp_path))
    with found.open() as opened:
        assert opened.read() == b"text"


@pytest.mark.parametrize("source", ["gone.txt", "nosuch://x/y", "gone/*.txt"])
def test_nothing_to_read(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"\[T960\].*" + source.split("*")[0]):
        find_files(source)


def test_files_that_vanish_or_change(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    (found,) = find_files(str(path))
    path.write_text("xy")
    with pytest.raises(ValueError, match=r"\[T962\].*size 1, now 2"), found.open():
        pass
    path.write_text("y")
    os.utime(path, (0, 0))
    with pytest.raises(ValueError, match=r"\[T962\]"), found.open():
        pass
    path.unlink()
    with pytest.raises(ValueError, match=r"\[T961\].*a.txt"), found.open():
        pass


def test_the_floor_loads_light():
    code = "import sys, spacy_transfer.scale.engine_ray; print({'ray', 'pyarrow', 'pandas'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "kind"), [("A.CSV", "csv"), ("a.JSONL.GZ", "jsonl"), ("b.NdJson", "jsonl"), ("c.md", "text")]
)
def test_names_in_capitals(tmp_path, name, kind):
    (tmp_path / name).write_text("")
    assert find_files(str(tmp_path))[0].kind == kind


@pytest.mark.parametrize("name", ["a.json", "b.XLSX", "c.json.gz"])
def test_files_that_are_no_texts(tmp_path, name):
    (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match=f"T960.*{name}.*jsonl"):
        find_files(str(tmp_path))


def test_a_link_to_a_folder(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "other", target_is_directory=True)
    with pytest.raises(ValueError, match="T960.*link to a folder"):
        find_files(str(tmp_path / "in"))
