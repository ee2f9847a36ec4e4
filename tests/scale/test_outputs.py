"""Shards are whole or not there, and hold what docs have."""

import errno
import json
import math

import pytest
from spacy.tokens import DocBin

from spacy_transfer.scale.input_rows import Row
from spacy_transfer.scale.output_columns import getters
from spacy_transfer.scale.outputs import as_line, check_parquet, make_writer, whole_file

from .texts import pipeline

COLUMNS = ["text", "entities", "sentences", "tokens"]


def write(path, kind, columns=COLUMNS):
    nlp = pipeline()
    rows = [Row(i, 0, f"r{i}", f"Rome, {i}.", {"year": i, "s": "\udcff"}) for i in range(5)]
    docs = [nlp(row.text) for row in rows]
    with whole_file(path, path.parent) as file:
        writer = make_writer(kind, file, getters(nlp, columns))
        writer.add(rows[:3], docs[:3])
        writer.add(rows[3:], docs[3:])
        writer.close()
    return nlp, rows, docs


def test_json(tmp_path):
    nlp, rows, docs = write(tmp_path / "a.jsonl", "jsonl")
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf8").splitlines()]
    get = getters(nlp, COLUMNS)
    assert found == [
        {"id": row.id, "meta": row.meta, **{name: get[name](doc) for name in COLUMNS}}
        for row, doc in zip(rows, docs, strict=True)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_parquet_holds_the_same(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "a.jsonl", "jsonl")
    write(tmp_path / "a.parquet", "parquet")
    found = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    wanted = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf8").splitlines()]
    assert [{**row, "meta": json.loads(row["meta"])} for row in found] == wanted


def test_parquet_maps_and_vectors(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    nlp = pipeline()
    doc = nlp("Rome")
    with (tmp_path / "a.parquet").open("wb") as file:
        get = {"scores": lambda doc: {"A": 0.25}, "vectors": lambda doc: [1.0, 2.0], "heads": lambda doc: [0]}
        writer = make_writer("parquet", file, get)
        writer.add([Row(1, 0, "r", "Rome")], [doc])
        writer.close()
    (row,) = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert row == {"id": "r", "scores": [("A", 0.25)], "vectors": [1.0, 2.0], "heads": [0], "meta": "{}"}


def test_docs(tmp_path):
    nlp, rows, docs = write(tmp_path / "a.spacy", "spacy")
    found = list(DocBin().from_disk(tmp_path / "a.spacy").get_docs(nlp.vocab))
    assert [doc.user_data["id"] for doc in found] == [row.id for row in rows]
    assert [doc.user_data["meta"]["year"] for doc in found] == list(range(5))
    assert [[(ent.text, ent.label_) for ent in doc.ents] for doc in found] == [[("Rome", "GPE")]] * 5
    assert [len(list(doc.sents)) for doc in found] == [len(list(doc.sents)) for doc in docs]
    nlp, _, _ = write(tmp_path / "b.spacy", "spacy", ["text"])
    assert not any(doc.ents for doc in DocBin().from_disk(tmp_path / "b.spacy").get_docs(nlp.vocab))


def test_a_full_disk_leaves_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(ValueError, match=r"\[T968\].*a.jsonl.*No space"), whole_file(path, tmp_path) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError), whole_file(path, tmp_path) as file:
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"\[T968\]"), whole_file(tmp_path / "gone" / "a", tmp_path / "gone"):
        pass


def test_halves_of_characters_are_escaped():
    assert json.loads(as_line({"a": "\ud800"})) == {"a": "\ud800"}


def test_parquet_needs_pyarrow(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"\[T964\] --format parquet"):
        check_parquet("--format parquet")


def test_numbers_that_json_lacks():
    record = {"a": math.nan, "b": [1.5, math.inf, {"c": -math.inf}], "d": "NaN"}
    assert json.loads(as_line(record)) == {"a": None, "b": [1.5, None, {"c": None}], "d": "NaN"}
    assert b"NaN," not in as_line(record)
