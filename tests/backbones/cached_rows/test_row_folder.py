"""Rows in a folder: what is put there is found by all, whatever others write or whoever is killed.

Guards also: row_cache.py.
"""

import numpy
import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import Linear

from spacy_transfer.backbones.cached_rows.row_cache import CacheSettings, RowCache
from spacy_transfer.backbones.cached_rows.row_folder import RowFolder, rows_shared_in, shared_rows

from ...pipelines import backbone_config, make_examples

KEYS = [bytes([i]) * 16 for i in range(20)]
MOST = 2**20


def arrays(count, seed=0):
    draws = numpy.random.default_rng(seed)
    return [draws.normal(size=(i % 4, 5)).astype("f") for i in range(count)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_put_is_found(tmp_path, dtype):
    one, other = RowFolder(tmp_path / "a", dtype, MOST), RowFolder(tmp_path / "a", dtype, MOST)
    made = [array.astype(dtype) for array in arrays(10)]
    for i, array in enumerate(made):
        (one if i % 2 else other).put(KEYS[i], array)
    third = RowFolder(tmp_path / "a", dtype, MOST)
    for key, array in zip(KEYS, made, strict=False):
        numpy.testing.assert_array_equal(third.get(key), array)
    assert third.get(KEYS[15]) is None and len(third) == 10
    assert third.used == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())


@settings(max_examples=30)
@given(st.integers(0, 400))
def test_a_file_that_was_cut_off(tmp_path_factory, length):
    """All that was written whole is there, and nothing else."""
    folder = tmp_path_factory.mktemp("rows")
    rows = RowFolder(folder, "float32", MOST)
    ends, made = [], arrays(8)
    for key, array in zip(KEYS, made, strict=False):
        rows.put(key, array)
        ends.append(rows.used)
    path = next(folder.iterdir())
    with path.open("r+b") as file:
        file.truncate(min(length, ends[-1]))
    again = RowFolder(folder, "float32", MOST)
    for key, array, end in zip(KEYS, made, ends, strict=False):
        found = again.get(key)
        assert (found is not None) == (end <= length)
        if found is not None:
            numpy.testing.assert_array_equal(found, array)


def test_a_damaged_row_is_not_given(tmp_path):
    rows = RowFolder(tmp_path, "float32", MOST)
    rows.put(KEYS[0], numpy.ones((2, 3), dtype="f"))
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert RowFolder(tmp_path, "float32", MOST).get(KEYS[0]) is None


def test_a_full_folder(tmp_path):
    rows = RowFolder(tmp_path, "float32", 2 * (40 + 60))
    for key in KEYS[:4]:
        rows.put(key, numpy.ones((3, 5), dtype="f"))
    assert [rows.get(key) is not None for key in KEYS[:4]] == [True, True, False, False]
    # What others have written counts.
    other = RowFolder(tmp_path, "float32", 2 * (40 + 60))
    other.put(KEYS[5], numpy.ones((3, 5), dtype="f"))
    assert other.get(KEYS[5]) is None


def test_a_disk_that_cannot_be_written(tmp_path):
    rows = RowFolder(tmp_path / "a", "float32", MOST)
    (tmp_path / "a").rmdir()
    with pytest.warns(UserWarning, match="W900"):
        rows.put(KEYS[0], numpy.ones((1, 5), dtype="f"))
    rows.put(KEYS[1], numpy.ones((1, 5), dtype="f"))
    assert len(rows) == 0


@pytest.mark.parametrize("memory_mb", [0, 1])
def test_a_cache_beyond_its_training(tmp_path, memory_mb):
    """The second cache computes nothing; the temporary file is not used."""
    made, asked = arrays(6), []

    def make(missing):
        asked.append(missing)
        return [made[i] for i in missing]

    for _ in range(2):
        cache = RowCache(CacheSettings(memory_mb, 1), RowFolder(tmp_path, "float32", MOST))
        for found in (cache.gather(KEYS[:6], make), cache.gather(KEYS[:6], make)):
            for one, other in zip(found, made, strict=True):
                numpy.testing.assert_array_equal(one, other)
        assert cache.used_on_disk == 0
    assert asked == [list(range(6))]


