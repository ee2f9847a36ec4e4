"""Accuracy of ways to fine-tune MiniLM on intents, by `spacy train` from configs/textcat_transformer.cfg.

    python benchmarks/finetuning.py banking77|clinc150 --data DIR [--shots 10|all] [--method NAME ...] [--seeds 0 1 2]

DIR holds train.csv and test.csv as PolyAI published them, or data_full.json of CLINC150 (of which the in-scope train
and test sets are taken); .gz works. With --shots 10 each seed draws 10 labelled texts per class; with "all" it is one
seed unless --seeds says otherwise. What is finished stays in metrics/finetuning/ and is not run again unless its recipe
has changed or --again says so, so that a run that was stopped goes on where it was.

    probe         the encoder frozen, one softmax layer
    full          everything moves from the first step
    lpft          the head alone first, in steps, then everything (Kumar et al. 2022)
    lpft_maxent   the same, the head solved by `fit = "maxent"`, as in configs/textcat_lpft.cfg
    gradual       layer after layer from the top (Howard and Ruder 2018)
    lora          adapters of rank 8 in the place of the encoder's weights (Hu et al. 2022), as configs/textcat_lora.cfg
    bf16          as lpft, in bf16: plain fine-tuning differs more from seed to seed than bf16 could from fp32
"""

import argparse
import contextlib
import gzip
import io
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import spacy
from accuracy import Pair, read_csv
from common import bbc, print_rows
from runs import LORA, METRICS, PROGRESS, adamw, changed, kept, linear, tuning
from spacy.cli.train import train
from spacy.tokens import DocBin
from tqdm import tqdm

from spacy_transfer._compat import cpu_has_bf16

KEPT = METRICS / "finetuning"
HEADS = "^transfer_textcat"
START = {"initialize.components.transfer_textcat": {"fit": "maxent", "strength": None}}


@dataclass(frozen=True)
class Recipe:
    """How long and how fast.

    epochs (int): In which the encoder moves; warm-up over the first tenth, then straight to 0.
    rate (float): Highest rate of the encoder.
    head_rate (float): Highest rate of a head that has learned before, in these epochs.
    lora_rate (float): Highest rate of LoRA's matrices.
    head_steps (int): Steps of the head alone: all that `probe` makes, and what `lpft` begins with.
    first_rate (float): Rate of the head in those, and highest rate where it starts from zeros with the encoder.
    batch_size (int): Texts.
    dropout (float): Before the head. The encoder has its own, 0.1.
    """

    epochs: int
    rate: float
    head_rate: float = 0.001
    lora_rate: float = 0.001
    head_steps: int = 1000
    first_rate: float = 0.005
    batch_size: int = 32
    dropout: float = 0.1


# The recipes: all that is to be tuned stands here, and in METHODS.
RECIPES = {
    ("banking77", "10"): Recipe(epochs=10, rate=1e-4),
    ("banking77", "all"): Recipe(epochs=4, rate=3e-4, head_steps=1500),
    ("clinc150", "10"): Recipe(epochs=10, rate=1e-4),
    ("clinc150", "all"): Recipe(epochs=3, rate=3e-4, head_steps=1500),
}
Changes = dict[str, Any]


def learning(
    recipe: Recipe,
    steps: int,
    *,
    rate: float | None = None,
    wait: int = 0,
    head_rate: float | None = None,
    head_warmup: int | None = None,
    **more: Any,
) -> Changes:
    """The encoder learns, perhaps after the head alone.

    recipe (Recipe): The recipe.
    steps (int): Steps in which the encoder moves.
    rate (Optional[float]): Of the encoder, where it is not the recipe's.
    wait (int): Steps of the head alone.
    head_rate (Optional[float]): Highest rate of the head, where it is not the recipe's.
    head_warmup (Optional[int]): Steps of the head's warm-up, where they are not the encoder's.
    more (Any): Settings of the tuning.
    RETURNS (Dict[str, Any]): Changes of the config.
    """
    warmup = steps // 10
    encoder = linear(recipe.rate if rate is None else rate, steps, warmup=warmup, wait=wait)
    rising = 0 if wait else warmup if head_warmup is None else head_warmup
    highest = recipe.head_rate if head_rate is None else head_rate
    heads = linear(highest, steps, warmup=rising, first=recipe.first_rate, wait=wait)
    changes = {
        "components.transfer_backbone.frozen": False,
        "training.optimizer": adamw(encoder, HEADS, heads),
        "training.max_steps": wait + steps - 1,  # spaCy makes one more.
    }
    if more:
        changes["components.transfer_backbone.model.tuning"] = tuning(**more)
    return changes


