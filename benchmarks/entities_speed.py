"""Words per second of a recognizer of entities, from texts to `doc.ents` and in training: `transfer_ner` and spaCy's
`ner` on our backbone, and `ner` on spacy-transformers, all on the same MiniLM weights.

    python benchmarks/entities_speed.py --data DIR [--most 500] [--epochs 3] [--rounds 5]

DIR holds train.conll and test.conll (WNUT 2017); .gz works. Everything moves, in batches of 32 sentences: on our
backbone by our AdamW, the heads at the rates of entities.py, and on spacy-transformers by Adam.v1. Docs are made anew
in every epoch, as the corpus reader does. The contenders take turns, epoch by epoch; the first epoch warms up and is
not counted. What they have learned then predicts (`nlp.pipe`, on --most texts of the test set, after saving and
loading), again in turn. How many entities each finds is printed: who finds more, writes more.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import entities
import labelling
import spacy
from common import minilm, our_config, peer_config, print_rows, reloaded, speedup, time_in_turn
from frozen_epochs import epoch
from inference import pipe
from runs import adamw
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Config

RATE = 1e-4
OURS, STOCK, PEER = "transfer_ner", "ner", "spacy-transformers + ner"


def peer() -> Config:
    """RETURNS (Config): spaCy's `ner`, with the settings of our config, on spacy-transformers."""
    config, ner = peer_config(), our_config("ner_transformer")["components"]["ner"]
    config["nlp"]["pipeline"] = ["transformer", "ner"]
    tok2vec = config["components"].pop("textcat")["model"]["tok2vec"]
    config["components"]["ner"] = {"factory": "ner", "model": ner["model"] | {"tok2vec": tok2vec}}
    return config


def moving(name: str) -> Config:
    """RETURNS (Config): configs/NAME.cfg on MiniLM, everything in it moving."""
    config = our_config(name, minilm())
    config["components"]["transfer_backbone"]["frozen"] = False
    return config


def optimizer_of(name: str) -> Any:
    """RETURNS (Optimizer): Of a contender."""
    if name == PEER:
        return Adam(RATE, L2=0.0)
    rate = entities.HEAD_RATES["crf" if name == OURS else "ner"]
    return spacy.registry.resolve({"optimizer": adamw(RATE, f"^{name}", rate)})["optimizer"]


def enter(name: str, config: Config, docs: list[Doc]) -> tuple[Language, list[Doc], Any]:
    """RETURNS (Tuple[Language, List[Doc], Optimizer]): A pipeline that knows the labels, annotated docs of its own
    vocabulary, and an optimizer."""
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    own = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    examples = [Example(Doc(nlp.vocab, words=[token.text for token in doc]), doc) for doc in own]
    nlp.initialize(lambda: examples)
    return nlp, own, optimizer_of(name)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--most", type=int, default=500)
    args.add_argument("--epochs", type=int, default=3)
    args.add_argument("--rounds", type=int, default=5)
    opts = args.parse_args()
    task = labelling.TASKS["wnut17"]
    docs = labelling.read(task, opts.data, "train")[: opts.most]
    texts = [doc.text for doc in labelling.read(task, opts.data, "test")][: opts.most]
    configs = {OURS: moving("ner_crf"), STOCK: moving("ner_transformer"), PEER: peer()}
    contenders = {name: enter(name, config, docs) for name, config in configs.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(opts.epochs + 1):
        for name, contender in contenders.items():
            seconds = epoch(*contender, number)
            print(f"epoch {number}, {name}: {seconds:.1f} s", file=sys.stderr, flush=True)
            if number:
                taken[name].append(seconds)
    training = sum(map(len, docs)), taken
    with tempfile.TemporaryDirectory() as folder:
        pipelines = {
            name: reloaded(nlp, Path(folder) / str(i)) for i, (name, (nlp, *_)) in enumerate(contenders.items())
        }
    found = {name: sum(len(doc.ents) for doc in nlp.pipe(texts)) for name, nlp in pipelines.items()}
    words = sum(len(doc) for doc in pipelines[OURS].tokenizer.pipe(texts))
    predicting = words, time_in_turn({name: pipe(nlp, texts) for name, nlp in pipelines.items()}, opts.rounds)
    rows = []
    for what, (n_words, seconds), aim in (("predicting", predicting, 2.0), ("training", training, 1.0)):
        speed = {name: n_words / statistics.median(times) for name, times in seconds.items()}
        measured = (
            f"{speed[OURS]:,.0f} words/s: {speedup(seconds, OURS, STOCK):.2f} x `ner` on our backbone "
            f"({speed[STOCK]:,.0f}), {speedup(seconds, OURS, PEER):.2f} x spacy-transformers + `ner` "
            f"({speed[PEER]:,.0f})"
        )
        if what == "predicting":
            measured += f"; {found[OURS]:,} entities, {found[STOCK]:,} and {found[PEER]:,}"
        else:
            measured += "; the first two with our AdamW, the last with Adam.v1"
        aims = f">= 1 x `ner`, >= {aim:.0f} x spacy-transformers"
        rows.append((f"`transfer_ner`, CRF, MiniLM fine-tuned, end to end, {what}, WNUT 2017", measured, aims))
    print_rows(rows)


if __name__ == "__main__":
    main()
