"""Tables: quotation marks, lines of other lengths, JSON with several lists, and damaged files.

Guards also: reading.py.
"""

import json

import pytest

from spacy_transfer.starting.reading import read, rows_of
from spacy_transfer.starting.tables import read_tables


def table(path, content):
    path.write_text(content, encoding="utf8")
    return read_tables(path)["train"]


def test_quotation_marks(tmp_path):
    """Those of a .csv are closed; in a .tsv that was written without quoting they are letters."""
    lines = ["text{0}label", 'a "b" c{0}x', '"d e{0}x', "f{0}y", '"g" h{0}y']
    with pytest.raises(ValueError, match="T983.*line .*quotation mark"):
        table(tmp_path / "a.csv", "\n".join(lines).format(","))
    found = table(tmp_path / "a.tsv", "\n".join(lines).format("\t"))
    assert [record["text"] for record in found.records] == ['a "b" c', '"d e', "f", '"g" h']
    assert any("quotation marks are letters" in note for note in found.notes)
    for sign, name in ((",", "b.csv"), ("\t", "b.tsv")):
        quoted = table(tmp_path / name, f'text{sign}label\n"one{sign} ""two""\nthree"{sign}x\nfour{sign}y\n')
        assert [record["text"] for record in quoted.records] == [f'one{sign} "two"\nthree', "four"]


def test_lines_of_other_lengths(tmp_path):
    """A comma in a text that is not quoted makes one of two cells: the second is no label."""
    found = table(tmp_path / "a.csv", "text,label\na,x\nwell, then,y\nb\n")
    assert found.records == [{"text": "a", "label": "x"}, {"text": "b", "label": ""}]
    assert list(found.places) == ["line 2", "line 4"]
    assert [note for note in found.notes if "line 3" in note and "left out" in note]
    assert [note for note in found.notes if "fewer" in note and "line 4" in note]
    with pytest.raises(ValueError, match="T983.*no line has 2 columns"):
        table(tmp_path / "b.csv", "text,label\na,x,\nb,y,\n")


def test_two_columns_of_one_name(tmp_path):
    with pytest.raises(ValueError, match="T983.*two columns are called 'label'"):
        table(tmp_path / "a.csv", "text,label,label\na,x,y\n")


def test_json_with_splits(tmp_path):
    def objects(n, label="x"):
        return [{"text": f"text {i}", "label": label} for i in range(n)]

    path = tmp_path / "a.json"
    whole = {"train": objects(5), "validation": objects(2), "dev": objects(4), "unsupervised": objects(9), "version": 1}
    path.write_text(json.dumps(whole))
    found, _ = read(path)
    assert {split: len(rows) for split, rows in rows_of(found)[0].items()} == {"train": 5, "dev": 2}
    assert found.notes == [
        "train: of its lists 'train', 'validation' are read, and not 'dev' (4 objects), 'unsupervised' (9 objects)"
    ]
    alone = table(tmp_path / "c.json", json.dumps({"train": objects(5), "unsupervised": objects(9)}))
    assert len(alone.records) == 5 and "'unsupervised' (9 objects)" in alone.notes[0]
    only = table(tmp_path / "b.json", json.dumps({"data": objects(5), "more": objects(3)}))
    assert len(only.records) == 5 and "'more' (3 objects)" in only.notes[0]


@pytest.mark.parametrize("content", [b"PK\x03\x04 damaged", b"no workbook"])
def test_damaged_workbooks(tmp_path, content):
    pytest.importorskip("openpyxl")
    pytest.importorskip("pandas")
    path = tmp_path / "a.xlsx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="T983"):
        read_tables(path)
