"""Texts, a pipeline with a stand-in for its backbone, and its heads, for the tests of this folder."""

import random

import spacy
from spacy.tokens import DocBin

from spacy_transfer.selection.head_tasks import find_heads, with_stand_in

from ..pipelines import HEADS, LISTENER, backbone_config, make_examples

CATS_KEYS = {"transfer_regressor": {"source": "cats"}}
"""Settings of a regressor that reads numbers from `doc.cats`."""
WORDS = ["the", "cat", "sees", "a", "dog", "sings", "dogs", "big", "here"]
HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}
MODELS = {
    **HEADS,
    "transfer_textcat": HEAD,
    "transfer_textcat_multilabel": {**HEAD, "exclusive_classes": False},
    "transfer_ner": {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER},
    "transfer_tagger": {"@architectures": "spacy-transfer.TokenHead.v1", "decoder": "softmax", "tok2vec": LISTENER},
    "transfer_regressor": {"@architectures": "spacy-transfer.RegressionHead.v1", "tok2vec": LISTENER},
}


def texts(n=24):
    """Texts of two to seven words: those of more than three are "long"."""
    draws = random.Random(0)
    return [" ".join(draws.choices(WORDS, k=2 + i % 6)) for i in range(n)]


def config_of(heads, source, *, train=None, settings=None):
    """A config with a backbone and heads. `settings` go into the components of the heads."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(source))
    for head in heads:
        nlp.add_pipe(head, config={"model": MODELS[head], **(settings or {}).get(head, {})})
    config = nlp.config
    corpus = {"@readers": "spacy.Corpus.v1", "path": train}
    config["corpora"] = {"train": corpus, "dev": corpus}
    config["training"].update(max_steps=2, eval_frequency=1)
    return config


def write_texts(folder, found=None, change=lambda doc, i: None):
    """RETURNS (str): A .spacy file with every annotation; `change` may edit the docs."""
    docs = [example.reference for example in make_examples(spacy.blank("en"), found or texts())]
    for i, doc in enumerate(docs):
        change(doc, i)
    path = folder / "train.spacy"
    DocBin(docs=docs).to_disk(path)
    return str(path)


def heads_of(*factories, settings=None, change=lambda doc, i: None):
    """The pipeline, its heads, and examples."""
    config = with_stand_in(config_of(factories, "x", settings=settings), "transfer_backbone")
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    examples = make_examples(nlp, texts())
    for i, example in enumerate(examples):
        change(example.reference, i)
    nlp.initialize(lambda: examples)
    return nlp, find_heads(nlp, "transfer_backbone")[0], examples
