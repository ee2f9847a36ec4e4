"""Words per second of fine-tuning MiniLM by two ranks with one thread each, against one rank with one thread.

    python benchmarks/ranks.py [--ranks 2] [--steps 60] [--words 60] [--gradients-only]

`torchrun -m spacy train` on the first words of BBC News articles, in batches of 32; a quarter of them is for
development. Time counts from the third step to the last but one: without start-up and evaluation. The gradients of the
first step are compared as well, with dropout off. This file is also the --code of those trainings.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import registry
from thinc.api import Optimizer

WARM = 2
CLOCK, GRADIENTS, NO_DROPOUT = (f"benchmarks.{name}.v1" for name in ("Clock", "Gradients", "NoDropout"))


def clock(file: str) -> Callable[..., Any]:
    """RETURNS (Callable): A logger that notes the time of each step, and the words and score of the last evaluation."""

    def setup(nlp: Language, stdout: IO, stderr: IO) -> tuple[Callable[[dict | None], None], Callable[[], None]]:
        times: list[float] = []
        last: dict[str, Any] = {}

        def log(info: dict | None) -> None:
            times.append(time.perf_counter())
            last.update({} if info is None else {"words": info["words"], "cats_macro_f": _macro_f(info)})

        return log, lambda: _write(file, {"times": times, **last})

    return setup


def _macro_f(info: dict[str, Any]) -> float:
    return float(info["other_scores"]["cats_macro_f"])


def _write(file: str, found: dict[str, Any]) -> None:
    Path(file).write_text(json.dumps(found), encoding="utf8")


class Gradients(Optimizer):
    """Writes the gradients of the first step, and changes nothing."""

    def __init__(self, file: str) -> None:
        super().__init__(0.1)
        self._file, self._found = Path(file), dict[str, Any]()

    def __call__(self, key: Any, weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> Any:
        self._found.setdefault(f"{len(self._found)} {key[1]}", gradient.copy())
        return weights, gradient * 0

    def step_schedules(self) -> None:
        if self._found and os.environ.get("RANK", "0") == "0" and not self._file.exists():
            numpy.savez(self._file, **self._found)


def no_dropout() -> Callable[[Language], None]:
    """RETURNS (Callable): A callback that switches off the dropout inside the encoder."""
    import torch

    def switch_off(nlp: Language) -> None:
        (shim,) = nlp.get_pipe("transfer_backbone").model.shims  # type: ignore[attr-defined]
        for module in shim._model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0

    return switch_off


registry.loggers.register(CLOCK, func=clock)
registry.optimizers.register(GRADIENTS, func=Gradients)
registry.callbacks.register(NO_DROPOUT, func=no_dropout)


def write_data(folder: Path, n_words: int) -> None:
    """Write train.spacy and dev.spacy: every fourth article is for development."""
    from common import LABELS, bbc

    nlp = spacy.blank("en")
    articles = bbc.read_articles()
    topics = dict(zip(sorted({topic for _, topic in articles}), LABELS, strict=True))
    bins = {"train": DocBin(), "dev": DocBin()}
    for i, (text, topic) in enumerate(articles):
        doc = nlp.make_doc(" ".join(text.split()[:n_words]))
        doc.cats = {label: float(label == topics[topic]) for label in topics.values()}
        bins["dev" if i % 4 == 0 else "train"].add(doc)
    for name, docs in bins.items():
        docs.to_disk(folder / f"{name}.spacy")


def write_config(folder: Path, steps: int, gradients: bool) -> Path:
    """RETURNS (Path): The config of a training whose log or gradients go into its folder."""
    from common import tuned_config

    config = tuned_config()
    config["paths"] |= {"train": str(folder / "train.spacy"), "dev": str(folder / "dev.spacy")}
    for name in ("train", "dev"):
        config["corpora"][name]["path"] = config["paths"][name]
    config["corpora"]["dev"]["limit"] = 32 if gradients else 0
    own: dict[str, Any] = {"max_steps": steps, "eval_frequency": steps, "patience": 0}
    if gradients:
        own |= {"max_steps": 1, "eval_frequency": 10, "dropout": 0.0}
        own["optimizer"] = {"@optimizers": GRADIENTS, "file": str(folder / "gradients.npz")}
    else:
        own["optimizer"] = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 5e-5}
    config["training"] |= {**own, "logger": {"@loggers": CLOCK, "file": str(folder / "log.json")}}
    ranks: dict[str, Any] = {"@callbacks": "spacy-transfer.Ranks.v1"}
    config["initialize"]["after_init"] = {**ranks, "then": {"@callbacks": NO_DROPOUT}} if gradients else ranks
    config.to_disk(folder / "config.cfg")
    return folder / "config.cfg"


def train(folder: Path, n_ranks: int, steps: int, gradients: bool) -> Any:
    """RETURNS (Any): The log, or the gradients by parameter."""
    config = write_config(folder, steps, gradients)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_ranks)]
    what = ["-m", "spacy", "train", str(config), "--code", __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *launch, *what], check=True, env=environment, stdout=sys.stderr)
    if not gradients:
        return json.loads((folder / "log.json").read_text(encoding="utf8"))
    with numpy.load(folder / "gradients.npz") as found:
        arrays = dict(found)
    (folder / "gradients.npz").unlink()
    return arrays


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """RETURNS (float): The largest difference of two gradients, over the largest gradient."""
    assert one.keys() == other.keys()
    largest = max(float(numpy.abs(array).max()) for array in one.values())
    return max(float(numpy.abs(one[key] - other[key]).max()) for key in one) / largest


def speed(log: dict[str, Any], steps: int) -> float:
    """RETURNS (float): Words per second between the warm-up and the last evaluation."""
    seconds = log["times"][steps - 1] - log["times"][WARM]
    return log["words"] / (steps + 1) * (steps - 1 - WARM) / seconds


def main() -> None:
    from common import print_rows

    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--ranks", type=int, default=2)
    args.add_argument("--steps", type=int, default=60)
    args.add_argument("--words", type=int, default=60)
    args.add_argument("--gradients-only", action="store_true")
    opts = args.parse_args()
    n = opts.ranks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, opts.words)
        gradients = [train(folder, ranks, opts.steps, True) for ranks in (1, n)]
        rows = [(f"gradients of {n} ranks and of 1", f"differ by {difference(*gradients):.1e}", "<= 1e-6")]
        if not opts.gradients_only:
            logs = [train(folder, ranks, opts.steps, False) for ranks in (1, n)]
            alone, together = (speed(log, opts.steps) for log in logs)
            scores = " and ".join(f"{log['cats_macro_f']:.3f}" for log in logs)
            measured = f"{together / alone:.2f} x ({together:.0f} and {alone:.0f} words/s); macro F {scores}"
            rows.append((f"MiniLM fine-tuned by {n} ranks of a thread each, against 1", measured, ">= 1.7 x"))
    print_rows(rows)


if __name__ == "__main__":
    main()
