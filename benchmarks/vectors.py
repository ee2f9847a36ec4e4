"""Words per second of a classifier on GloVe vectors, against tokenization alone and en_core_web_sm's encoder.

python benchmarks/vectors.py --texts FILE [--most 2000] [--rounds 5]

FILE holds one text a line; without it, the sentences of BBC News articles are taken. The head is the same in both.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import spacy
from common import (
    bbc_texts,
    count_words,
    initialized,
    our_config,
    print_rows,
    read_lines,
    reloaded,
    speedup,
    time_in_turn,
)
from inference import pipe


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--most", type=int, default=2000)
    args.add_argument("--rounds", type=int, default=5)
    opts = args.parse_args()
    if opts.texts is None:
        texts = [line for text in bbc_texts(200) for line in text.split(". ")][: opts.most]
    else:
        texts = read_lines(opts.texts, opts.most)
    glove, pipeline = our_config("textcat_vectors"), our_config("textcat_pipeline")
    pipeline["components"]["transfer_textcat"]["model"] = glove["components"]["transfer_textcat"]["model"]
    with tempfile.TemporaryDirectory() as folder:
        runners = {
            "ours": pipe(reloaded(initialized(glove, texts), Path(folder) / "glove"), texts),
            "blank": pipe(spacy.blank("en"), texts),
            "pipeline": pipe(reloaded(initialized(pipeline, texts), Path(folder) / "sm"), texts),
        }
    seconds = time_in_turn(runners, opts.rounds)
    words = count_words(texts)
    speed = {name: words / statistics.median(taken) for name, taken in seconds.items()}
    measured = (
        f"{speed['ours']:,.0f} words/s: {speedup(seconds, 'ours', 'blank'):.2f} x tokenization alone "
        f"({speed['blank']:,.0f}), {speedup(seconds, 'ours', 'pipeline'):.1f} x en_core_web_sm's tok2vec with the same "
        f"head ({speed['pipeline']:,.0f})"
    )
    print_rows([(f"GloVe classification, {len(texts)} sentences", measured, ">= 0.2 x, >= 3 x")])


if __name__ == "__main__":
    main()
