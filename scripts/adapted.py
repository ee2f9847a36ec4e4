"""What pretraining gave: a table and a picture of the scores that `spacy evaluate` wrote.

    python scripts/adapted.py LOG.jsonl PICTURE.png METRICS_DIR NAME ...

NAME is that of a training, such as scratch_10; METRICS_DIR has NAME.json of scripts/evaluate.py. LOG.jsonl is what the
pretraining wrote.
"""

import sys
from pathlib import Path

import srsly


def main() -> None:
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    log, picture, metrics, *names = sys.argv[1:]
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log) if line.get("held_out_loss") is not None]
    print(f"Held-out loss of the pretraining: {losses[0]:.3f} at the start, {losses[-1]:.3f} at the end")
    scores = {name: 100 * srsly.read_json(Path(metrics) / f"{name}.json")["cats_macro_f"] for name in names}
    print("| training | macro F1 on the test reviews |\n|---|---|")
    for name, value in scores.items():
        print(f"| {name} | {value:.1f} |")
    draw(scores, Path(picture))
    print(f"Picture: {picture}")


def draw(scores: dict[str, float], path: Path) -> None:
    """A bar for each training, grouped by the number of labelled reviews."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = list(dict.fromkeys(name.rsplit("_", 1)[0] for name in scores))
    shots = list(dict.fromkeys(name.rsplit("_", 1)[1] for name in scores))
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for i, kind in enumerate(kinds):
        places = [j + (i - (len(kinds) - 1) / 2) * 0.8 / len(kinds) for j in range(len(shots))]
        bars = axes.bar(places, [scores[f"{kind}_{n}"] for n in shots], 0.75 / len(kinds), label=kind)
        axes.bar_label(bars, fmt="%.1f")
    axes.set_xticks(range(len(shots)), [f"{n} labelled a class" for n in shots])
    axes.set_ylabel("macro F1, %")
    axes.set_ylim(0, 100)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
