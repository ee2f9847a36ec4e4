import gzip
import json

import pytest
from spacy.tokens import DocBin

from spacy_transfer.corpora.texts import read_texts


def read(path, **settings):
    return list(read_texts(path, "corpora.train.texts", **settings))


def test_every_kind_of_file(nlp, tmp_path):
    (tmp_path / "a.txt").write_bytes("one\r\n\n  two\x0cstill two \n\u00e9\n".encode())
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n\n{"text": " "}\n{"text": "four\\nlines", "x": 1}\n')
    DocBin(docs=[nlp.make_doc("five six"), nlp.make_doc("")]).to_disk(tmp_path / "c.spacy")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(json.dumps({"body": "seven"}).encode()))
    (tmp_path / "e").write_text("eight")
    assert read(tmp_path / "a.txt") == ["one", "two\x0cstill two", "\u00e9"]
    assert read(tmp_path / "b.jsonl") == ["three", "four\nlines"]
    assert read(tmp_path / "c.spacy") == ["five six"]
    assert read(tmp_path / "d.jsonl.gz", field="body") == ["seven"]
    (tmp_path / "d.jsonl.gz").unlink()
    (tmp_path / ".hidden").write_text("no")
    assert read(tmp_path) == ["one", "two\x0cstill two", "\u00e9", "three", "four\nlines", "five six", "eight"]


def test_lines_are_read_one_at_a_time(tmp_path):
    """A file of which the end cannot be parsed gives its beginning."""
    (tmp_path / "a.jsonl").write_text('{"text": "first"}\nnot json\n')
    stream = read_texts(tmp_path / "a.jsonl", "corpora.train")
    assert next(stream) == "first"
    with pytest.raises(ValueError, match=r"T552.*a\.jsonl, line 2.*'text'.*not json"):
        next(stream)


def test_a_mark_of_the_byte_order_is_no_text(tmp_path):
    for name, text in (("a.txt", "one"), ("b.jsonl", '{"text": "one"}')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert read(tmp_path / name) == ["one"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin.txt", "Zo\u00eb lebt in K\u00f6ln".encode("latin-1")),
        ("utf16.txt", "K\u00f6ln".encode("utf-16")),
        ("a.txt.gz", b"not packed"),
        ("short.txt.gz", gzip.compress(b"one text " * 100, mtime=0)[:-12]),
        ("a.spacy", b"no docs"),
        ("b.spacy.gz", gzip.compress(b"no docs", mtime=0)),
    ],
)
def test_files_of_another_kind(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"T560.*corpora\.train.*{name}"):
        read(tmp_path / name)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"T553.*corpora\.train\.texts.*none\.txt"):
        read(tmp_path / "none.txt")
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"T545.*corpora\.train\.texts.*blank\.txt"):
        read(tmp_path / "blank.txt")
    (tmp_path / "a.jsonl").write_text('{"txt": "first"}\n')
    with pytest.raises(ValueError, match=r"T552.*line 1"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["a.ndjson", "b.JSONL", "c.Jsonl.GZ"])
def test_names_of_json_lines(tmp_path, name):
    data = b'{"text": "one"}\n'
    (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith("GZ") else data)
    assert read(tmp_path / name) == ["one"]


@pytest.mark.parametrize("name", ["a.csv", "b.TSV", "c.json", "d.parquet", "e.csv.gz"])
def test_tables_are_no_raw_texts(tmp_path, name):
    """Their lines were read as texts, so that test texts in a table were not kept out of training."""
    (tmp_path / name).write_bytes(b"id,text\n1,one\n")
    with pytest.raises(ValueError, match=rf"T565.*corpora\.train.*{name}.*jsonl"):
        read(tmp_path / name)
