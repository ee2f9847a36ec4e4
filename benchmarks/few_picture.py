"""A picture of what few labels give: accuracy against labelled texts a class, beside the time that it takes.

    python benchmarks/few_picture.py FILE [FILE ...] --output docs/few_labels.png

FILE is what `few_labels.py tuned --json` and `few_setfit.py --json` have written. A point is the mean over seeds; the
bar spans the seeds. Times are medians of seconds of the processor.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import srsly
from matplotlib.figure import Figure

NAMES = {"frozen": "frozen MiniLM, solved head", "lpft": "textcat_lpft.cfg", "fewshot": "textcat_fewshot.cfg"}
Run = dict[str, Any]


def by_way(runs: list[Run]) -> dict[str, dict[int, list[Run]]]:
    """RETURNS (Dict[str, Dict[int, List[Run]]]): Runs by way and texts a class."""
    found: dict[str, dict[int, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: run["shots"]):
        found.setdefault(run["way"], {}).setdefault(run["shots"], []).append(run)
    return found


def picture(runs: list[Run], path: Path) -> None:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    scores, times = figure.subplots(1, 2)
    for way, shots in by_way(runs).items():
        values = [[run["accuracy"] for run in each] for each in shots.values()]
        means = [statistics.mean(each) for each in values]
        ends = [
            [mean - min(each) for mean, each in zip(means, values, strict=True)],
            [max(each) - mean for mean, each in zip(means, values, strict=True)],
        ]
        scores.errorbar(list(shots), means, yerr=ends, marker="o", markersize=4, capsize=2, label=NAMES.get(way, way))
        seconds = [statistics.median(run["processor"] for run in each) for each in shots.values()]
        if any(seconds):
            times.plot(list(shots), seconds, marker="o", markersize=4, label=NAMES.get(way, way))
        else:
            times.plot([], [])  # The same colours on both sides.
    for axes, what in ((scores, "accuracy, %"), (times, "training, s of processor time")):
        axes.set_xscale("log")
        counts = sorted({run["shots"] for run in runs})
        axes.set_xticks(counts, [str(count) for count in counts], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("labelled texts a class")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
    times.set_yscale("log")
    scores.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("files", type=Path, nargs="+")
    args.add_argument("--output", type=Path, required=True)
    opts = args.parse_args()
    picture([run for file in opts.files for run in srsly.read_json(file)], opts.output)


if __name__ == "__main__":
    main()
