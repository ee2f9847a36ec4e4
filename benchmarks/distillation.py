"""A slow teacher and a fast student: MiniLM fine-tuned on intents teaches a CNN on GloVe vectors, by `spacy train` from
configs/distill.cfg; and the same student on the same texts without a teacher, from configs/textcat_cnn.cfg.

    python benchmarks/distillation.py clinc150 --data DIR [--seeds 0]

DIR holds data_full.json of CLINC150 (in-scope train and test sets; .gz works). The teacher is trained by
finetuning.py's recipe "lpft_maxent". Words per second are those of `nlp.pipe` on the test texts, teacher and student in
turn. What is finished stays in metrics/distillation/, pipelines and answers of the teacher too, and is not run again
unless its recipe has changed or --again says so.
"""

import argparse
import contextlib
import io
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import spacy
from accuracy import Pair
from common import bbc, count_words, print_rows, speedup, time_in_turn
from finetuning import RECIPES, Changes, make_changes, read
from inference import pipe
from runs import METRICS, PROGRESS, changed, kept, linear
from spacy.cli.train import train
from spacy.tokens import DocBin
from thinc.api import Config

KEPT = METRICS / "distillation"
METHOD = "lpft_maxent"
# A student's config, with a teacher and without.
CONFIGS = {"taught": "distill", "alone": "textcat_cnn"}
AIM = ">= 95% of the teacher's accuracy, >= 8 x its words/s"


@dataclass(frozen=True)
class Student:
    """What the student is, and how it learns. With a teacher and without, all but the last two are the same.

    epochs (int): Warm-up over the first tenth, then straight to 0.
    rate (float): Highest rate.
    width (int): Of the CNN.
    dropout (float): Of the CNN and before the head.
    batch_size (int): Texts.
    temperature (float), weight (float): Of the teacher.
    """

    epochs: int = 12
    rate: float = 0.002
    width: int = 96
    dropout: float = 0.3
    batch_size: int = 32
    temperature: float = 2.0
    weight: float = 0.8


def student_changes(student: Student, n_texts: int) -> Changes:
    """RETURNS (Dict[str, Any]): What differs from both configs."""
    steps = student.epochs * math.ceil(n_texts / student.batch_size)
    return {
        "components.transfer_backbone.model.finetune": True,
        "components.transfer_backbone.model.prune": 20000,
        "components.transfer_backbone.model.context.width": student.width,
        "training.optimizer.learn_rate": linear(student.rate, steps, warmup=steps // 10),
        "training.batcher.size": student.batch_size,
        "training.dropout": student.dropout,
        "training.patience": 0,
        "training.max_steps": steps - 1,  # spaCy makes one more.
        "training.eval_frequency": 1_000_000,
        "training.logger": PROGRESS,
    }


def taught_changes(student: Student, teacher: Path, cache: Path) -> Changes:
    """RETURNS (Dict[str, Any]): What a teacher adds to them."""
    return {
        "paths.teacher": str(teacher),
        "corpora.train.temperature": student.temperature,
        "corpora.train.weight": student.weight,
        "corpora.train.cache": str(cache),
    }


def train_to(folder: Path, config: Config, pairs: list[Pair], seed: int) -> float:
    """Train a config on texts, and leave the pipeline in a folder.

    RETURNS (float): Seconds.
    """
    docs = bbc.to_docs(pairs, sorted({label for _, label in pairs}))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        DocBin(docs=docs).to_disk(work / "train.spacy")
        DocBin(docs=docs[:20]).to_disk(work / "dev.spacy")
        config.to_disk(work / "config.cfg")
        overrides = {"paths.train": str(work / "train.spacy"), "paths.dev": str(work / "dev.spacy")}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(work / "config.cfg", work / "out", overrides=overrides | {"system.seed": seed})
        seconds = time.perf_counter() - start
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "out" / "model-last", folder)
    return seconds


def accuracy(folder: Path, test: list[Pair]) -> float:
    """RETURNS (float): In percent."""
    docs = spacy.load(folder).pipe(text for text, _ in test)
    hits = sum(max(doc.cats, key=doc.cats.__getitem__) == label for doc, (_, label) in zip(docs, test, strict=True))
    return 100 * hits / len(test)


