"""Seconds of the second and later epochs on a frozen backbone, against fine-tuning with spacy-transformers.

    python benchmarks/frozen_epochs.py [--most 500] [--epochs 4] [--peer-epochs 1]

The steps of `spacy train` (update without a step, finish_update of every component, step_schedules) on BBC articles in
batches of 32. Every epoch makes new docs from the texts, as the corpus reader does.
"""

import argparse
import random
import statistics
import time

from common import LABELS, bbc_texts, initialized, our_config, peer_config, print_rows
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Optimizer


def gold(nlp: Language, texts: list[str]) -> list[Doc]:
    docs = []
    for i, text in enumerate(texts):
        doc = nlp.make_doc(text)
        doc.cats = {label: float(label == LABELS[i % len(LABELS)]) for label in LABELS}
        docs.append(doc)
    return docs


def step(nlp: Language, docs: list[Doc], optimizer: Optimizer, drop: float = 0.1) -> dict[str, float]:
    """One step, by the calls that `spacy train` makes.

    docs (List[Doc]): Annotated docs; new ones are made of their texts.
    RETURNS (Dict[str, float]): The losses.
    """
    losses: dict[str, float] = {}
    nlp.update([Example(nlp.make_doc(doc.text), doc) for doc in docs], sgd=False, drop=drop, losses=losses)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(optimizer)
    optimizer.step_schedules()
    return losses


def epoch(nlp: Language, docs: list[Doc], optimizer: Optimizer, seed: int) -> float:
    """RETURNS (float): Seconds."""
    order = list(docs)
    random.Random(seed).shuffle(order)
    start = time.perf_counter()
    for i in range(0, len(order), 32):
        step(nlp, order[i : i + 32], optimizer)
    return time.perf_counter() - start


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--most", type=int, default=500)
    args.add_argument("--epochs", type=int, default=6)
    args.add_argument("--peer-epochs", type=int, default=1)
    opts = args.parse_args()
    texts = bbc_texts(opts.most)
    ours, peer = initialized(our_config("textcat_transformer"), texts), initialized(peer_config(), texts)
    docs = gold(ours, texts)
    optimizer = Adam(0.003, L2=0.0)
    taken = [epoch(ours, docs, optimizer, seed) for seed in range(opts.epochs)]
    peer_docs, optimizer = gold(peer, texts), Adam(5e-5)
    theirs = [epoch(peer, peer_docs, optimizer, seed) for seed in range(opts.peer_epochs)]
    later, full = statistics.median(taken[1:]), statistics.median(theirs)
    measured = (
        f"{later:.2f} s an epoch (the first {taken[0]:.0f} s): {full / later:.0f} x as fast as fine-tuning with "
        f"spacy-transformers ({full:.0f} s)"
    )
    print_rows([(f"frozen backbone, second and later epochs, {len(texts)} BBC articles", measured, ">= 60 x")])


if __name__ == "__main__":
    main()
