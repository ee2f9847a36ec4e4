"""Raw texts that are those of a test set are found by their hashes, and left out.

Guards also: distillation.py.
"""

import logging

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin

from spacy_transfer.corpora.teaching.distillation import create_teacher_v1
from spacy_transfer.corpora.teaching.kept_out import RawTextFiles, hash_of
from spacy_transfer.corpora.teaching.rehearsal import create_rehearsal_v1

from ..teachers import stock_pipeline

RAW = ["Anna likes Paris", "the cat sees Bob", "Rome sleeps"]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "raw.txt").write_text("\n".join(RAW))
    nlp = spacy.blank("en")
    DocBin(docs=[nlp("the  CAT sees Bob\n")]).to_disk(tmp_path / "test.spacy")
    return {"texts": tmp_path / "raw.txt", "held_out": tmp_path / "test.spacy"}


def test_texts_of_the_test_are_left_out_with_one_warning(files, caplog):
    raw = RawTextFiles(files["texts"], "text", "corpora.train", files["held_out"])
    with caplog.at_level(logging.WARNING, logger="spacy"):
        assert list(raw) == list(raw) == [RAW[0], RAW[2]]
    (said,) = [record.message for record in caplog.records if "W460" in record.message]
    assert "'the cat sees Bob'" in said and "test.spacy" in said and "corpora.train" in said


def test_without_a_test_set_all_stay(files, caplog):
    with caplog.at_level(logging.WARNING, logger="spacy"):
        assert list(RawTextFiles(files["texts"], "text", "corpora.train")) == RAW
    assert not caplog.records


def test_nothing_left(files):
    with pytest.raises(ValueError, match=r"T460.*corpora\.train.*raw\.txt"):
        list(RawTextFiles(files["texts"], "text", "corpora.train", files["texts"]))
    with pytest.raises(ValueError, match=r"T553.*corpora\.train\.held_out"):
        list(RawTextFiles(files["texts"], "text", "corpora.train", files["texts"].with_name("none.txt")))


@given(st.text(alphabet="aB c\n", max_size=8), st.text(alphabet="aB c\n", max_size=8))
def test_hashes_are_alike_where_texts_are(one, other):
    alike = one.lower().split() == other.lower().split()
    assert (hash_of(one) == hash_of(other)) == alike


def test_the_readers_leave_them_out(files, tmp_path):
    source = stock_pipeline(["textcat"])
    source.to_disk(tmp_path / "source")
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat")
    settings = {**files, "source": str(tmp_path / "source"), "cache": tmp_path / "cache"}
    settings["components"] = {"transfer_textcat": "textcat"}
    taught = create_teacher_v1(**settings)
    assert [eg.reference.text for eg in taught(nlp)] == [RAW[0], RAW[2]]
    doc = nlp.make_doc("new")
    doc.cats = {"A": 1.0, "B": 0.0}
    corpus = lambda nlp: [spacy.training.Example(nlp.make_doc("new"), doc)]  # noqa: E731
    rehearsed = create_rehearsal_v1(corpus=corpus, ratio=4.0, **settings)
    assert [eg.reference.text for eg in rehearsed(nlp)] == ["new", RAW[0], RAW[2], RAW[0], RAW[2]]
