"""The head alone, on rows that are given: `transfer_ner` against spaCy's own `ner`, one thread, in words a second.

    python benchmarks/heads.py [--rounds 5] [--batches 8] [--learn 60] [--profile softmax|crf]

Rows are random, as wide as MiniLM's, and come out of a layer that only hands them over. Docs are as long as sentences
are (log-normal, about 20 tokens), and a tenth of the tokens is in entities of four labels; before any timing each
contender learns them until it finds four fifths as many (in at most --learn passes), which is printed: what finds more
has more to write down. Time is the CPU time of the process; the contenders take turns. Predicting is `predict` and
`set_annotations` on docs without entities, training `update` with `finish_update`. spaCy's `ner` has the settings of
its default config.
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy
import spacy
import torch
from common import print_rows
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam, Model, set_dropout_rate

from spacy_transfer.pipeline.heads.ner import TransferNER

WIDTH, LABELS, BATCH = 384, ["PER", "LOC", "ORG", "MISC"], 128


def rows_of_docs() -> Model:
    """RETURNS (Model[List[Doc], List[Floats2d]]): Hands over what is in `doc.tensor`."""

    def forward(model: Model, docs: list[Doc], is_train: bool) -> tuple[Any, Callable]:
        return [doc.tensor for doc in docs], lambda d_rows: []

    return Model("given_rows", forward, dims={"nO": WIDTH})


def make_examples(nlp: Any, n_docs: int) -> list[Example]:
    """RETURNS (List[Example]): Rows say which tag it is, with noise, so that it can be learned."""
    rng = numpy.random.default_rng(0)
    examples, directions = [], rng.normal(size=(1 + 2 * len(LABELS), WIDTH)).astype("f")
    for _ in range(n_docs):
        length = int(numpy.clip(rng.lognormal(2.9, 0.5), 3, 100))
        words = [f"w{i}" for i in rng.integers(0, 5000, length)]
        reference, tags, at, spans = Doc(nlp.vocab, words=words), numpy.zeros(length, dtype=int), 0, []
        while at < length:
            size = int(rng.integers(1, 4))
            if rng.random() < 0.06 and at + size <= length:
                label = int(rng.integers(len(LABELS)))
                spans.append(Span(reference, at, at + size, LABELS[label]))
                tags[at], tags[at + 1 : at + size] = 1 + 2 * label, 2 + 2 * label
                at += size
            at += 1
        reference.ents = spans
        predicted = Doc(nlp.vocab, words=words)
        predicted.tensor = (directions[tags] + rng.normal(size=(length, WIDTH))).astype("f")
        examples.append(Example(predicted, reference))
    return examples


def make_pipes(nlp: Any, examples: list[Example]) -> dict[str, Any]:
    """RETURNS (Dict[str, TrainablePipe]): The contenders, initialised."""
    stock_model = spacy.registry.get("architectures", "spacy.TransitionBasedParser.v2")(
        tok2vec=rows_of_docs(),
        state_type="ner",
        extra_state_tokens=False,
        hidden_width=64,
        maxout_pieces=2,
        use_upper=True,
        nO=None,
    )
    from spacy.pipeline.ner import EntityRecognizer

    pipes: dict[str, Any] = {"ner": EntityRecognizer(nlp.vocab, stock_model)}
    build = spacy.registry.get("architectures", "spacy-transfer.TokenHead.v1")
    for decoder in ("softmax", "crf"):
        pipes[decoder] = TransferNER(nlp.vocab, build(tok2vec=rows_of_docs(), decoder=decoder))
    for pipe in pipes.values():
        pipe.initialize(lambda: examples, nlp=nlp)
        set_dropout_rate(pipe.model, 0.0)
    return pipes


def cleared(examples: list[Example]) -> list[Example]:
    """RETURNS (List[Example]): With copies of the docs that have no entities, as the training loop makes them."""
    fresh = []
    for example in examples:
        doc = Doc(example.predicted.vocab, words=[token.text for token in example.predicted])
        doc.tensor = example.predicted.tensor
        fresh.append(Example(doc, example.reference))
    return fresh


def runners(pipe: Any, optimizer: Any) -> dict[str, Callable[[list[list[Example]]], None]]:
    """RETURNS (Dict[str, Callable]): What is timed, by name."""

    def predict(batches: list[list[Example]]) -> None:
        for batch in batches:
            docs = [example.predicted for example in batch]
            pipe.set_annotations(docs, pipe.predict(docs))

    def train(batches: list[list[Example]]) -> None:
        for batch in batches:
            pipe.update(batch, losses={})
            pipe.finish_update(optimizer)

    return {"predicting": predict, "training": train}


def batched(examples: list[Example]) -> list[list[Example]]:
    """RETURNS (List[List[Example]]): Cleared, in batches."""
    fresh = cleared(examples)
    return [fresh[i : i + BATCH] for i in range(0, len(fresh), BATCH)]


def count_found(predict: Callable[[list[list[Example]]], None], examples: list[Example]) -> int:
    """RETURNS (int): Entities that a contender predicts."""
    batches = batched(examples)
    predict(batches)
    return sum(len(example.predicted.ents) for batch in batches for example in batch)


def learn(functions: dict[str, Callable], examples: list[Example], wanted: float, most: int) -> int:
    """RETURNS (int): Entities that a contender predicts after it has learned."""
    found = 0
    for _ in range(most):
        functions["training"](batched(examples))
        found = count_found(functions["predicting"], examples)
        if found >= wanted:
            break
    return found


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--batches", type=int, default=8)
    args.add_argument("--learn", type=int, default=60, help="at most so many passes before anything is timed")
    args.add_argument("--profile", choices=["ner", "softmax", "crf"])
    opts = args.parse_args()
    torch.set_num_threads(1)
    nlp = spacy.blank("en")
    examples = make_examples(nlp, BATCH * opts.batches)
    n_words = sum(len(example.predicted) for example in examples)
    pipes = make_pipes(nlp, examples)
    optimizers = {name: Adam(0.001, L2=0.0) for name in pipes}
    made = {name: runners(pipe, optimizers[name]) for name, pipe in pipes.items()}
    gold = sum(len(example.reference.ents) for example in examples)
    found = {name: learn(functions, examples, 0.8 * gold, opts.learn) for name, functions in made.items()}
    print(f"entities predicted, of {gold} in gold, before the timing: {found}", file=sys.stderr, flush=True)
    rows = []
    for what in ("predicting", "training"):
        seconds: dict[str, list[float]] = {name: [] for name in pipes}
        for counted in range(opts.rounds + 1):
            for name, functions in made.items():
                batches = batched(examples)
                profile = cProfile.Profile() if opts.profile == name and counted == opts.rounds else None
                start = time.process_time()
                if profile is not None:
                    profile.runcall(functions[what], batches)
                    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
                else:
                    functions[what](batches)
                if counted:
                    seconds[name].append(time.process_time() - start)
        speed = {name: n_words / statistics.median(taken) for name, taken in seconds.items()}
        for name in ("softmax", "crf"):
            ratio = statistics.median(b / a for a, b in zip(seconds[name], seconds["ner"], strict=True))
            measured = f"{speed[name]:,.0f} words/s: {ratio:.1f} x spaCy's `ner` ({speed['ner']:,.0f})"
            if what == "predicting":
                measured += f"; {found[name]:,} entities, `ner` {found['ner']:,}, in gold {gold:,}"
            rows.append((f"`transfer_ner`, {name}, head alone, {what}, one thread", measured, ">= 3 x"))
    print_rows(rows)


if __name__ == "__main__":
    main()