def probe(recipe: Recipe, steps: int) -> Changes:
    rate = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": recipe.first_rate, "weight_decay": 0.0}
    return {
        "components.transfer_backbone.frozen": True,
        "training.optimizer": rate,
        "training.max_steps": recipe.head_steps - 1,
    }


def full(recipe: Recipe, steps: int) -> Changes:
    # A head that starts from zeros needs the rate of a head that learns alone.
    return learning(recipe, steps, head_rate=recipe.first_rate)


def lpft(recipe: Recipe, steps: int) -> Changes:
    return learning(recipe, steps, wait=recipe.head_steps, head_first=recipe.head_steps)


def lpft_maxent(recipe: Recipe, steps: int) -> Changes:
    return learning(recipe, steps, head_warmup=0) | START


def gradual(recipe: Recipe, steps: int) -> Changes:
    # All layers of MiniLM, and then the embeddings, have thawed by half of the steps.
    return learning(recipe, steps, head_rate=recipe.first_rate, unfreeze=max(1, steps // 14))


def lora(recipe: Recipe, steps: int) -> Changes:
    return learning(recipe, steps, rate=recipe.lora_rate, head_warmup=0, adapter=LORA) | START


def bf16(recipe: Recipe, steps: int) -> Changes:
    return lpft(recipe, steps) | {"components.transfer_backbone.model.precision": "bf16"}


METHODS: dict[str, Callable[[Recipe, int], Changes]] = {
    "probe": probe,
    "full": full,
    "lpft": lpft,
    "lpft_maxent": lpft_maxent,
    "gradual": gradual,
    "lora": lora,
    "bf16": bf16,
}
LPFT_AIMS = {("banking77", "10"): 86.5, ("banking77", "all"): 93.5, ("clinc150", "all"): 96.0}


def read(data_set: str, folder: Path) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): Training set and test set."""
    if data_set == "banking77":
        return read_csv(folder / "train.csv"), read_csv(folder / "test.csv")
    path = folder / "data_full.json"
    packed = path.with_name(path.name + ".gz")
    raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    data = json.loads(raw)
    train_set, test_set = ([(text, label) for text, label in data[part]] for part in ("train", "test"))
    return train_set, test_set


def few(pairs: Sequence[Pair], shots: int, seed: int) -> list[Pair]:
    """RETURNS (List[Pair]): So many of every label, in the draw that accuracy.py makes with this seed."""
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        by_label.setdefault(label, []).append(text)
    draw = random.Random(seed)
    return [(text, label) for label in sorted(by_label) for text in draw.sample(by_label[label], shots)]


def make_changes(method: str, recipe: Recipe, n_texts: int) -> Changes:
    """RETURNS (Dict[str, Any]): All changes of the config for a method on so many texts."""
    steps = recipe.epochs * math.ceil(n_texts / recipe.batch_size)
    return METHODS[method](recipe, steps) | {
        "training.batcher.size": recipe.batch_size,
        "training.dropout": recipe.dropout,
        "training.patience": 0,
        "training.eval_frequency": 1_000_000,  # Once, before anything is learned: spaCy always does that.
        "training.logger": PROGRESS,
    }


def measure(pairs: list[Pair], test: list[Pair], changes: Changes, seed: int) -> dict[str, Any]:
    """Train on the pairs, and score the test set.

    RETURNS (Dict[str, Any]): "accuracy" in percent, "seconds" of the training, start to saved pipeline.
    """
    docs = bbc.to_docs(pairs, sorted({label for _, label in pairs}))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        DocBin(docs=docs).to_disk(folder / "train.spacy")
        DocBin(docs=docs[:20]).to_disk(folder / "dev.spacy")
        changed("textcat_transformer", changes).to_disk(folder / "config.cfg")
        overrides = {"paths.train": str(folder / "train.spacy"), "paths.dev": str(folder / "dev.spacy")}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(folder / "config.cfg", folder / "out", overrides=overrides | {"system.seed": seed})
        seconds = time.perf_counter() - start
        trained = spacy.load(folder / "out" / "model-last")
    hits = 0
    found = tqdm(trained.pipe(text for text, _ in test), total=len(test), desc="test", leave=False)
    for doc, (_, label) in zip(found, test, strict=True):
        hits += max(doc.cats, key=doc.cats.__getitem__) == label
    return {"accuracy": 100 * hits / len(test), "seconds": seconds}


Found = dict[str, list[dict[str, Any]]]


def as_rows(found: Found, key: tuple[str, str], seeds: Sequence[int]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): A row for each method, with what it is compared with."""
    data_set, shots = key
    mean = {method: statistics.mean(run["accuracy"] for run in runs) for method, runs in found.items()}
    aim = f">= {LPFT_AIMS[key]}%" if key in LPFT_AIMS else "-"
    if shots != "all":
        aim += ", above probe and full"
    aims = {"lpft": aim, "lpft_maxent": aim, "lora": "within 0.5 of full", "bf16": "within 0.3 of lpft"}
    beside = {"lora": ["full"], "bf16": ["lpft"], "gradual": ["full"]}
    beside |= dict.fromkeys(("lpft", "lpft_maxent"), ["probe", "full"])
    rows = []
    for method, runs in found.items():
        each = ", ".join(f"{run['accuracy']:.1f}" for run in runs)
        measured = f"{mean[method]:.1f}%" if len(runs) == 1 else f"mean {mean[method]:.1f}% ({each})"
        for other in beside.get(method, []):
            measured += f", {mean[method] - mean[other]:+.1f} against {other}" if other in mean else ""
        measured += f"; training {statistics.median(run['seconds'] for run in runs):.0f} s"
        size = "all data" if shots == "all" else f"{shots} per class"
        seeds_of = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        rows.append((f"{data_set}, {size}, {method}, {seeds_of}", measured, aims.get(method, "-")))
    return rows


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=["banking77", "clinc150"])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--shots", choices=["10", "all"], default="10")
    args.add_argument("--method", nargs="*", choices=list(METHODS), default=list(METHODS))
    args.add_argument("--seeds", nargs="*", type=int, default=None, help="0 1 2; 0 for all data")
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few texts and steps, kept apart: to try the script")
    opts = args.parse_args()
    key, recipe = (opts.data_set, opts.shots), RECIPES[opts.data_set, opts.shots]
    pool, test = read(opts.data_set, opts.data)
    seeds = opts.seeds or ([0, 1, 2] if opts.shots != "all" else [0])
    if opts.tiny:
        labels = sorted({label for _, label in pool})[:4]
        pool, test = ([pair for pair in part if pair[1] in labels] for part in (pool, test))
        recipe = replace(recipe, epochs=1, head_steps=3)
    found: Found = {}
    for method in opts.method:
        if method == "bf16" and not cpu_has_bf16():
            print("bf16 is not measured: this CPU has none", file=sys.stderr, flush=True)
            continue
        for seed in seeds:
            pairs = pool if opts.shots == "all" else few(pool, int(opts.shots), seed)
            changes = make_changes(method, recipe, len(pairs))
            settings = {"changes": changes, "texts": [len(pairs), len(test)]}
            file = KEPT / ("tiny" if opts.tiny else "") / f"{opts.data_set}_{opts.shots}_{method}_{seed}.json"
            run = kept(
                file,
                settings,
                opts.again,
                lambda pairs=pairs, changes=changes, seed=seed: measure(pairs, test, changes, seed),
            )
            found.setdefault(method, []).append(run)
            shown = f"{method}, seed {seed}: {run['accuracy']:.1f}%, {run['seconds']:.0f} s"
            print(shown, file=sys.stderr, flush=True)
    rows = as_rows(found, key, seeds)
    print_rows([(f"TINY: {what}", *rest) for what, *rest in rows] if opts.tiny else rows)


if __name__ == "__main__":
    main()
