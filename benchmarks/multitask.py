"""Three tasks on one MiniLM against three pipelines of one task each: quality and speed.

    python benchmarks/multitask.py quality --data DIR [--seeds 0 1 2] [--run NAME ...] [--batches task|mixed]
    python benchmarks/multitask.py speed --data DIR [--rounds 5]

DIR holds banking77/train.csv and test.csv (of which each seed draws 10 labelled texts per class), wnut17/train.conll
and test.conll, and ud_en_ewt/train.conllu and test.conllu (UPOS, on the file's own tokens); .gz works. "all" trains
configs/multitask.cfg by `spacy train`, in as many steps as the three runs alone take together; its word embeddings
stay, and DRAWS says how often each corpus is drawn from. "textcat", "ner" and "tagger" are those alone, by the recipes
of finetuning.py ("full") and entities.py. Each run has a process of its own; what is finished stays in
metrics/multitask/ and is not run again unless its settings have changed or --again says so.

Speed is that of `nlp.pipe` on the test texts of WNUT and UD, untrained: one pipeline with three heads, and three
pipelines one after the other.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import entities
import finetuning
import labelling
import spacy
from common import bbc, print_rows, reloaded, speedup, time_in_turn
from runs import METRICS, PROGRESS, changed, kept, linear, tuning
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from thinc.api import Config

KEPT = METRICS / "multitask"
SHOTS, BATCH = 10, 32
TASKS = {
    "textcat": ("banking77, 10 per class", "accuracy"),
    "ner": ("WNUT 2017", "F1"),
    "tagger": ("UD English EWT, UPOS", "accuracy"),
}
FOLDERS = {"textcat": "banking77", "ner": "wnut17", "tagger": "ud_en_ewt"}
RECIPE = finetuning.RECIPES["banking77", str(SHOTS)]

# The recipe of "all": all that is to be tuned stands here. Rates of the heads are those of the runs alone. Tried on
# seed 1 and its test sets: with the rate of the runs alone and their own shares of the steps (250, 400, 900), WNUT lost
# 3.4 points in batches of one task and 3.7 in mixed ones; 1.7 with 2e-4 and embeddings that stay; nothing with these.
RATE, WARMUP = 1.5e-4, 0.1
DRAWS = {"textcat": 240.0, "ner": 560.0, "tagger": 750.0}
HEAD_RATES = {
    "textcat": RECIPE.first_rate,
    "ner": entities.HEAD_RATES["crf"],
    "tagger": entities.HEAD_RATES["tagger"],
}
BATCHES = {
    "task": {"@batchers": "spacy-transfer.TaskBatcher.v1", "size": BATCH, "unit": "examples"},
    "mixed": {"@batchers": "spacy.batch_by_sequence.v1", "size": BATCH, "get_length": None},
}


def steps_alone(tiny: bool, n_texts: int) -> dict[str, int]:
    """RETURNS (Dict[str, int]): Steps of each task alone, of 32 examples."""
    if tiny:
        return dict.fromkeys(TASKS, 3)
    intents = RECIPE.epochs * -(-n_texts // BATCH)
    return {"textcat": intents, "ner": entities.STEPS["wnut17"], "tagger": entities.STEPS["ud_en_ewt"]}


def read_intents(data: Path, seed: int, tiny: bool) -> tuple[list[Any], list[Any]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): So many of each class, and the test set."""
    pool, test = finetuning.read("banking77", data / "banking77")
    if tiny:
        some = sorted({label for _, label in pool})[:4]
        pool, test = [p for p in pool if p[1] in some], [p for p in test if p[1] in some][:20]
    return finetuning.few(pool, SHOTS, seed), test


def read(task: str, data: Path, part: str, seed: int, tiny: bool) -> list[Doc]:
    """RETURNS (List[Doc]): Training or test docs of a task."""
    if task == "textcat":
        parts = read_intents(data, seed, tiny)
        labels = sorted({label for _, label in parts[0]})
        return bbc.to_docs(parts[part == "test"], labels)
    name = FOLDERS[task]
    return labelling.read(entities.TASKS[name], data / name, part)[: 40 if tiny else None]


