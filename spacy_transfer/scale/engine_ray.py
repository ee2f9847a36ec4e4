"""Shards on a Ray cluster, by Ray Data: an actor with one pipeline each, which reads its rows and writes its shards.

The driver sends numbers of shards and gets counts back; no text goes through it. Ray Data gives an actor no more tasks
than it can take, starts dead actors anew and their tasks again. A shard that was written before is not written again.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..extras import import_extra
from .job import WORK, Job
from .worker import Options, Worker

_SECONDS = 10  # For an address to answer.
_TRIES = 4  # Of a shard.
_BLOCKS = 2000  # Most blocks of shards: a block is what Ray Data hands out, and repeats.


class Annotator:
    """The actor. Errors that a user can mend are sent to the driver; with others Ray tries again."""

    def __init__(self, folder: str, options: Options) -> None:
        self._folder, self._options = Path(folder), options
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        numbers, failed = batch["item"].tolist(), ""
        try:
            if self._worker is None:
                self._worker = Worker.in_folder(self._folder, self._options)
            for number in numbers:
                self._count_try(number)
                self._worker(number)
                _tries(self._folder, number).unlink(missing_ok=True)
        except (ValueError, ImportError, OSError) as error:
            failed = str(error)
        return {"shard": numbers, "failed": [failed] * len(numbers)}

    def _count_try(self, number: int) -> None:
        """Ray would try for ever with a text on which the process dies."""
        path = _tries(self._folder, number)
        with path.open("ab") as file:
            file.write(b".")
        if path.stat().st_size > _TRIES:
            raise ValueError(Errors.T974.format(error=f"shard {number} was tried {_TRIES} times."))


def _tries(folder: Path, number: int) -> Path:
    return folder / WORK / f"tries-{number:06d}"


def run_on_ray(
    job: Job,
    todo: Sequence[int],
    options: Options,
    on_rows: Callable[[int], object],
    *,
    address: str | None = None,
    actors: int | None = None,
) -> None:
    """Annotate shards.

    on_rows (Callable[[int], object]): Is told how many rows more are done.
    address (Optional[str]): Of the cluster; None for one that is started on this machine and ends with the job.
    actors (Optional[int]): How many; None for as many as there are processors for.
    RAISES (ImportError): When Ray is not installed.
    RAISES (ValueError): When there is no cluster, or a shard cannot be read or written.
    """
    threads = options.threads or 1
    for number in todo:
        _tries(job.folder, number).unlink(missing_ok=True)
    with cluster(address, None if actors is None else actors * threads) as ray:
        free = int(ray.cluster_resources().get("CPU", 0)) // threads
        actors = min(actors or free, len(todo))
        if actors < 1 or actors > free:
            raise ValueError(Errors.T977.format(actors=actors, threads=threads, free=free * threads))
        items = ray.data.from_items([*todo], override_num_blocks=min(len(todo), _BLOCKS))
        done = items.map_batches(
            Annotator,
            fn_constructor_args=(str(job.folder.resolve()), options),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=threads,
            num_gpus=1 if options.use_gpu >= 0 else None,
        )
        for found in done.iter_rows():
            if found["failed"]:
                raise ValueError(found["failed"])
            on_rows(job.count(found["shard"]))


@contextmanager
def cluster(address: str | None, processors: int | None) -> Iterator[Any]:
    """A connection to a cluster, or a cluster of this machine.

    processors (Optional[int]): Of a cluster of this machine; None for all.
    YIELDS (Module): Ray.
    RAISES (ValueError): When the address does not answer.
    """
    # Ray sends statistics to its makers, unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_extra("ray", Errors.T975)
    import_extra("ray.data", Errors.T975)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    here = {"address": "local", "num_cpus": processors, "include_dashboard": False}
    try:
        if address:
            _knock(address)
        ray.init(**({"address": address} if address else here), logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # Ray raises Exception itself when it does not start in time.
        raise ValueError(Errors.T976.format(address=address or "this machine", error=error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray waits for minutes at an address where nobody is."""
    host, colon, port = address.removeprefix("ray://").partition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
