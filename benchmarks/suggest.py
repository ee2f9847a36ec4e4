"""Active learning: accuracy by labels, of `spacy transfer suggest` and of random choice.

    python benchmarks/suggest.py --data BANKING77 [--seeds 0 1 2] [--strategies auto] [--rows FILE.npz]
    python benchmarks/suggest.py --data CLINC150 [--intents 75] [--strategies auto cluster margin diverse]

The head is that of configs/textcat_transformer.cfg on frozen MiniLM, solved anew in each round (`fit = "maxent"`),
with one strength for all rounds and strategies. Each round adds as many labels as there are intents, ten rounds in
all; the first round has no head. Rows are computed once; --rows keeps them in a file. The strength is what
cross-validation finds on half of clinc150's intents in scope, where the default strategy was tried too.
"""

import argparse
import gzip
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy
import srsly
from accuracy import read_csv
from choosing import rows_of
from common import print_rows

from spacy_transfer.heads.maxent import Evidence, Solution, solve_maxent
from spacy_transfer.selection.suggesting.scan import Scan
from spacy_transfer.selection.suggesting.strategies import Strategy, choose, measure_of
from spacy_transfer.selection.suggesting.unsure import of_classes
from spacy_transfer.types import Floats, Ints

Pair = tuple[str, str]
ROUNDS = 10
STRENGTH = 4e-5


def read(data: Path, intents: int, seed: int = 7) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): Texts with labels to choose from, and for the test."""
    if not (data / "data_full.json.gz").exists():
        return read_csv(data / "train.csv"), read_csv(data / "test.csv")
    parts = srsly.json_loads(gzip.decompress((data / "data_full.json.gz").read_bytes()))
    chosen = random.Random(seed).sample(sorted({label for _, label in parts["train"]}), intents)
    pool, test = ([(text, label) for text, label in parts[name] if label in chosen] for name in ("train", "test"))
    return pool, test


def rows_from(path: Path | None, texts: Sequence[str]) -> Floats:
    """RETURNS (Floats): Of length 1; from a file, where it is there."""
    if path is not None and path.exists():
        rows = numpy.load(path)["rows"]
    else:
        rows = rows_of(texts)
        if path is not None:
            numpy.savez(path, rows=rows)
    assert len(rows) == len(texts), "--rows has the rows of other texts"
    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


class Rounds:
    """The rounds of one strategy: labels, head, and the texts that are left."""

    def __init__(self, pool: Floats, labels: Ints, strategy: Strategy | None, seed: int) -> None:
        self._pool, self._labels, self._strategy, self._seed = pool, labels, strategy, seed
        self._free, self._own = numpy.arange(len(pool)), numpy.zeros(0, dtype="int64")
        self._head: Solution | None = None
        self._known = numpy.zeros(0, dtype="int64")

    def scores(self, rows: Floats) -> Floats:
        """RETURNS (Floats): Probabilities, shape (n, n_known)."""
        assert self._head is not None
        logits = rows @ self._head.W.T + self._head.b
        found = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        return found / found.sum(axis=1, keepdims=True)

    def label(self, n: int) -> None:
        """Choose n more texts, and solve the head on all that have labels."""
        if self._strategy is None:
            chosen = numpy.random.default_rng([self._seed, len(self._own)]).choice(len(self._free), n, replace=False)
        else:
            rows, strategy, unsure = self._pool[self._free], self._strategy, None
            if self._head is None:
                strategy = "cluster"
            else:
                unsure = of_classes(self.scores(rows), measure_of(strategy))
            chosen = choose(Scan(rows, unsure, [{}] * len(rows)), n, strategy, self._seed).indices
        self._own = numpy.concatenate([self._own, self._free[chosen]])
        self._free = numpy.delete(self._free, chosen)
        self._known, places = numpy.unique(self._labels[self._own], return_inverse=True)
        targets = numpy.eye(len(self._known), dtype="f")[places]
        self._head = solve_maxent(self._pool[self._own], Evidence(targets, None, targets > 0), STRENGTH)

    def accuracy(self, rows: Floats, labels: Ints) -> float:
        """RETURNS (float): In percent."""
        return 100 * float((self._known[self.scores(rows).argmax(axis=1)] == labels).mean())


def share_needed(ours: Sequence[float], wanted: float) -> float | None:
    """RETURNS (Optional[float]): The share of all labels from which on the accuracy is reached, between two rounds by a
    straight line; None where it is not."""
    for i, value in enumerate(ours):
        if value >= wanted:
            part = (wanted - ours[i - 1]) / (value - ours[i - 1]) if i else 1.0
            return (i + part) / len(ours)
    return None


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True, help="folder of banking77 or clinc150")
    args.add_argument("--intents", type=int, default=75, help="of clinc150")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--strategies", nargs="+", default=["auto"])
    args.add_argument("--rows", type=Path)
    opts = args.parse_args()
    pool, test = read(opts.data, opts.intents)
    rows = rows_from(opts.rows, [text for text, _ in pool + test])
    names, labels = numpy.unique([label for _, label in pool + test], return_inverse=True)
    curves: dict[str, list[float]] = {}
    for strategy in ("random", *opts.strategies):
        found = []
        for seed in opts.seeds:
            rounds = Rounds(rows[: len(pool)], labels[: len(pool)], None if strategy == "random" else strategy, seed)
            found.append([])
            for _ in range(ROUNDS):
                rounds.label(len(names))
                found[-1].append(rounds.accuracy(rows[len(pool) :], labels[len(pool) :]))
            print(f"{strategy}, seed {seed}: {' '.join(f'{value:.1f}' for value in found[-1])}", flush=True)
        curves[strategy] = [statistics.mean(values) for values in zip(*found, strict=True)]
    wanted, table = curves["random"][-1], []
    for strategy, curve in curves.items():
        share = share_needed(curve, wanted)
        reached = "" if strategy == "random" else "; not reached" if share is None else f"; {share:.0%} of the labels"
        shown = " ".join(f"{value:.1f}" for value in curve)
        what = f"{opts.data.name}, {len(names)} to {ROUNDS * len(names)} labels, {len(opts.seeds)} seeds: {strategy}"
        table.append((what, f"{shown} %{reached}", "" if strategy == "random" else "<= 70 %"))
    print_rows(table)


if __name__ == "__main__":
    main()