def measure(folder: Path, config: Config, pairs: list[Pair], test: list[Pair], seed: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): "accuracy" in percent, "seconds" of the training."""
    seconds = train_to(folder, config, pairs, seed)
    return {"accuracy": accuracy(folder, test), "seconds": seconds}


def measure_speed(folders: Mapping[str, Path], texts: list[str], rounds: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): Words per second of each, and how many "times" the student is as fast."""
    runners = {name: pipe(spacy.load(folder), texts) for name, folder in folders.items()}
    seconds, words = time_in_turn(runners, rounds), count_words(texts)
    speeds: dict[str, Any] = {name: words / statistics.median(taken) for name, taken in seconds.items()}
    return speeds | {"times": speedup(seconds, "taught", "teacher")}


def as_rows(runs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): One row for each of teacher, student, and student without teacher."""
    mean = {name: statistics.mean(run[name]["accuracy"] for run in runs) for name in ("teacher", "taught", "alone")}
    each = {name: ", ".join(f"{run[name]['accuracy']:.1f}" for run in runs) for name in mean}
    speed = {name: statistics.median(run["speed"][name] for run in runs) for name in ("teacher", "taught")}
    times = statistics.median(run["speed"]["times"] for run in runs)
    seeds_of = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    share = {name: 100 * mean[name] / mean["teacher"] for name in mean}
    taught = (
        f"{each['taught']}%, {share['taught']:.1f}% of the teacher's; {speed['taught']:,.0f} words/s, "
        f"{times:.1f} x the teacher's"
    )
    return [
        (
            f"clinc150, teacher: MiniLM, {METHOD}, {seeds_of}",
            f"{each['teacher']}%; {speed['teacher']:,.0f} words/s",
            "-",
        ),
        (f"clinc150, student: vectors + CNN, taught, {seeds_of}", taught, AIM),
        (
            f"clinc150, the same student without teacher, {seeds_of}",
            f"{each['alone']}%, {share['alone']:.1f}% of the teacher's",
            "-",
        ),
    ]


def run_seed(
    seed: int, pool: list[Pair], test: list[Pair], folder: Path, student: Student, epochs: int | None, again: bool
) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What `as_rows` takes: "teacher", "taught", "alone" and "speed"."""
    recipe = RECIPES["clinc150", "all"]
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    changes = make_changes(METHOD, recipe, len(pool))
    common = {"texts": [len(pool), len(test)], "teacher": changes}
    folders = {name: folder / f"{name}_{seed}" for name in ("teacher", *CONFIGS)}
    configs = {"teacher": changed("textcat_transformer", changes)}
    for name, config in CONFIGS.items():
        own = student_changes(student, len(pool))
        if name == "taught":
            own |= taught_changes(student, folders["teacher"], folder / "answers")
        configs[name] = changed(config, own)
    found: dict[str, Any] = {}
    for name, config in configs.items():
        settings = common | ({} if name == "teacher" else {"student": asdict(student)})
        # A pipeline that is no longer there must be trained again.
        stale = again or not (folders[name] / "meta.json").exists()
        found[name] = kept(
            folder / f"{name}_{seed}.json",
            settings,
            stale,
            lambda name=name, config=config: measure(folders[name], config, pool, test, seed),
        )
        shown = f"{name}, seed {seed}: {found[name]['accuracy']:.1f}%, {found[name]['seconds']:.0f} s"
        print(shown, file=sys.stderr, flush=True)
    del folders["alone"]
    texts = [text for text, _ in test]
    settings = json.loads(json.dumps(common | {"student": asdict(student)}))
    measured = kept(folder / f"speed_{seed}.json", settings, again, lambda: measure_speed(folders, texts, 5))
    return found | {"speed": measured}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=["clinc150"])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--seeds", nargs="*", type=int, default=[0])
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few texts and steps, kept apart: to try the script")
    opts = args.parse_args()
    pool, test = read(opts.data_set, opts.data)
    student, epochs, folder = Student(), None, KEPT
    if opts.tiny:
        labels = sorted({label for _, label in pool})[:4]
        pool, test = ([pair for pair in part if pair[1] in labels][::4] for part in (pool, test))
        student, epochs, folder = replace(student, epochs=2), 1, KEPT / "tiny"
    runs = [run_seed(seed, pool, test, folder, student, epochs, opts.again) for seed in opts.seeds]
    rows = as_rows(runs, opts.seeds)
    print_rows([(f"TINY: {what}", *rest) for what, *rest in rows] if opts.tiny else rows)


if __name__ == "__main__":
    main()
