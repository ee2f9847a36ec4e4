"""Accuracy of a frozen MiniLM under one softmax layer, trained by `spacy train`'s own function.

    python benchmarks/accuracy.py bbc [--draws 5]
    python benchmarks/accuracy.py banking77 --data DIR [--draws 3]

DIR holds train.csv (or train.csv.gz) and test.csv with a text and a label a row, as PolyAI published them. Each
draw takes 10 labelled texts per class; nothing else is labelled.
"""

import argparse
import contextlib
import csv
import gzip
import io
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import spacy
from common import ROOT, bbc, print_rows
from spacy.cli.train import train
from spacy.tokens import DocBin

AIMS = {"bbc": 93.5, "banking77": 84.5}
Pair = tuple[str, str]


def bbc_draw(seed: int) -> tuple[list[Pair], list[Pair]]:
    by_topic, test = bbc.split(bbc.read_articles(), seed, most=10)
    return [article for topic in by_topic.values() for article in topic], test


def read_csv(path: Path) -> list[Pair]:
    if not path.exists():
        path = path.with_name(path.name + ".gz")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [(row[0], row[1]) for row in list(csv.reader(io.StringIO(raw.decode("utf8"))))[1:] if row]


def banking_draw(folder: Path, seed: int, shots: int = 10) -> tuple[list[Pair], list[Pair]]:
    by_label: dict[str, list[str]] = {}
    for text, label in read_csv(folder / "train.csv"):
        by_label.setdefault(label, []).append(text)
    draw = random.Random(seed)
    chosen = [(text, label) for label in sorted(by_label) for text in draw.sample(by_label[label], shots)]
    return chosen, read_csv(folder / "test.csv")


def run(pairs: list[Pair], test: list[Pair], config: Path, seed: int) -> tuple[float, float]:
    """Train on the pairs, and score the test set.

    RETURNS (Tuple[float, float]): Accuracy in percent, and training seconds.
    """
    docs = bbc.to_docs(pairs, sorted({label for _, label in pairs}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.spacy"
        DocBin(docs=docs).to_disk(path)
        overrides = {"paths.train": str(path), "paths.dev": str(path), "system.seed": seed}
        overrides |= {"components.transfer_backbone.frozen": True}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(config, Path(folder) / "out", overrides=overrides)
        seconds = time.perf_counter() - start
        trained = spacy.load(Path(folder) / "out" / "model-last")
    hits = 0
    for doc, (_, label) in zip(trained.pipe(text for text, _ in test), test, strict=True):
        hits += max(doc.cats, key=doc.cats.__getitem__) == label
    return 100 * hits / len(test), seconds


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=["bbc", "banking77"])
    args.add_argument("--data", type=Path, help="folder of banking77")
    args.add_argument("--draws", type=int, default=0, help="5 for bbc, 3 for banking77")
    args.add_argument("--config", type=Path, default=ROOT / "configs" / "textcat_transformer.cfg")
    opts = args.parse_args()
    draws = opts.draws or (5 if opts.data_set == "bbc" else 3)
    name = "BBC News" if opts.data_set == "bbc" else "banking77"
    rows = []
    for seed in range(draws):
        pairs, test = bbc_draw(seed) if opts.data_set == "bbc" else banking_draw(opts.data, seed)
        rows.append(run(pairs, test, opts.config, seed))
        print(f"seed {seed}: {rows[-1][0]:.1f}%, {rows[-1][1]:.0f} s", file=sys.stderr, flush=True)
    found, seconds = zip(*rows, strict=True)
    each = ", ".join(f"{accuracy:.1f}" for accuracy in found)
    measured = f"mean {statistics.mean(found):.1f}% ({each}); training {statistics.median(seconds):.0f} s"
    what = f"accuracy, {name}, 10 labelled per class, {draws} draws, frozen MiniLM, one softmax layer"
    print_rows([(what, measured, f">= {AIMS[opts.data_set]}%")])


if __name__ == "__main__":
    main()
