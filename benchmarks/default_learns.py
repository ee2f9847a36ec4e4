"""What somebody gets who changes no setting: the default backbone with a classifier, 160 texts of AG News, on MiniLM.

    python benchmarks/default_learns.py --data AG_NEWS [--seeds 0 1 2] [--ways code train]

code: `add_pipe`, `nlp.initialize()`, and five epochs of `nlp.update` with the optimizer that it returns. train:
`spacy init config` and `spacy train`. Each is compared with the same lines and `frozen = true`. --rate: Adam at another
rate, constant or after a warm-up, with an encoder that is trained (`frozen = false`), to see which rates fail.
"""

import argparse
import csv
import gzip
import random
import statistics
import tempfile
import time
from pathlib import Path

import spacy
from common import minilm, print_rows
from spacy.cli.init_config import init_config
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Adam, Optimizer, warmup_linear

LABELS = ["World", "Sports", "Business", "Sci/Tech"]
PIPELINE = ["transfer_backbone", "transfer_textcat"]
Pairs = list[tuple[str, str]]


def read(path: Path, column: int) -> Pairs:
    """RETURNS (List[Tuple[str, str]]): Texts and labels."""
    rows = csv.reader(gzip.open(path, "rt", encoding="utf8"))
    return [(row[column], LABELS[int(row[0]) - 1]) for row in rows if len(row) > column and row[0].isdecimal()]


def draw(pairs: Pairs, shots: int, seed: int) -> Pairs:
    """RETURNS (List[Tuple[str, str]]): So many texts of each label, in an order of their own."""
    rng = random.Random(seed)
    own = {label: [pair for pair in pairs if pair[1] == label] for label in LABELS}
    found = [pair for label in LABELS for pair in rng.sample(own[label], shots)]
    rng.shuffle(found)
    return found


def examples(nlp: Language, pairs: Pairs) -> list[Example]:
    """RETURNS (List[Example]): Texts with their labels."""
    return [Example.from_dict(nlp.make_doc(t), {"cats": {x: float(x == y) for x in LABELS}}) for t, y in pairs]


def by_code(pairs: Pairs, settings: dict, seed: int, optimizer: Optimizer | None = None) -> Language:
    """RETURNS (Language): What the lines of the README's kind give."""
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={"model": {"source": minilm()}, **settings})
    nlp.add_pipe("transfer_textcat")
    own = examples(nlp, pairs)
    made = nlp.initialize(lambda: own)
    for _ in range(5):
        random.shuffle(own)
        for batch in minibatch(own, 16):
            nlp.update(batch, sgd=optimizer or made)
    return nlp


def by_train(pairs: Pairs, dev: Pairs, settings: dict, seed: int) -> Language:
    """RETURNS (Language): The best of `spacy train`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, own in (("train", pairs), ("dev", dev)):
            docs = [example.reference for example in examples(spacy.blank("en"), own)]
            DocBin(docs=docs).to_disk(folder / f"{part}.spacy")
        config = init_config(pipeline=PIPELINE, silent=True)
        config["components"]["transfer_backbone"]["model"]["source"] = minilm()
        config["components"]["transfer_backbone"].update(settings)
        config["paths"].update({part: str(folder / f"{part}.spacy") for part in ("train", "dev")})
        config["system"]["seed"] = seed
        config.to_disk(folder / "config.cfg")
        train(folder / "config.cfg", folder / "out")
        return spacy.load(folder / "out" / "model-best")


def accuracy(nlp: Language, pairs: Pairs) -> float:
    """RETURNS (float): In percent."""
    docs = nlp.pipe(text for text, _ in pairs)
    return 100 * statistics.mean(max(d.cats, key=d.cats.get) == y for d, (_, y) in zip(docs, pairs, strict=True))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True, help="folder with train_pool.csv.gz and test.csv.gz")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--ways", nargs="+", choices=["code", "train"], default=["code", "train"])
    args.add_argument("--rate", type=float, nargs="*", default=[], help="rates of Adam for a trained encoder")
    args.add_argument("--warmup", type=int, default=0, help="steps of warm-up for --rate; 0 for a constant rate")
    opts = args.parse_args()
    pool, test = read(opts.data / "train_pool.csv.gz", 1), read(opts.data / "test.csv.gz", 2)
    test = draw(test, 250, 0)
    rows = []
    if opts.rate:
        for rate in opts.rate:
            found = []
            for seed in opts.seeds:
                schedule = warmup_linear(rate, opts.warmup, 50) if opts.warmup else rate
                optimizer = Adam(schedule, L2=0.01)
                nlp = by_code(draw(pool, 40, seed), {"frozen": False}, seed, optimizer)
                found.append(accuracy(nlp, test))
                print(rate, seed, found[-1], flush=True)
            warmup = f", warm-up of {opts.warmup} steps" if opts.warmup else ""
            rows.append((f"trained encoder, Adam at {rate:g}{warmup}", f"{statistics.mean(found):.1f} %", ""))
        print_rows(rows)
        return
    for way in opts.ways:
        found, seconds = {}, {}
        for name, settings in (("frozen", {"frozen": True}), ("default", {})):
            for seed in opts.seeds:
                pairs = draw(pool, 48, seed)
                start = time.perf_counter()
                nlp = (
                    by_code(pairs[:160], settings, seed)
                    if way == "code"
                    else by_train(pairs[:160], pairs[160:], settings, seed)
                )
                seconds.setdefault(name, []).append(time.perf_counter() - start)
                found.setdefault(name, []).append(accuracy(nlp, test))
                print(way, name, seed, found[name][-1], seconds[name][-1], flush=True)
        for name in found:
            each = ", ".join(f"{value:.1f}" for value in found[name])
            time_ratio = statistics.mean(seconds[name]) / statistics.mean(seconds["frozen"])
            wanted = f"{statistics.mean(found['frozen']):.1f} %, <= 2 x its time" if name == "default" else ""
            rows.append(
                (
                    f"160 texts, {way}, {name}",
                    f"{statistics.mean(found[name]):.1f} % ({each}), {time_ratio:.2f} x",
                    wanted,
                )
            )
    print_rows(rows)


if __name__ == "__main__":
    main()
