"""Columns: what docs have, by plain loops over the docs, and names that are not there."""

import pytest
import spacy
from spacy.tokens import Doc, Span

from spacy_transfer.scale.output_columns import COLUMNS, choose_columns, getters

from ..pipelines import make_pipeline
from .texts import pipeline


def test_columns_that_a_pipeline_fills():
    nlp = pipeline()
    assert choose_columns(nlp, [], docs=False) == ["text", "entities"]
    assert choose_columns(nlp, ["tokens", "text", "sentences"], docs=False) == ["text", "sentences", "tokens"]


def test_names_that_are_not_there():
    with pytest.raises(ValueError, match=r"\[T966\].*entity.*entities"):
        choose_columns(pipeline(), ["entity"], docs=False)
    with pytest.raises(ValueError, match=r"\[T967\].*labels.*doc.cats.*text, entities, sentences, tokens"):
        choose_columns(pipeline(), ["labels"], docs=False)


def test_vectors_of_a_backbone(tiny_bert):
    nlp = make_pipeline(tiny_bert, [])[0]
    assert choose_columns(nlp, ["vectors"], docs=False) == ["vectors"]
    with pytest.raises(ValueError, match=r"\[T967\].*--format parquet"):
        choose_columns(nlp, ["vectors"], docs=True)
    doc = nlp("a cat")
    assert getters(nlp, ["vectors"])["vectors"](doc) == pytest.approx(doc.tensor.mean(axis=0).tolist(), abs=1e-6)


def test_values_of_tokens_and_spans():
    nlp = pipeline()
    given = {"tags": ["IN", "NNP", "."], "lemmas": ["in", "Rome", "!"]}
    doc = Doc(nlp.vocab, words=["In", "Rome", "!"], spaces=[True, False, False], **given)
    doc.set_ents([Span(doc, 1, 2, "GPE")])
    doc.spans["sc"] = [Span(doc, 0, 2, "X")]
    doc[0].is_sent_start = True
    get = getters(nlp, list(COLUMNS))
    assert get["entities"](doc) == [{"start": 3, "end": 7, "label": "GPE", "text": "Rome", "score": None}]
    assert get["spans"](doc) == [{"key": "sc", "start": 0, "end": 7, "label": "X", "text": "In Rome"}]
    assert get["tags"](doc) == ["IN", "NNP", "."] and get["lemmas"](doc) == ["in", "Rome", "!"]
    assert get["heads"](doc) == [0, 1, 2] and get["deps"](doc) == ["", "", ""] == get["morphs"](doc) == get["pos"](doc)
    assert get["tokens"](doc) == ["In", "Rome", "!"] and get["numbers"](doc) == {}


def test_labels_that_exclude_each_other_and_labels_that_do_not():
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat").cfg["labels"] = ["A", "B"]
    many = nlp.add_pipe("transfer_textcat_multilabel")
    many.cfg.update(labels=["x", "y", "z"], threshold=0.5, thresholds={"z": 0.2})
    doc = nlp.make_doc("a")
    doc.cats = {"A": 0.4, "B": 0.6, "x": 0.5, "y": 0.4, "z": 0.3}
    get = getters(nlp, ["labels", "scores"])
    assert get["labels"](doc) == ["B", "x", "z"] and get["scores"](doc) == doc.cats


def test_numbers_of_a_regressor():
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_regressor", config={"attribute": "annotated_stars"})
    assert "numbers" in choose_columns(nlp, [], docs=False)
    doc, get = nlp.make_doc("a"), getters(nlp, ["numbers"])["numbers"]
    assert get(doc) == {}
    doc._.annotated_stars = 2.5
    assert get(doc) == {"annotated_stars": 2.5}
    doc._.annotated_stars = {"a": 1}
    assert get(doc) == {"annotated_stars.a": 1.0}


def test_probabilities_of_entities():
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_ner")
    doc = nlp.make_doc("in Rome")
    doc.set_ents([Span(doc, 1, 2, "GPE")])
    (found,) = getters(nlp, ["entities"])["entities"](doc)
    assert found["score"] is None  # No group of the component tells one.
