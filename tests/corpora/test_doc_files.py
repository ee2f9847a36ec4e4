"""Docs with user data, written as spaCy's own DocBin writes them."""

import numpy
import pytest
import spacy
import srsly
from spacy.tokens import DocBin, Span

from spacy_transfer.corpora.doc_files import UserDataBin


def make_docs():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in ("One plain text.", "", "Two words with more")]
    docs[1].user_data["meta"] = {"n": 1.5, "tags": ["a", "b"], "none": None}
    docs[2].user_data[("._.", "score", None, None)] = 2
    docs[2].user_data["row"] = numpy.arange(3, dtype="f")
    docs[2].spans["found"] = [Span(docs[2], 0, 1, label="X")]
    docs[0].cats = {"yes": 1.0}
    return docs


def test_what_cannot_be_packed_leaves_nothing():
    found, docs = UserDataBin(), make_docs()
    docs[1].user_data["x"] = object()
    found.add(docs[0])
    with pytest.raises(TypeError):
        found.add(docs[1])
    found.add(docs[2])
    assert len(found) == len(found.user_data) == 2 and found.store_user_data


def test_the_bytes_are_those_of_spacys_own():
    attrs = ["ORTH", "SPACY", "TAG"]
    for settings in ({}, {"attrs": attrs}):
        whole, later = UserDataBin(docs=make_docs(), **settings), UserDataBin(**settings)
        for doc in make_docs():
            later.add(doc)
        theirs = DocBin(docs=make_docs(), store_user_data=True, **settings)
        theirs.strings = whole.strings = later.strings = sorted(theirs.strings)
        assert whole.to_bytes() == later.to_bytes() == theirs.to_bytes()
    found = list(DocBin().from_bytes(whole.to_bytes()).get_docs(spacy.blank("en").vocab))
    assert found[2].user_data[("._.", "score", None, None)] == 2
    assert found[1].user_data["meta"] == {"n": 1.5, "tags": ("a", "b"), "none": None}


def test_entry_points_are_not_looked_through_for_each_doc(monkeypatch):
    docs, looked, look = make_docs()[:2], [], srsly.msgpack_encoders.get_all
    monkeypatch.setattr(srsly.msgpack_encoders, "get_all", lambda: looked.append(1) or look())
    UserDataBin(docs=docs * 20)
    assert len(looked) <= 1
