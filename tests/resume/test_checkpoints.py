"""Checkpoints: what is written is read, broken ones are passed over, and there are never more than two."""

import numpy
import pytest

from spacy_transfer.resume import checkpoints
from spacy_transfer.resume.checkpoints import Checkpoints
from spacy_transfer.resume.state import State


def state(number):
    values = {"loss": numpy.float32(0.1), "mean": 0.1, "rows": [{"a": None}], "number": number}
    return State({"weights.a": numpy.full((2, 3), number, dtype="float32"), "scalar": numpy.array(2.0)}, values)


@pytest.fixture
def two(tmp_path):
    best = tmp_path / "model-best"
    best.mkdir()
    (best / "meta.json").write_text("{}")
    kept = Checkpoints(tmp_path / "kept")
    for step in (3, 7, 11):
        kept.write(step, state(step), best)
    return kept


def test_the_last_two_are_kept(two):
    assert sorted(path.name for path in two.folder.iterdir()) == ["checkpoint-000000007", "checkpoint-000000011"]
    found = two.read()
    assert found.state.values == state(11).values and isinstance(found.state.values["loss"], numpy.float32)
    assert all(numpy.array_equal(found.state.arrays[name], array) for name, array in state(11).arrays.items())
    assert found.state.arrays["scalar"].shape == () and (found.best / "meta.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json", "checksums.json", "model-best/meta.json"])
def test_a_flipped_bit_or_a_file_that_is_missing(name, two, caplog):
    path = two.read().path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    assert two.read().state.values["number"] == 7
    assert "W940" in caplog.text and "checkpoint-000000011" in caplog.text
    path.unlink()
    assert two.read().state.values["number"] == 7
    two.forget(two.read())
    assert [path.name for path in two.folder.iterdir()] == ["checkpoint-000000007"]


def test_all_are_broken(two, caplog):
    for path in two.folder.iterdir():
        (path / "state.json").write_text("")
    assert two.read() is None and caplog.text.count("W940") == 2
    two.forget()
    assert list(two.folder.iterdir()) == []


def test_a_checkpoint_that_cannot_be_written(two, monkeypatch):
    def full(folder):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints, "sync", full)
    with pytest.raises(OSError, match="T941.*No space left"):
        two.write(15, state(15), None)
    assert two.read().state.values["number"] == 11 and not (two.folder / "new").exists()


def test_values_that_are_no_json(two):
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        two.write(15, State({}, {"a": {1, 2}}), None)
