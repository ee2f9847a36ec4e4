"""Self-training: ten labelled texts of a class, and other texts of banking77 without their labels.

    python benchmarks/few_unlabelled.py --data BANKING77 [--texts 1000 10000] [--shots 10] [--seeds 0 1 2]
        [--least 0.7] [--part test]

The pipeline of textcat_fewshot.cfg labels texts of the training part that were not drawn, by
`spacy-transfer.Rehearsal.v1`, with `min_confidence` = LEAST. The same config is trained anew on both. Printed are the
accuracy before and after, how many texts were sure enough, and how many of these got the right label. The texts that
are scored are named by `held_out`: 7 test texts of banking77 are in its training part too. With `--part dev` a thousand
texts of the training part are scored, which have no other use.
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import spacy
from accuracy import Pair, banking_draw, read_csv
from common import ROOT, print_rows
from few_labels import accuracy, trained
from spacy.language import Language
from spacy.util import load_config
from thinc.api import Config

SCORED = 1000


def parts(data: Path, shots: int, seed: int, part: str) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair], List[Pair]]): Labelled texts, the others of the training part in a random
    order, and those to score."""
    drawn, test = banking_draw(data, seed, shots)
    others = sorted(set(read_csv(data / "train.csv")) - set(drawn))
    random.Random(seed).shuffle(others)
    return (drawn, others, test) if part == "test" else (drawn, others[SCORED:], others[:SCORED])


def self_training(source: Path, texts: Path, held_out: Path, ratio: float, least: float) -> Config:
    """RETURNS (Config): textcat_fewshot.cfg, with what a pipeline says of other texts.

    ratio (float): Other texts for each labelled one.
    """
    config = load_config(ROOT / "configs" / "textcat_fewshot.cfg")
    corpora = config["corpora"]
    corpora["train"] = {
        "@readers": "spacy-transfer.Rehearsal.v1",
        "corpus": corpora["train"],
        "source": str(source),
        "components": ["transfer_textcat"],
        "texts": str(texts),
        "held_out": str(held_out),
        "ratio": ratio,
        "min_confidence": least,
    }
    # Labels that the head itself has given tell nothing of the strength of its prior.
    strength = spacy.load(source).get_pipe("transfer_textcat").cfg["strength"]
    config["initialize"]["components"]["transfer_textcat"]["strength"] = strength
    return config


def taken(nlp: Language, others: Sequence[Pair], least: float) -> tuple[int, int]:
    """RETURNS (Tuple[int, int]): How many texts are sure enough, and how many of these get the right label."""
    sure = right = 0
    for doc, (_, label) in zip(nlp.pipe((text for text, _ in others), batch_size=64), others, strict=True):
        best = max(doc.cats, key=doc.cats.__getitem__)
        sure += doc.cats[best] >= least
        right += doc.cats[best] >= least and best == label
    return sure, right


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--texts", type=int, nargs="+", default=[1000, 10000])
    args.add_argument("--shots", type=int, default=10)
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--least", type=float, default=0.7)
    args.add_argument("--part", choices=["dev", "test"], default="test")
    opts = args.parse_args()
    before: list[float] = []
    after: dict[int, list[float]] = {count: [] for count in opts.texts}
    said: dict[int, str] = {}
    for seed in opts.seeds:
        drawn, others, test = parts(opts.data, opts.shots, seed, opts.part)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            trained(load_config(ROOT / "configs" / "textcat_fewshot.cfg"), drawn, folder, seed)
            source = folder / "out" / "model-last"
            nlp = spacy.load(source)
            before.append(accuracy(nlp, test))
            (folder / "test.txt").write_text("\n".join(" ".join(text.split()) for text, _ in test), encoding="utf8")
            for count in opts.texts:
                own = folder / str(count)
                own.mkdir()
                some = others[:count]
                (own / "raw.txt").write_text("\n".join(" ".join(text.split()) for text, _ in some), encoding="utf8")
                sure, right = taken(nlp, some, opts.least)
                said[count] = f"{len(some)} texts, {sure} sure enough, {right / max(sure, 1):.0%} of these right"
                config = self_training(source, own / "raw.txt", folder / "test.txt", count / len(drawn), opts.least)
                trained(config, drawn, own, seed)
                after[count].append(accuracy(spacy.load(own / "out" / "model-last"), test))
                print(f"seed {seed}: {before[-1]:.2f}, {after[count][-1]:.2f}: {said[count]}", file=sys.stderr)
    base, what = statistics.mean(before), f"banking77 ({opts.part}), {opts.shots} a class, textcat_fewshot.cfg"
    rows = [(what, f"{base:.1f} % ({', '.join(f'{one:.1f}' for one in before)})", "-")]
    for count, each in after.items():
        shown = ", ".join(f"{one:.1f}" for one in each)
        measured = f"{statistics.mean(each):.1f} % ({shown}); {statistics.mean(each) - base:+.1f}"
        rows.append((f"{what}, self-training ({said[count]})", measured, ">= +1"))
    print_rows(rows)


if __name__ == "__main__":
    main()
