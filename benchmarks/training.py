"""Words per second of training MiniLM under one classifier: spacy-transformers, and ours in five ways of tuning.

    python benchmarks/training.py [--texts FILE] [--most 1000] [--epochs 4] [--only NAME ...]

FILE holds one text a line; without it, BBC News articles are taken (--most is 150 then). The steps of `spacy train`, in
batches of 32 texts, with docs made anew in every epoch, as the corpus reader does. The contenders take turns, epoch by
epoch. The first epoch warms up and fills caches, the others count; what is printed is the median of the ratios of
epochs of the same number. Full fine-tuning is printed with our AdamW, and with spaCy's Adam, which the peer uses.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
from common import (
    bbc_texts,
    count_words,
    encoder_shim,
    initialized,
    peer_config,
    print_rows,
    read_lines,
    speedup,
    tuned_config,
)
from frozen_epochs import epoch, gold
from runs import LORA as READY
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Adam, Config, Optimizer

from spacy_transfer._compat import cpu_has_bf16

RATE = 5e-5
PEER, FULL, FULL_ADAM, HALF, LORA, BF16 = "spacy-transformers", "full", "full_adam", "half", "lora", "bf16"


def adamw() -> Optimizer:
    return spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=RATE)


def adam() -> Optimizer:
    return Adam(RATE, L2=0.01)


CONTENDERS: dict[str, tuple[Callable[[], Config], Callable[[], Optimizer]]] = {
    PEER: (peer_config, adam),
    FULL: (tuned_config, adamw),
    FULL_ADAM: (tuned_config, adam),
    HALF: (lambda: tuned_config(freeze=3), adamw),
    LORA: (lambda: tuned_config(adapter=READY), adamw),
    BF16: (lambda: tuned_config(precision="bf16"), adamw),
}
# What each is compared with.
AGAINST = {FULL: PEER, FULL_ADAM: PEER, HALF: FULL, LORA: FULL, BF16: FULL}


@dataclass
class Contender:
    """A pipeline in training.

    nlp (Language): The pipeline.
    docs (List[Doc]): Annotated docs of its own vocabulary.
    optimizer (Optimizer): The optimizer.
    """

    nlp: Language
    docs: list[Doc]
    optimizer: Optimizer


def enter(name: str, texts: list[str]) -> Contender:
    config, optimizer = CONTENDERS[name]
    nlp = initialized(config(), texts)
    return Contender(nlp, gold(nlp, texts), optimizer())


def wanted(only: list[str], has_bf16: bool) -> list[str]:
    """RETURNS (List[str]): The contenders to run: those asked for and what they are compared with, in their order."""
    names = {name for name in only or CONTENDERS if has_bf16 or name != BF16}
    while not names >= (others := {AGAINST[name] for name in names if name in AGAINST}):
        names |= others
    return [name for name in CONTENDERS if name in names]


def run(contenders: dict[str, Contender], epochs: int) -> dict[str, list[float]]:
    """RETURNS (Dict[str, List[float]]): Seconds of the epochs after the first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(epochs + 1):
        for name, contender in contenders.items():
            taken = epoch(contender.nlp, contender.docs, contender.optimizer, number)
            print(f"epoch {number}, {name}: {taken:.1f} s", file=sys.stderr, flush=True)
            if number:
                seconds[name].append(taken)
    return seconds


def adapter_size(nlp: Language) -> tuple[float, int]:
    """RETURNS (Tuple[float, int]): Share of the encoder's parameters that the adapter adds, in percent; bytes of the
    folder it is saved in."""
    shim = encoder_shim(nlp)
    moving = shim.policy.moving(shim.steps)
    sizes = {name: parameter.numel() for name, parameter in shim._model.named_parameters()}
    own = sum(size for name, size in sizes.items() if name in moving)
    with tempfile.TemporaryDirectory() as folder:
        nlp.get_pipe("transfer_backbone").save_adapter(folder)
        saved = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return 100 * own / (sum(sizes.values()) - own), saved


def as_rows(
    contenders: dict[str, Contender], seconds: dict[str, list[float]], what: str, words: int
) -> list[tuple[str, str, str]]:
    speed = {name: f"{words / statistics.median(taken):,.0f}" for name, taken in seconds.items()}
    ratio = {name: f"{speedup(seconds, name, AGAINST[name]):.2f}" for name in seconds if name in AGAINST}
    rows = []
    if FULL in speed:
        measured = f"{speed[FULL]} words/s: {ratio[FULL]} x spacy-transformers ({speed[PEER]})"
        if FULL_ADAM in speed:
            measured += f"; {ratio[FULL_ADAM]} x with the same Adam.v1 ({speed[FULL_ADAM]})"
        rows.append((f"full fine-tuning, {what}", measured, ">= 1.15 x spacy-transformers"))
    if HALF in speed:
        measured = f"{speed[HALF]} words/s: {ratio[HALF]} x full fine-tuning"
        rows.append((f"bottom half frozen, boundary cache, second and later epochs, {what}", measured, ">= 2.0 x full"))
    if LORA in speed:
        share, size = adapter_size(contenders[LORA].nlp)
        measured = f"{speed[LORA]} words/s: {ratio[LORA]} x full fine-tuning; {share:.2f}% of the parameters, "
        measured += f"{size / 1e6:.2f} MB saved"
        what_it_is = f"LoRA of configs/textcat_lora.cfg, r = 8 on query and value, {what}"
        rows.append((what_it_is, measured, ">= 1.25 x full, <= 2%, <= 2 MB"))
    if BF16 in speed:
        measured = f"{speed[BF16]} words/s: {ratio[BF16]} x fp32"
        rows.append((f"full fine-tuning in bf16, {what}", measured, ">= 1.3 x fp32"))
    return rows


def check_caches(contenders: dict[str, Contender]) -> None:
    """Say so where the states at the boundary were not kept, or not all of them: the row would mean something else."""
    if HALF not in contenders:
        return
    cache: Any = encoder_shim(contenders[HALF].nlp)._cache
    kept = 0 if cache is None else len(cache)
    print(f"boundary cache: {kept:,} windows kept", file=sys.stderr)
    if kept < len({doc.text for doc in contenders[HALF].docs}):
        raise SystemExit("The boundary cache does not hold all texts: raise cache_mb, or take fewer.")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--most", type=int, default=0, help="1,000 sentences, 150 articles")
    args.add_argument("--epochs", type=int, default=4, help="that count")
    args.add_argument("--only", nargs="*", choices=list(CONTENDERS), default=[])
    opts = args.parse_args()
    if opts.texts is None:
        texts, name = bbc_texts(opts.most or 150), "BBC articles"
    else:
        texts, name = read_lines(opts.texts, opts.most or 1000), f"sentences of {opts.texts.name}"
    names = wanted(opts.only, cpu_has_bf16())
    if BF16 not in names:
        print("bf16 is not measured" + ("" if cpu_has_bf16() else ": this CPU has none"), file=sys.stderr)
    contenders = {contender: enter(contender, texts) for contender in names}
    seconds = run(contenders, opts.epochs)
    check_caches(contenders)
    print_rows(as_rows(contenders, seconds, f"{len(texts)} {name}", count_words(texts)))


if __name__ == "__main__":
    main()
