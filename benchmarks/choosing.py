"""Choosing a backbone by measurement.

    python benchmarks/choosing.py estimators --data BANKING77 [--most 5000] [--rounds 3]

estimators: LogME, H-score and nearest neighbours on MiniLM's rows of banking77's training texts, and the same by the
package transformer-ranker on the same rows, in turn. Classes are the intents; the number is the logarithm of a text's
length. LinearProbe and NLeep have no counterpart there: their times are printed. Run before: pip install
transformer-ranker==0.2.0
"""

import argparse
import importlib.util
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import spacy
from accuracy import read_csv
from common import minilm, print_rows, speedup, time_in_turn

from spacy_transfer.selection.estimators.estimate import Estimator, Targets
from spacy_transfer.selection.estimators.h_score import build_h_score_v1
from spacy_transfer.selection.estimators.linear_probe import build_linear_probe_v1
from spacy_transfer.selection.estimators.logme import build_logme_v1
from spacy_transfer.selection.estimators.neighbours import build_nearest_neighbours_v1
from spacy_transfer.selection.estimators.nleep import build_nleep_v1
from spacy_transfer.types import Floats

Row = tuple[str, str, str]


def rows_of(texts: Sequence[str]) -> Floats:
    """RETURNS (Floats): MiniLM's document rows, shape (len(texts), 384)."""
    nlp = spacy.blank("en")
    backbone = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": minilm()}
    nlp.add_pipe("transfer_backbone", config={"model": backbone})
    nlp.initialize()
    return numpy.stack([doc.tensor.mean(axis=0) for doc in nlp.pipe(texts)])


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Row:
    """Scores of both, and how many times as fast ours is."""
    apart = abs(ours() - theirs())
    seconds = time_in_turn({"ours": ours, "theirs": theirs}, rounds)
    faster = speedup(seconds, "ours", "theirs")
    times = " and ".join(f"{min(seconds[side]):.2f} s" for side in ("ours", "theirs"))
    measured = f"score {ours():.5f}, difference {apart:.0e}; {times}: {faster:.1f} x as fast"
    return f"{name}, against transformer-ranker", measured, "difference <= 1e-4, >= 1 x"


def estimators(folder: Path, most: int, rounds: int) -> None:
    if importlib.util.find_spec("transformer_ranker") is None:
        raise SystemExit("Run: pip install transformer-ranker==0.2.0")
    import torch
    from transformer_ranker import estimators as theirs

    pairs = read_csv(folder / "train.csv")
    random.Random(0).shuffle(pairs)
    texts, labels = zip(*pairs[:most], strict=True)
    rows, classes = rows_of(texts), numpy.unique(labels, return_inverse=True)[1]
    # Standardised: transformer-ranker has no bias.
    lengths = numpy.log([len(text) for text in texts])
    lengths = (lengths - lengths.mean()) / lengths.std()
    states = torch.from_numpy(rows)

    def row(name: str, ours: Estimator, their: type, is_numbers: bool = False) -> Row:
        values = lengths if is_numbers else classes
        targets, tensor = Targets("numbers" if is_numbers else "classes", values), torch.from_numpy(values)

        def run() -> float:
            return their(regression=is_numbers).fit(embeddings=states, labels=tensor)

        return compare(name, lambda: ours(rows, targets).score, run, rounds)

    as_theirs = build_nearest_neighbours_v1(k=3, metric="euclidean", weights="uniform", measure="accuracy")
    found = [
        row("LogME, classes", build_logme_v1(), theirs.LogME),
        row("LogME, numbers", build_logme_v1(), theirs.LogME, is_numbers=True),
        row("H-score, classes", build_h_score_v1(), theirs.HScore),
        row("nearest neighbours (k = 3, Euclidean, equal votes), classes", as_theirs, theirs.NearestNeighbors),
    ]
    for name, ours in (("linear probe", build_linear_probe_v1()), ("N-LEEP", build_nleep_v1())):
        targets, score = Targets("classes", classes), [0.0]

        def run(ours: Estimator = ours, targets: Targets = targets, score: list[float] = score) -> None:
            score[0] = ours(rows, targets).score

        seconds = time_in_turn({"ours": run}, 1)["ours"]
        found.append((f"{name}, classes", f"score {score[0]:.3f}; {seconds[0]:.1f} s", "some seconds"))
    print(f"{len(rows):,} rows of {rows.shape[1]} columns, {classes.max() + 1} classes.\n")
    print_rows(found)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["estimators"])
    args.add_argument("--data", type=Path, required=True, help="folder of banking77")
    args.add_argument("--most", type=int, default=5000)
    args.add_argument("--rounds", type=int, default=3)
    opts = args.parse_args()
    estimators(opts.data, opts.most, opts.rounds)


if __name__ == "__main__":
    main()