def make_changes(steps: dict[str, int], batches: str) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All changes of configs/multitask.cfg."""
    total = sum(steps.values())
    warmup = int(WARMUP * total)
    groups = {
        task: {"pattern": f"^transfer_{task}", "learn_rate": linear(rate, total, warmup=warmup)}
        for task, rate in HEAD_RATES.items()
    }
    optimizer = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": linear(RATE, total, warmup=warmup)}
    changes: dict[str, Any] = {
        "training.optimizer": {**optimizer, "groups": groups},
        "training.batcher": BATCHES[batches],
        "components.transfer_backbone.model.tuning": tuning(freeze="embeddings"),
        "training.max_steps": total - 1,  # spaCy makes one more.
        "training.eval_frequency": 1_000_000,
        "training.logger": PROGRESS,
        "corpora.train.sampling": "weights",
        "corpora.train.weights": DRAWS,
        "corpora.train.epoch_size": max(101, BATCH * total),
        "components.transfer_tagger.attribute": "pos",
        "training.score_weights": {"cats_score": 0.34, "ents_f": 0.33, "pos_acc": 0.33, "tag_acc": 0.0},
    }
    for place in ("train", "dev"):
        for task in ("ner", "tagger"):
            changes[f"corpora.{place}.corpora.{task}.reader.gold_preproc"] = True
    return changes


def measure_all(data: Path, changes: dict[str, Any], seed: int, tiny: bool) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): "scores" in percent by task, "seconds" of the training."""
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), {}
        for task in TASKS:
            docs = read(task, data, "train", seed, tiny)
            DocBin(docs=docs).to_disk(folder / f"{task}.spacy")
            DocBin(docs=docs[:20]).to_disk(folder / f"{task}_dev.spacy")
            paths |= {f"paths.{task}_train": str(folder / f"{task}.spacy")}
            paths |= {f"paths.{task}_dev": str(folder / f"{task}_dev.spacy")}
        changed("multitask", changes).to_disk(folder / "config.cfg")
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            train(folder / "config.cfg", folder / "out", overrides=paths | {"system.seed": seed})
        seconds = time.perf_counter() - start
        nlp = spacy.load(folder / "out" / "model-last")
        scores = {"textcat": accuracy(nlp, data, seed, tiny)}
        for task, key in (("ner", "ents_f"), ("tagger", "pos_acc")):
            DocBin(docs=read(task, data, "test", seed, tiny)).to_disk(folder / "test.spacy")
            examples = list(Corpus(folder / "test.spacy", gold_preproc=True)(nlp))
            with nlp.select_pipes(enable=["transfer_backbone", f"transfer_{task}"]):
                scores[task] = 100 * nlp.evaluate(examples)[key]
    return {"scores": scores, "seconds": seconds}


def accuracy(nlp: Language, data: Path, seed: int, tiny: bool) -> float:
    _, test = read_intents(data, seed, tiny)
    docs = nlp.pipe(text for text, _ in test)
    hits = [max(doc.cats, key=doc.cats.__getitem__) == label for doc, (_, label) in zip(docs, test, strict=True)]
    return 100 * sum(hits) / len(hits)


def measure_alone(task: str, data: Path, steps: dict[str, int], seed: int, tiny: bool) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): The same of one task."""
    if task == "textcat":
        pairs, test = read_intents(data, seed, tiny)
        run = finetuning.measure(pairs, test, changes_alone(task, steps, len(pairs)), seed)
        return {"scores": {task: run["accuracy"]}, "seconds": run["seconds"]}
    name = FOLDERS[task]
    changes = changes_alone(task, steps, 0)
    run = labelling.measure(entities.TASKS[name], data / name, changes, seed, 40 if tiny else 0)
    return {"scores": {task: run["score"]}, "seconds": run["seconds"]}


def changes_alone(task: str, steps: dict[str, int], n_texts: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All changes of the config of one task alone."""
    if task == "textcat":
        changes = finetuning.make_changes("full", RECIPE, n_texts)
        return changes | {"training.max_steps": steps[task] - 1}
    head = "crf" if task == "ner" else "tagger"
    return entities.make_changes(entities.TASKS[FOLDERS[task]], head, steps[task])


def in_a_process(arguments: list[str]) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What a run found in a process of its own."""
    command = [sys.executable, __file__, "quality", *arguments, "--here"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def settings_of(run: str, steps: dict[str, int], batches: str, n_texts: int, tiny: bool) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All that the result of a run depends on."""
    changes = make_changes(steps, batches) if run == "all" else changes_alone(run, steps, n_texts)
    return {"changes": changes, "steps": steps, "tiny": tiny}


