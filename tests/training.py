"""A small training as files, config and data, for the tests of commands."""

import json

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


def sourced_config(*names, frozen=()):
    """The text of a config that trains components of the pipeline OLD further.

    names (str): Names of the components.
    frozen (Sequence[str]): Those that are not updated.
    RETURNS (str): With paths.old and paths.new, the training and development data.
    """
    sources = "".join(f'[components.{name}]\nsource = "OLD"\n' for name in names)
    return f"""
[paths]
old = null
new = null
[system]
seed = 0
[nlp]
lang = "en"
pipeline = {json.dumps(names)}
[components]
{sources}[corpora]
[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${{paths.new}}
[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${{paths.new}}
[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
frozen_components = {json.dumps(frozen)}
max_steps = 6
eval_frequency = 3
seed = 0
gpu_allocator = null
dropout = 0.2
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
