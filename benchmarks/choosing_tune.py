"""What a search of settings costs and gives, by `python -m spacy transfer tune`.

    python benchmarks/choosing_tune.py frozen --data BANKING77 [--trials 30] [--seeds 0] [--samplers tpe random]
    python benchmarks/choosing_tune.py kills --data BANKING77 [--kills 10] [--trials 12]
    python benchmarks/choosing_tune.py entities --data CROSSNER_AI [--trials 20] [--minutes 30] [--steps 150]

frozen: MiniLM, frozen, under one softmax layer; 10 labelled texts for each of 77 classes, and 10 others for each as
the dev corpus. One training from cold is `spacy train` with the same corpora, in a process of its own, as the search
is. Both are measured in wall-clock seconds and in those of the processor, which say more on a busy machine. The test
set has no part in either. kills: the same search, killed with signal 9 at random moments, then ended. entities: MiniLM,
fine-tuned under a CRF on a small set; DIR holds train, dev and test files with a token and its tag on each line. The
config as shipped is trained once; trials of a search take STEPS steps.
"""

import argparse
import gzip
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import spacy
from accuracy import banking_draw, read_csv
from common import ROOT, bbc, print_rows
from labelling import iob_docs
from spacy.tokens import DocBin
from spacy.training import Corpus

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CONFIGS = ROOT / "configs"
Pair = tuple[str, str]
Cost = tuple[float, float]
"""Wall-clock seconds, and those of the processor."""


def banking(data: Path, seed: int, folder: Path) -> list[Pair]:
    """Write train.spacy and dev.spacy, 10 texts for each class.

    RETURNS (List[Tuple[str, str]]): The test set.
    """
    train, test = banking_draw(data, seed)
    taken, rest = set(train), dict[str, list[Pair]]()
    for pair in read_csv(data / "train.csv"):
        if pair not in taken:
            rest.setdefault(pair[1], []).append(pair)
    draw = random.Random(seed)
    dev = [pair for label in sorted(rest) for pair in draw.sample(rest[label], min(10, len(rest[label])))]
    for name, pairs in (("train", train), ("dev", dev)):
        DocBin(docs=bbc.to_docs(pairs, sorted(rest))).to_disk(folder / f"{name}.spacy")
    return test


def paths(folder: Path) -> list[str]:
    return ["--paths.train", str(folder / "train.spacy"), "--paths.dev", str(folder / "dev.spacy")]


