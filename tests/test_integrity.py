"""Files are whole or absent, and what was changed is noticed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import srsly

from spacy_transfer.corpora.teaching.answer_cache import AnswerCache
from spacy_transfer.integrity import (
    check_folder,
    pack,
    read_checked,
    seal,
    seal_folder,
    unpack,
    write_checked,
    write_whole,
)


def test_packed_as_by_srsly_in_any_thread():
    values = [{"a": [1, 2.5, None, True, b"x"], ("t", 1): "é"}, [numpy.ones((2, 3), "f")], numpy.float32(0.5), {}]
    wanted = [srsly.msgpack_dumps(value) for value in values]
    assert [pack(value) for value in values] == wanted
    with pytest.raises(TypeError):
        pack({"a": object()})
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pack, values * 50)) == wanted * 50
    found = unpack(pack({"rows": numpy.arange(4.0), "of": {"text": [1, "b"]}}), "it")
    assert found["rows"].tolist() == [0, 1, 2, 3] and found["of"] == {"text": [1, "b"]}


def test_entry_points_are_looked_through_once(monkeypatch):
    looked = []
    for part in (srsly.msgpack_encoders, srsly.msgpack_decoders):
        monkeypatch.setattr(part, "get_all", lambda look=part.get_all: looked.append(1) or look())
    for _ in range(10):
        assert unpack(pack({"a": 1}), "it") == {"a": 1}
    assert len(looked) <= 2


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "model"
    write_checked(file, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"T436.*model.*No space left"):
        write_whole(file, b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.sha256"]
    assert read_checked(file) == b"old"


@pytest.mark.parametrize("renames", range(4))
def test_killed_between_any_two_renames(tmp_path, monkeypatch, renames):
    file, done = tmp_path / "model", []
    write_checked(file, b"old")

    def replace(self, target, real=Path.replace):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        try:
            write_checked(file, b"new")
        except KeyboardInterrupt:
            pass
    assert read_checked(file) == (b"old" if renames < 2 else b"new")
    write_checked(file, b"newest")
    assert read_checked(file) == b"newest"
    assert len((tmp_path / "model.sha256").read_text().split()) == 1


def test_a_checksum_that_is_missing(tmp_path):
    file = tmp_path / "model"
    file.write_bytes(b"old")
    assert read_checked(file, may_lack=True) == b"old"
    with pytest.raises(ValueError, match=r"T407.*model\.sha256"):
        read_checked(file)
    write_checked(file, b"new")
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match="T408.*model"):
        read_checked(file, may_lack=True)


def test_every_flipped_bit_of_sealed_data_is_an_error():
    data = seal(srsly.msgpack_dumps({"weights": b"0123456789", "steps": 3}))
    assert unpack(data, "it") == {"weights": b"0123456789", "steps": 3}
    for i in range(8 * len(data)):
        harmed = bytearray(data)
        harmed[i // 8] ^= 1 << i % 8
        with pytest.raises(ValueError, match="T437.*it cannot be read"):
            unpack(bytes(harmed), "it")
    for end in range(len(data)):
        with pytest.raises(ValueError, match="T437"):
            unpack(data[:end], "it")


def test_weights_in_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    check_folder(tmp_path)  # As others write them.
    seal_folder(tmp_path)
    check_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(ValueError, match=r"T408.*model\.safetensors"):
        check_folder(tmp_path)


def test_an_answer_that_was_changed(tmp_path):
    cache = AnswerCache(tmp_path / "a.sqlite", "corpora.train.cache")
    cache.put([(b"key", {"cats": {"a": 0.25}})])
    assert cache.get([b"key"]) == {b"key": {"cats": {"a": 0.25}}}
    ((value,),) = cache._file.execute("SELECT value FROM answers").fetchall()
    with cache._file:
        cache._file.execute("UPDATE answers SET value = ?", (value[:-1] + bytes([value[-1] ^ 1]),))
    with pytest.raises(ValueError, match=r"T549.*checksum"):
        cache.get([b"key"])
    with cache._file:  # What was kept before there were checksums.
        cache._file.execute("UPDATE answers SET value = ?", (srsly.msgpack_dumps({"cats": {}}),))
    assert cache.get([b"key"]) == {b"key": {"cats": {}}}
    cache.close()
