"""What was trained and evaluated -> a table, a picture, and the best pipeline.

    python scripts/report.py METRICS_DIR TRAINING_DIR

Reads METRICS_DIR/NAME_SHOTS.json (from spacy evaluate) and TRAINING_DIR/NAME_SHOTS/seconds.json. Writes results.json,
results.md and accuracy.png into METRICS_DIR and copies the most accurate pipeline to TRAINING_DIR/best.
"""

import json
import math
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

TITLES = {
    "scratch": "spaCy's default, from scratch",
    "vectors": "GloVe vectors, frozen",
    "transformer": "MiniLM transformer, frozen",
}
COLOURS = {"scratch": "#777777", "vectors": "#d98200", "transformer": "#1f6fb4"}


@dataclass
class Result:
    """One trained pipeline. accuracy and macro_f are percentages, size is in MB."""

    name: str
    shots: int
    accuracy: float
    macro_f: float
    seconds: float
    words_per_second: float
    size: float


def read_results(metrics: Path, training: Path) -> list[Result]:
    """RETURNS (List[Result]): Weakest system first, fewest examples first."""
    results = []
    for name in TITLES:
        for path in sorted(metrics.glob(f"{name}_*.json"), key=lambda path: int(path.stem.rsplit("_", 1)[1])):
            scores = json.loads(path.read_text(encoding="utf8"))
            folder = training / path.stem
            seconds = json.loads((folder / "seconds.json").read_text(encoding="utf8"))["seconds"]
            files = [file for file in (folder / "model-last").rglob("*") if file.is_file()]
            results.append(
                Result(
                    name=name,
                    shots=int(path.stem.rsplit("_", 1)[1]),
                    # One label given and one found in every doc: micro-averaged F is accuracy.
                    accuracy=round(100 * scores["cats_micro_f"], 1),
                    macro_f=round(100 * scores["cats_macro_f"], 1),
                    seconds=round(seconds, 1),
                    words_per_second=round(scores["speed"]),
                    size=round(sum(file.stat().st_size for file in files) / 1e6, 1),
                )
            )
    if not results:
        raise SystemExit(f"There are no results in {metrics}. Run: python -m spacy project run all")
    return results


def as_markdown(results: list[Result]) -> str:
    lines = [
        "| pipeline | labelled per topic | accuracy % | macro F1 % | training s | words/s | size MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = [TITLES[r.name], r.shots, r.accuracy, r.macro_f, r.seconds, f"{r.words_per_second:,.0f}", r.size]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def spread(heights: list[float], gap: float) -> list[float]:
    """Move ascending heights up where they are closer than a gap, so that labels do not overlap."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    return placed


def draw(results: list[Result], path: Path) -> None:
    """Accuracy against labelled examples, one line a system."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=120)
    for name, title in TITLES.items():
        own = [r for r in results if r.name == name]
        axes.plot([r.shots for r in own], [r.accuracy for r in own], marker="o", color=COLOURS[name], label=title)
    low = 5 * math.floor((min(r.accuracy for r in results) - 3) / 5)
    shots = sorted({r.shots for r in results})
    for n in shots:
        side = -1 if n == shots[0] else 1
        at_n = sorted((r for r in results if r.shots == n), key=lambda r: r.accuracy)
        for r, height in zip(at_n, spread([r.accuracy for r in at_n], gap=(100 - low) / 20), strict=True):
            place, align = (n * 1.1**side, height), {"ha": "right" if side < 0 else "left", "va": "center"}
            axes.annotate(f"{r.accuracy:.1f}", place, color=COLOURS[r.name], **align)
    axes.set_xscale("log")
    axes.set_xticks(shots, [str(s) for s in shots], minor=False)
    axes.minorticks_off()
    axes.set_xlim(shots[0] / 1.6, shots[-1] * 1.6)
    axes.set_ylim(low, 100)
    axes.set_xlabel("labelled articles per topic")
    axes.set_ylabel("accuracy on 445 other articles, %")
    axes.set_title("BBC News, 5 topics")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    metrics, training = Path(sys.argv[1]), Path(sys.argv[2])
    results = read_results(metrics, training)
    best = max(results, key=lambda r: (r.accuracy, -r.size))
    best_name = f"{best.name}_{best.shots}"
    (metrics / "results.json").write_text(
        json.dumps({"best": best_name, "results": [asdict(r) for r in results]}, indent=2) + "\n", encoding="utf8"
    )
    (metrics / "results.md").write_text(as_markdown(results), encoding="utf8")
    draw(results, metrics / "accuracy.png")
    shutil.rmtree(training / "best", ignore_errors=True)
    shutil.copytree(training / best_name / "model-last", training / "best")
    print(as_markdown(results))
    print(f"Best: {best_name}. Picture: {metrics / 'accuracy.png'}")


if __name__ == "__main__":
    main()
