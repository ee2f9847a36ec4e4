"""Costs of a backbone: speed, size, memory and training time, measured on the texts at hand."""

import contextlib
import copy
import ctypes
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc
from spacy.training.initialize import init_nlp
from spacy.training.loop import create_train_batches
from spacy.util import minibatch, registry, resolve_dot_names
from thinc.api import Config

from ..backbones.encode import encode
from ..types import BackboneT, pipes_of

WORDS = 3000
"""Of the texts on which speed is measured, at least one text."""
SECONDS = 0.3
"""Passes over these texts are repeated for so long, twice at least."""
STEPS = 2
"""Timed steps of a training, after one that is not."""
MB = 1e6


@dataclass(frozen=True)
class Cost:
    """The price of a backbone.

    speed (float): Words a second, predicting, of the backbone alone.
    mb (float): Megabytes of the backbone as it is saved.
    memory_mb (Optional[float]): Megabytes of memory that predicting a batch of texts adds at its peak, weights not
        counted; None where the system does not tell.
    frozen_epoch (float): Seconds in which a frozen backbone reads the training corpus. Later epochs take its rows from
        the cache.
    tuned_epoch (Optional[float]): Seconds of an epoch in which the backbone is trained; None where not measured.
    """

    speed: float
    mb: float
    memory_mb: float | None
    frozen_epoch: float
    tuned_epoch: float | None = None


def measure(model: BackboneT, docs: Sequence[Doc], n_words: int) -> Cost:
    """Speed, size and memory of an initialised backbone.

    docs (Sequence[Doc]): Docs in random order.
    n_words (int): Words of the training corpus.
    """
    sample = some_words(docs, WORDS)
    batches = [list(batch) for batch in minibatch(sample, 64)]
    with peak_memory() as added:
        encode(model, batches[0], False)
    seconds = [_seconds(model, batches)]
    while len(seconds) < 2 or sum(seconds) < SECONDS:
        seconds.append(_seconds(model, batches))
    # Whatever else the machine does makes passes slower, never faster.
    speed = sum(len(doc) for doc in sample) / min(seconds)
    return Cost(speed, len(model.to_bytes()) / MB, added[0] if added else None, n_words / speed)


def some_words(docs: Sequence[Doc], most: int) -> list[Doc]:
    """RETURNS (List[Doc]): The first docs, up to so many words; those without words are left out."""
    found, n_words = list[Doc](), 0
    for doc in docs:
        if len(doc) and (not found or n_words + len(doc) <= most):
            found.append(doc)
            n_words += len(doc)
    return found


def with_training_cost(cost: Cost, config: Config, n_words: int) -> Cost:
    """Add the time of an epoch in which the backbone is trained, from a few steps of the config's own training.

    config (Config): With the candidate's block.
    n_words (int): Words of the training corpus.
    """
    config, was_frozen = copy.deepcopy(config), False
    for block in config["components"].values():
        if block.get("factory") == "transfer_backbone":
            was_frozen |= block.get("frozen") is True
            block["frozen"] = False
    for block in config.get("initialize", {}).get("components", {}).values():
        block.pop("fit", None)
        block.pop("strength", None)
    nlp = init_nlp(config)
    filled = nlp.config.interpolate()
    settings: dict[str, Any] = registry.resolve(filled["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(filled, [settings["train_corpus"]])
    frozen, optimizer = settings["frozen_components"], settings["optimizer"]
    epochs = -1 if settings["max_epochs"] == -1 else 0
    seconds, words = 0.0, 0
    batches = create_train_batches(nlp, corpus, settings["batcher"], epochs)
    for step, (_, batch) in enumerate(islice(batches, STEPS + 1)):
        start = time.perf_counter()
        nlp.update(batch, drop=settings["dropout"], sgd=False, losses={}, exclude=frozen)  # type: ignore[arg-type]
        with warnings.catch_warnings():
            if was_frozen:  # The rate is for the heads; the backbone will not be trained.
                warnings.filterwarnings("ignore", message=r"\[W625\]")
            for name, pipe in pipes_of(nlp):
                if name not in frozen and hasattr(pipe, "finish_update"):
                    pipe.finish_update(optimizer)
        optimizer.step_schedules()
        if step:
            seconds += time.perf_counter() - start
            words += sum(len(example.predicted) for example in batch)
    return replace(cost, tuned_epoch=seconds / max(1, words) * n_words)


@contextlib.contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Measure the memory that is added at the peak: on CUDA by torch, on Linux by the kernel's high-water mark.

    YIELDS (List[float]): Gets the megabytes at the end; stays empty where the system does not tell.
    """
    found = list[float]()
    if _on_cuda():
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found.append((torch.cuda.max_memory_allocated() - before) / MB)
        return
    before_kb = _reset_peak()
    yield found
    if before_kb is not None:
        found.append(max(0, _status("VmHWM") - before_kb) * 1024 / MB)


def _on_cuda() -> bool:
    from thinc.api import CupyOps, get_current_ops

    return isinstance(get_current_ops(), CupyOps)


def _reset_peak() -> int | None:
    """RETURNS (Optional[int]): Kilobytes in memory now, to which the high-water mark has been reset."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # Memory that is free, but still ours, would hide what is used next.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError):
        return None


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _seconds(model: BackboneT, batches: Sequence[list[Doc]]) -> float:
    start = time.perf_counter()
    for batch in batches:
        encode(model, batch, False)
    return time.perf_counter() - start
