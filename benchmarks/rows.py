"""Largest difference between token rows and a plain AutoModel forward pass, one window, text by text.

python benchmarks/rows.py [--most 200]
"""

import argparse

import numpy
import spacy
import torch
from common import bbc_texts, minilm, print_rows


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--most", type=int, default=200)
    opts = args.parse_args()
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModel.from_pretrained(minilm()).eval()
    nlp = spacy.blank("en")
    backbone = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": minilm(), "window": 128}
    nlp.add_pipe("transfer_backbone", config={"model": backbone})
    nlp.initialize()
    texts = [text[:300] for text in bbc_texts(opts.most)]
    largest, n_tokens = 0.0, 0
    for doc in nlp.pipe(texts):
        encoding = tokenizer(doc.text, return_offsets_mapping=True)
        with torch.inference_mode():
            states = model(torch.tensor([encoding["input_ids"]])).last_hidden_state[0].numpy()
        spans = encoding["offset_mapping"][1:-1]
        for token, row in zip(doc, doc.tensor, strict=True):
            end = token.idx + len(token)
            own = [i + 1 for i, (a, b) in enumerate(spans) if a < end and b > token.idx]
            expected = states[own].mean(axis=0) if own else numpy.zeros_like(row)
            largest = max(largest, float(numpy.abs(expected - row).max()))
            n_tokens += 1
    measured = f"largest difference {largest:.1e} over {n_tokens:,} tokens"
    print_rows([("token rows against a plain AutoModel forward pass", measured, "<= 1e-5")])


if __name__ == "__main__":
    main()
