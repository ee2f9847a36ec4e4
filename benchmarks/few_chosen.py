"""A recipe chosen by cross-validation on the few texts themselves, beside textcat_fewshot.cfg as it stands.

    python benchmarks/few_chosen.py --set mr --data MR [--shots 10] [--seeds 0 1 2] [--trials 8] [--folds 5]

For each draw: `tune configs/textcat_contrastive.cfg configs/spaces/few_labels.cfg --folds`, and the accuracy of
OUTPUT/best on the test texts, which take no part in the choice. Trial 0 is textcat_contrastive.cfg as it stands. Draws
and test texts are those of few_labels.py.
"""

import argparse
import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import spacy
import srsly
from accuracy import Pair
from common import ROOT, bbc, print_rows
from few_labels import DRAWS, accuracy, tuned
from spacy.tokens import DocBin

SPACE = ROOT / "configs" / "spaces" / "few_labels.cfg"


def chosen(pairs: list[Pair], test: list[Pair], opts: argparse.Namespace, seed: int) -> tuple[float, float, str]:
    """RETURNS (Tuple[float, float, str]): Accuracy in percent, seconds of the search, and what was chosen."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        docs = bbc.to_docs(list(pairs), sorted({label for _, label in pairs}))
        DocBin(docs=docs).to_disk(folder / "train.spacy")
        files = [str(ROOT / "configs" / "textcat_contrastive.cfg"), str(SPACE), "-o", str(folder / "out")]
        how = ["--folds", str(opts.folds), "--trials", str(opts.trials), "--seed", str(seed)]
        given = ["--paths.train", str(folder / "train.spacy"), "--system.seed", str(seed)]
        begin = time.perf_counter()
        command = ["-m", "spacy", "transfer", "tune", *files, *how, *given, "--json", str(folder / "x.json")]
        subprocess.run([sys.executable, *command], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - begin
        found = srsly.read_json(folder / "x.json")
        best = next(trial for trial in found["trials"] if trial["number"] == found["best"])
        right = accuracy(spacy.load(folder / "out" / "best"), test)
    return right, seconds, f"trial {found['best']}, {best['score']:.3f} ± {best['deviation']:.3f}: {best['params']}"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, default=Path(), help="folder of the set")
    args.add_argument("--set", choices=list(DRAWS), default="mr")
    args.add_argument("--shots", type=int, default=10)
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--trials", type=int, default=8)
    args.add_argument("--folds", type=int, default=5)
    opts = args.parse_args()
    found, shipped = list[float](), list[float]()
    for seed in opts.seeds:
        pairs, test = DRAWS[opts.set](opts.data, seed, opts.shots)
        right, seconds, what = chosen(pairs, test, opts, seed)
        found.append(right)
        with contextlib.redirect_stdout(io.StringIO()):
            shipped.append(tuned(pairs, test, "fewshot", seed).accuracy)
        print(
            f"seed {seed}: chosen {right:.1f} % in {seconds:.0f} s, textcat_fewshot.cfg {shipped[-1]:.1f} %; {what}",
            flush=True,
        )
    rows = []
    for name, each in (("textcat_fewshot.cfg", shipped), ("chosen by tune --folds", found)):
        shown, mean = ", ".join(f"{value:.1f}" for value in each), statistics.mean(each)
        what = f"{opts.set}, {opts.shots} a class, {name}"
        rows.append((what, f"{mean:.1f} % ({shown})", f"{mean - statistics.mean(shipped):+.1f}"))
    print_rows(rows)


if __name__ == "__main__":
    main()
