"""Resident memory while heads are trained on a stream that mixes two corpora.

    python benchmarks/mixed_memory.py [--texts FILE] [--docs 100000]

FILE holds one text a line; without it, the sentences of BBC News articles are taken, over and over. Annotation is made
up from the words. Two of spaCy's own heads with small encoders are trained, so that it is the reader that is measured.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import spacy
from common import bbc_texts, print_rows, read_lines
from spacy.language import Language
from spacy.training import Example
from spacy.util import minibatch
from tqdm import tqdm

TOK2VEC = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 1}
TOK2VEC |= {"embed_size": 500, "window_size": 1, "maxout_pieces": 2, "subword_features": False}


def reader(texts: list[str], n: int, kind: str) -> Callable[[Language], Iterator[Example]]:
    """RETURNS (Callable[[Language], Iterator[Example]]): Makes so many examples, one after the other."""

    def read(nlp: Language) -> Iterator[Example]:
        for text in itertools.islice(itertools.cycle(texts), n):
            doc = nlp.make_doc(text)
            if kind == "tags":
                annotation = {"tags": [f"T{len(token) % 7}" for token in doc]}
            else:
                annotation = {"cats": {"long": float(len(doc) > 20), "short": float(len(doc) <= 20)}}
            yield Example.from_dict(doc, annotation)

    return read


def make_pipeline() -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}})
    model = {"@architectures": "spacy.TextCatCNN.v2", "exclusive_classes": False, "tok2vec": TOK2VEC}
    nlp.add_pipe("textcat_multilabel", config={"model": model})
    return nlp


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--docs", type=int, default=100_000)
    opts = args.parse_args()
    if opts.texts is None:
        texts = [line for text in bbc_texts(400) for line in text.split(". ") if line]
    else:
        texts = read_lines(opts.texts, opts.docs)
    blocks = {
        "tags": {"reader": reader(texts, opts.docs // 2, "tags"), "trains": ["tagger"]},
        "cats": {"reader": reader(texts, opts.docs // 2, "cats"), "trains": ["textcat_multilabel"]},
    }
    read = spacy.registry.get("readers", "spacy-transfer.MixedCorpus.v1")(corpora=blocks, sampling="proportional")
    nlp = make_pipeline()
    optimizer = nlp.initialize(lambda: itertools.islice(read(nlp), 100))
    process, sizes, n = psutil.Process(), [], 0
    for batch in minibatch(tqdm(read(nlp), total=opts.docs, unit="docs", leave=False), 50):
        nlp.update(batch, sgd=optimizer)
        n += len(batch)
        if n % (opts.docs // 20) < len(batch):
            sizes.append(process.memory_info().rss / 2**20)
    start, most = sizes[1], max(sizes[2:])
    measured = (
        f"{start:.0f} MB after {opts.docs // 10:,}, at most {most:.0f} MB later: {100 * (most / start - 1):+.1f}%"
    )
    print_rows([(f"resident memory, training on {opts.docs:,} streamed texts of two corpora", measured, "<= +5%")])


if __name__ == "__main__":
    main()
