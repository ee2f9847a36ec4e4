"""From transformers and back: logits and predictions of a classifier on 500 texts, text by text.

    python benchmarks/checkpoints.py --data DIR [--most 500]

DIR is banking77 (train.csv, test.csv). The checkpoint is MiniLM under BertForSequenceClassification: its own pooler,
and an output layer for the 77 intents, trained here for a few seconds on the states of some training texts. It is
imported by `from_hf`, and exported again by `to_hf`; what transformers says of each text, one at a time and with its
own tokenizer, is compared with what the pipeline says, and what it says of the export with the pipeline.
"""

import argparse
import csv
import gzip
import random
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from common import minilm, print_rows
from torch import nn

MOST_PIECES = 512


def read_rows(path: Path) -> list[tuple[str, str]]:
    """RETURNS (List[Tuple[str, str]]): Texts and labels of a file of banking77 (.gz works)."""
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    return [(row["text"], row["category"]) for row in csv.DictReader(raw.decode("utf8").splitlines())]


def draw(rows: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """RETURNS (List[Tuple[str, str]]): Some rows, the same every time."""
    rows = list(rows)
    random.Random(0).shuffle(rows)
    return rows[:count]


def make_checkpoint(folder: Path, rows: list[tuple[str, str]]) -> None:
    """Save MiniLM with a trained output layer.

    folder (Path): Where to.
    rows (List[Tuple[str, str]]): Texts and labels.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = sorted({label for _, label in rows})
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=len(labels), **names).eval()
    states = []
    with torch.no_grad():
        for i in range(0, len(rows), 64):
            inputs = tokenizer([text for text, _ in rows[i : i + 64]], padding=True, return_tensors="pt")
            states.append(model.bert(**inputs).pooler_output)
    train(model.classifier, torch.cat(states), torch.tensor([labels.index(label) for _, label in rows]))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train(layer: nn.Linear, states: torch.Tensor, gold: torch.Tensor, steps: int = 300) -> None:
    """Fit a layer to the whole batch."""
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(states), gold).backward()
        optimizer.step()


def their_logits(folder: Path, texts: list[str]) -> numpy.ndarray:
    """RETURNS (Floats2d): What transformers says, text by text."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        if inputs["input_ids"].shape[1] > MOST_PIECES:
            raise SystemExit("A text is longer than one window.")
        with torch.no_grad():
            found.append(model(**inputs).logits[0].numpy())
    return numpy.array(found)


def compare(ours: numpy.ndarray, theirs: numpy.ndarray) -> tuple[float, int]:
    """RETURNS (Tuple[float, int]): Largest difference of logits, and how many texts get the same label."""
    return float(numpy.abs(ours - theirs).max()), int((ours.argmax(1) == theirs.argmax(1)).sum())


def as_row(what: str, found: tuple[float, int], count: int) -> tuple[str, str, str]:
    """RETURNS (Tuple[str, str, str]): A row of the table."""
    difference, same = found
    measured = f"largest difference of logits {difference:.1e}, same label for {same} of {count}"
    return f"{what}, {count} texts of banking77", measured, f"<= 1e-5, {count} of {count}"


def main() -> None:
    from spacy_transfer.pipeline.hf import from_hf, logits
    from spacy_transfer.pipeline.hf_export import to_hf

    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--most", type=int, default=500)
    opts = args.parse_args()
    tests = draw(read_rows(opts.data / "test.csv"), opts.most)
    texts = [text for text, _ in tests]
    with tempfile.TemporaryDirectory() as name:
        make_checkpoint(Path(name) / "checkpoint", draw(read_rows(opts.data / "train.csv"), 2000))
        theirs = their_logits(Path(name) / "checkpoint", texts)
        nlp = from_hf(str(Path(name) / "checkpoint"))
        ours = logits(nlp, "transfer_textcat", texts)
        labels = nlp.get_pipe("transfer_textcat").labels
        right = sum(labels[i] == label for i, (_, label) in zip(ours.argmax(1), tests, strict=True))
        print(f"right: {right} of {len(tests)}; logits from {ours.min():.1f} to {ours.max():.1f}", file=sys.stderr)
        to_hf(nlp, Path(name) / "back")
        back = their_logits(Path(name) / "back", texts)
    rows = {"import of BertForSequenceClassification": compare(ours, theirs), "and its export": compare(back, ours)}
    print_rows(as_row(what, found, len(texts)) for what, found in rows.items())


if __name__ == "__main__":
    main()
