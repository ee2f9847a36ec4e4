"""The bottom layers of MiniLM against all of them: words per second of `nlp.pipe`, and megabytes on disk.

    python benchmarks/depth.py [--depth 3] [--most 200] [--rounds 5]

A frozen classifier on BBC News articles, float32, one thread, batches of 64 docs; the two pipelines in turn.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from common import bbc_texts, count_words, initialized, our_config, print_rows, reloaded, speedup, time_in_turn
from inference import pipe
from spacy.language import Language


def build(depth: int | None, folder: Path) -> tuple[Language, float, float]:
    """RETURNS (Tuple[Language, float, float]): The pipeline, megabytes of it on disk, megabytes of the word pieces."""
    config = our_config("textcat_transformer")
    config["components"]["transfer_backbone"]["model"]["depth"] = depth
    nlp = reloaded(initialized(config), folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shim = nlp.get_pipe("transfer_backbone").model.shims[0]
    table = shim.encoder.transformer.get_input_embeddings().weight
    return nlp, size / 1e6, table.nbytes / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = bbc_texts(args.most)
    words, few = count_words(texts), f"depth = {args.depth}"
    with tempfile.TemporaryDirectory() as place:
        built = {name: build(depth, Path(place) / name) for name, depth in ((few, args.depth), ("all layers", None))}
    seconds = time_in_turn({name: pipe(nlp, texts) for name, (nlp, _, _) in built.items()}, args.rounds)
    rows = [(f"{name}, words/s", f"{words / statistics.median(seconds[name]):,.0f}", "") for name in built]
    rows.append((f"{few} against all layers, words/s", f"{speedup(seconds, few, 'all layers'):.2f} x", ">= 1.7 x"))
    rows += [
        (f"{name}, MB on disk (word pieces: {table:.1f})", f"{size:.1f}", "")
        for name, (_, size, table) in built.items()
    ]
    rows.append((f"{few} against all layers, MB", f"{built[few][1] / built['all layers'][1]:.2f} x", "<= 0.6 x"))
    print_rows(rows)


if __name__ == "__main__":
    main()
