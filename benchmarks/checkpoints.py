"""From transformers and back: logits and predictions of a classifier on 500 texts, text by text.

    python benchmarks/checkpoints.py --data DIR [--task sequence|token] [--most 500]

DIR is banking77 (train.csv, test.csv), or for tokens WNUT 2017 (train.conll, test.conll). The checkpoint is MiniLM
under BertForSequenceClassification (its own pooler, and an output layer for the 77 intents) or, for tokens,
BertForTokenClassification (an output layer for the 13 tags), trained here for a few seconds on the states of some
training texts. It is imported by `from_hf`, and exported again by `to_hf`; what transformers says of each text, one at
a time and with its own tokenizer, is compared with what the pipeline says, and what it says of the export with the
pipeline.

Of tokens that is: logits and best tags at the first word piece of each of spaCy's, and the entities of transformers'
pipeline("token-classification", aggregation_strategy="first"). Its words are not always spaCy's tokens (a URL is one
token and many words), so texts in which they are are counted by themselves.
"""

import argparse
import csv
import gzip
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from common import minilm, print_rows
from torch import nn

if TYPE_CHECKING:
    from spacy.tokens import Doc

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


def read_sentences(path: Path) -> list[tuple[list[str], list[str]]]:
    """RETURNS (List[Tuple[List[str], List[str]]]): Words and tags of the sentences of a file of WNUT 2017."""
    parts = [part for part in path.read_text(encoding="utf8").split("\n\n") if part.strip()]
    lines = [[line.split("\t") for line in part.splitlines() if line.strip()] for part in parts]
    return [([word for word, _ in part], [tag for _, tag in part]) for part in lines]


def make_token_checkpoint(folder: Path, sentences: list[tuple[list[str], list[str]]]) -> None:
    """Save MiniLM with a trained output layer for tokens.

    folder (Path): Where to.
    sentences (List[Tuple[List[str], List[str]]]): Words and tags.
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    labels = sorted({tag for _, tags in sentences for tag in tags})
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModelForTokenClassification.from_pretrained(minilm(), num_labels=len(labels), **names).eval()
    states, gold = [], []
    for words, tags in sentences:
        inputs = tokenizer(
            words, is_split_into_words=True, truncation=True, max_length=MOST_PIECES, return_tensors="pt"
        )
        words_of = inputs.word_ids()
        first = [i for i, word in enumerate(words_of) if word is not None and word != words_of[i - 1]]
        with torch.no_grad():
            states.append(model.bert(**inputs).last_hidden_state[0, first])
        gold += [labels.index(tags[words_of[i]]) for i in first]
    train(model.classifier, torch.cat(states), torch.tensor(gold), steps=100)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def first_pieces(doc: "Doc", offsets: list[tuple[int, int]]) -> dict[int, int]:
    """RETURNS (Dict[int, int]): By token, the first piece that shares a character with it."""
    found = dict[int, int]()
    for token in doc:
        for i, (begin, end) in enumerate(offsets):
            if begin < end and begin < token.idx + len(token) and end > token.idx:
                found[token.i] = i
                break
    return found


def their_tokens(folder: Path, docs: list["Doc"], tags: list[str]) -> list[dict[int, numpy.ndarray]]:
    """RETURNS (List[Dict[int, Floats1d]]): What transformers says, text by text: logits of tokens, by tag."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    columns, found = [model.config.label2id[tag] for tag in tags], []
    for doc in docs:
        inputs = tokenizer(doc.text, return_tensors="pt", return_offsets_mapping=True)
        pieces = first_pieces(doc, inputs.pop("offset_mapping")[0].tolist())
        with torch.no_grad():
            logits = model(**inputs).logits[0].numpy()
        found.append({token: logits[piece][columns] for token, piece in pieces.items()})
    return found


def their_entities(folder: Path, texts: list[str]) -> list[list[tuple[int, int, str]]]:
    """RETURNS (List[List[Tuple[int, int, str]]]): What transformers says: first and last character, label."""
    from transformers import pipeline

    recognize = pipeline("token-classification", model=str(folder), aggregation_strategy="first", device="cpu")
    return [[(item["start"], item["end"], item["entity_group"]) for item in recognize(text)] for text in texts]


