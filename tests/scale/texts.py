"""Pipelines and input files that the tests of this folder share."""

import json

import spacy
from spacy.language import Language

BROKEN = "this breaks"


@Language.component("breaks_on_some")
def breaks_on_some(doc):
    """Breaks where the text says so."""
    if BROKEN in doc.text:
        raise RuntimeError("no such text")
    return doc


def pipeline():
    """Finds Rome and sentences."""
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "Rome"}])
    nlp.add_pipe("sentencizer")
    return nlp


def write_jsonl(path, count, start=0):
    """Texts with ids and metadata."""
    rows = ({"id": f"r{i}", "text": f"Rome, {i} times. Yes.", "year": i} for i in range(start, start + count))
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf8")
    return path


def read_jsonl(folder, name="shard-*.jsonl"):
    """Objects of all shards, in their order."""
    return [json.loads(line) for path in sorted(folder.glob(name)) for line in path.read_text("utf8").splitlines()]
