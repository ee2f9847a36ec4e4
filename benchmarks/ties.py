"""Model-best against model-last of a frozen MiniLM under one softmax layer, trained by `spacy train`'s own function.

    python benchmarks/ties.py --data DIR [--only banking77 bbc mr] [--draws 3]

DIR holds banking77 (train.csv, test.csv) and mr (pos.txt, neg.txt); .gz works. Each draw takes 10 labelled texts per
class to train on, and 10 others to evaluate on. Accuracy and expected calibration error (15 bins) are those of the test
set: of mr, the last 533 lines of each file. "By the score alone" is the same training without a weight for the
likelihood.
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
from typing import Any

import spacy
from accuracy import Pair, read_csv
from common import ROOT, bbc, print_rows, read_lines
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Example

CONFIG = ROOT / "configs" / "textcat_transformer.cfg"
SHOTS, N_TEST = 10, 533
ALONE = {"training.score_weights.cats_score": 1.0, "training.score_weights.cats_likelihood": None}
WEIGHTS: dict[str, dict[str, float | None]] = {"as shipped": {}, "by the score alone": ALONE}
SAVED = ("best", "last")
Measured = dict[str, tuple[float, float]]


def draw(name: str, data: Path, seed: int) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], ...]): Texts to train on, to evaluate on, and to test on."""
    pool: dict[str, list[Pair]] = {}
    if name == "bbc":
        pool, test = bbc.split(bbc.read_articles(), seed, most=2 * SHOTS)
    elif name == "banking77":
        test = read_csv(data / name / "test.csv")
        for pair in read_csv(data / name / "train.csv"):
            pool.setdefault(pair[1], []).append(pair)
    else:
        test = []
        for label in ("neg", "pos"):
            lines = read_lines(next((data / name).glob(f"{label}.txt*")), sys.maxsize)
            pairs = [(text, label) for text in lines]
            pool[label] = pairs[:-N_TEST]
            test += pairs[-N_TEST:]
    taken = [random.Random(seed).sample(pool[label], 2 * SHOTS) for label in sorted(pool)]
    train, dev = ([pair for own in taken for pair in own[part]] for part in (slice(SHOTS), slice(SHOTS, None)))
    return train, dev, test


def run(
    parts: tuple[list[Pair], list[Pair], list[Pair]], seed: int, weights: dict[str, float | None]
) -> tuple[Measured, float]:
    """RETURNS (Tuple[Dict[str, Tuple[float, float]], float]): Accuracy in percent and calibration error of model-best
    and of model-last, and seconds of the training."""
    pairs, dev, test = parts
    labels = sorted({label for _, label in pairs})
    measured: Measured = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        overrides: dict[str, Any] = {"system.seed": seed, **weights}
        for key, part in (("train", pairs), ("dev", dev)):
            DocBin(docs=bbc.to_docs(part, labels)).to_disk(folder / f"{key}.spacy")
            overrides[f"paths.{key}"] = str(folder / f"{key}.spacy")
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(CONFIG, folder / "out", overrides=overrides)
        seconds = time.perf_counter() - start
        for saved in SAVED:
            nlp = spacy.load(folder / "out" / f"model-{saved}")
            gold = bbc.to_docs(test, labels)
            scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in gold])
            measured[saved] = 100 * scores["cats_micro_f"], scores["cats_ece"]
    return measured, seconds


def shown(runs: list[Measured]) -> str:
    """RETURNS (str): Accuracies and calibration errors of model-best and model-last."""
    parts = []
    for saved in SAVED:
        accuracy, error = zip(*(measured[saved] for measured in runs), strict=True)
        each = [", ".join(format(x, width) for x in column) for column, width in ((accuracy, ".1f"), (error, ".3f"))]
        mean = f"accuracy {statistics.mean(accuracy):.1f}% ({each[0]})"
        parts.append(f"model-{saved} {mean}, calibration error {statistics.mean(error):.3f} ({each[1]})")
    return "; ".join(parts)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--only", nargs="*", choices=["banking77", "bbc", "mr"], default=["banking77", "bbc", "mr"])
    args.add_argument("--draws", type=int, default=3)
    opts = args.parse_args()
    rows = []
    for name in opts.only:
        for how, weights in WEIGHTS.items():
            runs, taken = [], []
            for seed in range(opts.draws):
                measured, seconds = run(draw(name, opts.data, seed), seed, weights)
                print(f"{name}, {how}, seed {seed}: {measured}, {seconds:.0f} s", file=sys.stderr, flush=True)
                runs.append(measured)
                taken.append(seconds)
            what = f"{name}, 10 labelled per class, {opts.draws} draws, model-best chosen {how}"
            aim = "calibration error <= model-last's + 0.03, accuracy no worse" if not weights else "none"
            rows.append((what, f"{shown(runs)}; training {statistics.median(taken):.0f} s", aim))
    print_rows(rows)


if __name__ == "__main__":
    main()