def same_words(folder: Path, docs: list["Doc"]) -> list[bool]:
    """RETURNS (List[bool]): Whether BERT's words are spaCy's tokens, by text."""
    from transformers import AutoTokenizer

    tokenizer, found = AutoTokenizer.from_pretrained(folder), []
    for doc in docs:
        inputs = tokenizer(doc.text, add_special_tokens=False, return_offsets_mapping=True)
        pieces = zip(inputs["offset_mapping"], inputs.tokens(), strict=True)
        begins = [begin for (begin, _), piece in pieces if not piece.startswith("##")]
        found.append(begins == [token.idx for token in doc if not token.is_space])
    return found


def entities_row(what: str, docs: list["Doc"], theirs: list, alike: list[bool]) -> tuple[str, str, str]:
    """RETURNS (Tuple[str, str, str]): A row of the table: how many texts have the same entities, and how many of those
    of transformers' pipeline are lost that begin where a token does."""
    ours = [[(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents] for doc in docs]
    same = [a == b for a, b in zip(ours, theirs, strict=True)]
    rest = sum(a for a, is_alike in zip(same, alike, strict=True) if not is_alike)
    begun = [
        any(begin <= at < end for begin, end, _ in own)
        for doc, own, found in zip(docs, ours, theirs, strict=True)
        for at, _, _ in found
        if at in {token.idx for token in doc}
    ]
    return (
        f"{what}: entities of transformers' pipeline",
        f"the same for {sum(same) - rest} of {sum(alike)} texts whose words are spaCy's tokens, and for {rest} of the "
        f"{len(same) - sum(alike)} others; of {len(begun)} that begin with a token, {begun.count(False)} are lost",
        f"{sum(alike)} of {sum(alike)}, 0 lost",
    )


def compare_tokens(opts: argparse.Namespace) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): The rows for tokens."""
    from spacy_transfer import from_hf, to_hf
    from spacy_transfer.huggingface.token_classifiers import token_logits

    texts = [" ".join(words) for words, _ in draw(read_sentences(opts.data / "test.conll"), opts.most)]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        there, back = Path(name) / "checkpoint", Path(name) / "back"
        make_token_checkpoint(there, draw(read_sentences(opts.data / "train.conll"), 2000))
        nlp = from_hf(str(there))
        to_hf(nlp, back)
        tags, docs = list(nlp.get_pipe("transfer_ner").tags), list(nlp.pipe(texts))
        logits, alike = token_logits(nlp, "transfer_ner", texts), same_words(there, docs)
        for what, folder in (("import of BertForTokenClassification", there), ("and its export", back)):
            theirs = their_tokens(folder, docs, tags)
            given = numpy.array([row for by_token in theirs for row in by_token.values()])
            ours = numpy.array([logits[i][token] for i, by_token in enumerate(theirs) for token in by_token])
            difference, same = compare(ours, given)
            print(f"logits from {given.min():.1f} to {given.max():.1f}", file=sys.stderr)
            measured = f"largest difference of logits {difference:.1e}, same tag for {same} of {len(ours)} tokens"
            rows.append((f"{what}, {len(texts)} texts of WNUT 2017", measured, f"<= 1e-5, {len(ours)} of {len(ours)}"))
            rows.append(entities_row(what, docs, their_entities(folder, texts), alike))
    return rows


def compare_texts(opts: argparse.Namespace) -> list[tuple[str, str, str]]:
    """RETURNS (List[Tuple[str, str, str]]): The rows for sequences."""
    from spacy_transfer import from_hf, to_hf
    from spacy_transfer.huggingface.convert import logits

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
    return [as_row(what, found, len(texts)) for what, found in rows.items()]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--task", choices=["sequence", "token"], default="sequence")
    args.add_argument("--most", type=int, default=500)
    opts = args.parse_args()
    print_rows(compare_tokens(opts) if opts.task == "token" else compare_texts(opts))


if __name__ == "__main__":
    main()
