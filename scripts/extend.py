"""Sentences of BBC News in which two entity types are labelled by rule, to add these types to a pretrained pipeline.

    python scripts/extend.py OUT_DIR [--seed 0] [--most 600]

SPORT ("rugby") and DEVICE ("laptops") are types that en_core_web_sm does not know. Half of the articles are for
training, half for the test. Writes train.spacy, dev.spacy and test.spacy, with these entities and no others: what a
person has who labels only what is new. raw.jsonl has sentences of the training half without any label.
"""

import argparse
import random
import re
from collections.abc import Iterable
from pathlib import Path

import spacy
import srsly
from bbc import read_articles
from spacy.tokens import Doc, DocBin

WORDS = {
    "SPORT": "football|rugby|tennis|athletics|golf|boxing|basketball|hockey|snooker|soccer|cricket|swimming",
    "DEVICE": r"(?:mobile|camera)?\s*(?:phone|handset|laptop|notebook|console|camera|television|computer|PC|TV)s?"
    r"|(?:set-top box|camcorder|webcam|router|server)(?:s|es)?",
}
PATTERNS = {label: re.compile(rf"\b(?:{words})\b") for label, words in WORDS.items()}
TOPICS = ("sports", "tech", "business")
# In sentences of these lengths, in characters.
SHORTEST, LONGEST = 40, 300


def label(doc: Doc) -> Doc:
    """Set the entities that the rules find; where tokens are cut otherwise, the tokens that a match touches.

    doc (Doc): The doc.
    RETURNS (Doc): The same.
    """
    spans = []
    for name, pattern in PATTERNS.items():
        for match in pattern.finditer(doc.text):
            start = match.start() + len(match.group()) - len(match.group().lstrip())
            spans.append(doc.char_span(start, match.end(), name, alignment_mode="expand"))
    doc.ents = spacy.util.filter_spans(span for span in spans if span is not None)
    return doc


def sentences(texts: Iterable[str]) -> list[Doc]:
    """RETURNS (List[Doc]): One for each sentence that is neither short nor long, each once."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    found = dict.fromkeys(sent.text.strip() for doc in nlp.pipe(texts) for sent in doc.sents)
    return [label(nlp.make_doc(text)) for text in found if SHORTEST <= len(text) <= LONGEST]


def draw(docs: list[Doc], most: int, rng: random.Random) -> list[Doc]:
    """RETURNS (List[Doc]): So many at most: half of them with a new entity, half of them without."""
    rng.shuffle(docs)
    labelled, others = [doc for doc in docs if doc.ents], [doc for doc in docs if not doc.ents]
    chosen = labelled[: most // 2] + others[: most - most // 2]
    rng.shuffle(chosen)
    return chosen


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("out", type=Path)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--most", type=int, default=600)
    opts = args.parse_args()
    rng = random.Random(opts.seed)
    texts = sorted({text for text, topic in read_articles() if topic in TOPICS})
    rng.shuffle(texts)
    half = len(texts) // 2
    learned = sentences(texts[:half])
    seen = {doc.text for doc in learned}
    train, test = draw(learned, 2 * opts.most, rng), sentences(texts[half:])
    test = draw([doc for doc in test if doc.text not in seen], opts.most, rng)
    parts = {"train": train[: opts.most], "dev": train[opts.most : opts.most + opts.most // 4], "test": test}
    opts.out.mkdir(parents=True, exist_ok=True)
    for name, docs in parts.items():
        DocBin(docs=docs).to_disk(opts.out / f"{name}.spacy")
        print(f"{opts.out / name}.spacy: {len(docs)} sentences, {sum(len(doc.ents) for doc in docs)} entities")
    taken = {doc.text for part in parts.values() for doc in part}
    raw = [doc.text for doc in learned if doc.text not in taken]
    srsly.write_jsonl(opts.out / "raw.jsonl", ({"text": text} for text in raw[: 4 * opts.most]))
    print(f"{opts.out / 'raw.jsonl'}: {min(len(raw), 4 * opts.most)} sentences")


if __name__ == "__main__":
    main()