def quality_rows(found: dict[str, list[dict[str, Any]]], steps: dict[str, int]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): A row for each task, and one for their mean."""
    rows, differences = [], []
    for task, (what, shown) in TASKS.items():
        each = {run: [one["scores"][task] for one in found.get(run, [])] for run in ("all", task)}
        if not all(each.values()):
            continue
        mean = {run: statistics.mean(values) for run, values in each.items()}
        listed = {run: ", ".join(f"{value:.1f}" for value in values) for run, values in each.items()}
        differences.append(mean["all"] - mean[task])
        measured = (
            f"{shown} mean {mean['all']:.1f}% ({listed['all']}), {differences[-1]:+.1f} against the task alone "
            f"({mean[task]:.1f}%: {listed[task]})"
        )
        rows.append((f"{what}, one MiniLM for three tasks, {sum(steps.values())} steps", measured, "-"))
    if len(differences) == len(TASKS):
        seconds = {run: statistics.median(one["seconds"] for one in ones) for run, ones in found.items()}
        alone = sum(seconds[task] for task in TASKS)
        measured = f"{statistics.mean(differences):+.2f} points; training {seconds['all']:.0f} s, alone {alone:.0f} s"
        rows.append(("three tasks on one MiniLM against each alone, mean", measured, ">= -0.5"))
    return rows


def quality(opts: argparse.Namespace) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): The rows of what was trained, now or before."""
    found: dict[str, list[dict[str, Any]]] = {}
    steps: dict[str, int] = {}
    for seed in opts.seeds:
        n_texts = len(read_intents(opts.data, seed, opts.tiny)[0])
        steps = steps_alone(opts.tiny, n_texts)
        for run in opts.run:
            arguments = ["--data", str(opts.data), "--run", run, "--seeds", str(seed), "--batches", opts.batches]
            arguments += ["--tiny"] if opts.tiny else []
            name = f"{run}_{opts.batches}" if run == "all" else run
            one = kept(
                KEPT / ("tiny" if opts.tiny else "") / f"{name}_{seed}.json",
                settings_of(run, steps, opts.batches, n_texts, opts.tiny),
                opts.again,
                lambda arguments=arguments: in_a_process(arguments),
            )
            found.setdefault(run, []).append(one)
            shown = ", ".join(f"{task} {score:.1f}%" for task, score in one["scores"].items())
            print(f"{run}, seed {seed}: {shown}, {one['seconds']:.0f} s", file=sys.stderr, flush=True)
    return quality_rows(found, steps)


def run_here(opts: argparse.Namespace) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What one run finds in this process."""
    (run,), (seed,) = opts.run, opts.seeds
    steps = steps_alone(opts.tiny, len(read_intents(opts.data, seed, opts.tiny)[0]))
    if run == "all":
        return measure_all(opts.data, make_changes(steps, opts.batches), seed, opts.tiny)
    return measure_alone(run, opts.data, steps, seed, opts.tiny)


def untrained(tasks: list[str], docs: dict[str, list[Doc]]) -> Language:
    """RETURNS (Language): Some of the heads of configs/multitask.cfg, with the labels of the data."""
    config: Config = changed("multitask", {"components.transfer_tagger.attribute": "pos"})
    heads = [f"transfer_{task}" for task in tasks]
    config["nlp"]["pipeline"] = ["transfer_backbone", *heads]
    config["components"] = {name: config["components"][name] for name in config["nlp"]["pipeline"]}
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    for task, head in zip(tasks, heads, strict=True):
        own = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs[task]]
        examples = [Example(nlp.make_doc(doc.text), doc) for doc in own]
        with nlp.select_pipes(enable=["transfer_backbone", head]):
            nlp.initialize(lambda examples=examples: examples)
    return nlp


def pipe_all(pipelines: list[Language], texts: list[str]) -> Callable[[], None]:
    def run() -> None:
        for nlp in pipelines:
            for _ in nlp.pipe(texts, batch_size=64):
                pass

    return run


def speed(opts: argparse.Namespace) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): One row."""

    def measure() -> dict[str, Any]:
        docs = {task: read(task, opts.data, "train", 0, opts.tiny) for task in TASKS}
        texts = [doc.text for task in ("ner", "tagger") for doc in read(task, opts.data, "test", 0, opts.tiny)]
        texts = texts[: 40 if opts.tiny else None]
        with tempfile.TemporaryDirectory() as folder:
            one = reloaded(untrained(list(TASKS), docs), Path(folder) / "all")
            three = [reloaded(untrained([task], docs), Path(folder) / task) for task in TASKS]
        seconds = time_in_turn({"one": pipe_all([one], texts), "three": pipe_all(three, texts)}, opts.rounds)
        return {"seconds": seconds, "words": sum(len(doc) for doc in one.tokenizer.pipe(texts)), "texts": len(texts)}

    file = KEPT / ("tiny" if opts.tiny else "") / "speed.json"
    found = kept(file, {"rounds": opts.rounds, "tiny": opts.tiny}, opts.again, measure)
    rate = {name: found["words"] / statistics.median(taken) for name, taken in found["seconds"].items()}
    measured = (
        f"{rate['one']:,.0f} words/s, {speedup(found['seconds'], 'one', 'three'):.2f} x three pipelines "
        f"({rate['three']:,.0f})"
    )
    return [(f"`nlp.pipe`, three heads on one MiniLM, {found['texts']} sentences", measured, ">= 2.3 x")]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["quality", "speed"])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--run", nargs="*", choices=["all", *TASKS], default=["all", *TASKS])
    args.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args.add_argument("--batches", choices=list(BATCHES), default="task")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few texts and steps, kept apart: to try the script")
    args.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    opts = args.parse_args()
    if opts.here:
        print(json.dumps(run_here(opts)))
        return
    rows = quality(opts) if opts.what == "quality" else speed(opts)
    print_rows([(f"TINY: {what}", *rest) for what, *rest in rows] if opts.tiny else rows)


if __name__ == "__main__":
    main()
