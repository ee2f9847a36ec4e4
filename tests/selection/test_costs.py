"""Costs: counts and sizes. Times are not tested."""

import sys
import warnings

import numpy
import pytest
import spacy

from spacy_transfer.selection.costs import MB, measure, peak_memory, some_words, with_training_cost
from spacy_transfer.selection.feature_files import build

from .tasks import config_of, texts, write_texts


def test_size_and_seconds_of_an_epoch(tiny_bert):
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in texts()]
    block = config_of([], tiny_bert)["components"]["transfer_backbone"]["model"]
    model, shallow = (build({**block, "depth": depth}, docs, seed=0) for depth in (None, 1))
    cost = measure(model, docs, n_words=5000)
    assert cost.mb == len(model.to_bytes()) / MB > measure(shallow, docs, 5000).mb
    assert cost.frozen_epoch == pytest.approx(5000 / cost.speed) and cost.tuned_epoch is None


def test_training_steps_are_measured(tiny_bert, tmp_path):
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in texts()]
    config = config_of(["transfer_textcat"], tiny_bert, train=write_texts(tmp_path))
    config["components"]["transfer_backbone"]["frozen"] = True
    config["initialize"]["components"] = {"transfer_textcat": {"fit": "maxent"}}
    cost = measure(build(config["components"]["transfer_backbone"]["model"], docs, seed=0), docs, 100)
    # What is frozen has no rate to be warned of (W625).
    config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.003}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_training_cost(cost, config, 100)
    assert found.tuned_epoch > 0 and found.speed == cost.speed
    assert config["components"]["transfer_backbone"]["frozen"]  # The config is not changed.
    config["components"]["transfer_backbone"]["frozen"] = False
    with pytest.warns(UserWarning, match="W625"):
        with_training_cost(cost, config, 100)


def test_some_words():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in ("a b c", "", "a b", "a b c d", "a")]
    assert [len(doc) for doc in some_words(docs, 6)] == [3, 2, 1]
    assert [len(doc) for doc in some_words(docs, 1)] == [3]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the high-water mark is Linux's")
def test_peak_memory_sees_what_is_freed_again():
    with peak_memory() as found:
        numpy.ones(8_000_000).sum()
    if found:  # The kernel may not let the mark be reset.
        assert 60 < found[0] < 80
