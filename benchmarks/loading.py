"""Seconds of `spacy.load` of a MiniLM pipeline, against from_pretrained of model and tokenizer.

python benchmarks/loading.py [--rounds 5]

Every measurement is a fresh process; imports are done before the clock starts.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import initialized, minilm, our_config, print_rows

OURS = """
import sys, time, spacy, torch, transformers
import spacy_transfer.pipeline.backbone.component, spacy_transfer.pipeline.heads.textcat
import spacy_transfer.backbones.transformer.pretrained
import spacy_transfer.backbones.transformer.encoder, transformers.models.bert.modeling_bert
spacy.blank("en")
start = time.perf_counter()
nlp = spacy.load(sys.argv[1])
print(time.perf_counter() - start)
"""
THEIRS = """
import sys, time, torch, transformers, transformers.models.bert.modeling_bert
from transformers import AutoModel, AutoTokenizer
start = time.perf_counter()
AutoTokenizer.from_pretrained(sys.argv[1])
AutoModel.from_pretrained(sys.argv[1])
print(time.perf_counter() - start)
"""


def seconds(code: str, folder: str) -> float:
    out = subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True, text=True)
    return float(out.stdout.strip())


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--rounds", type=int, default=7)
    opts = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        initialized(our_config("textcat_transformer")).to_disk(Path(folder))
        pairs = [(seconds(OURS, folder), seconds(THEIRS, minilm())) for _ in range(opts.rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    measured = f"{ours:.2f} s: {ratio:.2f} x AutoModel and AutoTokenizer ({theirs:.2f} s)"
    print_rows([("`spacy.load` of the MiniLM pipeline", measured, "<= 1.3 x")])


if __name__ == "__main__":
    main()
