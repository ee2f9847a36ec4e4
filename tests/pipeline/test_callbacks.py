"""No callback changes what training does next: random numbers are as they were, and so are the weights."""

import random

import numpy
import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config_from_str, registry
from thinc.api import Config

from ..pipelines import LISTENER, backbone_config
from .test_calibration import WORDS, make_docs

BILSTM = {"@architectures": "spacy-transfer.TokenHead.v1", "bilstm": 8, "tok2vec": LISTENER}
TEXTCAT = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER, "hidden": [8], "dropout": 0.3}
BEFORE = {
    "LeaveOut": {"@callbacks": "spacy-transfer.LeaveOut.v1", "components": ["transfer_tagger"]},
    "MergeAdapters": {"@callbacks": "spacy-transfer.MergeAdapters.v1"},
    "Calibrate": {"@callbacks": "spacy-transfer.Calibrate.v1", "per_label_thresholds": True},
}
LOGGER = {"@loggers": "spacy-transfer.ConsoleLogger.v1", "console_output": True}


def states():
    found = [random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    return [repr(state) for state in found]


def start(tiny_bert, tmp_path, training):
    nlp = spacy.blank("en")
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {"method": "lora", "target_modules": ["query"]}}
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert, tuning=tuning))
    nlp.add_pipe("transfer_textcat", config={"model": TEXTCAT})
    nlp.add_pipe("transfer_tagger", config={"model": BILSTM})
    if not (tmp_path / "docs.spacy").exists():
        docs = make_docs(nlp, 12)
        for doc in docs:
            for token in doc:
                token.tag_ = token.text[0]
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "docs.spacy")
    config = nlp.config.copy()
    reader = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "docs.spacy")}
    config["corpora"] = {"train": reader, "dev": reader}
    config["training"] |= {"max_steps": 6, "eval_frequency": 2, "dropout": 0.2, **training}
    config["training"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 4}
    return load_config_from_str(Config(config).to_str())


def weights(tiny_bert, tmp_path, **training):
    spacy.util.fix_random_seed(0)
    nlp = spacy.util.load_model_from_config(start(tiny_bert, tmp_path, training), auto_fill=True)
    nlp = init_nlp(nlp.config)
    (tmp_path / "out").mkdir(exist_ok=True)
    train(nlp, tmp_path / "out", use_gpu=-1)
    return {name: pipe.model.to_bytes() for name, pipe in nlp.pipeline}, states()


@pytest.fixture(scope="module")
def plain(tiny_bert, tmp_path_factory):
    return weights(tiny_bert, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_saved_changes_nothing(tiny_bert, tmp_path, plain, name):
    assert weights(tiny_bert, tmp_path, before_to_disk=BEFORE[name]) == plain


def test_what_is_logged_changes_nothing(tiny_bert, tmp_path, plain):
    assert weights(tiny_bert, tmp_path, logger=LOGGER) == plain


def test_a_head_that_is_carried_draws_nothing(tiny_bert, tmp_path):
    nlp = spacy.util.load_model_from_config(start(tiny_bert, tmp_path, {}), auto_fill=True)
    nlp = init_nlp(nlp.config)
    nlp.to_disk(tmp_path / "old")
    carry = registry.callbacks.get("spacy-transfer.CarryHead.v1")(
        components={"transfer_textcat": str(tmp_path / "old")}
    )
    before = states()
    carry(nlp)
    assert states() == before and set(nlp.get_pipe("transfer_textcat").labels) == set(WORDS)
