"""Small trainings of every kind: configs, a tiny encoder with dropout, data. benchmarks/resume.py has them too."""

import json
import random
import re
from pathlib import Path

import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from ..pipelines import make_examples
from ..tiny_tokenizers import write_bert_tokenizer

WORDS = ["the", "a", "cat", "cats", "dog", "dogs", "sees", "sings", "big", "here", "and", "one"]
BASE = """
[paths]
train = null
dev = null
backbone = null
[system]
seed = 0
gpu_allocator = null
[nlp]
lang = "xx"
batch_size = 64
[corpora]
[corpora.train]
@readers = "spacy.Corpus.v1"
gold_preproc = false
max_length = 0
limit = 0
path = ${paths.train}
[corpora.dev]
@readers = "spacy.Corpus.v1"
gold_preproc = false
max_length = 0
limit = 0
path = ${paths.dev}
[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
dropout = 0.2
patience = 0
max_steps = 24
eval_frequency = 5
seed = ${system.seed}
gpu_allocator = ${system.gpu_allocator}
[training.logger]
@loggers = "spacy.ConsoleLogger.v3"
[training.batcher]
@batchers = "spacy.batch_by_sequence.v1"
size = 4
[training.optimizer]
@optimizers = "spacy-transfer.AdamW.v1"
[training.optimizer.learn_rate]
@schedules = "spacy-transfer.Linear.v1"
learn_rate = 0.002
total_steps = 24
warmup_steps = 4
[initialize]
[initialize.after_init]
@callbacks = "spacy-transfer.Resume.v1"
every_steps = 4
minutes = 0
[components]
[components.transfer_backbone]
factory = "transfer_backbone"
[components.transfer_backbone.model]
@architectures = "spacy-transfer.TransformerBackbone.v1"
source = ${paths.backbone}
window = 32
overlap = 8
"""
TUNING = '[components.transfer_backbone.model.tuning]\n@misc = "spacy-transfer.Tuning.v1"\n'
TEXTCAT = '[components.transfer_textcat]\nfactory = "transfer_textcat"\n'
TAGGER = """
[components.tagger]
factory = "tagger"
[components.tagger.model]
@architectures = "spacy.Tagger.v2"
[components.tagger.model.tok2vec]
@architectures = "spacy-transfer.Listener.v1"
"""
ADAM = """
[training.optimizer]
@optimizers = "Adam.v1"
use_averages = true
[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
initial_rate = 0.002
total_steps = 24
warmup_steps = 4
"""
MIXED = """
[corpora.train]
@readers = "spacy-transfer.MixedCorpus.v1"
sampling = "temperature"
shuffle = 5
[corpora.train.corpora]
[corpora.train.corpora.first]
trains = ["tagger"]
[corpora.train.corpora.first.reader]
@readers = "spacy.Corpus.v1"
gold_preproc = false
max_length = 0
limit = 0
path = ${paths.train}
[corpora.train.corpora.first.reader.augmenter]
@augmenters = "spacy.lower_case.v1"
level = 0.5
[corpora.train.corpora.second]
trains = ["transfer_textcat"]
[corpora.train.corpora.second.reader]
@readers = "spacy.Corpus.v1"
gold_preproc = false
max_length = 0
limit = 0
path = ${paths.dev}
augmenter = null
[training]
max_epochs = -1
[training.batcher]
@batchers = "spacy-transfer.TaskBatcher.v1"
size = 4
[components.transfer_backbone.weighing]
@misc = "spacy-transfer.TaskWeights.v1"
rule = "uncertainty"
"""
# By name: the pipeline, and what comes after BASE.
KINDS = {
    "frozen": (["transfer_textcat"], TEXTCAT + "[components.transfer_backbone]\nfrozen = true\n"),
    "lpft": (["transfer_textcat"], TEXTCAT + TUNING + "head_first = 9\n"),
    "lora": (
        ["transfer_textcat"],
        TEXTCAT
        + TUNING
        + '[components.transfer_backbone.model.tuning.adapter]\nmethod = "lora"\nr = 2\nlora_dropout = 0.1\n',
    ),
    "ner_crf": (
        ["transfer_ner"],
        '[components.transfer_ner]\nfactory = "transfer_ner"\n[components.transfer_ner.model]\n'
        '@architectures = "spacy-transfer.TokenHead.v1"\ndecoder = "crf"\n'
        '[components.transfer_ner.model.tok2vec]\n@architectures = "spacy-transfer.Listener.v1"\n'
        "[training]\naccumulate_gradient = 2\n",
    ),
    "multitask": (["tagger", "transfer_textcat"], TAGGER + TEXTCAT + MIXED),
    "adam": (
        ["tagger", "ner"],
        TAGGER
        + ADAM
        + '[components.ner]\nfactory = "ner"\n[components.ner.model]\n'
        + '@architectures = "spacy.TransitionBasedParser.v2"\nstate_type = "ner"\nhidden_width = 16\n'
        + '[components.ner.model.tok2vec]\n@architectures = "spacy-transfer.Listener.v1"\n',
    ),
    "pcgrad": (
        ["tagger", "transfer_textcat"],
        TAGGER
        + TEXTCAT
        + '[components.transfer_backbone]\nsurgery = "pcgrad"\n[components.transfer_backbone.weighing]\n'
        + '@misc = "spacy-transfer.TaskWeights.v1"\nrule = "dwa"\nwindow = 3\n[system]\nseed = null\n'
        + "[training.optimizer]\nuse_averages = true\n",
    ),
    "full": (["transfer_textcat"], TEXTCAT),
    "gradual": (
        ["transfer_textcat"],
        TEXTCAT
        + TUNING
        + "unfreeze = 5\n[training.optimizer]\n"
        + '@optimizers = "spacy-transfer.SGD.v1"\nmomentum = 0.9\n[training]\nmax_epochs = -1\n'
        + '[corpora.train.augmenter]\n@augmenters = "spacy.lower_case.v1"\nlevel = 0.5\n',
    ),
}


