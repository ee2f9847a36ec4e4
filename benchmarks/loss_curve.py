"""The loss curve of full fine-tuning, against a plain PyTorch loop on the same weights and batches, dropout off.

    python benchmarks/loss_curve.py [--steps 20] [--batch-size 32]

BBC articles cut at 300 characters, their topics as labels. Ours: `transfer_backbone` and `transfer_textcat` in the
steps of `spacy train`, `spacy-transfer.AdamW.v1`. The plain loop knows transformers and torch only: AutoModel, the mean
over tokens of the mean of each token's word pieces, scaled to length 1, a Linear layer, cross-entropy summed over the
batch, torch.optim.AdamW without decay on biases and norms, clip_grad_norm_ over all parameters. Tokens are spaCy's.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import numpy
import spacy
import torch
from common import bbc, minilm, print_rows, tuned_config
from frozen_epochs import step
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from torch import Tensor, nn

RATE, HEAD_RATE, DECAY, CLIP = 5e-5, 1e-3, 0.01, 1.0
MOST_PIECES = 128


def still_minilm(folder: Path) -> str:
    """RETURNS (str): The folder of MiniLM, weights linked, with dropout set to 0 in its config."""
    for file in Path(minilm()).iterdir():
        if file.name != "config.json":
            os.symlink(file, folder / file.name)
    config = json.loads((Path(minilm()) / "config.json").read_text(encoding="utf8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf8")
    return str(folder)


def labelled_docs(count: int) -> list[Doc]:
    """RETURNS (List[Doc]): Articles that fit one window, in an order of their own, with doc.cats."""
    articles = [(text[:300], topic) for text, topic in bbc.read_articles()]
    random.Random(0).shuffle(articles)
    return bbc.to_docs(articles[:count], sorted({topic for _, topic in articles}))


def head_weights(n_labels: int, width: int) -> numpy.ndarray:
    """RETURNS (Floats2d): Weights to begin with: zeros would send nothing to the encoder in the first step."""
    return numpy.random.default_rng(0).normal(size=(n_labels, width)).astype("float32")


def our_losses(folder: str, docs: list[Doc], batch_size: int) -> list[float]:
    """RETURNS (List[float]): Summed loss of every step, before it is made."""
    nlp: Language = spacy.util.load_model_from_config(tuned_config(folder), auto_fill=True)
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    output.set_param("W", head_weights(*output.get_param("W").shape))
    groups = {"heads": {"pattern": "^transfer_textcat", "learn_rate": HEAD_RATE}}
    settings = {"learn_rate": RATE, "weight_decay": DECAY, "grad_clip": CLIP, "groups": groups}
    optimizer = spacy.registry.optimizers.get("spacy-transfer.AdamW.v1")(**settings)
    batches = (docs[i : i + batch_size] for i in range(0, len(docs), batch_size))
    return [step(nlp, batch, optimizer, drop=0.0)["transfer_textcat"] for batch in batches]


def plain_losses(folder: str, docs: list[Doc], batch_size: int) -> list[float]:
    """RETURNS (List[float]): The same from the plain loop."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).train()
    labels = list(docs[0].cats)
    head = nn.Linear(encoder.config.hidden_size, len(labels))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(head_weights(*head.weight.shape)))
        head.bias.zero_()
    optimizer = torch.optim.AdamW(decay_groups(encoder, head))
    parameters = [*encoder.parameters(), *head.parameters()]
    losses = []
    for i in range(0, len(docs), batch_size):
        batch = docs[i : i + batch_size]
        inputs = tokenizer([doc.text for doc in batch], padding=True, return_offsets_mapping=True, return_tensors="pt")
        if inputs["input_ids"].shape[1] > MOST_PIECES:
            raise SystemExit("A text is longer than one window.")
        offsets = inputs.pop("offset_mapping")
        states = encoder(**inputs).last_hidden_state
        pooled = torch.stack([mean_of_tokens(*pair) for pair in zip(batch, states, offsets, strict=True)])
        logits = head(nn.functional.normalize(pooled))
        gold = torch.tensor([labels.index(max(doc.cats, key=doc.cats.__getitem__)) for doc in batch])
        loss = nn.functional.cross_entropy(logits, gold, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def decay_groups(encoder: nn.Module, head: nn.Module) -> list[dict]:
    """RETURNS (List[Dict]): Parameter groups: encoder and head, each with decay, and without on biases and norms."""
    groups = []
    for module, rate in ((encoder, RATE), (head, HEAD_RATE)):
        plain = {name for name, _ in module.named_parameters() if name.endswith("bias") or "LayerNorm" in name}
        for spared in (False, True):
            chosen = [p for name, p in module.named_parameters() if (name in plain) == spared]
            groups.append({"params": chosen, "lr": rate, "weight_decay": 0.0 if spared else DECAY})
    return groups


def mean_of_tokens(doc: Doc, states: Tensor, offsets: Tensor) -> Tensor:
    """The mean over the tokens of a doc; a token is the mean of the pieces it shares a character with, or zeros.

    doc (Doc): The doc.
    states (Tensor): Shape (n_pieces, width).
    offsets (Tensor): First character and the one past the last of each piece, shape (n_pieces, 2).
    RETURNS (Tensor): Shape (width,).
    """
    shares = torch.zeros(len(states))
    spans = offsets.tolist()
    for token in doc:
        own = [i for i, (a, b) in enumerate(spans) if a < b and a < token.idx + len(token) and b > token.idx]
        for i in own:
            shares[i] += 1 / len(own) / len(doc)
    return shares @ states


def largest_difference(ours: list[float], theirs: list[float]) -> float:
    """RETURNS (float): Largest difference of two curves at the same step, relative to the second."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--steps", type=int, default=20)
    args.add_argument("--batch-size", type=int, default=32)
    opts = args.parse_args()
    docs = labelled_docs(opts.steps * opts.batch_size)
    with tempfile.TemporaryDirectory() as name:
        folder = still_minilm(Path(name))
        ours = our_losses(folder, docs, opts.batch_size)
        print("ours done", file=sys.stderr, flush=True)
        theirs = plain_losses(folder, docs, opts.batch_size)
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
        print(f"step {number}: {a:.5f} {b:.5f}, {abs(a - b) / b:.1e}", file=sys.stderr)
    what = f"loss of the first {opts.steps} steps against a plain PyTorch loop, dropout off"
    measured = (
        f"largest relative difference {largest_difference(ours, theirs):.1e} (loss {ours[0]:.1f} to {ours[-1]:.1f})"
    )
    print_rows([(what, measured, "<= 1e-3")])


if __name__ == "__main__":
    main()
