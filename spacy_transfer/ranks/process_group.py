"""The ranks of a training: what they exchange, and what happens when one of them ends."""

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from ..errors import Errors

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How long ranks that have lost another wait for its last words.
_LAST_WORDS = 5.0


def number_of_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torch's launcher has started; 1 without it.

    RAISES (ValueError): When some variables of the launcher are there, and others are not.
    """
    found = [name for name in _VARIABLES if environment.get(name)]
    size = int(environment["WORLD_SIZE"]) if environment.get("WORLD_SIZE", "").isdigit() else 1
    if size > 1 and len(found) < len(_VARIABLES):
        missing = [name for name in _VARIABLES if name not in found]
        raise ValueError(Errors.T254.format(size=size, missing=", ".join(missing)))
    return size


class ProcessGroup:
    """Connects this process with the others: by gloo, and on GPUs by NCCL for what is large.

    What is small goes by gloo. Its connections break as soon as a process ends, so the others do not wait for it.

    timeout (int): For how many seconds a rank waits for the others.
    use_gpu (bool): Whether gradients are on GPUs.
    """

    def __init__(self, timeout: int, use_gpu: bool = False) -> None:
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        wait = timedelta(seconds=timeout)
        store, self.rank, self.size = next(rendezvous("env://", timeout=wait))
        found = _agree_on_round(dist.PrefixStore("spacy-transfer", store), self.rank, self.size, timeout)
        self._store: Store = dist.PrefixStore(f"spacy-transfer/{found}", store)
        backend = "cpu:gloo,cuda:nccl" if use_gpu else "gloo"
        given: dict[str, Any] = {"rank": self.rank, "world_size": self.size, "timeout": wait}
        dist.init_process_group(backend, store=dist.PrefixStore("group", self._store), **given)
        self._store.set(f"place/{self.rank}", f"{socket.gethostname()}, process {os.getpid()}")

    @property
    def is_first(self) -> bool:
        """RETURNS (bool): Whether this is the rank that evaluates and writes."""
        return self.rank == 0

    def close(self) -> None:
        """Leave the others."""
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()

    # What ranks exchange

    def sum(self, tensor: "torch.Tensor") -> None:
        """Add a tensor up over all ranks, in place. The result is the same on all, bit for bit."""
        from torch.distributed import ReduceOp, all_reduce

        self._together(all_reduce, tensor, ReduceOp.SUM)

    def max(self, tensor: "torch.Tensor") -> None:
        """The largest numbers of all ranks, in place."""
        from torch.distributed import ReduceOp, all_reduce

        self._together(all_reduce, tensor, ReduceOp.MAX)

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """RETURNS (List[NDArray]): The array of each rank; all are of one shape and kind."""
        import torch
        from torch.distributed import all_gather

        flat = torch.from_numpy(numpy.ascontiguousarray(array).reshape(-1).view("uint8").copy())
        found = [torch.empty_like(flat) for _ in range(self.size)]
        self._together(all_gather, found, flat)
        return [one.numpy().view(array.dtype).reshape(array.shape) for one in found]

    def agree(self, *digests: int) -> list[bool]:
        """RETURNS (List[bool]): For each number of 32 bits whether it is the same on all ranks."""
        import torch

        numbers = torch.tensor(digests, dtype=torch.int64)
        both = torch.stack([numbers, -numbers])
        self.max(both)
        return [bool(same) for same in both[0] == -both[1]]

    def give(self, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send the first rank's numbers and texts to the others.

        content (Optional[Dict[str, Any]]): What JSON can hold; of other ranks it does not count.
        RETURNS (Dict[str, Any]): The content, on every rank.
        """
        import torch
        from torch.distributed import broadcast

        data = json.dumps(content).encode("utf8") if self.is_first else b""
        length = torch.tensor([len(data)])
        self._together(broadcast, length, 0)
        buffer = torch.empty(int(length), dtype=torch.uint8)
        if self.is_first:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self._together(broadcast, buffer, 0)
        found: dict[str, Any] = json.loads(buffer.numpy().tobytes())
        return found

    def exchange(self, name: str, content: Mapping[str, str]) -> list[dict[str, str]]:
        """RETURNS (List[Dict[str, str]]): The content of each rank."""
        self._store.set(f"{name}/{self.rank}", json.dumps(content))
        keys = [f"{name}/{rank}" for rank in range(self.size)]
        try:
            found = [json.loads(self._store.get(key)) for key in keys]
        except RuntimeError as error:
            raise ValueError(Errors.T256.format(rank=self.rank, lost=self._lost(), error=error)) from error
        self.agree(0)  # The first rank keeps the store: it must not end before all have read.
        return found

    def _together(self, call: Any, tensor: "torch.Tensor | list[torch.Tensor]", option: Any) -> None:
        try:
            call(tensor, option)
        except RuntimeError as error:
            raise ValueError(Errors.T256.format(rank=self.rank, lost=self._lost(), error=error)) from error

    # A rank that ends

    def tell(self, error: BaseException) -> None:
        """Tell the other ranks, and torch's launcher, why this one ends."""
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        if os.environ.get("TORCHELASTIC_ERROR_FILE"):
            get_error_handler().record_exception(error)
        try:
            self._store.set(f"ended/{self.rank}", f"{type(error).__name__}: {error}")
        except RuntimeError:  # The store has ended with its own process.
            return

    def _lost(self) -> str:
        """Which ranks have ended, and why. Those that have lost another say so: one that says nothing was killed."""
        try:
            self._store.set(f"lost/{self.rank}", "")
            others = [rank for rank in range(self.size) if rank != self.rank]
            end = time.monotonic() + _LAST_WORDS
            while True:
                ended = [rank for rank in others if self._store.check([f"ended/{rank}"])]
                own = [rank for rank in ended if not self._store.check([f"lost/{rank}"])]
                silent = [rank for rank in others if rank not in ended and not self._store.check([f"lost/{rank}"])]
                if own or not silent or time.monotonic() > end:
                    break
                time.sleep(0.1)
            words = {rank: str(self._store.get(f"ended/{rank}"), "utf8") for rank in own}
            words |= {} if own else dict.fromkeys(silent, "it was killed, or does not answer")
            places = {rank: str(self._store.get(f"place/{rank}"), "utf8") for rank in words}
            return "; ".join(f"rank {rank} ({places[rank]}): {word}" for rank, word in words.items()) or "unknown"
        except RuntimeError:
            return "rank 0, or the launcher that keeps the list of ranks"