def parse(text: str) -> Config:
    """A part of a config. Confection wants a section for each parent, before it."""
    blocks = dict(re.findall(r"^\[(.+)\]\n((?:(?!\[).*\n)*)", text, re.MULTILINE))
    parents = {".".join(name.split(".")[:i]) for name in blocks for i in range(1, name.count(".") + 1)}
    blocks |= dict.fromkeys(parents - set(blocks), "")
    order = sorted(blocks, key=lambda name: name.count("."))
    return Config().from_str("".join(f"[{name}]\n{blocks[name]}" for name in order), interpolate=False)


def write_encoder(folder: Path) -> str:
    """A BERT of 2 layers of width 16, with dropout, which draws from torch's generator."""
    import torch
    from transformers import BertConfig, BertModel

    size = write_bert_tokenizer(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=size, max_position_embeddings=64, initializer_range=0.3, **sizes)
    BertModel(config).save_pretrained(folder)
    return str(folder)


def write_data(folder: Path) -> None:
    """train.spacy and dev.spacy, of 26 and 12 texts."""
    draw = random.Random(0)
    for name, n in (("train", 26), ("dev", 12)):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 9))).capitalize() for _ in range(n)]
        DocBin(docs=[eg.reference for eg in make_examples(spacy.blank("en"), texts)], store_user_data=True).to_disk(
            folder / f"{name}.spacy"
        )


def write_config(folder: Path, kind: str, encoder: str, **overrides: object) -> Path:
    """Write the config of a kind, and data if there are none.

    overrides (Any): By dotted keys.
    RETURNS (Path): The config.
    """
    heads, more = KINDS[kind]
    if not (folder / "train.spacy").exists():
        write_data(folder)
    config = parse(BASE).merge(parse(more))
    given = {
        "nlp.pipeline": ["transfer_backbone", *heads],
        "paths.train": str(folder / "train.spacy"),
        "paths.dev": str(folder / "dev.spacy"),
        "paths.backbone": encoder,
    }
    for key, value in {**given, **overrides}.items():
        *sections, name = key.split(".")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = json.loads(json.dumps(value))
    path = folder / f"{kind}.cfg"
    config.to_disk(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """The files of model-best and model-last, by name."""
    names = [p for best in ("model-best", "model-last") for p in (folder / best).rglob("*") if p.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(names)}
