"""Trainings that are killed and go on, and what checkpoints cost.

    python benchmarks/resume.py [--kinds NAME ...] [--trainings 4] [--kills 5]
    python benchmarks/resume.py writing [--kills 50]
    python benchmarks/resume.py cost [--minutes 3]

The first trains tiny pipelines of every kind with `spacy train`. Each is killed (SIGKILL) at random moments, started
again with the same arguments, and compared with one that was not killed: all bytes of model-best and model-last. The
second kills at random operations on files while pipelines and checkpoints are written, and loads what is there. The
third measures the share of the time that goes into checkpoints, one a minute, while all of MiniLM is trained. Processes
are forked, so that each need not import everything again.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import ROOT, minilm, print_rows

sys.path.insert(0, str(ROOT))
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
MAIN = ("frozen", "lpft", "lora", "ner_crf", "multitask", "adam")


def in_child(work: Callable[[], None]) -> int:
    """Start a process that does something in silence, and ends. RETURNS (int): Its id."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
                work()
            code = 0
        finally:
            os._exit(code)
    return pid


def wait(pid: int) -> int:
    """RETURNS (int): The exit code of a process; negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train(config: Path, output: Path) -> None:
    """What the command `spacy train` calls."""
    from spacy.cli.train import train as spacy_train

    spacy_train(config, output)


def import_everything(config: Path) -> None:
    """Children of this process need not import anything, nor look through all entry points for each name."""
    import catalogue
    from spacy.training.initialize import init_nlp
    from spacy.util import load_config

    everything = catalogue.AVAILABLE_ENTRY_POINTS
    if not isinstance(everything, dict):
        catalogue.AVAILABLE_ENTRY_POINTS = {group: list(everything.select(group=group)) for group in everything.groups}
    init_nlp(load_config(config, interpolate=False))


def killed_after(config: Path, output: Path, seconds: float) -> bool:
    """Train, and kill after so many seconds. RETURNS (bool): Whether the training was still running."""
    pid = in_child(lambda: train(config, output))
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return wait(pid) == -signal.SIGKILL


def count_identical(folder: Path, kind: str, encoder: str, n_trainings: int, n_kills: int) -> tuple[int, int]:
    """RETURNS (Tuple[int, int]): How many trainings of a kind ended with the same bytes, and how often they were killed
    in all."""
    from tests.resume.kinds import contents, write_config

    config = write_config(folder, kind, encoder)
    import_everything(config)
    begin = time.time()
    assert wait(in_child(lambda: train(config, folder / "whole"))) == 0, f"{kind}: the training fails"
    seconds, wanted = time.time() - begin, contents(folder / "whole")
    draw, n_same, n_killed = random.Random(kind), 0, 0
    for _ in range(n_trainings):
        output = folder / "killed"
        shutil.rmtree(output, ignore_errors=True)
        n_killed += sum(killed_after(config, output, draw.uniform(0.2, 1.0) * seconds) for _ in range(n_kills))
        finished = wait(in_child(lambda: train(config, folder / "killed"))) == 0
        n_same += finished and contents(output) == wanted
    return n_same, n_killed


def run_kinds(args: argparse.Namespace) -> None:
    """Print a row for each kind."""
    import torch

    from tests.resume.kinds import write_encoder

    torch.set_num_threads(1)
    rows, total, same = [], 0, 0
    with tempfile.TemporaryDirectory() as place:
        encoder = write_encoder(Path(place) / "encoder")
        for kind in args.kinds:
            folder = Path(place) / kind
            folder.mkdir()
            n_same, n_killed = count_identical(folder, kind, encoder, args.trainings, args.kills)
            total, same = total + args.trainings, same + n_same
            what = f"{kind}: trainings killed at {args.kills} random moments each that end byte-identical"
            rows.append((what, f"{n_same} of {args.trainings} ({n_killed} kills)", "all"))
            print(rows[-1], file=sys.stderr, flush=True)
    print_rows([*rows, ("all kinds", f"{same} of {total}", "all")])


# Killed while writing


def kill_at_operation(number: int) -> None:
    """From now on, kill this process at so many operations on files: opened, made, renamed, linked or removed. With 0
    they are counted instead, in the file COUNT."""
    seen, file = 0, os.open(COUNT, os.O_WRONLY | os.O_CREAT) if number == 0 else -1

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        changes = event.startswith(("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link"))
        if changes or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == 0:
                os.pwrite(file, str(seen).encode(), 0)  # To open the file here would be an operation of its own.

    sys.addaudithook(hook)


COUNT = Path(tempfile.gettempdir()) / f"operations-{os.getpid()}"


def run_writing(args: argparse.Namespace) -> None:
    """Print how often both pipelines and a checkpoint could be read after a kill."""
    import spacy
    import torch

    from spacy_transfer.resume.checkpoints import Checkpoints
    from tests.resume.kinds import write_config, write_encoder

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        encoder = write_encoder(folder / "encoder")
        short = {"training.max_steps": 6, "training.eval_frequency": 2, "initialize.after_init.every_steps": 2}
        first = write_config(folder, "frozen", encoder, **{**short, "training.max_steps": 2})
        import_everything(first)
        assert wait(in_child(lambda: train(first, folder / "start"))) == 0
        config = write_config(folder, "frozen", encoder, **short)

        def work(output: Path, number: int) -> None:
            kill_at_operation(number)
            train(config, output)

        shutil.copytree(folder / "start", folder / "count")
        assert wait(in_child(lambda: work(folder / "count", 0))) == 0
        most, draw, n_good = int(COUNT.read_text()), random.Random(0), 0
        COUNT.unlink()
        for _ in range(args.kills):
            output = folder / "killed"
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(folder / "start", output)
            number = draw.randint(1, most)
            assert wait(in_child(lambda: work(folder / "killed", number))) == -signal.SIGKILL  # noqa: B023
            try:
                for name in ("model-best", "model-last"):
                    spacy.load(output / name)("the cat sings")
                n_good += Checkpoints(output / "checkpoints").read() is not None
            except Exception as error:
                print(number, repr(error), file=sys.stderr)
    what = f"killed at one of {most} operations on files: model-best, model-last and a checkpoint can be read"
    print_rows([(what, f"{n_good} of {args.kills}", "all")])


# Cost


def run_cost(args: argparse.Namespace) -> None:
    """Print the share of the time that checkpoints take."""
    from spacy_transfer.resume import training
    from tests.resume.kinds import write_config

    taken: list[float] = []
    write = training.Training._write

    def timed(self: training.Training) -> None:
        begin = time.perf_counter()
        write(self)
        taken.append(time.perf_counter() - begin)

    training.Training._write = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        steps = {"training.max_steps": 10**6, "training.eval_frequency": 10**6, "training.batcher.size": 32}
        every = {"initialize.after_init.every_steps": 0, "initialize.after_init.minutes": 1}
        config = write_config(folder, "full", minilm(), **steps, **every)
        begin = time.perf_counter()

        def stop_in_time(signum: int, frame: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, stop_in_time)
        signal.alarm(int(60 * args.minutes))
        with contextlib.suppress(KeyboardInterrupt), contextlib.redirect_stdout(io.StringIO()):
            train(config, folder / "output")
        signal.alarm(0)
        seconds = time.perf_counter() - begin
        found = list((folder / "output" / "checkpoints").iterdir())
        size = sum(path.stat().st_size for path in found[0].rglob("*") if path.is_file()) / 2**20
    share = sum(taken) / len(taken) / 60
    print_rows(
        [
            ("seconds for a checkpoint of MiniLM, all of it trained", f"{sum(taken) / len(taken):.2f}", ""),
            ("share of the time, one a minute", f"{share:.1%} ({len(taken)} in {seconds:.0f} s)", "<= 3 %"),
            ("checkpoints on the disk, MB each with model-best", f"{len(found)}, {size:.0f}", "<= 2"),
        ]
    )


def main() -> None:
    """Run one of the measurements."""
    from tests.resume.kinds import KINDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="kinds", choices=["kinds", "writing", "cost"])
    parser.add_argument("--kinds", nargs="*", default=list(MAIN), choices=[*KINDS])
    parser.add_argument("--trainings", type=int, default=4)
    parser.add_argument("--kills", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=3.0)
    args = parser.parse_args()
    args.kills = args.kills or (50 if args.what == "writing" else 5)
    {"kinds": run_kinds, "writing": run_writing, "cost": run_cost}[args.what](args)


if __name__ == "__main__":
    main()
