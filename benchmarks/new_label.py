"""One label more for a trained head: 76 labels of banking77, then the 77th from 20 examples, with the rest frozen.

    python benchmarks/new_label.py --data DIR [--draws 5] [--steps 500]

DIR holds train.csv (or train.csv.gz) and test.csv, as PolyAI published them. The head of the 76 labels is the MaxEnt
start on 10 texts per class of a frozen MiniLM. `add_labels` gives it a row more and `learn_only` lets that row alone
learn: from 20 examples of its label beside the texts of the others, and from the 20 alone. Those say nothing of what
the label is not, so that its score rises for all texts as long as it learns: there it stops once 18 are found.
Old labels are scored on their own test texts, before and after, so that a text taken for the new label counts against
them.
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import spacy
from accuracy import Pair, banking_draw, read_csv
from common import bbc, print_rows
from maxent import fitted
from runs import METRICS, kept
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

import spacy_transfer

HEAD = "transfer_textcat"
MODES = {"with the old texts": True, "alone": False}
N_NEW, N_FOUND = 20, 18


def macro_f1(gold: list[str], found: list[str], labels: list[str]) -> float:
    """RETURNS (float): Mean F1 of the labels, in percent."""
    scores = []
    for label in labels:
        hits = sum(a == b == label for a, b in zip(gold, found, strict=True))
        scores.append(2 * hits / max(1, gold.count(label) + found.count(label)))
    return 100 * statistics.mean(scores)


def logits(nlp: Language, docs: list[Doc]) -> numpy.ndarray:
    """RETURNS (numpy.ndarray): What the output layer says of docs that have rows, shape (n_docs, n_labels)."""
    model = nlp.get_pipe(HEAD).model
    return model.get_ref("output").predict(model.attrs["states"](model, docs, False)[0])


def best(nlp: Language, said: numpy.ndarray) -> list[str]:
    """RETURNS (List[str]): The label of each row of logits."""
    return [nlp.get_pipe(HEAD).labels[i] for i in said.argmax(axis=1)]


def examples(nlp: Language, pairs: list[Pair]) -> list[Example]:
    """RETURNS (List[Example]): One label holds, all others do not."""
    labels = nlp.get_pipe(HEAD).labels
    return [
        Example.from_dict(nlp.make_doc(text), {"cats": {name: float(name == label) for name in labels}})
        for text, label in pairs
    ]


def learn(
    nlp: Language, data: list[Example], steps: int, seed: int, is_done: Callable[[], bool] = lambda: False
) -> int:
    """Train as `spacy train` does, in batches of 32, until all steps are made or nothing is left to learn.

    RETURNS (int): How many steps were made.
    """
    rate = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 0.02}
    optimizer = spacy.registry.resolve({"optimizer": rate})["optimizer"]
    draw = random.Random(seed)
    waiting: list[Example] = []
    for step in range(steps):
        if is_done():
            return step
        if not waiting:
            waiting = draw.sample(data, len(data))
        nlp.update(waiting[:32], sgd=False)
        waiting = waiting[32:]
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        optimizer.step_schedules()
    return steps


def finds_most(nlp: Language, pairs: list[Pair]) -> bool:
    """RETURNS (bool): Whether so many texts get their label."""
    said = best(nlp, logits(nlp, list(nlp.pipe(text for text, _ in pairs))))
    return sum(a == b for a, (_, b) in zip(said, pairs, strict=True)) >= N_FOUND


def measure(folder: Path, seed: int, steps: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What became of old and new label, by mode."""
    pairs, test = banking_draw(folder, seed)
    labels = sorted({label for _, label in pairs})
    new = random.Random(seed).choice(labels)
    old = [label for label in labels if label != new]
    pairs = [(text, label) for text, label in pairs if label != new]
    pool = [(text, label) for text, label in read_csv(folder / "train.csv") if label == new]
    twenty = random.Random(seed).sample(pool, N_NEW)
    nlp, _ = fitted(bbc.to_docs(pairs, old), seed)
    docs = list(nlp.pipe((text for text, _ in test), batch_size=256))
    gold = [label for _, label in test]
    is_new = numpy.array([label == new for label in gold])
    own = [label for label in gold if label != new]
    before = logits(nlp, docs)
    f1 = macro_f1(own, best(nlp, before[~is_new]), old)
    rows = {key: nlp.get_pipe(HEAD).model.get_ref("output").get_param(key).copy() for key in "Wb"}
    found: dict[str, Any] = {"label": new, "f1": f1}
    with tempfile.TemporaryDirectory() as place:
        nlp.to_disk(place)
        for mode, has_old in MODES.items():
            nlp = spacy.load(place)
            spacy_transfer.add_labels(nlp, HEAD, new)
            spacy_transfer.learn_only(nlp, HEAD, new)
            data = examples(nlp, twenty + (pairs if has_old else []))
            finds = partial(finds_most, nlp, twenty)
            made = learn(nlp, data, steps, seed) if has_old else learn(nlp, data, steps, seed, finds)
            nlp("text")  # Rows that stay are put back when the component is used or saved next.
            after, output = logits(nlp, docs), nlp.get_pipe(HEAD).model.get_ref("output")
            same = all(output.get_param(key)[: len(old)].tobytes() == rows[key].tobytes() for key in rows)
            said = best(nlp, after)
            hits = [name == new for name, is_one in zip(said, is_new, strict=True) if is_one]
            others = [name for name, is_one in zip(said, is_new, strict=True) if not is_one]
            found[mode] = {
                "identical": same,
                "steps": made,
                "logits": float(numpy.abs(after[:, : len(old)] - before).max()),
                "accuracy": 100 * statistics.mean(hits),
                "f1": macro_f1(own, others, old),
            }
    return found


def as_rows(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): For the table."""
    rows = []
    for mode in MODES:
        each = [one[mode] for one in found]
        falls = [one["f1"] - one[mode]["f1"] for one in found]
        what = f"label 77 of banking77 from {N_NEW} examples {mode}, only its row learns, {len(found)} draws"
        what += "" if MODES[mode] else f", stopped once {N_FOUND} are found"
        same = "bit-identical" if all(one["identical"] for one in each) else "CHANGED"
        measured = f"old rows {same}, their logits within {max(one['logits'] for one in each):.1e}; new label found in "
        measured += f"{statistics.mean(one['accuracy'] for one in each):.1f}% of its test texts ("
        measured += ", ".join(f"{one['accuracy']:.0f}" for one in each) + "); macro F1 of the old 76 falls by "
        measured += f"{statistics.mean(falls):.2f} points, at most {max(falls):.2f} (from {found[0]['f1']:.1f}%)"
        rows.append((what, measured, "identical; <= 1e-6; learned; <= 0.5 points"))
    return rows


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True, help="folder of banking77")
    args.add_argument("--draws", type=int, default=5, help="of the new label and of all examples")
    args.add_argument("--steps", type=int, default=500)
    args.add_argument("--again", action="store_true")
    opts = args.parse_args()
    found = []
    for seed in range(opts.draws):
        settings = {"seed": seed, "steps": opts.steps, "new": N_NEW, "found": N_FOUND}
        file = METRICS / "new_label" / f"{seed}.json"
        found.append(kept(file, settings, opts.again, lambda seed=seed: measure(opts.data, seed, opts.steps)))
        print(f"seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    print_rows(as_rows(found))


if __name__ == "__main__":
    main()
