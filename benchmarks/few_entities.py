"""Entities from few sentences: MiniLM under `ner_fewshot.cfg` and under `ner_crf.cfg`, on the same sentences.

    python benchmarks/few_entities.py --data CROSSNER [--sets ai music] [--sentences 1 5 10] [--seeds 0 1 2]
        [--configs crf+short fewshot] [--part test] [--most N]

CROSSNER is a folder with folders of train.txt, dev.txt and test.txt. Sentences of the training part are drawn until
each type is in so many of them (or in all that there are). "crf" is configs/ner_crf.cfg as it is: 1,000 steps of 32.
"crf+short" is the same for as many steps of as many sentences as "fewshot". "fewshot+solved" is the solved head alone,
without a step; in "fewshot+solved+names" the name of each type is one more example, a doc that is one entity.
`model-last` is scored, F1 in percent, gold tokens, with the processor time of the training. The settings of
ner_fewshot.cfg were chosen by `--sets politics --part dev --most 200 --seeds 0`.
"""

import argparse
import contextlib
import io
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import spacy
from common import ROOT, print_rows
from labelling import iob_docs
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from spacy.training.initialize import init_nlp
from spacy.util import load_config
from thinc.api import Config

from spacy_transfer.heads.label_texts import open_name

WORDS = {
    "musicalartist": "musical artist",
    "musicalinstrument": "musical instrument",
    "musicgenre": "music genre",
    "politicalparty": "political party",
    "programlang": "programming language",
}
"""Of CrossNER's types that are several words without separators."""


def read(folder: Path, part: str) -> list[Doc]:
    """RETURNS (List[Doc]): A doc a sentence."""
    return iob_docs((folder / f"{part}.txt").read_text(encoding="utf8"))


def few(docs: list[Doc], n_sentences: int, seed: int) -> list[Doc]:
    """RETURNS (List[Doc]): In a random order, each sentence with a type that is not in enough of them yet."""
    order, count, chosen = random.Random(seed).sample(docs, len(docs)), dict[str, int](), list[Doc]()
    for doc in order:
        types = {ent.label_ for ent in doc.ents}
        if any(count.get(label, 0) < n_sentences for label in types):
            chosen.append(doc)
            for label in types:
                count[label] = count.get(label, 0) + 1
    return chosen


def names_of(docs: list[Doc]) -> list[Doc]:
    """RETURNS (List[Doc]): For each type of the docs its name, if it reads like words: a doc that is one entity."""
    found = []
    for label in sorted({ent.label_ for doc in docs for ent in doc.ents}):
        if words := open_name(WORDS.get(label, label)):
            found.append(Doc(docs[0].vocab, words.split()))
            found[-1].ents = [Span(found[-1], 0, len(found[-1]), label)]
    return found


def config_of(name: str) -> Config:
    """RETURNS (Config): configs/ner_NAME.cfg, with gold tokens and no evaluation before the end."""
    name, _, change = name.partition("+")
    config = load_config(ROOT / "configs" / f"ner_{name}.cfg")
    training = config["training"]
    if change == "short":
        other = load_config(ROOT / "configs" / "ner_fewshot.cfg")["training"]
        training["max_steps"], training["batcher"] = other["max_steps"], other["batcher"]
    training.update(patience=0, eval_frequency=training["max_steps"])
    for reader in config["corpora"].values():
        reader["gold_preproc"] = True
    return config


def measure(docs: list[Doc], test: list[Doc], name: str, seed: int) -> tuple[float, float]:
    """RETURNS (Tuple[float, float]): F1 in percent, and seconds of processor time."""
    changes, config = name.split("+")[1:], config_of(name)
    docs = docs + names_of(docs) if "names" in changes else docs
    config["system"]["seed"] = seed
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        for part, each in {"train": docs, "dev": docs[:10], "test": test}.items():
            DocBin(docs=each).to_disk(folder / f"{part}.spacy")
        config["paths"].update(train=str(folder / "train.spacy"), dev=str(folder / "dev.spacy"))
        config.to_disk(folder / "config.cfg")
        start = time.process_time()
        if "solved" in changes:
            nlp = init_nlp(config)
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                train(folder / "config.cfg", folder / "out")
            nlp = spacy.load(folder / "out" / "model-last")
        seconds = time.process_time() - start
        scores = nlp.evaluate(list(Corpus(folder / "test.spacy", gold_preproc=True)(nlp)))
    return 100 * scores["ents_f"], seconds


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--sets", nargs="+", default=["ai", "music"])
    args.add_argument("--sentences", type=int, nargs="+", default=[10], help="of each type")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--configs", nargs="+", default=["crf+short", "fewshot"])
    args.add_argument("--part", choices=["dev", "test"], default="test", help="what is scored")
    args.add_argument("--most", type=int, default=0, help="sentences to score, drawn with seed 0; 0 for all")
    opts = args.parse_args()
    rows = []
    for data_set in opts.sets:
        pool, test = read(opts.data / data_set, "train"), read(opts.data / data_set, opts.part)
        test = random.Random(0).sample(test, opts.most) if opts.most else test
        for n_sentences in opts.sentences:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in opts.configs}
            for seed in opts.seeds:
                docs = few(pool, n_sentences, seed)
                for name, each in found.items():
                    each.append(measure(docs, test, name, seed))
                    said = f"{data_set}, {n_sentences} a type ({len(docs)}), seed {seed}, {name}: {each[-1][0]:.1f}"
                    print(f"{said}, {each[-1][1]:.0f} s", file=sys.stderr, flush=True)
            base = statistics.mean(score for score, _ in found[opts.configs[0]])
            for name, each in found.items():
                mean, seconds = statistics.mean(x for x, _ in each), statistics.median(x for _, x in each)
                shown = ", ".join(f"{score:.1f}" for score, _ in each)
                config, _, change = name.partition("+")
                what = f"CrossNER {data_set} ({len(test)} of {opts.part}), {n_sentences} sentences a type"
                what += f", ner_{config}.cfg" + (f", {change}" if change else "")
                measured = f"F1 {mean:.1f} % ({shown}), {seconds:.0f} s of processor time"
                rows.append((what, measured, f"{mean - base:+.1f}"))
    print_rows(rows)


if __name__ == "__main__":
    main()
