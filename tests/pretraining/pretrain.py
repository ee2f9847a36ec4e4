"""Run spaCy's own `pretrain` on tiny corpora: no step of it is replaced."""

from spacy.language import DEFAULT_CONFIG, DEFAULT_CONFIG_PRETRAIN_PATH
from spacy.training.pretrain import pretrain
from spacy.util import Config, load_config

CONFIG = """
[nlp]
lang = "en"
pipeline = ["transfer_backbone"]
[components]
[components.transfer_backbone]
factory = "transfer_backbone"
[components.transfer_backbone.model]
{backbone}
[corpora]
[corpora.pretrain]
@readers = "spacy-transfer.RawText.v1"
path = "{raw_text}"
held_out = {held_out}
[training]
seed = 0
[pretraining]
max_epochs = {epochs}
dropout = 0.0
component = "transfer_backbone"
corpus = "corpora.pretrain"
[pretraining.batcher]
@batchers = "spacy.batch_by_words.v1"
size = 200
discard_oversize = false
tolerance = 0.2
[pretraining.objective]
{objective}
[pretraining.optimizer]
@optimizers = "Adam.v1"
learn_rate = {rate}
use_averages = {averages}
"""


def config(raw_text, backbone, objective, *, epochs=2, rate=0.01, averages="false", held_out=0.2):
    """A config for `spacy pretrain`, filled.

    raw_text (Path): Texts, one on each line.
    backbone (str): Lines of [components.transfer_backbone.model].
    objective (str): Lines of [pretraining.objective].
    RETURNS (Config): The config.
    """
    settings = {"epochs": epochs, "rate": rate, "averages": averages, "held_out": held_out, "raw_text": raw_text}
    text = CONFIG.format(backbone=backbone, objective=objective, **settings)
    defaults = Config(DEFAULT_CONFIG).merge(load_config(DEFAULT_CONFIG_PRETRAIN_PATH))
    for block in ("corpora", "pretraining"):
        defaults[block] = {name: value for name, value in defaults[block].items() if not isinstance(value, dict)}
    return Config(defaults).merge(Config().from_str(text)).interpolate()


def run(folder, raw_text, backbone, objective, **settings):
    """`spacy pretrain`: see `config` for the arguments.

    folder (Path): Where to.
    RETURNS (Path): The last file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pretrain(config(raw_text, backbone, objective, **settings), folder, silent=True)
    return folder / "model-last.bin"
