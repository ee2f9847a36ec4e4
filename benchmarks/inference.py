"""Words per second of `nlp.pipe`: ours, spacy-transformers and a bare PyTorch loop on the same MiniLM weights.

    python benchmarks/inference.py [--texts FILE] [--most 200] [--rounds 5]

FILE holds one text a line; without it, BBC News articles are taken. Float32, batches of 64 docs. The bare loop sorts
the texts by length, takes 32 at a time, cuts them at 512 word pieces and averages the last layer, without spaCy.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from common import (
    bbc_texts,
    count_words,
    initialized,
    minilm,
    our_config,
    peer_config,
    print_rows,
    read_lines,
    reloaded,
    speedup,
    time_in_turn,
)
from spacy.language import Language


def pipe(nlp: Language, texts: list[str]) -> Callable[[], None]:
    def run() -> None:
        for _ in nlp.pipe(texts, batch_size=64):
            pass

    return run


def bare_loop(folder: str, texts: list[str]) -> Callable[[], None]:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def run() -> None:
        order = sorted(texts, key=len)
        with torch.inference_mode():
            for i in range(0, len(order), 32):
                batch = tokenizer(order[i : i + 32], padding=True, truncation=True, max_length=512, return_tensors="pt")
                states = model(**batch).last_hidden_state
                mask = batch["attention_mask"][..., None]
                ((states * mask).sum(1) / mask.sum(1)).numpy()

    return run


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--most", type=int, default=200)
    args.add_argument("--rounds", type=int, default=5)
    opts = args.parse_args()
    texts = bbc_texts(opts.most) if opts.texts is None else read_lines(opts.texts, opts.most)
    name = "BBC articles" if opts.texts is None else f"sentences of {opts.texts.name}"
    with tempfile.TemporaryDirectory() as folder:
        ours = reloaded(initialized(our_config("textcat_transformer")), Path(folder) / "ours")
        peer = reloaded(initialized(peer_config()), Path(folder) / "peer")
    runners = {"ours": pipe(ours, texts), "spacy-transformers": pipe(peer, texts), "bare": bare_loop(minilm(), texts)}
    seconds = time_in_turn(runners, opts.rounds)
    words = count_words(texts)
    speed = {name: words / statistics.median(taken) for name, taken in seconds.items()}
    over_peer, over_bare = speedup(seconds, "ours", "spacy-transformers"), speedup(seconds, "ours", "bare")
    measured = (
        f"{speed['ours']:,.0f} words/s: {over_peer:.2f} x spacy-transformers ({speed['spacy-transformers']:,.0f}), "
        f"{over_bare:.2f} x a bare PyTorch loop ({speed['bare']:,.0f})"
    )
    aim = ">= 1.3 x spacy-transformers" if opts.texts is None else ">= 2.0 x, >= 1.15 x"
    print_rows([(f"`nlp.pipe`, classification, {len(texts)} {name}", measured, aim)])


if __name__ == "__main__":
    main()
