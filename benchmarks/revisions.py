"""Speed and memory of this tree against another revision of it, in turn.

    python benchmarks/revisions.py REVISION --texts FILE [--most 500] [--rounds 5]

FILE holds one text a line (.gz works). The other revision is built into a folder of its own by pip, without network.
Each measurement is a process: MiniLM under one classifier predicts the texts, is fine-tuned on them by AdamW, and is
trained with a frozen encoder whose rows are cached. Rows are the medians of the ratios of processes that ran one after
the other; peak memory is that of a process. More than 1 is better for speed, less than 1 for memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import spacy
from common import LABELS, ROOT, count_words, minilm, print_rows, read_lines
from spacy.language import Language
from spacy.training import Example

WORK = ("predict", "fine-tune", "frozen")
Measured = dict[str, float]


def install(revision: str, folder: Path) -> Path:
    """RETURNS (Path): A folder to import the revision from."""
    source, target = folder / "source", folder / "packages"
    source.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], check=True, input=archive)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, str(source)], check=True)
    return target


def measure(packages: Path, work: str, texts: Path, most: int) -> Measured:
    """RETURNS (Dict[str, float]): What a process with these packages has printed."""
    command = [sys.executable, __file__, "--work", work, "--texts", str(texts), "--most", str(most)]
    here = {**os.environ, "PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=here).stdout
    found: Measured = json.loads(printed.splitlines()[-1])
    return found


def build(frozen: bool) -> Language:
    nlp = spacy.blank("en")
    block = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": minilm()}
    nlp.add_pipe("transfer_backbone", config={"model": block, "frozen": frozen})
    nlp.add_pipe("transfer_textcat")
    return nlp


def do(work: str, texts: list[str]) -> Measured:
    """RETURNS (Dict[str, float]): Words a second, and peak memory in MB."""
    nlp = build(work == "frozen")
    gold = [{"cats": {label: float(LABELS[i % 5] == label) for label in LABELS}} for i in range(len(texts))]
    make = lambda: [Example.from_dict(nlp.make_doc(t), g) for t, g in zip(texts, gold, strict=True)]  # noqa: E731
    nlp.initialize(lambda: make()[:10])
    optimizer = spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=5e-5)

    def run_once() -> None:
        if work == "predict":
            for _ in nlp.pipe(texts):
                pass
            return
        for batch in spacy.util.minibatch(make(), 32):
            nlp.update(batch, sgd=optimizer)

    run_once()
    times = 10 if work == "frozen" else 1
    start = time.process_time()
    for _ in range(times):
        run_once()
    seconds = time.process_time() - start
    words = times * count_words(texts)
    return {"speed": words / seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def compare(revision: str, texts: Path, most: int, rounds: int) -> None:
    speed: dict[str, list[float]] = {work: [] for work in WORK}
    memory: dict[str, list[float]] = {work: [] for work in WORK}
    with tempfile.TemporaryDirectory() as folder:
        other = install(revision, Path(folder))
        for _ in range(rounds):
            for work in WORK:
                old, new = (measure(each, work, texts, most) for each in (other, ROOT))
                speed[work].append(new["speed"] / old["speed"])
                memory[work].append(new["memory"] / old["memory"])
                print(work, speed[work][-1], memory[work][-1], file=sys.stderr, flush=True)
    rows = []
    for work in WORK:
        fast, big = statistics.median(speed[work]), statistics.median(memory[work])
        what = f"{work}, {rounds} processes each, against {revision[:7]}"
        rows.append((f"{what}: words per second of processor time", f"{fast:.2f} x", ">= 1 x"))
        rows.append((f"{what}: peak memory", f"{big:.2f} x", "<= 1 x"))
    print_rows(rows)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("revision", nargs="?", default="HEAD")
    args.add_argument("--texts", type=Path, required=True)
    args.add_argument("--most", type=int, default=500)
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    opts = args.parse_args()
    if opts.work:
        print(json.dumps(do(opts.work, read_lines(opts.texts, opts.most))))
    else:
        compare(opts.revision, opts.texts, opts.most, opts.rounds)


if __name__ == "__main__":
    main()
