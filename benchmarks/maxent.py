"""The MaxEnt start on banking77, with no step of training: accuracy and seconds, beside fine-tuning.

    python benchmarks/maxent.py --data DIR [--draws 3] [--peer-epochs 1]

DIR holds train.csv (or train.csv.gz) and test.csv, as PolyAI published them. Each draw takes 10 labelled texts per
class. Seconds are those of spaCy's `init_nlp`: reading the encoder, rows of all texts, cross-validation and solution.
Fine-tuning is spacy-transformers on the same weights and texts: --peer-epochs are run, in the steps of `spacy train`
(batches of 32, Adam 5e-5), and 20 of them are reckoned with.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import spacy
from accuracy import Pair, banking_draw
from common import ROOT, bbc, peer_config, print_rows
from frozen_epochs import epoch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from thinc.api import Adam

EPOCHS = 20


def fitted(docs: list[Doc], seed: int) -> tuple[Language, float]:
    """RETURNS (Tuple[Language, float]): A pipeline that was initialised and not trained, and the seconds that took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.spacy"
        DocBin(docs=docs).to_disk(path)
        overrides = {"paths.train": str(path), "paths.dev": str(path), "system.seed": seed}
        overrides |= {"initialize.components.transfer_textcat.fit": "maxent"}
        config = spacy.util.load_config(ROOT / "configs" / "textcat_transformer.cfg", overrides=overrides)
        start = time.perf_counter()
        nlp = init_nlp(config)
        return nlp, time.perf_counter() - start


def accuracy(nlp: Language, test: list[Pair]) -> float:
    """RETURNS (float): In percent."""
    docs = nlp.pipe((text for text, _ in test), batch_size=256)
    hits = [max(doc.cats, key=doc.cats.__getitem__) == label for doc, (_, label) in zip(docs, test, strict=True)]
    return 100 * sum(hits) / len(hits)


def peer_epochs(docs: list[Doc], count: int) -> list[float]:
    """RETURNS (List[float]): Seconds of every epoch of fine-tuning with spacy-transformers."""
    nlp = spacy.util.load_model_from_config(peer_config(), auto_fill=True)
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    optimizer = Adam(5e-5)
    return [epoch(nlp, docs, optimizer, seed) for seed in range(count)]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True, help="folder of banking77")
    args.add_argument("--draws", type=int, default=3)
    args.add_argument("--peer-epochs", type=int, default=1)
    opts = args.parse_args()
    found, seconds, peer = [], [], []
    for seed in range(opts.draws):
        pairs, test = banking_draw(opts.data, seed)
        docs = bbc.to_docs(pairs, sorted({label for _, label in pairs}))
        nlp, taken = fitted(docs, seed)
        # In turn, so that a slow spell of the machine falls on both.
        peer += peer_epochs(docs, opts.peer_epochs if seed == 0 else min(opts.peer_epochs, 1))
        found.append(accuracy(nlp, test))
        seconds.append(taken)
        print(f"seed {seed}: {found[-1]:.1f}%, {taken:.1f} s, peer {peer[-1]:.0f} s", file=sys.stderr, flush=True)
    each = ", ".join(f"{percent:.1f}" for percent in found)
    ours, theirs = statistics.median(seconds), statistics.median(peer)
    what = f"MaxEnt start, no step of training, banking77, 10 labelled per class, {opts.draws} draws, frozen MiniLM"
    shown = f"{ours:.1f} s: 1/{EPOCHS * theirs / ours:.0f} of fine-tuning with spacy-transformers ({EPOCHS} epochs at "
    shown += f"{theirs:.0f} s each; {len(peer)} of them run)"
    rows = [(f"accuracy, {what}", f"mean {statistics.mean(found):.1f}% ({each})", ">= 85%")]
    print_rows([*rows, (f"seconds, {what}", shown, "<= 1/30")])


if __name__ == "__main__":
    main()
