"""Every process of torch's launcher sees a GPU of its own."""

import os
from collections.abc import MutableMapping

VISIBLE = "CUDA_VISIBLE_DEVICES"


def take_own_gpu(environment: MutableMapping[str, str] = os.environ) -> None:
    """Hide all GPUs but that of this process's local rank, before CUDA starts: `--gpu-id 0` is another GPU in each.
    Without the launcher, or with one process, nothing is hidden."""
    rank, size = environment.get("LOCAL_RANK", ""), environment.get("LOCAL_WORLD_SIZE", "")
    if not (rank.isdigit() and size.isdigit() and int(size) > 1 and environment.get("TORCHELASTIC_RUN_ID")):
        return
    visible = environment.get(VISIBLE)
    given = [str(i) for i in range(int(size))] if visible is None else [own for own in visible.split(",") if own]
    if len(given) == int(size):
        environment[VISIBLE] = given[int(rank)]
