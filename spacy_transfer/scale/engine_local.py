"""Shards in this process, or in several of this machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from pathlib import Path

from spacy.language import Language

from ..errors import Errors
from .job import Job
from .worker import Options, Worker


def run_here(
    job: Job, todo: Sequence[int], options: Options, nlp: Language, n_process: int, on_rows: Callable[[int], object]
) -> None:
    """Annotate shards.

    todo (Sequence[int]): Numbers of the shards.
    nlp (Language): The pipeline, for one process; several load their own.
    on_rows (Callable[[int], object]): Is told how many rows more are done.
    RAISES (ValueError): When a shard cannot be read or written, or a process died.
    """
    if n_process == 1:
        worker = Worker(job, options, nlp, on_rows)
        for number in todo:
            worker(number)
        return
    if options.threads is None:
        options = replace(options, threads=max(1, (os.cpu_count() or 1) // n_process))
    # A forked process hangs in the thread pools of torch.
    pool = ProcessPoolExecutor(n_process, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        futures = {pool.submit(_annotate, job.folder, options, number): number for number in todo}
        for future in as_completed(futures):
            future.result()
            on_rows(job.count(futures[future]))
    except BrokenProcessPool as error:
        raise ValueError(Errors.T974.format(error=error)) from error
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def _worker(folder: Path, options: Options) -> Worker:
    return Worker.in_folder(folder, options)


def _annotate(folder: Path, options: Options, number: int) -> int:
    return _worker(folder, options)(number)


def _end_with_parent() -> None:
    """Processes of a pool wait forever when the one that started them was killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