def run(*arguments: str) -> Cost:
    """RETURNS (Tuple[float, float]): What `python -m spacy ...` took."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "spacy", *arguments], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def accuracy(pipeline: Path, test: list[Pair]) -> float:
    docs = spacy.load(pipeline).pipe(text for text, _ in test)
    hits = sum(max(doc.cats, key=doc.cats.__getitem__) == label for doc, (_, label) in zip(docs, test, strict=True))
    return 100 * hits / len(test)


def frozen(data: Path, trials: int, seeds: list[int], samplers: list[str]) -> None:
    config, space = CONFIGS / "textcat_transformer.cfg", CONFIGS / "spaces" / "frozen_head.cfg"
    ratios: dict[str, list[Cost]] = {name: [] for name in samplers}
    found: dict[str, list[float]] = {"config": [], **{name: [] for name in samplers}}
    dev: dict[str, list[float]] = {"config": [], **{name: [] for name in samplers}}
    with tempfile.TemporaryDirectory() as place:
        for seed in seeds:
            folder = Path(place) / str(seed)
            folder.mkdir()
            test = banking(data, seed, folder)
            cold = run("train", str(config), "-o", str(folder / "cold"), *paths(folder))
            found["config"].append(accuracy(folder / "cold" / "model-best", test))
            dev["config"].append(dev_score(folder / "cold" / "model-best"))
            print(f"seed {seed}, config: {cold}, {found['config'][-1]:.2f}", file=sys.stderr, flush=True)
            for name in samplers:
                out = folder / name
                more = ["--trials", str(trials), "--seed", str(seed), "--sampler", name]
                cost = run("transfer", "tune", str(config), str(space), "-o", str(out), *more, *paths(folder))
                ratios[name].append((cost[0] / cold[0], cost[1] / cold[1]))
                found[name].append(accuracy(out / "best", test))
                dev[name].append(dev_score(out / "best"))
                print(f"seed {seed}, {name}: {cost}, {found[name][-1]:.2f}", file=sys.stderr, flush=True)
    rows = []
    what = f"tune, banking77, 10 a class, frozen MiniLM, {trials} trials"
    for name in samplers:
        wall, processor = (statistics.mean(column) for column in zip(*ratios[name], strict=True))
        aim = "<= 3 x" if name == "tpe" else ""
        rows.append((f"{what}, {name}: time / one cold training", f"{wall:.1f} x ({processor:.1f} x CPU time)", aim))
    for name, values in found.items():
        gain = statistics.mean(values) - statistics.mean(found["config"])
        each = ", ".join(f"{value:.1f}" for value in values)
        aim = f"{gain:+.2f} (aim: >= 0)" if name == "tpe" else f"{gain:+.2f}"
        on_dev = statistics.mean(dev[name])
        rows.append(
            (f"the same, {name}: test accuracy", f"{statistics.mean(values):.2f} % ({each}); dev {on_dev:.4f}", aim)
        )
    print_rows(rows)


def dev_score(pipeline: Path) -> float:
    return float(spacy.util.load_meta(pipeline / "meta.json")["performance"]["cats_score"])


def kills(data: Path, n_kills: int, trials: int) -> None:
    """Kill at random moments; after each, all trials that had ended before must still be there, with their scores."""
    config, space = CONFIGS / "textcat_transformer.cfg", CONFIGS / "spaces" / "frozen_head.cfg"
    draw, lost, n_killed = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        banking(data, 0, folder)
        more = ["--trials", str(trials), "--training.max_steps", "200", "--training.eval_frequency", "50"]
        command = [
            sys.executable,
            "-m",
            "spacy",
            "transfer",
            "tune",
            str(config),
            str(space),
            "-o",
            str(folder / "out"),
        ]

        def ended() -> dict[int, float]:
            journal = folder / "out" / "journal.log"
            if not journal.exists() or not journal.stat().st_size:
                return {}
            return {t.number: t.user_attrs["score"] for t in trials_of(journal.parent) if "score" in t.user_attrs}

        while n_killed < n_kills:
            process = subprocess.Popen([*command, *more, *paths(folder)], stdout=subprocess.DEVNULL)
            time.sleep(draw.uniform(6, 26))
            before = ended() if process.poll() is None else {}
            is_killed = process.poll() is None
            os.kill(process.pid, signal.SIGKILL) if is_killed else None
            process.wait()
            n_killed += is_killed
            after = ended()
            lost += sum(after.get(number) != score for number, score in before.items())
            print(f"kill {n_killed}: {len(after)} trials have ended", file=sys.stderr, flush=True)
            if not is_killed:
                more[1] = str(int(more[1]) + trials)
        subprocess.run([*command, *more, *paths(folder)], check=True, stdout=subprocess.DEVNULL)
        scores = spacy.util.load_meta(folder / "out" / "best" / "meta.json")["performance"]
        weights = spacy.util.load_config(folder / "out" / "best.cfg")["training"]["score_weights"]
        best = sum(scores[name] * weight for name, weight in weights.items() if weight)
        same = abs(best - max(ended().values())) < 1e-9
    kept = "is" if same else "IS NOT"
    measured = f"{lost} finished trials lost; it went on each time; the best pipeline {kept} the best trial's"
    print_rows([(f"kill -9 of tune at {n_kills} random moments", measured, "none lost")])


def entities(data: Path, trials: int, minutes: float, steps: int, seed: int) -> None:
    config, space = CONFIGS / "ner_crf.cfg", CONFIGS / "spaces" / "fine_tuning.cfg"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part in ("train", "dev", "test"):
            write_entities(data, part, folder)
        scores: dict[str, tuple[float, float]] = {}
        cold = run("train", str(config), "-o", str(folder / "cold"), *paths(folder))
        scores["config"] = f1(folder / "cold" / "model-best", folder)
        print(f"config: {scores['config']}, {cold}", file=sys.stderr, flush=True)
        costs = {"config": cold}
        for name in ("tpe", "random"):
            more = ["--trials", str(trials), "--minutes", str(minutes), "--seed", str(seed), "--sampler", name]
            more += ["--training.max_steps", str(steps), "--training.eval_frequency", str(-(-steps // 6))]
            out = folder / name
            costs[name] = run("transfer", "tune", str(config), str(space), "-o", str(out), *more, *paths(folder))
            scores[name] = f1(out / "best", folder)
            print(f"{name}: {scores[name]}, {costs[name]}, {count_trials(out)}", file=sys.stderr, flush=True)
    what = f"tune, {data.name}, MiniLM fine-tuned under a CRF, {trials} trials of {steps} steps or {minutes:g} minutes"
    print_rows(
        (
            f"{what}: {name}",
            f"dev F1 {dev:.2f}, test F1 {test:.2f}; {costs[name][0]:.0f} s",
            f"{test - scores['config'][1]:+.2f}",
        )
        for name, (dev, test) in scores.items()
    )


def write_entities(data: Path, part: str, folder: Path) -> None:
    path = next(iter(sorted(data.glob(f"{part}.*"))))
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    DocBin(docs=iob_docs(raw.decode("utf8").replace("\t", " "))).to_disk(folder / f"{part}.spacy")


def count_trials(search: Path) -> str:
    """RETURNS (str): How many trials ended in which way."""
    states = Counter(trial.state.name.lower() for trial in trials_of(search))
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def trials_of(search: Path) -> "list[FrozenTrial]":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(search / "journal.log")))
    return optuna.load_study(study_name="tune", storage=storage).trials


def f1(pipeline: Path, folder: Path) -> tuple[float, float]:
    nlp = spacy.load(pipeline)
    dev, test = (100 * nlp.evaluate(list(Corpus(folder / f"{part}.spacy")(nlp)))["ents_f"] for part in ("dev", "test"))
    return dev, test


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["frozen", "kills", "entities"])
    args.add_argument("--data", type=Path, required=True, help="folder of banking77, or of an entity set")
    args.add_argument("--trials", type=int)
    args.add_argument("--seeds", type=int, nargs="+", default=[0])
    args.add_argument("--samplers", nargs="+", default=["tpe", "random"])
    args.add_argument("--kills", type=int, default=10)
    args.add_argument("--minutes", type=float, default=30)
    args.add_argument("--steps", type=int, default=150, help="of a trial of entities")
    opts = args.parse_args()
    if opts.what == "frozen":
        frozen(opts.data, opts.trials or 30, opts.seeds, opts.samplers)
    elif opts.what == "kills":
        kills(opts.data, opts.kills, opts.trials or 12)
    else:
        entities(opts.data, opts.trials or 20, opts.minutes, opts.steps, opts.seeds[0])


if __name__ == "__main__":
    main()
