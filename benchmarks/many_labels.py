"""`transfer_ner` with many labels: time of its decoding beside that of commit 1f3444a, and the memory of the process.

python benchmarks/many_labels.py [--labels 400] [--rounds 5]
"""

import argparse
import json
import subprocess
import sys

import numpy
from common import print_rows, speedup, time_in_turn

from spacy_transfer.heads.tagging.crf import Transitions, viterbi
from spacy_transfer.heads.tagging.packing import Packing

# The most resident memory of a process that loads MiniLM and lets a head with so many labels predict.
MEMORY = """
import json, resource, sys, spacy
from spacy.training import Example
sys.path.insert(0, "benchmarks")
from common import our_config
nlp = spacy.util.load_model_from_config(our_config("ner_crf"), auto_fill=True)
docs = [nlp.make_doc("Anna lives in Paris and Ben sings in Rome . " * 3) for _ in range(40)]
labels = [f"L{i}" for i in range(int(sys.argv[1]))]
examples = [Example.from_dict(nlp.make_doc("Anna"), {"entities": [(0, 4, label)]}) for label in labels]
nlp.initialize(lambda: examples)
docs = [*nlp.pipe(docs)]
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


def before(scores: numpy.ndarray, lengths: numpy.ndarray, transitions: Transitions) -> numpy.ndarray:
    """The decoding as it was at commit 1f3444a: all pairs of tags of all sequences in one array."""
    packing = Packing(lengths)
    best, last = scores[packing.order], None
    start, matrix, end = (x.astype(scores.dtype) for x in (transitions.start, transitions.matrix, transitions.end))
    for a, b in packing.slices:
        best[a:b] += start if last is None else (last[: b - a].T[:, :, None] + matrix[:, None, :]).max(axis=0)
        last = best[a:b]
    tags = numpy.zeros(packing.n_tokens, dtype="int64")
    after = tags[:0]
    for (a, b), (c, _) in zip(reversed(packing.slices), reversed(packing.last_tokens()), strict=True):
        tags[a:c] = (best[a:c] + matrix.T[after]).argmax(axis=1)
        tags[c:b] = (best[c:b] + end).argmax(axis=1)
        after = tags[a:b]
    return tags[packing.place]


def example(labels: int, *, is_open: bool) -> tuple[numpy.ndarray, numpy.ndarray, Transitions]:
    """Scores of 1,368 words in 40 texts.

    is_open (bool): Allow every tag after every tag, as `lenient` does; else those of BIO.
    """
    rng, n = numpy.random.default_rng(0), 2 * labels + 1
    start, matrix, end = (rng.normal(size=shape).astype("f") for shape in ((n,), (n, n), (n,)))
    inner = numpy.arange(2, n, 2)
    if not is_open:
        kept = matrix[inner - 1, inner], matrix[inner, inner]
        matrix[:, inner] = -numpy.inf
        matrix[inner - 1, inner], matrix[inner, inner] = kept
    lengths = numpy.full(40, 34)
    lengths[:8] += 1
    return rng.normal(size=(int(lengths.sum()), n)).astype("f"), lengths, Transitions(start, matrix, end)


def memory(labels: int) -> float:
    run = [sys.executable, "-c", MEMORY, str(labels)]
    return json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--labels", type=int, default=400)
    args.add_argument("--rounds", type=int, default=5)
    opts = args.parse_args()
    rows = []
    for what, is_open, aim in (("BIO", False, ">= 4 x"), ("every tag after every tag", True, "")):
        case = example(opts.labels, is_open=is_open)
        assert (before(*case) == viterbi(*case)).all()
        seconds = time_in_turn({"before": lambda c=case: before(*c), "now": lambda c=case: viterbi(*c)}, opts.rounds)
        measured = f"{speedup(seconds, 'now', 'before'):.1f} x as fast as at commit 1f3444a"
        rows.append((f"decoding, {opts.labels} labels, {what}, 1,368 words", f"{measured}, the same tags", aim))
    few, many = memory(20), memory(opts.labels)
    print_rows(rows)
    measured = f"{many:.0f} MB; with 20 labels {few:.0f} MB: {many / few:.2f} x"
    what = f"most memory of a process, MiniLM and `transfer_ner`, {opts.labels} labels"
    print_rows([(what, measured, "<= 1.2 x")], timed=False)


if __name__ == "__main__":
    main()
