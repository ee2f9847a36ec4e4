"""spaCy's own ner and tagger on MiniLM, tuned in five ways: F1 or tagging accuracy, seconds and peak memory.

    python benchmarks/labelling.py wnut17|ud_en_ewt --data DIR [--steps 300] [--mode NAME ...] [--seed 0] [--again]

DIR holds train.conll and test.conll (WNUT 2017: token, tab, IOB tag), or train.conllu and test.conllu (UD English EWT);
.gz works. Training is by `spacy train`, from configs/ner_transformer.cfg and configs/tagger_transformer.cfg,
with the same number of steps (of 32 sentences) and the same optimizer in all modes; gold tokens. Each mode runs in a
process of its own, so that its peak memory is its own: the largest resident size until the trained pipeline is saved.
What is finished stays in metrics/labelling/ and is not run again unless its settings have changed or --again says so.

    frozen    only the head learns, on rows that are computed once
    top       the upper three of six layers, on states that are computed once
    decay     everything, each layer at 0.8 times the rate of the one above it
    lora      adapters of rank 8 in the place of the encoder's weights
    full      everything at one rate
"""

import argparse
import contextlib
import gzip
import io
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
from common import print_rows
from runs import LORA, METRICS, PROGRESS, adamw, changed, kept, linear, tuning
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus
from spacy.training.converters import conll_ner_to_docs, conllu_to_docs

KEPT = METRICS / "labelling"


@dataclass(frozen=True)
class Task:
    """A data set and its head.

    what (str): For the table.
    config (str): Name of the config.
    head (str): Name of the component.
    ending (str): Of the files.
    convert (Callable): spaCy's converter: text of a file -> docs, one a sentence.
    score (str): Of spaCy's scores.
    shown (str): What the score is called.
    load (Optional[Callable]): Reads a part (of a folder), where it is no file of its own.
    """

    what: str
    config: str
    head: str
    ending: str
    convert: Callable[[str], list[Doc]]
    score: str
    shown: str
    load: Callable[[Path, str], list[Doc]] | None = None


def iob_docs(text: str) -> list[Doc]:
    """RETURNS (List[Doc]): A doc a sentence. Lines of white space alone end one too: so they do in WNUT's file."""
    text = re.sub(r"\n\s*\n", "\n\n", text.replace("\r", ""))
    sentences = (part for part in text.split("\n\n") if part.strip())
    # The converter takes a file with this mark as cut into docs already.
    marked = "\n\n-DOCSTART- -X- O O\n\n".join(["", *sentences, ""])
    return list(conll_ner_to_docs(marked, n_sents=0, no_print=True))


def ud_docs(text: str) -> list[Doc]:
    return list(conllu_to_docs(text, n_sents=1, no_print=True))


TASKS: dict[str, Task] = {
    "wnut17": Task("WNUT 2017, `ner`", "ner_transformer", "ner", ".conll", iob_docs, "ents_f", "F1"),
    "ud_en_ewt": Task(
        "UD English EWT, `tagger` (XPOS)", "tagger_transformer", "tagger", ".conllu", ud_docs, "tag_acc", "accuracy"
    ),
}

# The recipe: all that is to be tuned stands here.
RATE, HEAD_RATE, LORA_RATE, WARMUP = 3e-4, 1e-3, 1e-3, 0.1
TUNING = "components.transfer_backbone.model.tuning"
MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "frozen": ("frozen", {"components.transfer_backbone.frozen": True}),
    "top": ("top half", {TUNING: tuning(freeze=3)}),
    "decay": ("layer-wise rates", {TUNING: tuning(layer_decay=0.8)}),
    "lora": ("LoRA, r = 8", {TUNING: tuning(adapter=LORA)}),
    "full": ("full", {}),
}


