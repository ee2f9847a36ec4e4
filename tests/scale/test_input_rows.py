"""Rows of every kind of file, from the beginning and from any other row."""

import csv
import gzip
import json

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_transfer.scale.input_files import find_files
from spacy_transfer.scale.input_rows import Fields, read_rows

TEXTS = ["one", "", 'say "two",\nor\r\nthree', "vier\x0cfünf\u2028", "😀 \x85", " x "]
OBJECTS = [{"id": f"i{n}", "text": text, "kind": "k\t,"} for n, text in enumerate(TEXTS)]


def write(folder, kind):
    path = folder / f"in.{kind}"
    if kind.startswith("jsonl"):
        data = "\n\n".join(json.dumps(found) for found in OBJECTS).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else b"\xef\xbb\xbf" + data)
    elif kind in ("csv", "tsv"):
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, ["id", "text", "kind"], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(OBJECTS)
    elif kind == "parquet":
        parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
        parquet.write_table(pyarrow.Table.from_pylist(OBJECTS), path, row_group_size=4)
    else:
        docs = DocBin(store_user_data=True)
        for found in OBJECTS:
            doc = spacy.blank("en")(found["text"])
            doc.user_data.update(id=found["id"], meta={"kind": found["kind"]})
            docs.add(doc)
        docs.to_disk(path)
    return find_files(str(path))[0]


def rows(file, *args, fields=None):
    return list(read_rows(file, fields or Fields(), Vocab(), *args))


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "tsv", "parquet", "spacy"])
def test_texts_ids_and_metadata(tmp_path, kind):
    file = write(tmp_path, kind)
    found = rows(file)
    assert [(row.text, row.id, row.meta, row.error) for row in found] == [
        (each["text"], each["id"], {"kind": each["kind"]}, "") for each in OBJECTS
    ]
    for i, row in enumerate(found):
        again = rows(file, row.number, row.offset, 2)
        assert [(each.number, each.id, each.text) for each in again] == [
            (each.number, each.id, each.text) for each in found[i : i + 2]
        ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf8", exclude_characters="\n")), min_size=1))
def test_lines_of_text(tmp_path_factory, lines):
    """As Python splits them at line feeds."""
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes("\n".join(lines).encode())
    wanted = [line.rstrip("\r\n").removeprefix("\ufeff" if n == 0 else "") for n, line in enumerate(lines)]
    wanted = wanted[:-1] if not lines[-1] else wanted
    if not path.stat().st_size or lines[0].startswith("\ufeff"):
        return
    found = rows(find_files(str(path))[0])
    assert [row.text for row in found] == wanted
    assert [row.id for row in found] == [f"a.txt:{n}" for n in range(1, len(wanted) + 1)]
    for row in found:
        assert rows(find_files(str(path))[0], row.number, row.offset, 1) == [row]


def test_rows_that_break_do_not_end_the_file(tmp_path):
    lines = [b'{"text": "a"}', b"{", b"[1]", b'{"text": 3}', b'{"x": "\xff"}', b'{"other": "a"}']
    lines.append(b'{"text": "z", "id": 7}')
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = rows(find_files(str(tmp_path / "a.jsonl"))[0])
    assert [bool(row.error) for row in found] == [False, True, True, True, True, True, False]
    assert "no JSON" in found[1].error and found[1].meta == {"row": "{\n"}
    assert "of type int" in found[3].error and "not UTF-8" in found[4].error
    assert found[-1].id == "7" and found[0].id == "a.jsonl:1" and found[0].has_id is False
    (tmp_path / "b.csv").write_bytes(b"text,n\na,1\n\xff,2\nc,3,4\nd\n")
    found = rows(find_files(str(tmp_path / "b.csv"))[0])
    assert [row.text for row in found] == ["a", "", "", "d"]
    assert found[1].error == "it is not UTF-8" and "3 cells" in found[2].error and found[3].meta == {}


def test_other_names_of_fields(tmp_path):
    (tmp_path / "a.csv").write_text("key,body\n1,x\n")
    (row,) = rows(find_files(str(tmp_path / "a.csv"))[0], fields=Fields("body", "key"))
    assert (row.text, row.id, row.meta) == ("x", "1", {})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_not_there(tmp_path, kind):
    with pytest.raises(ValueError, match=r"\[T965\].*'body'.*id, text, kind.*--text"):
        rows(write(tmp_path, kind), fields=Fields("body"))


@pytest.mark.parametrize("name", ["a.parquet", "a.spacy", "a.txt.gz", "utf16.txt"])
def test_files_that_cannot_be_read(tmp_path, name):
    data = "text".encode("utf-16") if name == "utf16.txt" else numpy.arange(100, dtype="uint8").tobytes()
    (tmp_path / name).write_bytes(data)
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=rf"\[T963\].*{name}"):
        rows(find_files(str(tmp_path / name))[0])


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    file = write(tmp_path, "parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"\[T964\].*parquet"):
        rows(file)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("second", ["x", '"x y'])
def test_a_quotation_mark_that_is_a_letter_swallows_no_rows(tmp_path, kind, second):
    """Whether no other one follows, or one that seems to close the first."""
    sign = "\t" if kind == "tsv" else ","
    path = tmp_path / f"in.{kind}"
    path.write_text("\n".join(f"{text}{sign}k" for text in ["text", "a", '"b c', "d", second, "e"]))
    with pytest.raises(ValueError, match="T963.*row 2.*quotation mark"):
        rows(find_files(str(path))[0])


def test_two_columns_of_one_name(tmp_path):
    (tmp_path / "in.csv").write_text("text,text,b\n1,2,3\n")
    with pytest.raises(ValueError, match="T963.*two columns are called 'text'"):
        rows(find_files(str(tmp_path / "in.csv"))[0])
    assert rows(find_files(str(tmp_path / "in.csv"))[0], fields=Fields("b"))[0].text == "3"


def test_an_empty_id_is_none(tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n,one\n,two\nx,three\n")
    found = rows(find_files(str(tmp_path / "in.csv"))[0])
    assert [(row.id, row.has_id) for row in found] == [("in.csv:1", False), ("in.csv:2", False), ("x", True)]
