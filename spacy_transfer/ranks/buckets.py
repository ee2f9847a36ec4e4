"""Gradients summed over ranks, in a few large buckets."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
from thinc.util import is_torch_array, torch2xp, xp2torch

from ..backbones.shims.parameter import TorchParameter
from ..backbones.shims.tunable import Tunable
from ..pipeline.backbone.pcgrad import Gradients
from ..pipeline.backbone.tasks import collected_of
from ..pipeline.parameters import NamedParameter, parameters_of

if TYPE_CHECKING:
    from torch import Tensor

    from .process_group import ProcessGroup

# In a table of embeddings a batch touches few rows: the others are not sent.
_TABLE_ROWS = 1024


@dataclass(frozen=True)
class Slot:
    """The place of one gradient: in its parameter, or where a backbone with PCGrad keeps it for one task.

    kept (Optional[Dict[str, Union[Tensor, FloatsXd]]]): The task's gradients by name of the parameter.
    """

    named: NamedParameter
    kept: Gradients | None = None

    @property
    def like(self) -> "Tensor":
        """RETURNS (Tensor): The parameter, of the gradient's shape, kind and device."""
        return tensor_of(self.named.parameter.value)

    def read(self) -> "Tensor | None":
        """RETURNS (Optional[Tensor]): The gradient, not a copy; None where there is none."""
        found = self.named.parameter.raw_gradient if self.kept is None else self.kept.get(self.named.name)
        return None if found is None else tensor_of(found)

    def write(self, gradient: "Tensor") -> None:
        """Replace the gradient."""
        value: Any = gradient
        if not isinstance(self.named.parameter, TorchParameter):
            value = torch2xp(gradient.clone())  # Thinc keeps its arrays: they would keep the whole bucket alive.
        if self.kept is None:
            self.named.parameter.set_gradient(value)
        else:
            self.kept[self.named.name] = value


def slots_of(name: str, pipe: object, tasks: Sequence[str]) -> list[Slot]:
    """The places of all gradients of a component that the coming step may use. Frozen parameters have none.

    tasks (Sequence[str]): Those of a backbone with PCGrad, in the order of the pipeline.
    """
    parameters = trained_parameters(name, pipe)
    collected = collected_of(pipe)
    if collected is None:
        return [Slot(named) for named in parameters]
    return [Slot(named, kept) for kept in collected.places(tasks) for named in parameters]


def trained_parameters(name: str, pipe: object) -> list[NamedParameter]:
    """RETURNS (List[NamedParameter]): Those of a component that the coming step may change."""
    if getattr(pipe, "frozen", False) is True:
        return []
    return [named for named in parameters_of(name, pipe) if not _is_frozen(named)]


def digest_of_weights(parameters: Iterable[NamedParameter], start: int = 0) -> int:
    """RETURNS (int): A checksum of all weights, of 32 bits, after that of others."""
    for named in parameters:
        start = zlib.crc32(tensor_of(named.parameter.value).cpu().contiguous().numpy().tobytes(), start)
    return start


def digest_of(slots: Sequence[Slot]) -> int:
    """RETURNS (int): A checksum of names and shapes, of 32 bits."""
    return zlib.crc32("\n".join(f"{slot.named.name} {tuple(slot.like.shape)}" for slot in slots).encode("utf8"))


def sum_gradients(group: "ProcessGroup", slots: Sequence[Slot], scale: float = 1.0) -> list[bool]:
    """Sum the gradients of all ranks. A parameter gets one if any rank has one: then each steps it.

    scale (float): How much this rank's gradients count.
    RETURNS (List[bool]): Of each slot, whether it has a gradient.
    """
    import torch

    likes, found = [slot.like for slot in slots], [slot.read() for slot in slots]
    tables = [i for i, like in enumerate(likes) if like.dim() == 2 and like.shape[0] >= _TABLE_ROWS]
    masks = [_touched_rows(found[i], likes[i]) for i in tables]
    flags = torch.cat([torch.tensor([own is not None for own in found], dtype=torch.uint8), *masks])
    group.max(flags)
    is_there = [bool(flag) for flag in flags[: len(slots)]]
    rows = dict(zip(tables, flags[len(slots) :].split([len(mask) for mask in masks]), strict=True))
    for bucket in _buckets([i for i, there in enumerate(is_there) if there], likes):
        chosen = {i: rows[i].to(likes[i].device).nonzero().flatten() for i in bucket if i in rows}
        parts = [_part(found[i], likes[i], chosen.get(i)) for i in bucket]
        flat = torch.cat([part.reshape(-1) for part in parts])
        if scale != 1.0:
            flat *= scale
        group.sum(flat)
        for i, part in zip(bucket, flat.split([part.numel() for part in parts]), strict=True):
            slots[i].write(_whole(part, found[i], likes[i], chosen.get(i)))
    return is_there


def _buckets(indices: Sequence[int], likes: "Sequence[Tensor]") -> Iterator[list[int]]:
    """One bucket for all of one device and kind of numbers."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for i in indices:
        kinds.setdefault((str(likes[i].device), str(likes[i].dtype)), []).append(i)
    yield from kinds.values()


def _part(gradient: "Tensor | None", like: "Tensor", rows: "Tensor | None") -> "Tensor":
    """What is sent of a gradient: all of it, or some rows."""
    shape = like.shape if rows is None else (len(rows), like.shape[1])
    if gradient is None:
        return like.new_zeros(shape)
    return gradient if rows is None else gradient.index_select(0, rows)


def _whole(part: "Tensor", gradient: "Tensor | None", like: "Tensor", rows: "Tensor | None") -> "Tensor":
    if rows is None:
        return part.view(like.shape)
    whole = like.new_zeros(like.shape) if gradient is None else gradient
    whole.index_copy_(0, rows, part.view(len(rows), like.shape[1]))
    return whole


def _touched_rows(gradient: "Tensor | None", like: "Tensor") -> "Tensor":
    """Which rows of a gradient are not all zeros: uint8, shape (n_rows,), on the CPU."""
    import torch

    if gradient is None:
        return torch.zeros(like.shape[0], dtype=torch.uint8)
    if gradient.device.type != "cpu" or gradient.dtype not in (torch.float32, torch.float64):
        return gradient.ne(0).any(dim=1).to("cpu", torch.uint8)
    array = gradient.detach().numpy()
    is_even = array.flags.c_contiguous and array.shape[1] * array.itemsize % 8 == 0
    # Bits are compared faster than numbers.
    return torch.from_numpy((array.view(numpy.uint64) if is_even else array).any(axis=1).astype(numpy.uint8))


def _is_frozen(named: NamedParameter) -> bool:
    policy = named.tuner.policy if isinstance(named.tuner, Tunable) else None
    return named.is_frozen or (policy is not None and named.tuned_name not in policy.moving(named.tuner.steps))  # type: ignore[union-attr]


def tensor_of(array: Any) -> "Tensor":
    """RETURNS (Tensor): An array of Thinc or a tensor, as a tensor that shares its memory."""
    found: Tensor = array if is_torch_array(array) else xp2torch(array)
    return found.detach()
