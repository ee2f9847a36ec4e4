"""Similarity of two sentences (STS benchmark) by `transfer_regressor` on a fine-tuned MiniLM: Pearson's correlation.

    python benchmarks/similarity.py --data DIR [--seeds 0 1 2] [--again]

DIR holds train.csv and test.csv of the STS benchmark (tab-separated, no header: genre, file, year, number, similarity
from 0 to 5, first and second sentence); .gz works. A pair is one text, "FIRST [SEP] SECOND". Training is by `spacy
train` from configs/regressor_transformer.cfg as it stands, for 4 epochs. What is finished stays in metrics/similarity/
and is not run again unless its settings have changed or --again says so.
"""

import argparse
import contextlib
import gzip
import io
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import spacy
from common import print_rows
from runs import METRICS, PROGRESS, adamw, changed, kept, linear
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus

KEPT = METRICS / "similarity"
CONFIG = "regressor_transformer"
# The recipe: all that is to be tuned stands here.
EPOCHS, BATCH, RATE, HEAD_RATE = 4, 32, 1e-4, 1e-3
AIM = 0.80
Pair = tuple[str, float]


def read(folder: Path, part: str) -> list[Pair]:
    """RETURNS (List[Pair]): Both sentences as one text, and their similarity."""
    path = folder / f"{part}.csv"
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    # Quotes are part of the sentences, and some lines have a source behind them.
    lines = [line.split("\t") for line in raw.decode("utf8").split("\n") if line.strip()]
    return [(f"{fields[5].strip()} [SEP] {fields[6].strip()}", float(fields[4])) for fields in lines]


def make_changes(n_texts: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All changes of the config for so many texts."""
    steps = EPOCHS * math.ceil(n_texts / BATCH)
    schedules = [linear(rate, steps, warmup=steps // 10) for rate in (RATE, HEAD_RATE)]
    return {
        "components.transfer_regressor.bounds": [0.0, 5.0],
        "training.optimizer": adamw(schedules[0], "^transfer_regressor", schedules[1]),
        "training.max_steps": steps - 1,  # spaCy makes one more.
        "training.batcher.size": BATCH,
        "training.patience": 0,
        "training.eval_frequency": 1_000_000,
        "training.logger": PROGRESS,
    }


def to_docs(pairs: list[Pair]) -> list[Doc]:
    nlp, docs = spacy.blank("en"), []
    if not Doc.has_extension("score"):
        Doc.set_extension("score", default=None)
    for text, similarity in pairs:
        doc = nlp.make_doc(text)
        doc._.score = similarity
        docs.append(doc)
    return docs


def measure(pairs: list[Pair], test: list[Pair], changes: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train on the pairs, and score the test set.

    RETURNS (Dict[str, Any]): "pearson", "spearman", "mae", "seconds" of the training.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, some in (("train", pairs), ("dev", pairs[:20]), ("test", test)):
            DocBin(docs=to_docs(some), store_user_data=True).to_disk(folder / f"{part}.spacy")
        changed(CONFIG, changes).to_disk(folder / "config.cfg")
        overrides = {"paths.train": str(folder / "train.spacy"), "paths.dev": str(folder / "dev.spacy")}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(folder / "config.cfg", folder / "out", overrides=overrides | {"system.seed": seed})
        seconds = time.perf_counter() - start
        nlp = spacy.load(folder / "out" / "model-last")
        scores = nlp.evaluate(list(Corpus(folder / "test.spacy")(nlp)))
    return {name: scores[f"score_{name}"] for name in ("pearson", "spearman", "mae")} | {"seconds": seconds}


def as_row(runs: list[dict[str, Any]], seeds: list[int]) -> tuple[str, str, str]:
    """RETURNS (Tuple[str, str, str]): The row of the table."""
    each = ", ".join(f"{run['pearson']:.3f}" for run in runs)
    mean = {name: statistics.mean(run[name] for run in runs) for name in ("pearson", "spearman", "mae")}
    measured = f"Pearson {mean['pearson']:.3f} ({each}), Spearman {mean['spearman']:.3f}, MAE {mean['mae']:.2f} of 5"
    measured += f"; training {statistics.median(run['seconds'] for run in runs):.0f} s"
    seeds_of = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"STS benchmark, test set, `transfer_regressor`, MiniLM full, {seeds_of}", measured, f">= {AIM:.2f}"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few texts, kept apart: to try the script")
    opts = args.parse_args()
    pairs, test = read(opts.data, "train"), read(opts.data, "test")
    if opts.tiny:
        pairs, test = pairs[:64], test[:64]
    changes, runs = make_changes(len(pairs)), []
    for seed in opts.seeds:
        settings = {"changes": changes, "texts": [len(pairs), len(test)]}
        file = KEPT / ("tiny" if opts.tiny else "") / f"stsb_{seed}.json"
        runs.append(kept(file, settings, opts.again, lambda seed=seed: measure(pairs, test, changes, seed)))
        print(f"seed {seed}: {runs[-1]['pearson']:.3f}, {runs[-1]['seconds']:.0f} s", file=sys.stderr, flush=True)
    what, measured, aim = as_row(runs, opts.seeds)
    print_rows([(f"TINY: {what}" if opts.tiny else what, measured, aim)])


if __name__ == "__main__":
    main()
