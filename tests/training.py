"""A small training as files, config and data, for the tests of commands."""

import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from .pipelines import make_examples

ADAMW = """
[training.optimizer]
@optimizers = "spacy-transfer.AdamW.v1"
learn_rate = 0.00005
"""
CONFIG = """
[paths]
train = null
[system]
seed = 0
gpu_allocator = null
[nlp]
lang = "en"
pipeline = ["transfer_backbone","tagger","textcat"]
[components]
[components.transfer_backbone]
factory = "transfer_backbone"
[components.transfer_backbone.model]
@architectures = "spacy-transfer.TransformerBackbone.v1"
source = null
window = 32
overlap = 8
[components.tagger]
factory = "tagger"
[components.tagger.model]
@architectures = "spacy.Tagger.v2"
[components.tagger.model.tok2vec]
@architectures = "spacy-transfer.Listener.v1"
[components.textcat]
factory = "transfer_textcat"
[corpora]
[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}
[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.train}
[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
max_steps = 4
eval_frequency = 2
seed = 0
gpu_allocator = null
[training.logger]
@loggers = "spacy-transfer.ConsoleLogger.v1"
"""


def write_training(folder, source, *, optimizer=ADAMW, overrides=None):
    """Write a config and the data that it names.

    folder (Path): Gets config.cfg and train.spacy.
    source (str): The backbone's.
    optimizer (str): Blocks of the optimizer.
    overrides (Optional[Dict[str, Any]]): Dotted keys; they need not be there.
    RETURNS (Path): The config.
    """
    examples = make_examples(spacy.blank("en"))
    DocBin(docs=[eg.reference for eg in examples]).to_disk(folder / "train.spacy")
    config = Config().from_str(CONFIG + optimizer, interpolate=False)
    given = {"paths.train": str(folder / "train.spacy"), "components.transfer_backbone.model.source": source}
    for key, value in {**given, **(overrides or {})}.items():
        *sections, name = key.split(".")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    config.to_disk(folder / "config.cfg")
    return folder / "config.cfg"
