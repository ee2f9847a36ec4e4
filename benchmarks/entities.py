"""`transfer_ner` against spaCy's `ner`, and `transfer_tagger` on parts of speech: MiniLM fine-tuned, several seeds.

    python benchmarks/entities.py wnut17|wikigold|crossner_ai|ud_en_ewt --data DIR [--seeds 0 1 2] [--steps N]

DIR holds train.conll and test.conll (WNUT 2017), wikigold.conll.txt (of which a draw with seed 0 keeps a fifth of the
sentences for the test), train.txt and test.txt (CrossNER, DIR/crossner/ai), or train.conllu and test.conllu (UD
English EWT: UPOS, on the file's own tokens); .gz works. Training is by `spacy train`, with the same backbone,
optimizer, rate of the encoder and number of steps for all heads (labelling.py, "full"). HEAD_RATES says the rate of
each head, and --rate gives it another one. Each run has a process of its own; what is finished stays in
metrics/entities/ and is not run again unless its settings have changed or --again says so.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import labelling
from common import print_rows
from labelling import Task, iob_docs
from runs import METRICS, kept
from spacy.tokens import Doc

KEPT = METRICS / "entities"
CONFIGS = {"crf": "ner_crf", "softmax": "ner_crf", "ner": "ner_transformer", "tagger": "tagger_transfer"}
SHOWN = {
    "crf": "`transfer_ner`, CRF",
    "softmax": "`transfer_ner`, softmax",
    "ner": "`ner`",
    "tagger": "`transfer_tagger`",
}
# Of heads; an output layer that starts from zeros learns rare labels too slowly at that of labelling.py.
HEAD_RATES = {"crf": 5e-3, "softmax": 5e-3, "ner": labelling.HEAD_RATE, "tagger": labelling.HEAD_RATE}
STEPS = {"wnut17": 400, "wikigold": 300, "crossner_ai": 150, "ud_en_ewt": 900}


def wikigold(folder: Path, part: str) -> list[Doc]:
    """RETURNS (List[Doc]): Four fifths of the sentences, or the rest."""
    docs = iob_docs((folder / "wikigold.conll.txt").read_text(encoding="utf8"))
    random.Random(0).shuffle(docs)
    cut = round(0.8 * len(docs))
    return docs[:cut] if part == "train" else docs[cut:]


_ENTITIES = replace(labelling.TASKS["wnut17"], what="WNUT 2017", config="ner_crf", head="transfer_ner")
TASKS: dict[str, Task] = {
    "wnut17": _ENTITIES,
    "wikigold": replace(_ENTITIES, what="wikigold, a fifth held out", load=wikigold),
    "crossner_ai": replace(_ENTITIES, what="CrossNER, ai", ending=".txt"),
    "ud_en_ewt": replace(
        labelling.TASKS["ud_en_ewt"],
        what="UD English EWT, UPOS",
        config="tagger_transfer",
        head="transfer_tagger",
        score="pos_acc",
    ),
}
CONTENDERS = {name: ["tagger"] if name == "ud_en_ewt" else ["crf", "softmax", "ner"] for name in TASKS}


def task_of(data_set: str, head: str) -> Task:
    """RETURNS (Task): The data set with a head."""
    task = TASKS[data_set]
    return replace(task, config=CONFIGS[head], head="ner") if head == "ner" else task


def make_changes(task: Task, head: str, steps: int, rate: float | None = None) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All changes of the config. Without a rate the head has its own."""
    named = replace(task, head="ner") if head == "ner" else task
    changes = labelling.make_changes(named, "full", steps, rate or HEAD_RATES[head])
    if head == "tagger":
        changes["components.transfer_tagger.attribute"] = "pos"
        changes["training.score_weights"] = {"pos_acc": 1.0, "tag_acc": 0.0}
    elif head != "ner":
        changes["components.transfer_ner.model.decoder"] = head
    return changes


def in_a_process(arguments: list[str]) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What `labelling.measure` found in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def as_rows(
    data_set: str, steps: int, found: dict[str, list[dict[str, Any]]], rate: float | None = None
) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): A row for each head, with what it is compared with."""
    task, rows = TASKS[data_set], []
    shown = "" if rate is None else f", the head at rate {rate:g}"
    mean = {head: statistics.mean(run["score"] for run in runs) for head, runs in found.items()}
    for head, runs in found.items():
        each = ", ".join(f"{run['score']:.1f}" for run in runs)
        measured = f"{task.shown} mean {mean[head]:.1f}% ({each})"
        if head in ("crf", "softmax") and "ner" in mean:
            measured += f", {mean[head] - mean['ner']:+.1f} against `ner`"
        measured += f"; training {statistics.median(run['seconds'] for run in runs):.0f} s"
        aim = {"ner": "-", "tagger": ">= 95%"}.get(head, ">= `ner`")
        rows.append((f"{task.what}, {SHOWN[head]}, MiniLM fine-tuned, {steps} steps{shown}", measured, aim))
    return rows


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=list(TASKS))
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--head", nargs="*", choices=list(CONFIGS))
    args.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args.add_argument("--steps", type=int, default=0)
    args.add_argument("--rate", type=float, help="of the heads, in the place of their own")
    args.add_argument("--most", type=int, default=0, help="sentences of each part, to try the script; 0 for all")
    args.add_argument("--again", action="store_true")
    args.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    opts = args.parse_args()
    steps, heads = opts.steps or STEPS[opts.data_set], opts.head or CONTENDERS[opts.data_set]
    if opts.here:
        (head,), (seed,) = heads, opts.seeds
        changes = make_changes(TASKS[opts.data_set], head, steps, opts.rate)
        print(json.dumps(labelling.measure(task_of(opts.data_set, head), opts.data, changes, seed, opts.most)))
        return
    found: dict[str, list[dict[str, Any]]] = {}
    for head in heads:
        for seed in opts.seeds:
            arguments = [opts.data_set, "--data", str(opts.data), "--head", head, "--seeds", str(seed), "--here"]
            arguments += ["--steps", str(steps), "--most", str(opts.most)]
            arguments += [] if opts.rate is None else ["--rate", str(opts.rate)]
            changes = make_changes(TASKS[opts.data_set], head, steps, opts.rate)
            name = f"{opts.data_set}_{head}{'' if opts.rate is None else f'_{opts.rate:g}'}_{seed}.json"
            run = kept(
                KEPT / ("tiny" if opts.most else "") / name,
                {"changes": changes, "most": opts.most},
                opts.again,
                lambda arguments=arguments: in_a_process(arguments),
            )
            found.setdefault(head, []).append(run)
            print(f"{head}, seed {seed}: {run['score']:.1f}%, {run['seconds']:.0f} s", file=sys.stderr, flush=True)
    rows = as_rows(opts.data_set, steps, found, opts.rate)
    print_rows([(f"TINY: {what}", *rest) for what, *rest in rows] if opts.most else rows)


if __name__ == "__main__":
    main()
