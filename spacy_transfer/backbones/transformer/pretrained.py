"""Encoders with their tokenizers, read from a source or from a saved pipeline."""

import copy
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from thinc.api import Model
from tokenizers import Tokenizer
from torch import Tensor

from ..._compat import quiet_loading, spacy_transformers_parts
from ...errors import Errors
from ...tuning.adapters import has_adapter, merge
from ...types import Config, HFTokenizer
from ..bases import Base, of_bottom
from ..shims.aligned_memory import align_weights
from ..shims.safetensors_shim import dump_state, read_metadata, read_state
from ..sources import Source, check_unchanged, fingerprint, reading_again, resolve_source
from ..spacy_transformers.pipeline_checks import check_pipeline
from .layers.module_tree import LayerLists, cut_config, find_layers
from .reading.source_checks import (
    Fields,
    check_finite,
    check_folder,
    check_forward,
    check_header,
    check_size,
    forget_code,
    make_config,
)
from .reading.tokenizer_checks import check_ids, panics_are_errors, read_tokenizer, refuse_own_tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_SAVED = "The saved backbone"
# The fields of a saved header, and their types.
_FIELDS: Fields = {
    "class": str,
    "config": dict,
    "tokenizer": str,
    "special": {"prefix": list[int], "suffix": list[int], "pad_id": int},
    "fingerprint": str,
    "steps": int,
    "adapter": (dict, type(None)),
}


@dataclass
class Pretrained:
    """An encoder with its tokenizer.

    tokenizer (Tokenizer): The fast tokenizer, without truncation and padding.
    prefix (List[int]), suffix (List[int]): Special tokens around a single text.
    fingerprint (str): sha256 of config and weights as they were read.
    steps (int): Training steps before it was saved.
    """

    transformer: "PreTrainedModel"
    tokenizer: Tokenizer
    prefix: list[int]
    suffix: list[int]
    pad_id: int
    fingerprint: str
    steps: int = 0

    def to_metadata(self, steps: int = 0, adapter: Config | None = None, base: Base | None = None) -> dict[str, str]:
        """All but the weights, for the header of safetensors.

        base (Optional[Base]): For a delta: the base, which has the tokenizer.
        """
        config = self.transformer.config.to_dict()
        config.pop("_name_or_path", None)  # Equal pipelines would differ by the folder of the source.
        parts = {
            "class": type(self.transformer).__name__,
            "config": config,
            "tokenizer": self.tokenizer.to_str(),
            "special": {"prefix": self.prefix, "suffix": self.suffix, "pad_id": self.pad_id},
            "fingerprint": self.fingerprint,
            "steps": steps,
            "adapter": adapter,
        }
        if base is not None:
            parts |= {"tokenizer": "", "base": asdict(base)}
        # One key, since safetensors writes several in random order.
        return {"encoder": json.dumps(parts, default=str, sort_keys=True)}


def read_source(name: str, depth: int | None = None, *, download: bool = True) -> Pretrained:
    """Read encoder and tokenizer from a source.

    depth (Optional[int]): How many of the encoder's layers to read, from the bottom; null for all.
    download (bool): Whether the hub may be asked.
    RAISES (ValueError): When the source cannot be found or read, or its weights do not match its config.
    """
    source = resolve_source(name, download=download)
    if source.kind == "pipeline":
        return _from_pipeline(source, depth)
    check_folder(source.path, name)
    transformer, is_cut = _read_transformer(source, depth)
    found = fingerprint(source.path)
    return _pretrained(transformer, _read_tokenizer(source), of_bottom(found, depth) if is_cut else found, name)


def cut(pretrained: Pretrained, depth: int | None, where: str) -> None:
    """Keep the bottom layers of an encoder that was read as a whole.

    depth (Optional[int]): How many; null for all.
    RAISES (ValueError): When there are fewer, or they cannot be told apart.
    """
    whole = pretrained.transformer
    config, layers = copy.deepcopy(whole.config), find_layers(whole)
    if depth is None or not cut_config(config, depth, where):
        return
    bottom = _checked(layers, depth, where)
    weights = {name: tensor for name, tensor in whole.state_dict().items() if not bottom.is_above(name)}
    pretrained.transformer = build_encoder(type(whole).__name__, config, weights)
    pretrained.fingerprint = of_bottom(pretrained.fingerprint, depth)


def read_weights(name: str, wanted: str, depth: int | None = None) -> dict[str, Tensor]:
    """Weights of a source that had the fingerprint `wanted` when it was first read.

    depth (Optional[int]): As in `read_source`.
    RAISES (ValueError): When it cannot be read, or has changed.
    """
    with reading_again(name):
        found = read_source(name, depth)
    check_unchanged(name, found.fingerprint, wanted)
    return found.transformer.state_dict()


