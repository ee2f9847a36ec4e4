"""Run spaCy's own `pretrain` on tiny corpora: no step of it is replaced."""

import numpy
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


def run(folder, raw_text, backbone, objective, *, resume=None, **settings):
    """`spacy pretrain`: see `config` for the other arguments.

    folder (Path): Where to.
    resume (Optional[Path]): `--resume-path`, with the epoch after that of its name.
    RETURNS (Path): The last file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pretrain(config(raw_text, backbone, objective, **settings), folder, resume, silent=True)
    return folder / "model-last.bin"


def transformer(source, *, extra="", **tuning):
    """Lines of [components.transfer_backbone.model] for a tiny transformer.

    extra (str): More of its own lines.
    tuning (Any): Arguments of its tuning, as the config has them.
    """
    lines = f'@architectures = "spacy-transfer.TransformerBackbone.v1"\nsource = "{source}"\nwindow = 32\n{extra}'
    if tuning:
        lines += '\n[components.transfer_backbone.model.tuning]\n@misc = "spacy-transfer.Tuning.v1"'
        lines += "".join(f"\n{key} = {value}" for key, value in tuning.items())
    return lines


def vectors_cnn(source, width=12, depth=1, extra=""):
    """The same for word vectors with a CNN."""
    return f'''@architectures = "spacy-transfer.VectorsBackbone.v1"
source = "{source}"
{extra}
[components.transfer_backbone.model.context]
@architectures = "spacy-transfer.CNNContext.v1"
width = {width}
depth = {depth}'''


def write_texts(path, n=40):
    """Raw texts of a few words, a line each."""
    animals, verbs = ["cat", "dog", "bird"], ["sings", "sleeps"]
    lines = [f"the {animals[i % 3]} {verbs[i % 2]} of a {animals[i % 2]} {'a' * (i % 11)} x{i}" for i in range(n)]
    path.write_text("\n".join(lines))
    return path


def write_vectors(path, words=("the", "a", "cat", "dog", "sings", "of"), width=8):
    """Word vectors of random numbers, as text."""
    draw = numpy.random.default_rng(0)
    path.write_text("\n".join(f"{word} {' '.join(map(str, draw.normal(size=width).round(3)))}" for word in words))
    return path
