"""Deltas: saved pipelines without the weights that they have from their base."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from spacy.language import Language
from thinc.api import Model
from torch import Tensor

from ..backbones.bases import Base, may_download, packaged, tokenizer_fingerprint
from ..backbones.sources import resolve_source
from ..backbones.transformer.pretrained import Pretrained, read_source
from ..backbones.transformer.transformer_shim import TransformerShim
from ..errors import Errors
from ..types import Config

_ARCHITECTURE = "spacy-transfer.TransformerBackbone.v1"


@dataclass(frozen=True)
class Delta:
    """A backbone that is saved as a delta.

    component (str): The component that it is in.
    base (Base): Where all else comes from.
    own (Sequence[str]): Names of the encoder's own weights, which are not the base's.
    n_weights (int): How many numbers these are.
    n_adapter (int): How many numbers its adapter has.
    """

    component: str
    base: Base
    own: Sequence[str]
    n_weights: int
    n_adapter: int


@contextmanager
def as_delta(nlp: Language, source: str | None = None) -> Iterator[list[Delta]]:
    """Within, `nlp.to_disk` and `nlp.to_bytes` leave out all weights that the base has. meta.json requires the package
    that the base is in, so that `spacy package` makes a wheel which installs it.

    nlp (Language): A pipeline with encoders of transformers.
    source (Optional[str]): Where the base is, if it is not where the config says.
    YIELDS (List[Delta]): The backbones.
    RAISES (ValueError): When there is no such encoder, or its base is not there or another.
    """
    shims = list(_shims(nlp))
    if not shims:
        raise ValueError(Errors.T703.format(found=nlp.component_names))
    required = nlp.meta.get("requirements")
    found, blocks = [], []
    try:
        for name, shim in shims:
            delta, shim.saved_as = _compare(name, shim, source or shim.settings.source)
            found.append(delta)
            blocks += [(block, block["source"]) for block in _blocks(nlp.get_pipe_config(name))]
            for block, _ in blocks:
                block["source"] = delta.base.source
        new = {delta.base.requirement for delta in found} - {"", *(required or [])}
        nlp.meta["requirements"] = [*(required or []), *sorted(new)]
        yield found
    finally:
        nlp.meta.pop("requirements", None)
        if required is not None:
            nlp.meta["requirements"] = required
        for _, shim in shims:
            shim.saved_as = None
        for block, before in reversed(blocks):
            block["source"] = before


def _shims(nlp: Language) -> Iterator[tuple[str, TransformerShim]]:
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            for shim in node.shims:
                if isinstance(shim, TransformerShim) and shim.pretrained is not None:
                    yield name, shim


def _blocks(config: Config) -> Iterator[Config]:
    """The blocks of such encoders in the config of a component."""
    if config.get("@architectures") == _ARCHITECTURE:
        yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from _blocks(value)


def _compare(name: str, shim: TransformerShim, source: str) -> tuple[Delta, tuple[Base, frozenset[str]]]:
    """A backbone beside its base, and what the shim needs to save the difference."""
    own = cast(Pretrained, shim.pretrained)
    source, requirement = packaged(source)
    try:
        place = resolve_source(source, download=may_download())
        read = read_source(source, shim.settings.depth, download=may_download())
    except (ValueError, OSError) as error:
        raise ValueError(Errors.T704.format(name=name, source=source, problem=error)) from error
    problem = _difference(own, read)
    if problem:
        raise ValueError(Errors.T704.format(name=name, source=source, problem=problem))
    tokenizer = tokenizer_fingerprint(place.path) if place.kind == "folder" else ""
    base = Base(source, read.fingerprint, tokenizer, requirement, shim.settings.depth)
    saved, weights = shim.own_state(), read.transformer.state_dict()
    bare = {key: key.removeprefix(shim.prefix) for key in saved}
    same = frozenset(key for key, plain in bare.items() if plain in weights and _equal(saved[key], weights[plain]))
    changed = [key for key in saved if key not in same]
    n_adapter = sum(tensor.numel() for tensor in shim.adapter_tensors().values())
    n_weights = sum(saved[key].numel() for key in changed)
    return Delta(name, base, changed, n_weights, n_adapter), (base, same)


def _difference(own: Pretrained, read: Pretrained) -> str:
    if own.fingerprint != read.fingerprint:
        return f"its weights are others (fingerprint {read.fingerprint[:12]}, not {own.fingerprint[:12]})"
    if own.tokenizer.to_str() != _like(own, read).tokenizer.to_str():
        return "its tokenizer is another"
    configs = [
        {**one.transformer.config.to_dict(), "_name_or_path": "", "transformers_version": ""} for one in (own, read)
    ]
    differ = sorted(key for key in {**configs[0], **configs[1]} if configs[0].get(key) != configs[1].get(key))
    return f"its config has other values of {differ}" if differ else ""


def _like(own: Pretrained, read: Pretrained) -> Pretrained:
    """What was read, with the setting that a tokenizer keeps."""
    read.tokenizer.encode_special_tokens = own.tokenizer.encode_special_tokens
    return replace(read)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu())