def rebuild(state: bytes, prefix: str) -> tuple[Pretrained, Config | None, dict[str, Tensor]]:
    """The encoder of a saved pipeline.

    state (bytes): safetensors with the header of `Pretrained.to_metadata`; the encoder's names begin with `prefix`.
    RETURNS (Tuple[Pretrained, Optional[Config], Dict[str, Tensor]]): Encoder and tokenizer; the adapter, which is not
        in the encoder yet; and all tensors that are not the encoder's own.
    RAISES (ValueError): When names or shapes do not match, the class is none of transformers' encoders, or a part is
        damaged.
    """
    parts = read_header(state)
    tensors = read_state(state)
    check_finite(tensors.items(), _SAVED)
    own = {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
    transformer = build_encoder(parts["class"], make_config(parts["config"], len(own), _SAVED), own)
    tokenizer, special = read_tokenizer(parts["tokenizer"], _SAVED), parts["special"]
    if (special["prefix"], special["suffix"]) != _special(tokenizer):
        found = "others than its tokenizer's"
        raise ValueError(Errors.T130.format(field="special", found=found, wanted="ids around a text"))
    pretrained = Pretrained(transformer, tokenizer, **special, fingerprint=parts["fingerprint"], steps=parts["steps"])
    check_special(pretrained, _SAVED)
    try_out(pretrained, _SAVED)
    return pretrained, parts["adapter"], tensors


def read_header(state: bytes) -> Config:
    """RETURNS (Dict[str, Any]): What `Pretrained.to_metadata` wrote.

    RAISES (ValueError): When it is damaged.
    """
    try:
        parts = json.loads(read_metadata(state)["encoder"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(Errors.T101.format(error=f"its header: {error!r}")) from error
    check_header(parts, _FIELDS)
    return parts


def check_special(pretrained: Pretrained, where: str) -> None:
    """RAISES (ValueError): When the encoder has no row for an id."""
    special = [*pretrained.prefix, *pretrained.suffix, pretrained.pad_id]
    check_ids(pretrained.tokenizer, pretrained.transformer, special, where)


def try_out(pretrained: Pretrained, where: str) -> None:
    """RAISES (ValueError): When the encoder fails on the shortest text."""
    check_forward(pretrained.transformer, [*pretrained.prefix, 0, *pretrained.suffix], where)


def build_encoder(kind: str, config: "PretrainedConfig", weights: dict[str, Tensor]) -> "PreTrainedModel":
    """An encoder of the class `kind` with these weights.

    RAISES (ValueError): When names or shapes do not match, or the class is none of transformers' encoders.
    """
    import transformers

    # By name: asking AutoModel would import the config of every architecture there is.
    cls = getattr(transformers, kind, None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise ValueError(Errors.T117.format(kind=kind, version=transformers.__version__))
    check_size(cls, config, {name: tensor.shape for name, tensor in weights.items()}, _SAVED, strict=True)
    with quiet_loading():
        transformer, info = cls.from_pretrained(None, config=config, state_dict=weights, output_loading_info=True)
    _check_loaded(transformer, info, strict=True)
    align_weights(transformer)
    return transformer.eval()


def _read_transformer(source: Source, depth: int | None) -> "tuple[PreTrainedModel, bool]":
    """The encoder, and whether it has fewer layers than its source."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel

    config, is_cut = None, False
    if depth is not None:
        config = AutoConfig.from_pretrained(source.path, local_files_only=True, trust_remote_code=False)
        # An encoder with a decoder is refused below.
        is_cut = not config.is_encoder_decoder and cut_config(config, depth, source.name)
    try:
        with quiet_loading():
            transformer, info = AutoModel.from_pretrained(
                source.path,
                config=config,
                output_loading_info=True,
                torch_dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(Errors.T107.format(source=source.name, path=source.path, error=error)) from error
    if transformer.config.is_encoder_decoder:
        raise ValueError(Errors.T110.format(source=source.name, kind=type(transformer).__name__))
    if is_cut:
        bottom = _checked(find_layers(transformer), transformer.config.num_hidden_layers, source.name)
        info["unexpected_keys"] = [name for name in info["unexpected_keys"] if not bottom.is_above(name)]
    _check_loaded(transformer, info, strict=False)
    check_finite(transformer.named_parameters(), source.name)
    forget_code(transformer.config)
    align_weights(transformer)
    return transformer.eval(), is_cut


def _checked(layers: LayerLists | None, depth: int, where: str) -> LayerLists:
    """The layers of an encoder that is cut."""
    if layers is None:
        raise ValueError(Errors.T871.format(depth=depth, where=where, problem="they cannot be told apart"))
    return LayerLists(layers.paths, depth)


def _check_loaded(transformer: "PreTrainedModel", info: Config, strict: bool) -> None:
    """Names must match, but if not strict, the pooler (which is not read) may be missing, and a head may be there."""
    own = {name for name, _ in transformer.named_children()}
    missing = sorted(name for name in info["missing_keys"] if strict or not name.startswith("pooler."))
    unexpected = sorted(
        name for name in info["unexpected_keys"] if strict or own & set(name.split(".")[:2]) - {"pooler"}
    )
    shapes = sorted(str(item[0]) for item in info.get("mismatched_keys", []))
    if missing or unexpected or shapes:
        raise ValueError(Errors.T102.format(missing=missing, unexpected=unexpected, shapes=shapes))


def _read_tokenizer(source: Source) -> HFTokenizer:
    from transformers import AutoTokenizer

    try:
        with panics_are_errors(source.name):
            tokenizer: HFTokenizer = AutoTokenizer.from_pretrained(
                source.path, use_fast=True, local_files_only=True, trust_remote_code=False
            )
    except ValueError as error:
        refuse_own_tokenizer(source.path, source.name, error)
        has_file = any(next(source.path.glob(pattern), None) for pattern in ("tokenizer.*", "vocab.*", "*.model"))
        problem = error if has_file else "there is no file of a tokenizer"
        raise ValueError(Errors.T111.format(source=source.name, path=source.path, error=problem)) from error
    refuse_own_tokenizer(source.path, source.name)
    files = sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()})
    # transformers 5 makes a tokenizer of special tokens alone where it finds no file.
    if not any((source.path / file).exists() for file in files):
        lacks = f"there is none of {', '.join(files)}"
        raise ValueError(Errors.T111.format(source=source.name, path=source.path, error=lacks))
    if not tokenizer.is_fast:
        kind = f"{type(tokenizer).__name__} is a slow tokenizer"
        raise ValueError(Errors.T111.format(source=source.name, path=source.path, error=kind))
    return tokenizer


def _from_pipeline(source: Source, depth: int | None) -> Pretrained:
    """The encoder inside another pipeline: a backbone of ours, or spacy-transformers' component."""
    import spacy

    check_pipeline(source.path, source.name)
    nlp = spacy.load(source.path)
    found: dict[str, Pretrained] = {}
    for name, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        if not isinstance(model, Model):
            continue
        shims = [shim for node in model.walk() for shim in node.shims]
        own = next((shim.pretrained for shim in shims if hasattr(shim, "pretrained")), None)
        peer = spacy_transformers_parts(model)
        if own is not None:
            for shim in shims:
                getattr(shim, "own_weights", lambda: None)()
            found[name] = own
        elif peer is not None:
            if not peer[1].is_fast:
                raise ValueError(Errors.T111.format(source=source.name, path=source.path, error="it is slow"))
            found[name] = _pretrained(peer[0].eval(), peer[1], "", source.name)
    if len(found) != 1:
        raise ValueError(Errors.T112.format(source=source.name, found=list(found), pipes=nlp.pipe_names))
    pretrained = next(iter(found.values()))
    if has_adapter(pretrained.transformer):
        merge(pretrained.transformer)
    cut(pretrained, depth, source.name)
    pretrained.steps = 0
    pretrained.fingerprint = hashlib.sha256(dump_state(pretrained.transformer)).hexdigest()
    return pretrained


def _pretrained(transformer: "PreTrainedModel", tokenizer: HFTokenizer, fingerprint: str, name: str) -> Pretrained:
    # Before `to_str`, which lists every id that a vocabulary has no piece for.
    check_ids(tokenizer.backend_tokenizer, transformer, [], name)
    backend = read_tokenizer(tokenizer.backend_tokenizer.to_str(), name)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    pretrained = Pretrained(transformer, backend, *_special(backend), pad_id, fingerprint)
    check_special(pretrained, name)
    return pretrained


def _special(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of special tokens before and after a text."""
    probe = tokenizer.encode("a", add_special_tokens=True)
    mask = probe.special_tokens_mask
    inner = [i for i, special in enumerate(mask) if not special]
    first, last = (inner[0], inner[-1] + 1) if inner else (len(mask), len(mask))
    return probe.ids[:first], probe.ids[last:]
