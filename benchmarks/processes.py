"""Words per second of one process with two threads, and of two processes with one thread each (`n_process = 2`).

python benchmarks/processes.py [--texts FILE] [--most 2000] [--rounds 3]
"""

import argparse
import tempfile
from pathlib import Path

import torch
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


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--texts", type=Path)
    args.add_argument("--most", type=int, default=2000)
    args.add_argument("--rounds", type=int, default=3)
    opts = args.parse_args()
    if opts.texts is None:
        texts = [line for text in bbc_texts(400) for line in text.split(". ") if line][: opts.most]
    else:
        texts = read_lines(opts.texts, opts.most)
    with tempfile.TemporaryDirectory() as folder:
        nlp = reloaded(initialized(our_config("textcat_transformer")), Path(folder))

    def run(threads: int, processes: int) -> None:
        torch.set_num_threads(threads)
        for _ in nlp.pipe(texts, n_process=processes, batch_size=128):
            pass

    runners = {"threads": lambda: run(2, 1), "processes": lambda: run(1, 2), "one": lambda: run(1, 1)}
    seconds = time_in_turn(runners, opts.rounds)
    words, rows = count_words(texts), []
    for name, what in (("threads", "one process, two threads"), ("processes", "two processes, one thread each")):
        speed = words / min(seconds[name])
        rows.append((what, f"{speed:,.0f} words/s, {speedup(seconds, name, 'one'):.2f} x one thread", ""))
    print_rows(rows)


if __name__ == "__main__":
    main()
