"""Exports: what is one, and what each says."""

import pytest

from spacy_transfer.starting.annotation_exports import read_export
from spacy_transfer.starting.labelled_rows import Table


def export(*records, classes=None):
    """The export, and what was left out."""
    left_out = []
    places = [f"line {i}" for i in range(1, len(records) + 1)]
    return read_export(Table("x", records, places, classes=classes or {}), left_out), left_out


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a", "answer": "Paris"},
        {"text": "a", "options": "b", "label": "x"},
        {"text": "a", "accept": "yes", "label": "x"},
    ],
    ids=str,
)
def test_other_tables_are_no_exports_of_prodigy(record):
    assert export(record, record) == (None, [])


def test_prodigy():
    options = [{"id": "x"}, {"id": "y"}]
    found, left_out = export(
        {"text": "a", "options": options, "accept": ["x"], "answer": "accept"},
        {"text": "b", "options": options, "accept": None, "answer": "accept"},
        {"text": "c", "options": options, "accept": ["y"], "answer": "ignore"},
    )
    assert [(row.text, row.labels) for row in found.rows["train"]] == [("a", ("x",)), ("b", ())]
    assert [row.text for row, _ in left_out] == ["c"]


def test_a_record_of_label_studio_without_data():
    good = {"data": {"text": "a"}, "annotations": [{"result": [{"value": {"choices": ["x"]}}]}]}
    found, left_out = export(good, {"annotations": []})
    assert len(found.rows["train"]) == 1 and left_out[0][1] == "it has no data"


@pytest.mark.parametrize(
    "tags",
    [
        ["B-L", "I-L", "E-L", "S-P"],
        ["B-L", "M-L", "E-L", "S-P"],
        ["B-L", "I-L", "L-L", "U-P"],
        ["B-L", "I-L", "I-L", "B-P"],
    ],
    ids="".join,
)
def test_schemes_of_tags(tags):
    found, _ = export({"tokens": ["New", "York", "City", "Ann"], "tags": tags})
    assert found.rows["train"][0].spans == ((0, 13, "L"), (14, 17, "P"))


def test_tags_without_a_name_are_left_out():
    names = {"ner_tags": ["O", "B-X"]}
    found, left_out = export(
        {"tokens": ["a", "b"], "ner_tags": [0, 1]}, {"tokens": ["a", "b"], "ner_tags": [1, -100]}, classes=names
    )
    assert [row.spans for row in found.rows["train"]] == [((2, 3, "X"),)]
    assert len(left_out) == 1 and "beyond the 2 names" in left_out[0][1]


@pytest.mark.parametrize(
    "record",
    [
        {"text": "Ann in Rome", "ents": [{"start": 7, "end": 11, "label": "CITY"}]},
        {"sentence": "Ann in Rome", "spans": [{"start": 7, "end": 11, "type": "CITY"}]},
        {"text": "Ann in Rome", "label": [[7, 11, "CITY"]]},
        {"text": "Ann in Rome", "entities": [{"start_offset": 7, "end_offset": 11, "label": "CITY"}]},
    ],
    ids=str,
)
def test_spans_under_their_usual_keys(record):
    found, _ = export(record)
    assert found.task == "ner" and [(row.text, row.spans) for row in found.rows["train"]] == [
        ("Ann in Rome", ((7, 11, "CITY"),))
    ]
