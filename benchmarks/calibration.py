"""How far the scores of a fine-tuned MiniLM can be believed, before and after temperature scaling.

    python benchmarks/calibration.py banking77 --data DIR [--seeds 0]

DIR holds train.csv and test.csv as PolyAI published them. A tenth of the training texts is held out; the rest trains
all of the encoder by finetuning.py's recipe "full". One temperature is fitted to what was held out (Guo et al. 2017),
and the expected calibration error (Naeini et al. 2015, 15 bins) is that of the test set. What is finished stays in
metrics/calibration/.
"""

import argparse
import contextlib
import io
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import spacy
from accuracy import Pair
from common import bbc, print_rows
from finetuning import RECIPES, Changes, make_changes, read
from runs import METRICS, changed, kept
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_transfer.pipeline.calibrate import calibrate

KEPT = METRICS / "calibration"


def held_out(pairs: list[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): Nine tenths to train on, and one tenth."""
    pairs = list(pairs)
    random.Random(seed).shuffle(pairs)
    part = max(1, len(pairs) // 10)
    return pairs[part:], pairs[:part]


def examples_of(nlp: Language, pairs: list[Pair], labels: list[str]) -> list[Example]:
    """RETURNS (List[Example]): With gold labels."""
    return [Example(nlp.make_doc(doc.text), doc) for doc in bbc.to_docs(pairs, labels)]


def measure(pairs: list[Pair], dev: list[Pair], test: list[Pair], changes: Changes, seed: int) -> dict[str, Any]:
    """Train, fit the temperature, and look at the test set before and after.

    RETURNS (Dict[str, Any]): "ece" (before and after), "temperature", and "accuracy" in percent.
    """
    labels = sorted({label for _, label in pairs})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        docs = bbc.to_docs(pairs, labels)
        DocBin(docs=docs).to_disk(folder / "train.spacy")
        DocBin(docs=docs[:20]).to_disk(folder / "dev.spacy")
        changed("textcat_transformer", changes).to_disk(folder / "config.cfg")
        overrides = {"paths.train": str(folder / "train.spacy"), "paths.dev": str(folder / "dev.spacy")}
        with contextlib.redirect_stdout(io.StringIO()):
            train(folder / "config.cfg", folder / "out", overrides=overrides | {"system.seed": seed})
        nlp = spacy.load(folder / "out" / "model-last")
    before = nlp.evaluate(examples_of(nlp, test, labels))
    (done,) = calibrate(nlp, examples_of(nlp, dev, labels))
    after = nlp.evaluate(examples_of(nlp, test, labels))
    accuracy = 100 * float(after["cats_micro_f"])
    ece = [float(before["cats_ece"]), float(after["cats_ece"])]
    return {"ece": ece, "temperature": done.temperature, "accuracy": accuracy}


def as_row(data_set: str, runs: list[dict[str, Any]], seeds: list[int]) -> tuple[str, str, str]:
    """RETURNS (Tuple[str, str, str]): What, measured, aim."""
    each = [
        f"{run['ece'][0]:.3f} -> {run['ece'][1]:.3f} (temperature {run['temperature']:.2f}, "
        f"accuracy {run['accuracy']:.1f}%)"
        for run in runs
    ]
    what = f"expected calibration error per text, {data_set}, fine-tuned MiniLM, before and after temperature scaling"
    seed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"{what}, {seed}", "; ".join(each), "<= half of before, or <= 0.02"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=["banking77"])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--seeds", nargs="*", type=int, default=[0])
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few texts and steps, kept apart: to try the script")
    opts = args.parse_args()
    recipe = RECIPES[opts.data_set, "all"]
    pool, test = read(opts.data_set, opts.data)
    if opts.tiny:
        labels = sorted({label for _, label in pool})[:3]
        pool, test = ([pair for pair in part if pair[1] in labels][::4] for part in (pool, test))
        recipe = replace(recipe, epochs=1, batch_size=16)
    runs = []
    for seed in opts.seeds:
        pairs, dev = held_out(pool, seed)
        changes = make_changes("full", recipe, len(pairs))
        settings = {"changes": changes, "texts": [len(pairs), len(dev), len(test)]}
        file = KEPT / ("tiny" if opts.tiny else "") / f"{opts.data_set}_{seed}.json"
        runs.append(
            kept(
                file,
                settings,
                opts.again,
                lambda pairs=pairs, dev=dev, changes=changes, seed=seed: measure(pairs, dev, test, changes, seed),
            )
        )
    what, *rest = as_row(opts.data_set, runs, opts.seeds)
    print_rows([(f"TINY: {what}" if opts.tiny else what, *rest)])


if __name__ == "__main__":
    main()
