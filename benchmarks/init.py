"""From a file with labels to a packaged pipeline, by `transfer init` and `project run all`.

    python benchmarks/init.py kinds [--backbone SOURCE] [--rows 40] [--only overlapping.jsonl]
    python benchmarks/init.py ag_news --data DIR [--rows 200] [--test 1000] [--seeds 0]

kinds: a small file of every kind that can be read; how many end with a wheel and a report. ag_news: DIR holds
train_pool.csv.gz and test.csv.gz. Accuracy on texts of the official test after the two commands, and of the shipped
configs that one would choose by hand, trained on the same texts.
"""

import argparse
import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, print_rows
from labelled_files import KINDS

BY_HAND = ("textcat_transformer", "textcat_lpft", "textcat_lora", "textcat_gradual")
TOPICS = ("World", "Sports", "Business", "Science")


def spacy(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """RETURNS (CompletedProcess): A command of spaCy, in a process of its own."""
    command = [sys.executable, "-m", "spacy", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))


def two_commands(path: Path, *options: str) -> tuple[bool, float]:
    """RETURNS (Tuple[bool, float]): Whether there is a wheel and a report at the end, and the seconds it took."""
    start = time.perf_counter()
    out = path.parent / "project"
    for where, command in (
        (path.parent, ["transfer", "init", path.name, "project", *options]),
        (out, ["project", "run", "all"]),
    ):
        done = spacy(*command, folder=where)
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
            return False, time.perf_counter() - start
    is_whole = (out / "metrics" / "report.html").is_file() and any(out.glob("packages/*/dist/*.whl"))
    return is_whole, time.perf_counter() - start


def kinds(n_rows: int, backbone: str | None, only: list[str]) -> None:
    options = ["--backbone", backbone] if backbone else []
    done = []
    for name in only:
        write, task = KINDS[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path, n_rows)
            is_whole, seconds = two_commands(path, *options)
            print(f"{name} ({task}): {'a wheel and a report' if is_whole else 'FAILED'}, {seconds:.0f} s", flush=True)
            done.append(is_whole)
    print_rows([("files of all kinds, by two commands to a wheel", f"{sum(done)} of {len(done)}", "all")])


def read_ag_news(path: Path) -> list[tuple[str, str]]:
    rows = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode("utf8"))))
    found = [row for row in rows if row and row[0].isdigit()]
    return [(" ".join(row[1:]), TOPICS[int(row[0]) - 1]) for row in found]


def write_rows(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def accuracy(metrics: Path) -> float:
    return 100 * float(json.loads(metrics.read_text(encoding="utf8"))["cats_micro_f"])


def ag_news(data: Path, n_rows: int, n_test: int, seeds: list[int], by_hand: list[str]) -> None:
    shown = []
    for seed in seeds:
        draws = random.Random(seed)
        train = draws.sample(read_ag_news(data / "train_pool.csv.gz"), n_rows)
        test = draws.sample(read_ag_news(data / "test.csv.gz"), n_test)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_rows(folder / "news.csv", train)
            write_rows(folder / "test.csv", test)
            is_whole, seconds = two_commands(folder / "news.csv", "--test", "test.csv", "--seed", str(seed))
            project = folder / "project"
            found = accuracy(project / "metrics" / "test.json") if is_whole else 0.0
            print(f"seed {seed}: two commands {found:.1f} %, {seconds:.0f} s", flush=True)
            best = 0.0
            for config in by_hand:
                paths = ["--paths.train", "data/train.spacy", "--paths.dev", "data/dev.spacy"]
                path = str(ROOT / "configs" / f"{config}.cfg")
                spacy("train", path, "--output", config, *paths, "--system.seed", str(seed), folder=project)
                best_of = f"{config}/model-best"
                spacy("evaluate", best_of, "data/test.spacy", "--output", f"{config}.json", folder=project)
                score = accuracy(project / f"{config}.json")
                print(f"seed {seed}: {config} {score:.1f} %", flush=True)
                best = max(best, score)
        what = f"AG News, {n_rows} rows as CSV, seed {seed}: accuracy after two commands, best by hand"
        shown.append((what, f"{found:.1f} %, {best:.1f} %", "at most 1 point below"))
        shown.append((f"the same: time of the two commands, {n_test} test texts", f"{seconds:.0f} s", "300 s"))
    print_rows(shown)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["kinds", "ag_news"])
    args.add_argument("--data", type=Path)
    args.add_argument("--backbone", help="for kinds; default: MiniLM")
    args.add_argument("--only", nargs="+", default=list(KINDS), choices=list(KINDS), help="for kinds")
    args.add_argument("--rows", type=int)
    args.add_argument("--test", type=int, default=1000)
    args.add_argument("--seeds", type=int, nargs="+", default=[0])
    args.add_argument("--by-hand", nargs="+", default=list(BY_HAND), help="names of configs")
    opts = args.parse_args()
    if opts.what == "kinds":
        kinds(opts.rows or 40, opts.backbone, opts.only)
    else:
        ag_news(opts.data, opts.rows or 200, opts.test, opts.seeds, opts.by_hand)


if __name__ == "__main__":
    main()
