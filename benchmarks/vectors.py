"""Words per second of a classifier on GloVe vectors, against tokenization alone and en_core_web_sm's encoder: that in
spaCy's own `tok2vec`, and in our backbone.

    python benchmarks/vectors.py --texts FILE [--most 2000] [--rounds 5]

FILE holds one text a line; without it, the sentences of BBC News articles are taken. The head is the same in all.
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
from thinc.api import Config


def on_tok2vec(config: Config) -> Config:
    """RETURNS (Config): The same head on spaCy's own component, in the place of our backbone."""
    config = config.copy()
    source = config["components"].pop("transfer_backbone")["model"]["source"]
    config["components"]["tok2vec"] = {"source": source}
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "*"}
    config["components"]["transfer_textcat"]["model"]["tok2vec"] = listener
    config["nlp"]["pipeline"] = ["tok2vec", "transfer_textcat"]
    return config


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
    stock = on_tok2vec(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        runners = {
            "ours": pipe(reloaded(initialized(glove, texts), Path(folder) / "glove"), texts),
            "blank": pipe(spacy.blank("en"), texts),
            "pipeline": pipe(reloaded(initialized(pipeline, texts), Path(folder) / "sm"), texts),
            "stock": pipe(reloaded(initialized(stock, texts), Path(folder) / "stock"), texts),
        }
    seconds = time_in_turn(runners, opts.rounds)
    words = count_words(texts)
    speed = {name: words / statistics.median(taken) for name, taken in seconds.items()}
    measured = (
        f"{speed['ours']:,.0f} words/s: {speedup(seconds, 'ours', 'blank'):.2f} x tokenization alone "
        f"({speed['blank']:,.0f}), {speedup(seconds, 'ours', 'stock'):.1f} x en_core_web_sm's tok2vec with the same "
        f"head ({speed['stock']:,.0f})"
    )
    encoder = (
        f"{speed['pipeline']:,.0f} words/s: {speedup(seconds, 'pipeline', 'stock'):.2f} x spaCy's own `tok2vec` "
        f"({speed['stock']:,.0f})"
    )
    print_rows(
        [
            (f"GloVe classification, {len(texts)} sentences", measured, ">= 0.2 x, >= 3 x"),
            (f"classification on en_core_web_sm's encoder, {len(texts)} sentences", encoder, ">= 1 x"),
        ]
    )


if __name__ == "__main__":
    main()
