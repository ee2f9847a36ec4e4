"""Precision of a pass: whether a device has it, and autocast to it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]


def check_precision(precision: str, device: torch.device) -> bool:
    """RETURNS (bool): Whether a device computes in a precision without emulation."""
    if precision == "fp32":
        return True
    if precision == "fp16":
        return device.type == "cuda"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        from ..._compat import cpu_has_bf16

        return cpu_has_bf16()
    return False


def autocast_to(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """RETURNS (ContextManager): Autocast; nothing for "fp32"."""
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, dtype=dtypes[precision]) if precision in dtypes else nullcontext()
