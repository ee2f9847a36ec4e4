"""How far the scores of a fine-tuned MiniLM can be believed, before and after temperature scaling.

    python benchmarks/calibration.py banking77|wnut17 --data DIR [--seeds 0]

DIR holds train.csv and test.csv as PolyAI published them, or train.conll, dev.conll and test.conll (WNUT 2017). All
of the encoder is trained: on banking77 by finetuning.py's recipe "full", on nine tenths of the training texts; on
wnut17 by that of entities.py, with the CRF. One temperature is fitted (Guo et al. 2017) to the tenth that was held out,
or to WNUT's development set, which like its test set has other entities than the training texts. The expected
calibration error (Naeini et al. 2015, 15 bins) is that of the test set: per text, or per predicted entity. What is
finished stays in metrics/calibration/.
"""

import argparse
import contextlib
import io
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import entities
import labelling
import spacy
from accuracy import Pair
from common import bbc, print_rows
from finetuning import RECIPES, Changes, make_changes, read
from runs import METRICS, changed, kept
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_transfer import calibrate

KEPT = METRICS / "calibration"


def held_out(items: list[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """RETURNS (Tuple[List[Any], List[Any]]): Nine tenths to train on, and one tenth."""
    items = list(items)
    random.Random(seed).shuffle(items)
    part = max(1, len(items) // 10)
    return items[part:], items[:part]


def trained(config: str, changes: Changes, docs: list[Doc], seed: int) -> Language:
    """RETURNS (Language): Trained by `spacy train`. The dev set is a mere form: the last state is taken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        DocBin(docs=docs).to_disk(folder / "train.spacy")
        DocBin(docs=docs[:20]).to_disk(folder / "dev.spacy")
        changed(config, changes).to_disk(folder / "config.cfg")
        overrides = {"paths.train": str(folder / "train.spacy"), "paths.dev": str(folder / "dev.spacy")}
        with contextlib.redirect_stdout(io.StringIO()):
            train(folder / "config.cfg", folder / "out", overrides=overrides | {"system.seed": seed})
        return spacy.load(folder / "out" / "model-last")


def compared(nlp: Language, dev: list[Example], test: list[Example], ece: str, score: str) -> dict[str, Any]:
    """Fit the temperature, and look at the test set before and after.

    RETURNS (Dict[str, Any]): "ece" (before and after), "temperature", and "accuracy" in percent.
    """
    before = nlp.evaluate(test)
    (done,) = calibrate(nlp, dev)
    after = nlp.evaluate(test)
    errors = [float(before[ece]), float(after[ece])]
    return {"ece": errors, "temperature": done.temperature, "accuracy": 100 * float(after[score])}


def examples_of(nlp: Language, pairs: list[Pair], labels: list[str]) -> list[Example]:
    """RETURNS (List[Example]): With gold labels."""
    return [Example(nlp.make_doc(doc.text), doc) for doc in bbc.to_docs(pairs, labels)]


def measure(pairs: list[Pair], dev: list[Pair], test: list[Pair], changes: Changes, seed: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): See `compared`."""
    labels = sorted({label for _, label in pairs})
    nlp = trained("textcat_transformer", changes, bbc.to_docs(pairs, labels), seed)
    return compared(nlp, examples_of(nlp, dev, labels), examples_of(nlp, test, labels), "cats_ece", "cats_micro_f")


def measure_entities(docs: list[Doc], dev: list[Doc], test: list[Doc], changes: Changes, seed: int) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): See `compared`; "accuracy" is F1."""
    nlp = trained(entities.CONFIGS["crf"], changes, docs, seed)

    parts = [
        [Example(Doc(nlp.vocab, words=[token.text for token in doc]), doc) for doc in part] for part in (dev, test)
    ]
    return compared(nlp, *parts, "ents_ece", "ents_f")


@dataclass(frozen=True)
class Subject:
    """A data set and its recipe.

    pool (List[Any]), test (List[Any]): Texts with labels.
    dev (List[Any]): Texts to fit the temperature to; none to hold out some of the pool.
    changes (Callable[[int], Changes]): Of the config, by the number of texts to train on.
    measure (Callable[..., Dict[str, Any]]): Takes texts to train on, texts to fit to, `test`, changes and seed.
    """

    pool: list[Any]
    test: list[Any]
    dev: list[Any]
    changes: Callable[[int], Changes]
    measure: Callable[..., dict[str, Any]]


def banking77(data: Path, tiny: bool) -> Subject:
    recipe = RECIPES["banking77", "all"]
    pool, test = read("banking77", data)
    if tiny:
        labels = sorted({label for _, label in pool})[:3]
        pool, test = ([pair for pair in part if pair[1] in labels][::4] for part in (pool, test))
        recipe = replace(recipe, epochs=1, batch_size=16)
    return Subject(pool, test, [], lambda count: make_changes("full", recipe, count), measure)


def wnut17(data: Path, tiny: bool) -> Subject:
    task = entities.TASKS["wnut17"]
    parts = ("train", "test", "dev")
    pool, test, dev = (labelling.read(task, data, part)[: 320 if tiny else None] for part in parts)
    changes = entities.make_changes(task, "crf", 60 if tiny else entities.STEPS["wnut17"])
    return Subject(pool, test, dev, lambda count: changes, measure_entities)


SUBJECTS = {"banking77": banking77, "wnut17": wnut17}


def as_row(data_set: str, runs: list[dict[str, Any]], seeds: list[int]) -> tuple[str, str, str]:
    """RETURNS (Tuple[str, str, str]): What, measured, aim."""
    one, score = ("entity", "F1") if data_set == "wnut17" else ("text", "accuracy")
    each = [
        f"{run['ece'][0]:.3f} -> {run['ece'][1]:.3f} (temperature {run['temperature']:.2f}, "
        f"{score} {run['accuracy']:.1f}%)"
        for run in runs
    ]
    what = f"expected calibration error per {one}, {data_set}, fine-tuned MiniLM, before and after temperature scaling"
    seed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"{what}, {seed}", "; ".join(each), "<= half of before, or <= 0.02"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=list(SUBJECTS))
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--seeds", nargs="*", type=int, default=[0])
    args.add_argument("--again", action="store_true")
    args.add_argument("--tiny", action="store_true", help="a few texts and steps, kept apart: to try the script")
    opts = args.parse_args()
    subject, runs = SUBJECTS[opts.data_set](opts.data, opts.tiny), []
    for seed in opts.seeds:
        items, dev = (subject.pool, subject.dev) if subject.dev else held_out(subject.pool, seed)
        changes = subject.changes(len(items))
        settings = {"changes": changes, "texts": [len(items), len(dev), len(subject.test)]}
        file = KEPT / ("tiny" if opts.tiny else "") / f"{opts.data_set}_{seed}.json"
        given = (items, dev, subject.test, changes, seed)
        runs.append(kept(file, settings, opts.again, lambda given=given: subject.measure(*given)))
    what, *rest = as_row(opts.data_set, runs, opts.seeds)
    print_rows([(f"TINY: {what}" if opts.tiny else what, *rest)])


if __name__ == "__main__":
    main()
