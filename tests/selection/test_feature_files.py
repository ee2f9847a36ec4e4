"""Features of all depths in one pass, against backbones of these depths; and files of them."""

import numpy
import pytest
import spacy

from spacy_transfer.backbones.encode import encode
from spacy_transfer.selection import feature_files
from spacy_transfer.selection.candidates import Candidate, own_candidate
from spacy_transfer.selection.feature_files import FeatureFiles, build
from spacy_transfer.selection.head_tasks import make_task

from ..pipelines import backbone_config
from .tasks import heads_of


def block_of(source, **settings):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(source, **settings))
    return nlp.config["components"]["transfer_backbone"]["model"]


@pytest.fixture(scope="module")
def tasks():
    _, heads, examples = heads_of("transfer_textcat", "transfer_tagger")
    return [make_task(head, examples, 1000) for head in heads], [example.predicted for example in examples]


@pytest.mark.parametrize("layers", ["last", 2])
def test_every_depth_is_that_of_a_backbone_with_this_depth(tiny_bert, tasks, layers):
    tasks, docs = tasks
    candidate = own_candidate(block_of(tiny_bert, layers=layers))
    seen = []
    files = FeatureFiles(None, docs, tasks)
    found = files.features(build(candidate.block, docs, seed=0), candidate, None, seen.append)
    assert {depth for depth, _, _ in found} == {1, 2} and sum(seen) == len(docs)
    for depth in (1, 2):
        encoded, _ = encode(build(candidate.at(depth), docs, seed=0), docs, False)
        tokens = found[depth, "transfer_tagger", ("tokens",)]
        numpy.testing.assert_allclose(tokens, numpy.concatenate(encoded.rows), atol=1e-5)
        means = numpy.stack([rows.mean(axis=0) for rows in encoded.rows])
        numpy.testing.assert_allclose(found[depth, "transfer_textcat", ("mean",)], means, atol=1e-5)
        documents = found[depth, "transfer_textcat", ("document mean",)]
        numpy.testing.assert_allclose(documents, encoded.documents, atol=1e-5)


def test_top_layers_that_cannot_be_told_apart(tiny_bert, tasks, monkeypatch):
    """One pass gives the last layer alone, so that the backbone is read as it is."""
    tasks, docs = tasks
    candidate = own_candidate(block_of(tiny_bert, layers=2))
    model = build(candidate.block, docs, seed=0)
    monkeypatch.setattr("spacy_transfer.backbones.transformer.encoder.find_ending", lambda transformer: None)
    found = FeatureFiles(None, docs, tasks).features(model, candidate, None, lambda n: None)
    expected = numpy.concatenate(encode(model, docs, False)[0].rows)
    numpy.testing.assert_allclose(found[None, "transfer_tagger", ("tokens",)], expected, atol=1e-5)


def test_a_single_head_may_read_both_kinds_of_document_rows(tiny_bert, tasks):
    tasks, docs = tasks
    candidate = own_candidate(block_of(tiny_bert))
    files = FeatureFiles(None, docs, tasks[:1])
    found = files.features(build(candidate.block, docs, seed=0), candidate, None, lambda n: None)
    encoded, _ = encode(build({**candidate.block, "document": "cls"}, docs, seed=0), docs, False)
    numpy.testing.assert_allclose(found[2, "transfer_textcat", ("document cls",)], encoded.documents, atol=1e-5)


def test_other_backbones_have_no_rows_of_docs(tasks):
    tasks, docs = tasks
    candidate = Candidate("hash", {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "width": 4})
    model = build(candidate.block, docs, seed=0)
    found = FeatureFiles(None, docs, tasks).features(model, candidate, None, lambda n: None)
    assert {pooling for _, _, pooling in found} == {("mean",), ("max",), ("first",), ("tokens",)}
    again = build(candidate.block, docs, seed=0)
    numpy.testing.assert_array_equal(encode(model, docs, False)[0].rows[0], encode(again, docs, False)[0].rows[0])


def test_files_are_read_by_the_next_call(tiny_bert, tasks, tmp_path, monkeypatch):
    tasks, docs = tasks
    candidate = own_candidate(block_of(tiny_bert))
    model = build(candidate.block, docs, seed=0)
    first = FeatureFiles(tmp_path, docs, tasks).features(model, candidate, None, lambda n: None)
    encoded = feature_files.rows_of_layers
    monkeypatch.setattr(feature_files, "rows_of_layers", lambda *args: pytest.fail("computed again"))
    seen = []
    again = FeatureFiles(tmp_path, docs, tasks).features(model, candidate, None, seen.append)
    assert list(first) == list(again) and seen == [len(docs)]
    for key in first:
        numpy.testing.assert_array_equal(first[key], again[key])
    # Other heads, settings and weights have files of their own.
    monkeypatch.setattr(feature_files, "rows_of_layers", encoded)
    FeatureFiles(tmp_path, docs, tasks[:1]).features(model, candidate, None, lambda n: None)
    other = own_candidate({**candidate.block, "pooling": "first"})
    FeatureFiles(tmp_path, docs, tasks).features(model, other, None, lambda n: None)
    model.attrs["fingerprint"] = "other"
    FeatureFiles(tmp_path, docs, tasks).features(model, candidate, None, lambda n: None)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