def test_a_folder_for_each_encoder(tmp_path):
    def place(model, block=None, dtype="float32"):
        with rows_shared_in(tmp_path, 1):
            return shared_rows(model, lambda: {"model": block or {"pooling": "mean"}}, dtype).folder

    model = Linear(2, 3).initialize()
    first = place(model)
    assert place(model) == first == place(model.copy())
    assert first not in (place(model, {"pooling": "first"}), place(model, None, "float16"))
    model.set_param("b", model.get_param("b") + 1)
    assert place(model) != first
    assert shared_rows(model, dict, "float32") is None


def test_weights_of_torch_count(tiny_bert, tmp_path):
    def place(change):
        nlp = spacy.blank("en")
        backbone = nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
        nlp.initialize(lambda: make_examples(nlp))
        if change:
            next(backbone.model.shims[0]._model.parameters()).data[0] += 1
        with rows_shared_in(tmp_path, 1):
            return shared_rows(backbone.model, lambda: {"model": {}}, "float32").folder

    assert place(False) == place(False) != place(True)


def test_rows_belong_to_the_weights(tiny_bert, tmp_path):
    """A frozen backbone uses the folder as long as its weights are those that were initialised."""
    nlp = spacy.blank("en")
    backbone = nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    docs = [eg.reference for eg in make_examples(nlp)]
    with rows_shared_in(tmp_path, 1):
        nlp.initialize(lambda: make_examples(nlp))
    before = backbone.predict(docs).rows[0]
    assert len(backbone._encoder.cache.folder) == len({doc.text for doc in docs})
    with torch.no_grad():
        next(backbone.model.shims[0]._model.parameters()).mul_(-1.0)
    assert not numpy.allclose(backbone.predict(docs).rows[0], before)
    assert backbone._encoder.cache.folder is None
    nlp.initialize(lambda: make_examples(nlp))
    assert backbone._encoder.cache is None


def frozen(source, **settings):
    nlp = spacy.blank("en")
    config = {**backbone_config(source), "frozen": True, **settings}
    return nlp, nlp.add_pipe("transfer_backbone", config=config)


def test_a_folder_of_the_component(tiny_bert, tmp_path):
    """The second training encodes none of the texts of the first: rows are read from the folder, also those that do
    not fit into memory."""
    settings = {"cache_folder": str(tmp_path / "rows"), "cache_disk_mb": 1, "cache_mb": 0}
    made = []
    for _ in range(2):
        nlp, backbone = frozen(tiny_bert, **settings)
        nlp.initialize(lambda nlp=nlp: make_examples(nlp))
        before = len(backbone._encoder.cache.folder)
        rows = backbone.predict([eg.reference for eg in make_examples(nlp)]).rows
        made.append((before, len(backbone._encoder.cache.folder), rows))
    (empty, first, rows), (second, last, again) = made
    assert empty == 0 < first == second == last
    for one, other in zip(rows, again, strict=True):
        numpy.testing.assert_array_equal(one, other)
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_another_encoder_has_other_rows(tiny_bert, tmp_path):
    for pooling in ("mean", "first"):
        settings = {"cache_folder": str(tmp_path), "cache_disk_mb": 1}
        nlp, backbone = frozen(tiny_bert, **settings)
        nlp.remove_pipe("transfer_backbone")
        model = {**backbone_config(tiny_bert)["model"], "pooling": pooling}
        backbone = nlp.add_pipe("transfer_backbone", config={"model": model, "frozen": True, **settings})
        nlp.initialize(lambda nlp=nlp: make_examples(nlp))
        assert len(backbone._encoder.cache.folder) == 0
        backbone.predict([eg.reference for eg in make_examples(nlp)])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_without_room_is_refused(tiny_bert, tmp_path):
    with pytest.raises(ValueError, match="T419.*cache_disk_mb"):
        frozen(tiny_bert, cache_folder=str(tmp_path))


def test_a_folder_that_is_a_file_is_refused(tiny_bert, tmp_path):
    path = tmp_path / "rows"
    path.write_text("")
    nlp, _ = frozen(tiny_bert, cache_folder=str(path), cache_disk_mb=1)
    with pytest.raises(ValueError, match="T427.*cache_folder"):
        nlp.initialize(lambda: make_examples(nlp))
