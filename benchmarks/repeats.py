"""A stream of which half the texts repeat earlier ones, with and without reuse of their rows.

python benchmarks/repeats.py [--texts FILE] [--most 100000] [--cache 512] [--recent 20000] [--rounds 1]

FILE holds one text a line; without it, sentences of BBC News articles. The stream has --most texts. Every second one,
at random, is one of the --recent texts before it.
"""

import argparse
import random
import tempfile
from pathlib import Path

from common import bbc_texts, initialized, our_config, print_rows, read_lines, reloaded, speedup, time_in_turn


def stream(texts: list[str], most: int, recent: int) -> list[str]:
    """RETURNS (List[str]): Half new texts, half from the last ones. Texts are numbered where there are too few."""
    rng, found, n_new = random.Random(0), [], 0
    for i in range(most):
        if i % 2 and found:
            found.append(found[rng.randrange(max(0, len(found) - recent), len(found))])
        else:
            round_number, which = divmod(n_new, len(texts))
            found.append(texts[which] + (f" ({round_number})" if round_number else ""))
            n_new += 1
    return found


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--most", type=int, default=100_000)
    args.add_argument("--cache", type=int, default=512)
    args.add_argument("--recent", type=int, default=20_000)
    args.add_argument("--rounds", type=int, default=1)
    opts = args.parse_args()
    if opts.texts is None:
        texts = list(dict.fromkeys(line for text in bbc_texts(2000) for line in text.split(". ") if line))
    else:
        texts = list(dict.fromkeys(read_lines(opts.texts, opts.most)))
    texts = stream(texts, opts.most, opts.recent)
    config = our_config("textcat_transformer")
    pipelines = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, memory in (("reuse", opts.cache), ("none", 0)):
            config["components"]["transfer_backbone"]["cache_mb"] = memory
            pipelines[name] = reloaded(initialized(config), Path(folder) / name)
    runners = {name: lambda nlp=nlp: [doc.cats for doc in nlp.pipe(texts)] for name, nlp in pipelines.items()}
    found, plain = (runners[name]() for name in ("reuse", "none"))
    difference = max(abs(a[label] - b[label]) for a, b in zip(found, plain, strict=True) for label in a)
    seconds = time_in_turn(runners, opts.rounds, warm=False)
    measured = f"{speedup(seconds, 'reuse', 'none'):.2f} x; scores differ by {difference:.0e} at most"
    what = f"{opts.most:,} texts of which half repeat one of the last {opts.recent:,}, at most {opts.cache} MB"
    print_rows([(what, measured, ">= 1.8 x")])


if __name__ == "__main__":
    main()
