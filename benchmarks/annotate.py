"""What `spacy transfer annotate` costs, and what is left of it after kill -9.

    python benchmarks/annotate.py apply [--texts FILE] [--most 20000] [--rounds 3]
    python benchmarks/annotate.py memory [--texts FILE] [--most 1000000]
    python benchmarks/annotate.py plan [--texts FILE] [--most 20000]
    python benchmarks/annotate.py ray [--texts FILE] [--most 6000] [--rounds 3]
    python benchmarks/annotate.py kills [--rounds 10] [--ray]

FILE holds one text a line; without it, the sentences of BBC News articles are taken. `apply` compares with `spacy
apply` in one process, in turn; both load the pipeline and write .spacy. `ray` counts from the first shards on, when all
processes are warm. `kills` kills at random moments, and looks for each id in the shards at the end.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import Any

import psutil
import spacy
import torch
from common import bbc_texts, initialized, our_config, print_rows, read_lines
from spacy.cli.apply import apply

from spacy_transfer.cli.scale.annotate import annotate
from spacy_transfer.scale.input_files import find_files
from spacy_transfer.scale.input_rows import Fields
from spacy_transfer.scale.job import Settings, plan
from spacy_transfer.scale.worker import Options

Rows = list[tuple[str, str, str]]
_WARM = 0.1  # Share of the texts after which memory must stay as it is.
SLOW = """
import time
from spacy.language import Language

@Language.component("slow")
def slow(doc):
    time.sleep(0.002)
    return doc