def _agree_on_round(store: "Store", rank: int, size: int, timeout: int) -> str:
    """A name for this start of all ranks. The launcher keeps its store when it starts ranks again: what those
    before have written must not be read, such as their addresses.

    RETURNS (str): The name, the same on all ranks, and new at each start.
    RAISES (ValueError): When a rank does not come.
    """
    own, end = uuid.uuid4().hex, time.monotonic() + timeout
    store.set(f"hello/{rank}", own)
    keys = [f"hello/{other}" for other in range(size)]
    while time.monotonic() < end:
        if rank == 0 and store.check(keys):
            # The names of ranks that have not started again yet are old. Then nobody answers, and they are read anew.
            store.set("round", ".".join(str(store.get(key), "utf8") for key in keys))
        names = str(store.get("round"), "utf8").split(".") if store.check(["round"]) else []
        if names[rank : rank + 1] == [own]:
            found = hashlib.sha256(".".join(names).encode("utf8")).hexdigest()[:16]
            store.set(f"{found}/{rank}", "")
            if rank == 0 and store.check([f"{found}/{other}" for other in range(size)]):
                store.set(f"{found}/go", "")
            if store.check([f"{found}/go"]):
                return found
        time.sleep(0.02)
    raise ValueError(Errors.T260.format(rank=rank, size=size, timeout=timeout))
