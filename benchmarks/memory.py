"""Resident memory while documents stream through `nlp.pipe` and none is kept.

python benchmarks/memory.py [--texts FILE] [--docs 20000] [--precision bf16]

FILE holds one text a line; without it, the sentences of BBC News articles are taken, over and over, each with a number.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import psutil
from common import bbc_texts, initialized, our_config, print_rows, read_lines, reloaded
from tqdm import tqdm


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--docs", type=int, default=20_000)
    args.add_argument("--precision", default="fp32", help="of the encoder: fp32 or bf16")
    opts = args.parse_args()
    if opts.texts is None:
        texts = [line for text in bbc_texts(400) for line in text.split(". ") if line]
    else:
        texts = read_lines(opts.texts, opts.docs)
    with tempfile.TemporaryDirectory() as folder:
        config = our_config("textcat_transformer")
        config["components"]["transfer_backbone"]["model"]["precision"] = opts.precision
        nlp = reloaded(initialized(config), Path(folder))
    process, sizes = psutil.Process(), []
    # Rows of texts that come again would be kept, and memory would grow to that bound.
    stream = (f"{text} {i}" for i, text in enumerate(itertools.islice(itertools.cycle(texts), opts.docs)))
    for n, _ in enumerate(tqdm(nlp.pipe(stream, batch_size=64), total=opts.docs, unit="docs", leave=False), 1):
        if n % 1000 == 0:
            sizes.append(process.memory_info().rss / 2**20)
    start, most = sizes[1], max(sizes[2:])
    measured = f"{start:.0f} MB after 2,000, at most {most:.0f} MB later: {100 * (most / start - 1):+.1f}%"
    what = f"resident memory over {opts.docs:,} streamed documents{', bf16' if opts.precision == 'bf16' else ''}"
    print_rows([(what, measured, "<= +5%")], timed=False)


if __name__ == "__main__":
    main()
