"""Static students of MiniLM: what they cost in points and give in speed, beside GloVe, a naive distillation and MiniLM.

    python benchmarks/static.py --data BANKING77 --clinc150 CLINC150 [--seeds 0 1 2] [--cnn] [--dev]

All are frozen under a solved head (`fit = "maxent"`), with 10 labelled texts of banking77 for each class; all of its
test texts are scored. The student learns from the training texts of both sets without their labels, by `transfer
static`. naive: model2vec's vectors as they come, with its own settings. --cnn: the CNN on GloVe of `pretraining.py
match`, which learns MiniLM's rows on the same texts. --dev: clinc150 in the place of banking77, and its validation
texts are scored; settings were chosen so (--strength, --sif, --width). Words a second are of one thread, all in turn:
of the backbone alone on texts that are tokenized, and of `nlp.pipe` with tokenizer and head.
"""

import argparse
import gzip
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import spacy
import srsly
from accuracy import banking_draw
from common import ROOT, minilm, print_rows, time_in_turn
from pretraining import all_texts, our_pretraining, run_pretrain, score, write_docs, write_texts
from spacy.language import Language
from spacy.training.initialize import init_nlp
from spacy.util import load_config
from thinc.api import Config

from spacy_transfer.pretraining.static_student import StaticSettings, make_static

Pair = tuple[str, str]


def intents(clinc150: Path, part: str) -> list[Pair]:
    return [
        (text, label)
        for text, label in srsly.json_loads(gzip.decompress((clinc150 / "data_full.json.gz").read_bytes()))[part]
    ]


def few(pairs: Sequence[Pair], seed: int, shots: int = 10) -> list[Pair]:
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        by_label.setdefault(label, []).append(text)
    draw = random.Random(seed)
    return [(text, label) for label in sorted(by_label) for text in draw.sample(by_label[label], shots)]


def on(name: str, source: str | None = None) -> Config:
    """RETURNS (Config): A solved head on frozen rows."""
    config = load_config(ROOT / "configs" / f"textcat_{name}.cfg")
    config["components"]["transfer_backbone"]["frozen"] = True
    config["initialize"]["components"]["transfer_textcat"] = {"fit": "maxent"}
    if source is not None:
        config["paths"]["backbone"] = source
    return config


def cnn(texts: Path, folder: Path) -> Config:
    """RETURNS (Config): GloVe and a CNN that has learned MiniLM's rows."""
    pretraining = our_pretraining("pretrain_match_rows", texts, folder)
    file = run_pretrain(pretraining, folder)
    config = on("vectors")
    config["components"]["transfer_backbone"]["model"] = pretraining["components"]["transfer_backbone"]["model"]
    config["initialize"]["components"]["transfer_backbone"] = {"pretrained": str(file)}
    return config


def solved(config: Config, pairs: Sequence[Pair]) -> Language:
    with tempfile.TemporaryDirectory() as name:
        path = str(write_docs(Path(name) / "train.spacy", pairs))
        config = config.copy()
        config["paths"].update({"train": path, "dev": path})
        return init_nlp(config)


def naive(folder: Path) -> str:
    from model2vec.distill import distill

    distill(minilm(), device="cpu").save_pretrained(folder)
    return str(folder)


def speeds(pipelines: dict[str, Language], texts: Sequence[str], rounds: int) -> dict[str, tuple[float, float]]:
    """RETURNS (Dict[str, Tuple[float, float]]): Words a second of the backbone alone, and of all."""
    docs = [spacy.blank("en").make_doc(text) for text in texts]
    batches = [docs[i : i + 64] for i in range(0, len(docs), 64)]
    words = sum(map(len, docs))

    def alone(nlp: Language) -> None:
        model = nlp.get_pipe("transfer_backbone").model
        for batch in batches:
            model.predict(batch)

    def whole(nlp: Language) -> None:
        for _ in nlp.pipe(texts):
            pass

    found = []
    for run in (alone, whole):
        runners = {name: (lambda nlp=nlp, run=run: run(nlp)) for name, nlp in pipelines.items()}
        seconds = time_in_turn(runners, rounds)
        found.append({name: words / statistics.median(each) for name, each in seconds.items()})
    return {name: (found[0][name], found[1][name]) for name in pipelines}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True, help="folder of banking77")
    args.add_argument("--clinc150", type=Path, required=True, help="its folder")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--cnn", action="store_true")
    args.add_argument("--dev", action="store_true")
    args.add_argument("--width", type=int, default=StaticSettings.width)
    args.add_argument("--sif", type=float, default=StaticSettings.sif)
    args.add_argument("--strength", type=float, default=StaticSettings.strength)
    args.add_argument("--texts", type=int, default=1000, help="how many are timed")
    args.add_argument("--rounds", type=int, default=3)
    opts = args.parse_args()
    raw = [text for text, _ in all_texts(opts.data) + intents(opts.clinc150, "train")]
    with tempfile.TemporaryDirectory() as place:
        folder, start = Path(place), time.process_time()
        settings = StaticSettings(width=opts.width, sif=opts.sif, strength=opts.strength)
        made = make_static(minilm(), raw, spacy.blank("en"), folder / "student", settings)
        seconds = time.process_time() - start
        print(made, flush=True)
        configs = {
            "GloVe": on("vectors"),
            "naive model2vec": on("vectors", naive(folder / "naive")),
            "static student": on("vectors", str(folder / "student")),
            **({"CNN student": cnn(write_texts(folder / "raw.jsonl", raw), folder / "cnn")} if opts.cnn else {}),
            "MiniLM": on("transformer"),
        }
        found: dict[str, list[float]] = {name: [] for name in configs}
        pipelines: dict[str, Language] = {}
        for seed in opts.seeds:
            if opts.dev:
                pairs, test = few(intents(opts.clinc150, "train"), seed), intents(opts.clinc150, "val")
            else:
                pairs, test = banking_draw(opts.data, seed)
            for name, config in configs.items():
                pipelines[name] = solved(config, pairs)
                found[name].append(score(pipelines[name], test))
                print(f"{name}, seed {seed}: {found[name][-1]:.2f}", flush=True)
        timed = speeds(pipelines, [text for text, _ in test[: opts.texts]], opts.rounds)
    rows = []
    for name, values in found.items():
        each = ", ".join(f"{value:.1f}" for value in values)
        (alone, whole), (slow, slow_whole) = timed[name], timed["MiniLM"]
        measured = (
            f"{statistics.mean(values):.1f} % ({each}); backbone {alone:,.0f} words/s, {alone / slow:.1f} x MiniLM's"
        )
        measured += f"; with tokenizer and head {whole:,.0f} words/s, {whole / slow_whole:.1f} x"
        data = "clinc150's validation texts" if opts.dev else "banking77"
        aim = ">= 78 %, >= 50 x" if name == "static student" else ""
        rows.append((f"{data}, 10 a class, solved head: {name}", measured, aim))
    rows.append((f"making the student of {made.n_texts:,} texts", f"{seconds:.0f} s of processor time", ""))
    print_rows(rows)


if __name__ == "__main__":
    main()
