"""What is wrong with rows: each is found, and what was done about it is said.

Guards also: make_docs.py.
"""

from collections import Counter

import spacy

from spacy_transfer.starting.findings import examine, label_counts, rare_labels, similar_labels
from spacy_transfer.starting.labelled_rows import Row
from spacy_transfer.starting.make_docs import to_docs


def examined(rows, task="textcat"):
    found = examine(rows, task)
    assert len(found.rows) + len({id(row) for row, _ in found.left_out}) >= len(rows)
    return found, {what: (count, done) for what, count, done in found.lines}


def test_empty_duplicate_and_conflicting():
    rows = [
        Row("line 1", "a cat", ("pet",)),
        Row("line 2", "  ", ("pet",)),
        Row("line 3", "A cat!", ("pet",)),
        Row("line 4", "a van", ()),
        Row("line 5", "a bus", ("car",)),
        Row("line 6", "a bus", ("pet",)),
        Row("line 7", "a jeep", ("car",)),
        Row("line 8", "a jeep", ("car",)),
        Row("line 9", "a jeep", ("pet",)),
    ]
    found, lines = examined(rows)
    assert [row.place for row in found.rows] == ["line 1", "line 7"]
    assert lines["empty texts"] == ("1 (line 2)", "left out")
    assert lines["rows without a label"] == ("1 (line 4)", "left out")
    assert lines["duplicates (case and punctuation aside)"] == ("2 (line 3, line 8)", "left out")
    assert lines["conflicting labels, outvoted"] == ("1 (line 9)", "left out")
    assert lines["conflicting labels, no majority"] == ("2 (line 5, line 6)", "left out")
    assert {row.place: reason for row, reason in found.left_out}.keys() == {f"line {i}" for i in (2, 3, 4, 5, 6, 8, 9)}


def test_no_label_is_an_answer_where_there_may_be_several():
    found, lines = examined(
        [Row("1", "a cat"), Row("2", "a dog", ("pet",)), Row("3", "x", is_annotated=False)], "multilabel"
    )
    assert [row.place for row in found.rows] == ["1", "2"] and "rows without a label" in lines


def test_spans_that_cannot_be():
    text = "We saw New York City today"
    spans = ((7, 15, "SHORT"), (6, 21, "PLACE"), (20, 90, "OUT"), (3, 3, "NONE"))
    found, lines = examined([Row("line 1", text, spans=spans)], "ner")
    assert found.rows[0].spans == ((7, 20, "PLACE"),)  # Without the spaces around it.
    assert lines["entities outside of the text"][1].startswith("left out")
    count, done = lines["entities that overlap a longer one"]
    assert count == "1 (line 1)" and done.endswith("SHORT 1; --task spancat keeps them")
    assert lines["labels that are gone with them"][0] == "1 (SHORT)"
    assert len(found.left_out) == 3


def test_spans_that_overlap_are_kept_where_they_are_learned():
    spans = ((7, 15, "SHORT"), (6, 21, "PLACE"), (7, 20, "NAME"), (7, 20, "NAME"), (20, 90, "OUT"))
    found, lines = examined([Row("line 1", "We saw New York City today", spans=spans)], "spancat")
    assert found.rows[0].spans == ((7, 15, "SHORT"), (7, 20, "NAME"), (7, 20, "PLACE"))
    assert [*lines] == ["entities outside of the text"]
    docs, moved = to_docs(spacy.blank("en"), found.rows, "spancat", [])
    assert [(span.text, span.label_) for span in docs[0].spans["sc"]] == [
        ("New York", "SHORT"),
        ("New York City", "NAME"),
        ("New York City", "PLACE"),
    ]
    assert not docs[0].ents and not moved
    docs, moved = to_docs(spacy.blank("en"), [Row("2", "Anna", spans=((0, 2, "A"), (0, 3, "A")))], "spancat", [])
    assert len(docs[0].spans["sc"]) == 1 and len(moved) == 2


def test_entities_are_widened_to_tokens():
    row = Row("line 4", "Anna met Bobby-Joe.", spans=((0, 2, "NAME"), (9, 14, "NAME")))
    docs, moved = to_docs(spacy.blank("en"), [row], "ner", ["NAME"])
    assert [(ent.text, ent.label_) for ent in docs[0].ents] == [("Anna", "NAME"), ("Bobby", "NAME")]
    assert [(was, now) for _, was, now in moved] == [("An", "Anna")]


def test_two_entities_in_one_token():
    row = Row("1", "Annabell sang", spans=((0, 4, "A"), (4, 8, "B")))
    docs, moved = to_docs(spacy.blank("en"), [row], "ner", ["A", "B"])
    assert len(docs[0].ents) == 1 and len(moved) == 2 and all("Annabell" in now for _, _, now in moved)


def test_rare_labels():
    counts = label_counts([Row("1", "a", ("x",)), *(Row(str(i), "b", ("y",)) for i in range(5))], "textcat")
    assert counts == {"x": 1, "y": 5}
    assert rare_labels(counts) == [("labels with less than 3 examples", "1 (x 1)", "kept: they are hardly learned")]


def test_labels_that_look_alike():
    counts = Counter({"BILLING": 50, "delivery": 40, "billing": 1, "bilinng": 2, "returns": 2, "refunds": 2})
    (line,) = similar_labels(counts)
    assert line[0] == "labels that look alike" and line[1].startswith("2 (")
    assert "'billing' and 'BILLING'" in line[1] and "'bilinng' and 'BILLING'" in line[1]
    # Labels that are often there are what they are, however near.
    assert similar_labels(Counter({"card_lost": 9, "card_list": 9})) == []
