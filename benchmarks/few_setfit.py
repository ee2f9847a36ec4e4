"""SetFit (Tunstall et al. 2022) on the same MiniLM and the same few texts as few_labels.py, to stand beside it.

    python benchmarks/few_setfit.py --data BANKING77 [--shots 1 3 5 10] [--seeds 0 1 2] [--iterations 20]

Needs the package setfit (1.2). Pairs of texts train the encoder for one epoch, `--iterations` times two pairs for each
text, in batches of 16; then a logistic regression is solved on its rows. These are the settings of its authors. With 30
texts of a class that takes hours: the same command goes on from the last 200 steps where it was stopped.
"""

import argparse
import shutil
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import srsly
import torch
from accuracy import banking_draw
from common import minilm, print_rows
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

Pair = tuple[str, str]
SAVED_EVERY = 200


class Clock(TrainerCallback):
    """Seconds of the training, those of earlier processes with them. They are saved with each checkpoint."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = srsly.read_json(file) if file.exists() else [0.0, 0.0]
        self.start = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """RETURNS (Tuple[float, float]): Of the clock, and of the processor."""
        wall, processor = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        return self.before[0] + wall, self.before[1] + processor

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        srsly.write_json(self.file, self.seconds())


def measure(
    pairs: list[Pair], test: list[Pair], iterations: int, seed: int, folder: Path
) -> tuple[float, float, float]:
    """RETURNS (Tuple[float, float, float]): Accuracy in percent; seconds of the training, and of the processor."""
    model = SetFitModel.from_pretrained(str(minilm()))
    texts, labels = zip(*pairs, strict=True)
    settings = TrainingArguments(
        output_dir=str(folder),
        batch_size=16,
        num_epochs=1,
        num_iterations=iterations,
        seed=seed,
        report_to="none",
        save_steps=SAVED_EVERY,
        save_total_limit=1,
    )
    trainer = Trainer(model=model, args=settings, train_dataset=Dataset.from_dict({"text": texts, "label": labels}))
    earlier = get_last_checkpoint(str(folder)) if folder.exists() else None
    clock = Clock(folder / "seconds.json")
    trainer.add_callback(clock)
    trainer.st_trainer.train = partial(trainer.st_trainer.train, resume_from_checkpoint=earlier)
    trainer.train()
    wall, processor = clock.seconds()
    shutil.rmtree(folder, ignore_errors=True)
    found = model.predict([text for text, _ in test])
    hits = sum(str(one) == label for one, (_, label) in zip(found, test, strict=True))
    return 100 * hits / len(test), wall, processor


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5, 10])
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--iterations", type=int, default=20)
    args.add_argument("--json", type=Path, help="a file for all runs, which few_picture.py reads")
    opts = args.parse_args()
    torch.set_num_threads(1)
    rows, runs = [], []
    for shots in opts.shots:
        found = []
        for seed in opts.seeds:
            pairs, test = banking_draw(opts.data, seed, shots)
            found.append(
                measure(pairs, test, opts.iterations, seed, Path(f"metrics/setfit/{shots}-{seed}-{opts.iterations}"))
            )
            print(f"{shots} a class, seed {seed}: {found[-1]}", flush=True)
            accuracy, wall, processor = found[-1]
            times = {"wall": wall, "processor": processor}
            runs.append({"way": "SetFit", "shots": shots, "seed": seed, "accuracy": accuracy, **times})
            if opts.json:
                srsly.write_json(opts.json, runs)
        scores, walls, processors = zip(*found, strict=True)
        shown = ", ".join(f"{score:.1f}" for score in scores)
        seconds = f"{statistics.median(walls):.0f} s ({statistics.median(processors):.0f} s of processor time)"
        rows.append(
            (f"banking77, {shots} a class, SetFit", f"{statistics.mean(scores):.1f} % ({shown}), {seconds}", "")
        )
    print_rows(rows)


if __name__ == "__main__":
    main()