"""


def sentences(path: Path | None, most: int) -> list[str]:
    if path is not None:
        return read_lines(path, most)
    found = [line for text in bbc_texts(2000) for line in text.split(". ") if line.strip()]
    # Rows of texts that come again would be kept, and memory would grow to that bound.
    return list(dict.fromkeys(" ".join(line.split()) for line in found))[:most]


def write_jsonl(path: Path, texts: Iterable[str]) -> Path:
    with path.open("w", encoding="utf8") as file:
        for i, text in enumerate(texts):
            file.write(json.dumps({"id": f"t{i}", "text": text}) + "\n")
    return path


@contextmanager
def sizes_of_memory() -> Iterator[list[float]]:
    """YIELDS (List[float]): Resident memory of this process in MB, every half second."""
    sizes, end, process = list[float](), threading.Event(), psutil.Process()

    def look() -> None:
        while not end.wait(0.5):
            sizes.append(process.memory_info().rss / 2**20)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        end.set()
        thread.join()


def growth(sizes: list[float]) -> str:
    warm = max(1, int(len(sizes) * _WARM))
    start, most = sizes[min(warm, len(sizes) - 1)], max(sizes[warm:], default=sizes[-1])
    return f"{start:.0f} MB after a tenth of the time, {most:.0f} MB at most later: {100 * (most / start - 1):+.1f}%"


def against_apply(texts: list[str], rounds: int, folder: Path) -> Rows:
    initialized(our_config("textcat_transformer")).to_disk(folder / "model")
    source, sizes = write_jsonl(folder / "in.jsonl", texts), list[list[float]]()

    def run() -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        with sizes_of_memory() as found:
            annotate(str(folder / "model"), str(source), folder / "out", Settings("spacy"))
        sizes.append(found)

    runners: dict[str, Callable[[], None]] = {
        "annotate": run,
        "apply": lambda: apply(source, folder / "out.spacy", str(folder / "model"), "text", 64, 1),
    }
    seconds = both_times(runners, rounds)
    pairs = list(zip(seconds["annotate"], seconds["apply"], strict=True))
    wall, cpu = (statistics.median(theirs[i] / ours[i] for ours, theirs in pairs) for i in (0, 1))
    speed = {name: len(texts) / statistics.median(found for _, found in taken) for name, taken in seconds.items()}
    measured = (
        f"{wall:.2f} x `spacy apply -b 64` by the clock, {cpu:.2f} x in processor time ({speed['annotate']:,.0f} and "
        f"{speed['apply']:,.0f} texts for a second of one core)"
    )
    what = f"annotate, one process, {len(texts):,} sentences, MiniLM textcat"
    return [(what, measured, ">= 1.0 x"), (f"{what}: memory", growth(sizes[-1]), "flat")]


def both_times(runners: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time functions in turn, by the clock and in processor time, which a busy machine changes less. The first round is
    not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for counted in range(rounds + 1):
        for name, run in runners.items():
            start, cpu = time.perf_counter(), time.process_time()
            run()
            if counted:
                seconds[name].append((time.perf_counter() - start, time.process_time() - cpu))
    return seconds


def memory(texts: list[str], most: int, folder: Path) -> Rows:
    initialized(our_config("textcat_vectors"), texts).to_disk(folder / "model")
    short = [" ".join(text.split()[:8]) for text in texts]
    # Numbers are words that no vocabulary has.
    source = write_jsonl(folder / "in.jsonl", (f"{short[i % len(short)]} {i}" for i in range(most)))
    start = time.process_time()
    with sizes_of_memory() as sizes:
        options = Options(batch_size=256)
        annotate(
            str(folder / "model"), str(source), folder / "out", Settings(columns=["labels", "scores"]), options=options
        )
    speed = most / (time.process_time() - start)
    what = f"annotate, {most:,} short texts, GloVe textcat: memory ({speed:,.0f} texts for a second of one core)"
    return [(what, growth(sizes), "<= +2%")]


def planning(texts: list[str], folder: Path) -> Rows:
    """What the driver does alone: it reads all input once, to say where shards begin, and that no id stands twice."""
    files = find_files(str(write_jsonl(folder / "in.jsonl", texts)))
    start = time.process_time()
    shards = plan(files, Settings("jsonl", ["labels"], Fields(), 10_000))
    speed = len(texts) / (time.process_time() - start)
    size = len(json.dumps(shards)) / len(shards)
    return [(f"annotate, planning of {len(texts):,} sentences", f"{speed:,.0f} texts/s, {size:.0f} bytes a shard", "-")]


def from_first_shards(folder: Path, n_texts: int, workers: int) -> float:
    """RETURNS (float): Texts per second from when the first shard of every worker was there."""
    paths = sorted(folder.glob("shard-*"), key=lambda path: path.stat().st_mtime)
    seconds = paths[-1].stat().st_mtime - paths[workers - 1].stat().st_mtime
    return n_texts * (len(paths) - workers) / len(paths) / seconds


def against_ray(texts: list[str], rounds: int, folder: Path) -> Rows:
    initialized(our_config("textcat_transformer")).to_disk(folder / "model")
    source, out = write_jsonl(folder / "in.jsonl", texts), folder / "out"
    speeds: dict[str, list[float]] = {"ray": [], "plain": []}
    with ray_cluster() as address:
        for _ in range(rounds):
            for name, found in speeds.items():
                shutil.rmtree(out, ignore_errors=True)
                options = Options(threads=1 if name == "ray" else 2)
                more = {"use_ray": True, "address": address, "n_process": 2} if name == "ray" else {}
                process = start(folder / "model", source, out, shard_size=len(texts) // 20, options=options, **more)
                process.join()
                found.append(from_first_shards(out, len(texts), 2 if name == "ray" else 1))
    ratio = statistics.median(a / b for a, b in zip(speeds["ray"], speeds["plain"], strict=True))
    ray, plain = (statistics.median(found) for found in speeds.values())
    measured = f"{ray:,.0f} texts/s: {ratio:.2f} x one process with 2 threads ({plain:,.0f}); start-up not counted"
    return [(f"annotate by Ray, 2 actors with 1 thread, {len(texts):,} sentences", measured, ">= 0.8 x")]


@contextmanager
def ray_cluster() -> Iterator[str]:
    """YIELDS (str): The address of a cluster with two processors, on this machine."""
    importlib.import_module("ray.cluster_utils")  # What is imported here is not imported again in forked processes.
    importlib.import_module("ray.data")
    ours, theirs = multiprocessing.Pipe()
    # In a process of its own: a process that talks to Ray cannot be forked.
    host = multiprocessing.get_context("fork").Process(target=host_cluster, args=(theirs,))
    host.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        host.join()


def host_cluster(connection: Connection) -> None:
    from ray.cluster_utils import Cluster

    for _ in range(5):
        try:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
            break
        except Exception as error:  # Ray waits for 30 s, which is too short where much else runs.
            print(f"{error}", file=sys.stderr, flush=True)
    connection.send(cluster.address)
    connection.recv()
    cluster.shutdown()


def start(model: Path, source: Path, out: Path, **settings: Any) -> Process:
    """RETURNS (Process): A process that annotates."""
    given = (str(model), str(source), out)
    process = multiprocessing.get_context("fork").Process(target=annotate, args=given, kwargs=settings)
    process.start()
    return process


def kills(rounds: int, with_ray: bool, folder: Path) -> Rows:
    nlp = spacy.blank("en")
    (folder / "slow.py").write_text(SLOW)
    spacy.util.import_file("python_code", folder / "slow.py")
    nlp.add_pipe("slow")
    nlp.to_disk(folder / "model")
    n_texts, draw, wrong, killed = 4000, random.Random(0), 0, {"worker": 0, "driver": 0}
    source = write_jsonl(folder / "in.jsonl", (f"text {i}" for i in range(n_texts)))
    with ray_cluster() if with_ray else nullcontext() as address:
        more = {"use_ray": True, "address": address, "n_process": 2} if with_ray else {}
        more |= {"shard_size": 100, "options": Options(code=folder / "slow.py")}
        for number in range(rounds):
            out = folder / f"out{number}"
            process = start(folder / "model", source, out, **more)
            if with_ray and wait_for_shards(process, out, draw.randrange(1, 15)):
                killed["worker"] += kill_actor()
            if wait_for_shards(process, out, draw.randrange(16, 38)):
                process.kill()
                killed["driver"] += 1
            process.join()
            left = len(list(out.glob("shard-*")))
            process = start(folder / "model", source, out, **more)
            process.join()
            lines = (line for path in sorted(out.glob("shard-*")) for line in path.open(encoding="utf8"))
            wrong += process.exitcode != 0 or [json.loads(line)["id"] for line in lines] != [
                f"t{i}" for i in range(n_texts)
            ]
            print(f"{number}: {left} of 40 shards were there after the kill", file=sys.stderr, flush=True)
    what = "a Ray worker, then the driver" if with_ray else "the plain process"
    measured = f"{rounds - wrong} of {rounds} jobs have each of {n_texts:,} texts once; {killed['driver']} were killed"
    measured += f", and {killed['worker']} workers before" if with_ray else ""
    return [(f"annotate, kill -9 of {what}, and the same command again", measured, f"{rounds} of {rounds}")]


def wait_for_shards(process: Process, out: Path, count: int) -> bool:
    """RETURNS (bool): Whether so many shards are there while the process still runs."""
    while process.is_alive():
        if len(list(out.glob("shard-*"))) >= count:
            time.sleep(random.random() * 0.2)
            return process.is_alive()
        time.sleep(0.01)
    return False


def kill_actor() -> bool:
    """Kill a process of Ray that annotates: their names begin with ray::MapWorker."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # One that has ended has no command line.
            name = " ".join(child.cmdline())
            if name.startswith("ray::") and "Annotator" in name:
                child.kill()
                return True
    return False


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("part", choices=["apply", "memory", "plan", "ray", "kills"])
    args.add_argument("--texts", type=Path)
    args.add_argument("--most", type=int)
    args.add_argument("--rounds", type=int)
    args.add_argument("--ray", action="store_true")
    opts = args.parse_args()
    # Ray gives its processes less of a busy machine than others get.
    os.environ["RAY_worker_niceness"] = "0"
    if opts.part in ("ray", "kills"):
        torch.set_num_threads(1)  # A forked process hangs in the thread pools of torch.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if opts.part == "apply":
            rows = against_apply(sentences(opts.texts, opts.most or 20_000), opts.rounds or 3, folder)
        elif opts.part == "memory":
            rows = memory(sentences(opts.texts, 20_000), opts.most or 1_000_000, folder)
        elif opts.part == "plan":
            rows = planning(sentences(opts.texts, opts.most or 20_000), folder)
        elif opts.part == "ray":
            rows = against_ray(sentences(opts.texts, opts.most or 6000), opts.rounds or 3, folder)
        else:
            rows = kills(opts.rounds or 10, opts.ray, folder)
    print_rows(rows)


if __name__ == "__main__":
    main()
