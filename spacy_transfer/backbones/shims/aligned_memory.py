"""Tensors whose memory begins at a multiple of 64 bytes, as torch allocates it.

MKL, by which torch multiplies matrices on a CPU, rounds differently for other addresses. NumPy's arrays and the tensors
that safetensors reads begin anywhere, so that two trainings with the same seed can differ in the last bit, or one that
was killed and one that was not.
Source: "Getting Reproducible Results with Intel MKL" in Intel's guide for developers.
"""

from itertools import chain
from typing import TYPE_CHECKING, Any

from thinc.util import xp2torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_ALIGNMENT = 64  # Bytes: what torch's allocator of CPU memory gives.


def aligned(tensor: "Tensor") -> "Tensor":
    """RETURNS (Tensor): The tensor itself, or a copy if its memory on the CPU begins elsewhere."""
    is_aligned = tensor.device.type != "cpu" or tensor.data_ptr() % _ALIGNMENT == 0
    return tensor if is_aligned else tensor.clone()


def as_tensor(array: Any, device: Any = None) -> "Tensor":
    """An array of NumPy or CuPy as an aligned tensor.

    device (Optional[torch.device]): Where the tensor is to be; null for torch's default device.
    RETURNS (Tensor): It shares the array's memory where that is aligned.
    """
    return aligned(xp2torch(array, device=device))


def align_weights(module: "Module") -> None:
    """Copy the parameters and buffers of a module whose memory begins elsewhere."""
    for tensor in chain(module.parameters(), module.buffers()):
        tensor.data = aligned(tensor.data)
