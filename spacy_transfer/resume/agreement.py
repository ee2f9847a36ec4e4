"""Agreement of the ranks of a training: all go on from one checkpoint, which the first of them writes."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from safetensors import SafetensorError

from ..errors import Errors
from ..ranks.process_group import ProcessGroup, number_of_ranks
from .checkpoints import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from .random_states import Arrays

_RANDOM = "random."


class Agreement:
    """Talks to the other ranks. In a training of one process each call gives back what it is given.

    group (Optional[ProcessGroup]): The ranks; None for one process.
    RAISES (ValueError): When torch's launcher has started several processes that are not ranks of one training.
    """

    def __init__(self, group: ProcessGroup | None) -> None:
        if group is None and number_of_ranks() > 1:
            raise ValueError(Errors.T947.format(size=os.environ["WORLD_SIZE"]))
        self._group = group
        self.size = 1 if group is None else group.size

    @property
    def is_first(self) -> bool:
        """RETURNS (bool): Whether this process writes."""
        return self._group is None or self._group.is_first

    def on_checkpoint(self, found: Checkpoint | None) -> Checkpoint | None:
        """All ranks go on from the checkpoint that the first one has found. Each reads it itself.

        found (Optional[Checkpoint]): What the first rank goes on from; None to begin. Of others it does not count.
        RETURNS (Optional[Checkpoint]): The same checkpoint on every rank.
        RAISES (ValueError): On all ranks, when one cannot read it.
        """
        if self._group is None:
            return found
        path = "" if found is None else str(found.path.resolve())
        path = self._group.give({"path": path})["path"]
        error = ""
        if path and not self.is_first:
            try:
                found = Checkpoints(Path(path).parent).read_one(Path(path))
            except (OSError, ValueError, SafetensorError) as problem:
                error = f"{type(problem).__name__}: {problem}"
        own = {"place": socket.gethostname(), "sums": found.sums if path and found else "", "error": error}
        first, *others = self._group.exchange("checkpoint", own)
        for rank, other in enumerate(others, 1):
            if other["sums"] != first["sums"]:
                error = other["error"] or "another checkpoint has this name there"
                raise ValueError(Errors.T490.format(rank=rank, place=other["place"], path=path, error=error))
        return found

    def on_time(self, is_due: bool) -> bool:
        """RETURNS (bool): Whether it is time, by the first rank's clock."""
        if self._group is None:
            return is_due
        import torch

        flag = torch.tensor([is_due and self.is_first], dtype=torch.uint8)
        self._group.max(flag)
        return bool(flag)

    def on_random_states(self, own: "Arrays") -> "Arrays":
        """Collect the random states of all ranks. Between two steps they are those of the first rank, unless something
        has drawn on one rank alone: only what differs is kept apart.

        own (Dict[str, NDArray]): Those of this rank.
        RETURNS (Dict[str, NDArray]): Those of all, for a checkpoint.
        """
        found = {_RANDOM + name: array for name, array in own.items()}
        if self._group is not None:
            for name, array in own.items():
                for rank, other in enumerate(self._group.gather(array)):
                    if other.tobytes() != array.tobytes():
                        found[f"{_RANDOM}{rank}.{name}"] = other
        return found

    def own_random_states(self, arrays: Mapping[str, NDArray[Any]]) -> "Arrays":
        """RETURNS (Dict[str, NDArray]): This rank's random states in a checkpoint."""
        common = {name.removeprefix(_RANDOM): array for name, array in arrays.items() if name.startswith(_RANDOM)}
        own = {name: array for name, array in common.items() if not name.partition(".")[0].isdigit()}
        if self._group is not None:
            mark = f"{self._group.rank}."
            own |= {name.removeprefix(mark): array for name, array in common.items() if name.startswith(mark)}
        return own
