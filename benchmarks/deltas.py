"""Deltas: how large they are, whether they predict the same bits, and what ten of one base take of memory.

python benchmarks/deltas.py [--pipelines 10]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import spacy
from common import bbc_texts, initialized, our_config, print_rows
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.cli.shipping.delta import write_delta

# Resident memory after the first pipeline and after the last, each used once, and seconds of each load.
LOAD = """
import json, sys, time, psutil, spacy
process, kept, memory, seconds = psutil.Process(), [], [], []
spacy.blank("en")
for folder in sys.argv[1:]:
    start = time.perf_counter()
    kept.append(spacy.load(folder))
    seconds.append(time.perf_counter() - start)
    kept[-1]("Shares rose in Frankfurt on Tuesday.")
    memory.append(process.memory_info().rss / 2**20)
start = time.perf_counter()
spacy.blank("en")
print(json.dumps([memory, seconds, time.perf_counter() - start]))
"""


def lora(seed: int) -> Language:
    """RETURNS (Language): A classifier with LoRA, trained for two steps, so that no part of it is zero."""
    spacy.util.fix_random_seed(seed)
    nlp = initialized(our_config("textcat_lora"))
    texts = bbc_texts(8)
    cats = {label: float(label == "A") for label in nlp.get_pipe("transfer_textcat").labels}
    examples, optimizer = [Example.from_dict(nlp.make_doc(text[:200]), {"cats": cats}) for text in texts], Adam(0.001)
    for _ in range(2):
        nlp.update(examples, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    return nlp


def three_heads() -> Language:
    """RETURNS (Language): A frozen encoder with a classifier, entities and tags."""
    nlp = spacy.util.load_model_from_config(our_config("textcat_transformer"), auto_fill=True)
    listener = {"@architectures": "spacy-transfer.Listener.v1"}
    for head in ("transfer_ner", "transfer_tagger"):
        nlp.add_pipe(head, config={"model": {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": listener}})
    texts, labels = bbc_texts(8), [f"LABEL{i}" for i in range(8)]
    examples = []
    for label, text in zip(labels, texts, strict=True):
        doc = nlp.make_doc(text[:200])
        entities, tags = [(doc[0].idx, len(doc[0]), label)], [label] * len(doc)
        cats = {other: float(other == label) for other in labels}
        examples.append(Example.from_dict(doc, {"cats": cats, "entities": entities, "tags": tags}))
    nlp.initialize(lambda: examples)
    return nlp


def said(nlp: Language, texts: list[str]) -> list[tuple]:
    """All that a pipeline says, every bit of its rows and scores included."""
    return [
        (doc.tensor.tobytes(), doc.cats, [(e.start, e.end, e.label_) for e in doc.ents], [token.tag_ for token in doc])
        for doc in nlp.pipe(texts)
    ]


def sizes(folder: Path) -> Iterator[tuple[str, str, str]]:
    texts = [text[:600] for text in bbc_texts(60)]
    kinds = {"LoRA, a classifier": (lora(0), 2), "frozen encoder, three heads": (three_heads(), 3)}
    for what, (nlp, most) in kinds.items():
        whole, delta = folder / f"{most}-whole", folder / f"{most}-delta"
        nlp.to_disk(whole)
        write_delta(str(whole), delta)
        size, before = (sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) / 2**20 for p in (delta, whole))
        equal = "equal" if said(spacy.load(whole), texts) == said(spacy.load(delta), texts) else "DIFFERENT"
        measured = f"{size:.2f} MB (whole: {before:.0f} MB); predictions {equal}"
        yield f"delta on MiniLM: {what}", measured, f"<= {most} MB, bit-equal"


def measure(folders: list[Path]) -> tuple[list[float], list[float], float]:
    run = [sys.executable, "-c", LOAD, *map(str, folders)]
    return tuple(json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--pipelines", type=int, default=10)
    opts = args.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*sizes(folder)]
        wholes, deltas = ([folder / f"{kind}-{i}" for i in range(opts.pipelines)] for kind in ("whole", "delta"))
        for i, (whole, delta) in enumerate(zip(wholes, deltas, strict=True)):
            lora(i).to_disk(whole)
            write_delta(str(whole), delta)
        memory, seconds, blank = measure(deltas)
        of_wholes = measure(wholes)[0]
    what = f"{opts.pipelines} deltas of MiniLM (LoRA) in one process, resident memory"
    measured = f"{memory[0]:.0f} MB with one, {memory[-1]:.0f} MB with all: {memory[-1] / memory[0]:.2f} x"
    rows.append((what, f"{measured} (whole pipelines: {of_wholes[-1] / of_wholes[0]:.2f} x)", "<= 1.3 x"))
    later = sorted(seconds[1:])[len(seconds[1:]) // 2]
    print_rows(rows, timed=False)
    measured = f"{seconds[0]:.2f} s the first, {later:.2f} s later ones; `spacy.blank` alone takes {blank:.2f} s"
    print_rows([("`spacy.load` of such a delta", measured, "")])


if __name__ == "__main__":
    main()