def make_changes(task: Task, mode: str, steps: int, head_rate: float = HEAD_RATE) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): All changes of the config."""
    warmup = int(WARMUP * steps)
    encoder = linear(LORA_RATE if mode == "lora" else RATE, steps, warmup=warmup)
    changes = {
        "training.optimizer": adamw(encoder, f"^{task.head}", linear(head_rate, steps, warmup=warmup)),
        "training.max_steps": steps - 1,  # spaCy makes one more.
        "training.patience": 0,
        "training.eval_frequency": 1_000_000,
        "training.logger": PROGRESS,
        "corpora.train.gold_preproc": True,
        "corpora.dev.gold_preproc": True,
    }
    return changes | MODES[mode][1]


def read(task: Task, folder: Path, part: str) -> list[Doc]:
    """RETURNS (List[Doc]): Annotated sentences."""
    if task.load is not None:
        return task.load(folder, part)
    path = folder / f"{part}{task.ending}"
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    return task.convert(raw.decode("utf8"))


def trained(task: Task, data: Path, changes: dict[str, Any], seed: int, most: int, folder: Path) -> Path:
    """Write FOLDER/train.spacy and FOLDER/test.spacy, and train by `spacy train`.

    RETURNS (Path): The pipeline.
    """
    for part in ("train", "test"):
        DocBin(docs=read(task, data, part)[: most or None]).to_disk(folder / f"{part}.spacy")
    dev = list(DocBin().from_disk(folder / "train.spacy").get_docs(spacy.blank("en").vocab))[:20]
    DocBin(docs=dev).to_disk(folder / "dev.spacy")
    changed(task.config, changes).to_disk(folder / "config.cfg")
    overrides = {"paths.train": str(folder / "train.spacy"), "paths.dev": str(folder / "dev.spacy")}
    with contextlib.redirect_stdout(io.StringIO()):
        train(folder / "config.cfg", folder / "out", overrides=overrides | {"system.seed": seed})
    return folder / "out" / "model-last"


def measure(task: Task, data: Path, changes: dict[str, Any], seed: int, most: int) -> dict[str, Any]:
    """Train, and score the test set. Once a process: its peak memory is measured.

    RETURNS (Dict[str, Any]): "score" in percent, "seconds" of the training, "mb" of memory.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.perf_counter()
        path = trained(task, data, changes, seed, most, folder)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        nlp = spacy.load(path)
        scores = nlp.evaluate(list(Corpus(folder / "test.spacy", gold_preproc=True)(nlp)))
    return {"score": 100 * scores[task.score], "seconds": seconds, "mb": peak}


def in_a_process(arguments: list[str]) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): What `measure` found in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def as_row(task: Task, mode: str, steps: int, run: dict[str, Any]) -> tuple[str, str, str]:
    measured = f"{task.shown} {run['score']:.1f}%; training {run['seconds']:.0f} s; peak {run['mb']:,.0f} MB"
    return f"{task.what}, MiniLM {MODES[mode][0]}, {steps} steps", measured, "-"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data_set", choices=list(TASKS))
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--steps", type=int, default=300)
    args.add_argument("--mode", nargs="*", choices=list(MODES), default=list(MODES))
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--most", type=int, default=0, help="sentences of each file, to try the script; 0 for all")
    args.add_argument("--again", action="store_true")
    args.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    opts = args.parse_args()
    task = TASKS[opts.data_set]
    if opts.here:
        (mode,) = opts.mode
        changes = make_changes(task, mode, opts.steps)
        print(json.dumps(measure(task, opts.data, changes, opts.seed, opts.most)))
        return
    rows = []
    for mode in opts.mode:
        arguments = [opts.data_set, "--data", str(opts.data), "--mode", mode, "--here"]
        arguments += ["--steps", str(opts.steps), "--seed", str(opts.seed), "--most", str(opts.most)]
        settings = {"changes": make_changes(task, mode, opts.steps), "seed": opts.seed, "most": opts.most}
        folder = KEPT / "tiny" if opts.most else KEPT
        run = kept(
            folder / f"{opts.data_set}_{mode}.json",
            settings,
            opts.again,
            lambda arguments=arguments: in_a_process(arguments),
        )
        rows.append(as_row(task, mode, opts.steps, run))
        print(": ".join(rows[-1][:2]), file=sys.stderr, flush=True)
    print_rows(rows)


if __name__ == "__main__":
    main()
