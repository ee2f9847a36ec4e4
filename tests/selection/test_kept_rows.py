"""Rows that `select` has computed are those that the training of its config reads."""

import numpy
import pytest
import spacy

from spacy_transfer.backbones.encode import encode
from spacy_transfer.selection import kept_rows
from spacy_transfer.selection.candidates import own_candidate
from spacy_transfer.selection.feature_files import FeatureFiles, build
from spacy_transfer.selection.head_tasks import make_task
from spacy_transfer.selection.kept_rows import KeptRows

from ..pipelines import backbone_config, make_examples
from .tasks import heads_of


@pytest.fixture
def sample():
    _, heads, examples = heads_of("transfer_textcat")
    return [make_task(head, examples, 1000) for head in heads], [example.predicted for example in examples]


def component(source, depth=None, **settings):
    """A pipeline with a frozen backbone, not initialised, and its block."""
    nlp = spacy.blank("en")
    config = {**backbone_config(source), "frozen": True, **settings}
    config["model"]["depth"] = depth
    nlp.add_pipe("transfer_backbone", config=config)
    return nlp, nlp.get_pipe_config("transfer_backbone")


def kept_by_select(source, folder, sample):
    """All depths in one pass, as `select` does it."""
    tasks, docs = sample
    _, block = component(source)
    candidate, kept = own_candidate(block["model"]), KeptRows(folder, "float32")
    model = build(candidate.block, docs, seed=0)
    FeatureFiles(None, docs, tasks, kept).features(model, candidate, None, lambda n: None)
    return candidate, kept


@pytest.mark.parametrize("depth", [1, 2])
def test_a_training_reads_them(tiny_bert, tmp_path, sample, depth, monkeypatch):
    """The rows are those of the chosen depth. None is computed again, and the rest of the folder is gone."""
    docs = sample[1]
    candidate, kept = kept_by_select(tiny_bert, tmp_path, sample)
    nlp, block = component(tiny_bert, depth, cache_folder=str(tmp_path), cache_disk_mb=1)
    model = build(candidate.at(depth), docs, seed=0)
    assert kept.keep((candidate.name, depth), model, block) == len({doc.text for doc in docs})
    assert len(list(tmp_path.iterdir())) == 1
    # A second call adds nothing to what is there.
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.rows"))
    candidate, again = kept_by_select(tiny_bert, tmp_path, sample)
    again.keep((candidate.name, depth), model, block)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.rows")) == size
    nlp.initialize(lambda: make_examples(nlp))
    backbone = nlp.get_pipe("transfer_backbone")
    expected, _ = encode(backbone.model, docs, False)
    monkeypatch.setattr("spacy_transfer.backbones.encode.encode", lambda *args: pytest.fail("computed again"))
    found = backbone.predict(docs)
    for one, other in zip(found.rows, expected.rows, strict=True):
        numpy.testing.assert_allclose(one, other, atol=1e-5)
    numpy.testing.assert_allclose(found.documents, expected.documents, atol=1e-5)


def test_other_rows_are_not_taken(tiny_bert, tmp_path, sample):
    candidate, kept = kept_by_select(tiny_bert, tmp_path, sample)
    _, block = component(tiny_bert)
    assert kept.keep(None, build(candidate.block, sample[1], seed=0), block) == 0


def test_room_is_for_all_together(tiny_bert, tmp_path, sample, monkeypatch):
    monkeypatch.setattr(kept_rows, "MOST_MB", 0.001)
    candidate, kept = kept_by_select(tiny_bert, tmp_path, sample)
    used = sum(path.stat().st_size for path in tmp_path.rglob("*.rows"))
    assert 0 < used < 0.001 * 2**20 + 100
    _, block = component(tiny_bert)
    n_kept = kept.keep((candidate.name, 1), build(candidate.at(1), sample[1], seed=0), block)
    assert n_kept < len({doc.text for doc in sample[1]})
