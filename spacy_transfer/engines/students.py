"""Encoders with fewer layers that learn the rows of the whole one, on texts without labels."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import numpy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import logger
from thinc.types import Floats2d
from thinc.util import xp2torch

from ..backbones.cached_rows.row_cache import CacheSettings
from ..backbones.encode import CachedEncoder
from ..backbones.transformer.transformer_shim import TransformerShim
from ..pipeline.backbone.component import Backbone
from ..progress import progress
from ..types import Encoded
from .exports import with_settings
from .soft_heads import solve_heads

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 32
_RATE = 5e-4
_CACHE_MB = 1024
"""Of the teacher's rows, which are needed again in every epoch."""


def cut_and_distil(nlp: Language, name: str, depth: int, texts: Sequence[str], seconds: float) -> Language:
    """A copy with the bottom layers of the encoder, trained until their rows are like those of the whole one. The
    embeddings stay as they are. Then the output layers of classifiers are solved anew: see `solve_heads`.

    nlp (Language): The teacher.
    name (str): The component with the encoder.
    depth (int): How many layers to keep.
    texts (Sequence[str]): What to learn on. The teacher reads each once, as far as its rows have room.
    seconds (float): How long the rows are learned; the learning rate falls to zero in this time.
    RETURNS (Language): The copy.
    """
    import torch

    copy = with_settings(nlp, name, depth=depth)
    shim = next(shim for shim in _backbone(copy, name).model.shims if isinstance(shim, TransformerShim))
    encoder = shim.encoder
    weights = [weight for key, weight in encoder.named_parameters() if ".layer." in key]
    optimizer = torch.optim.AdamW(weights, lr=_RATE)
    rows = CachedEncoder(CacheSettings(_CACHE_MB))
    rows.start()
    random, order, steps, losses = numpy.random.default_rng(0), list[int](), 0, list[float]()
    for left in _time_left(seconds):
        if not order:
            order = random.permutation(len(texts)).tolist()
        docs = [nlp.make_doc(texts[order.pop()]) for _ in range(min(_BATCH, len(order)))]
        optimizer.param_groups[0]["lr"] = _RATE * left
        losses.append(_step(encoder, shim, docs, rows.encode(_backbone(nlp, name).model, docs)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
    shown = f"{numpy.mean(losses[:10]):.4f} -> {numpy.mean(losses[-10:]):.4f}" if losses else "none"
    logger.info("%d layers: %d steps, mean squared difference of rows %s", depth, steps, shown)
    solved = solve_heads(copy, nlp, texts, {name: rows})
    logger.info("Heads that were solved anew: %s", ", ".join(solved) or "none")
    return copy


def _time_left(seconds: float) -> Iterator[float]:
    """YIELDS (float): The share of the time that is left, until there is none."""
    begin = monotonic()
    with progress(what="Distilling", unit=" s", total=int(seconds)) as bar:
        while (passed := monotonic() - begin) < seconds:
            bar.update(int(passed) - bar.n)
            yield 1 - passed / seconds


def _step(encoder: "nn.Module", shim: TransformerShim, docs: list[Doc], wanted: Encoded) -> float:
    wanted_rows = cast(Floats2d, numpy.concatenate(cast(list[Any], wanted.rows)))
    rows, documents = encoder(shim.cut(docs), shim.one_pass)
    loss = _difference(rows, wanted_rows) + _difference(documents, wanted.documents)
    loss.backward()
    return float(loss.detach())


def _difference(found: "Tensor", wanted: Floats2d) -> "Tensor":
    return (found - xp2torch(wanted, device=found.device)).square().mean()


def _backbone(nlp: Language, name: str) -> Backbone:
    pipe = nlp.get_pipe(name)
    assert isinstance(pipe, Backbone)
    return pipe
